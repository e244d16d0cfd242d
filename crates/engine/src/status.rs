//! What a group tells about itself: the numbers of status lines and progress bars, and plain counters.
//!
//! What must hold (dm-snapshot.md 1.8, I9):
//! - `allocated` and `metadata` are the kernel's, so that LVM2's percentages and its "merge finished" hold.
//! - Progress counts only what is durable.

use foldback_units::Sectors;

/// What a snapshot's status line says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreStatus {
    /// In use.
    Valid {
        /// Header, areas, data and leaked holes.
        allocated: Sectors,
        /// The store's length.
        total: Sectors,
        /// Header and areas.
        metadata: Sectors,
    },
    /// The snapshot is lost: its store overflowed or failed.
    Invalid,
    /// The merge met an error; the merged view is still served from the store.
    MergeFailed,
    /// Full for snapshot writes. Never for stores of type `P`, the only ones there are.
    Overflow,
}

/// How far a merge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MergeProgress {
    /// Records of the table when the merge was started.
    pub chunks_total: u64,
    /// Records that are still in the table, durably.
    pub chunks_left: u64,
    /// An error stopped it; [`crate::Group::resume_merge`] tries again.
    pub failed: bool,
    /// The empty table is durable and nothing is written both ways any more (R9).
    pub finished: bool,
}

/// Plain numbers since the group was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Flushes handed out, one per device cache.
    pub flushes: u64,
    /// Metadata writes handed out, zeroed areas included.
    pub metadata_writes: u64,
    /// Sectors of them.
    pub metadata_sectors: u64,
    /// Chunks that were copied from the origin into a store, once per store.
    pub chunks_copied_out: u64,
    /// Commits of exceptions (each covers all that were ready).
    pub commits: u64,
    /// Merge windows that were completed.
    pub windows: u64,
    /// Chunks that were copied from a store to the origin, copies again included.
    pub chunks_merged: u64,
    /// Of those, chunks that were copied again because they were written meanwhile.
    pub chunks_recopied: u64,
    /// Foreground writes that went to the store and to the origin.
    pub written_both_ways: u64,
    /// Foreground writes that had to wait for a chunk to be copied.
    pub writes_held: u64,
}
