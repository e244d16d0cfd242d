//! Bugs of whoever drives live volumes: what a manager or a daemon with that bug would have planned or left out.

use foldback_engine::planted::Bug;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiveBug {
    /// A write to a merging origin is not copied out to snapshots of the merged view.
    ViewNotCopiedOut,
    /// Snapshots that are taken while a merge runs carry no flag.
    NoMergeView,
    /// `--namesnapshot` leaves the lower devices as they are.
    LowerNotRemade,
    /// A swap of names whose devices did not come back stays in the metadata.
    SwapNotTakenBack,
    /// A store grows in its table, and the metadata do not say so.
    GrownInTableOnly,
    /// A store grows in the metadata, and its table does not.
    GrownInMetadataOnly,
    /// Snapshots of several origins are taken one after the other.
    TwoInstants,
    /// A merge that has begun is taken for one that has not, and cancelled.
    CancelTooLate,
    /// After a death the tables of an earlier time are loaded.
    OldTablesReplayed,
    /// After a death a store that was to wait for room is invalidated when it is full.
    HoldForgotten,
    /// A removal that stopped half way is left as it is.
    RemovalLeft,
    /// The snapshot that undoes a merge is taken when that has begun.
    UndoTooLate,
    /// A merge that is marked counts as begun: another change of its group switches the origin.
    DeferredBegins,
}

impl LiveBug {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::ViewNotCopiedOut,
        Self::NoMergeView,
        Self::LowerNotRemade,
        Self::SwapNotTakenBack,
        Self::GrownInTableOnly,
        Self::GrownInMetadataOnly,
        Self::TwoInstants,
        Self::CancelTooLate,
        Self::OldTablesReplayed,
        Self::HoldForgotten,
        Self::RemovalLeft,
        Self::UndoTooLate,
        Self::DeferredBegins,
    ];

    /// The engine's bug by which it shows, where it is one.
    pub(crate) fn in_engine(self) -> Option<Bug> {
        (self == Self::ViewNotCopiedOut).then_some(Bug::SkipViewCopyOut)
    }
}
