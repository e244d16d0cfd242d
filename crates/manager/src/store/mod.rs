//! Labels, metadata areas and texts on disks: finding VGs, and committing changes of them.

mod area;
mod assemble;
mod commit;
mod discovery;
mod disk_set;
mod finding;
mod label_write;
mod mapping;
mod remove;
pub mod select;
mod signature;

#[cfg(test)]
mod tests;

pub use area::{AreaState, FoundArea};
pub(crate) use commit::clock_text;
pub use commit::{CommitError, Committed, Handover, Staged, stage};
pub use discovery::{AreaPlace, Discovery, FoundPv, FoundVg, PvPlace, UnreadableVg, discover};
pub use disk_set::{DiskFault, DiskSet};
pub use finding::{Consequence, Finding};
pub use label_write::{LabelWriteError, make_pv};
pub use mapping::{MapError, Piece, pieces, read_lv, write_lv};
pub use remove::{remove_pv, remove_vg};
pub use select::SelectError;
pub use signature::{Signature, signatures};
