//! How a group is set up, and why that may be refused.
//!
//! What must hold:
//! - A group that exists can copy: its scratch memory holds at least one piece for the snapshots and one for a merge.
//! - A store that is attached was opened for writing with the same geometry and length of origin.

use crate::api::{SpaceGeometry, StoreId};
use foldback_units::Sectors;

/// The least scratch memory a group works with.
pub const MIN_SCRATCH: Sectors = Sectors(32);

/// What a group is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// The origin.
    pub origin: SpaceGeometry,
    /// Length of the scratch memory ([`crate::Buffer::Scratch`]). At least [`MIN_SCRATCH`]; some MiB to be fast.
    pub scratch: Sectors,
    /// How much data one merge window moves. At least one chunk is moved whatever it is.
    pub window: Sectors,
    /// How many I/Os of a merge may be under way at once, at least one.
    pub depth: u32,
}

/// Why a group was not made, or not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Too little memory to copy anything.
    #[error("setting up an origin group: {0} sectors of scratch memory are fewer than {min}", min = MIN_SCRATCH.0)]
    Scratch(u64),
    /// An origin that cannot be.
    #[error("setting up an origin group: an origin of {0} sectors is beyond what can be addressed")]
    OriginSize(u64),
    /// Something is under way: hold the group and wait until it is quiet.
    #[error("changing an origin group: requests or a merge are under way; hold the group first")]
    Busy,
    /// No such store.
    #[error("exception store {} is not attached to this group", .0.0)]
    NoSuchStore(StoreId),
    /// Attached already.
    #[error("exception store {} is attached already", .0.0)]
    StoreExists(StoreId),
    /// A merge runs: no ordinary snapshot can come (it would be of `-real`), and the merging one cannot go.
    #[error("exception store {} is being merged; finish the merge first", .0.0)]
    Merging(StoreId),
    /// No merge is there whose merged view the snapshot could be of.
    #[error("attaching exception store {}: its snapshot is of a merged view, but nothing is merging", .0.0)]
    NotMerging(StoreId),
    /// After an error the store and the origin hold different things for a chunk.
    #[error("a merge of exception store {} stands after an error, no snapshot of it can be taken; resume it first", .0.0)]
    Disagrees(StoreId),
    /// The snapshot is longer than its origin.
    #[error("attaching exception store {}: the snapshot has {size} sectors, its origin only {origin}", .store.0)]
    SnapshotSize {
        /// Which store.
        store: StoreId,
        /// The snapshot's length in sectors.
        size: u64,
        /// The origin's.
        origin: u64,
    },
    /// A store was opened with another geometry, or only to look at.
    #[error("attaching exception store {}: it was not opened for writing with this geometry and origin", .0.0)]
    NotOpenedSo(StoreId),
}

/// Why a merge was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeRefused {
    /// No such store.
    #[error("starting a merge: exception store {} is not attached", .0.0)]
    NoSuchStore(StoreId),
    /// One merge at a time, and a finished one must be detached first.
    #[error("starting a merge: exception store {} is being merged already", .0.0)]
    AlreadyMerging(StoreId),
    /// An invalid snapshot has lost exceptions: merging it would mix two points in time.
    #[error("starting a merge: the snapshot of exception store {} is invalid, it cannot be merged", .0.0)]
    Invalid(StoreId),
    /// Something is under way.
    #[error("starting a merge: requests are under way; hold the group first")]
    Busy,
}
