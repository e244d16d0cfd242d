//! A volume group as types: read from a tree, questioned, changed, and written back (lvm2.md 1.7 and 1.9).

mod error;
mod fields;
pub(crate) mod opaque;
mod questions;
mod read;
mod read_lv;
mod segment_types;
mod snapshots;
mod types;
mod words;
mod write;

#[cfg(test)]
mod tests;

pub use error::{ReadError, Refusal};
pub(crate) use fields::Fields;
pub use segment_types::lvm2_knows;
pub use snapshots::{Snapshot, SnapshotLinks};
pub use types::{
    AllocationPolicy, Area, AreaOn, BadExtentSize, Creation, ExtentSize, Lv, MERGE_VIEW, Pv, PvKey, Segment,
    SegmentKind, SnapshotSegment, Striped, Vg,
};
pub use words::{Flags, LvFlag, LvStatus, PvFlag, PvStatus, VgFlag, VgStatus, Word};
