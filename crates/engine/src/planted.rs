//! Bugs that the simulator switches on to prove that it would catch them.
//!
//! What must hold:
//! - Without the feature `planted-bugs` nothing of this exists: `is` is a constant `false`.
//! - A bug is switched on for one thread only, so that tests may run beside each other.
//! - Each bug is planted at the one place where its rule lives.

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Bug {
    /// R5: the origin is not flushed before a truncation hides what was copied to it.
    DropOriginFlush,
    /// C1: a record is written without waiting for a flush of the data that it points at.
    SwapDataAndRecord,
    /// C1: an origin write does not wait for an exception that is already being made.
    ForgetWaiter,
    /// C1, C7: whoever waits for a durable record is released as soon as the data is copied.
    ReleaseBeforeDurable,
    /// R3: the merge overwrites the origin without copying out to one of the other snapshots.
    SkipOtherSnapshot,
    /// W1, K1: what lies behind the end of the table is not zeroed when a store is opened.
    ForgetScrub,
    /// C3: the next area is not zeroed before an area becomes full.
    WrongAreaBorder,
    /// 1.2: a chunk of the store is given out again after its record was written.
    ReuseChunkEarly,
    /// R6: a truncation hides one record more than was copied.
    TruncateTooMuch,
    /// R2: a foreground write to a copied chunk goes to the store only.
    ForgetDualWrite,
    /// R1, R2: a chunk that was written while it was being copied is not copied again.
    ForgetRecopy,
    /// C2: an origin write does not wait for snapshot reads of the same sectors.
    SkipDrain,
    /// C5: origin writes are released before the header that invalidates a snapshot is durable.
    InvalidateNotDurable,
    /// C6: the header of a new store is written before its first area is zeroed.
    HeaderBeforeArea,
    /// R8: a flush of the merged volume does not cover the store.
    AckFlushEarly,
    /// R7: mappings are dropped before the truncation is durable.
    DropMappingEarly,
    /// C4: the blocks of a commit are written in descending order.
    CommitDescending,
    /// C7: a flush of a snapshot does not commit its exceptions.
    FlushWithoutCommit,
    /// R10: overlapping writes to a chunk that is written both ways are not serialised.
    RaceBothWays,
    /// C1, view snapshots: what is copied out is the origin, not the merged view.
    CopyOutFromOrigin,
    /// C1, view snapshots: a chunk that is merged but still visible is overwritten, both ways, without a copy.
    SkipViewCopyOut,
    /// C2, view snapshots: a write to the merging store does not wait for their reads.
    SkipViewDrain,
    /// View snapshots: the rest of a chunk that one writes in part comes from the origin, not from the merged view.
    FillFromOrigin,
    /// W3, view snapshots: the merge fills their stores, though what they show does not change.
    BulkCopyOutViews,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::DropOriginFlush,
        Self::SwapDataAndRecord,
        Self::ForgetWaiter,
        Self::ReleaseBeforeDurable,
        Self::SkipOtherSnapshot,
        Self::ForgetScrub,
        Self::WrongAreaBorder,
        Self::ReuseChunkEarly,
        Self::TruncateTooMuch,
        Self::ForgetDualWrite,
        Self::ForgetRecopy,
        Self::SkipDrain,
        Self::InvalidateNotDurable,
        Self::HeaderBeforeArea,
        Self::AckFlushEarly,
        Self::DropMappingEarly,
        Self::CommitDescending,
        Self::FlushWithoutCommit,
        Self::RaceBothWays,
        Self::CopyOutFromOrigin,
        Self::SkipViewCopyOut,
        Self::SkipViewDrain,
        Self::FillFromOrigin,
        Self::BulkCopyOutViews,
    ];
}

#[cfg(feature = "planted-bugs")]
mod switched {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in every group of this thread, or none.
    pub fn set(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub(crate) use switched::is;
#[cfg(feature = "planted-bugs")]
pub use switched::set;

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_bug: Bug) -> bool {
    false
}
