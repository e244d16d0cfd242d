//! Operations on VGs: a VG and a request in, a new VG and words out. No I/O.

pub mod allocation;
pub mod autoextend;
pub mod extend;
pub mod extent_size;
pub mod fill_watch;
pub mod glue;
pub mod keep;
pub mod lv_change;
pub mod lv_create;
pub mod lv_remove;
pub mod lv_rename;
pub mod merge;
pub mod merge_start;
mod merge_view;
pub mod names;
mod notice;
pub mod pv_create;
pub mod reduce;
mod refusal;
mod size;
pub mod snapshot_create;
mod space;
pub mod sparse;
pub mod split;
pub mod trial;
pub mod undo;
pub mod vg_change;
pub mod vg_create;

#[cfg(test)]
mod tests;

pub use notice::{Level, Notice};
pub use refusal::Refusal;
pub use size::{PercentOf, SizeRequest};
pub use space::Layout;
