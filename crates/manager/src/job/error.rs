//! Why a merge failed, and what it left.
//!
//! What must hold: every kind says whether something was written, or that the same command goes on.

use crate::activation::ActivationError;
use crate::apply::ApplyError;
use crate::check::CheckError;
use crate::ops::Refusal;
use crate::store::{CommitError, SelectError};
use foldback_dm_snapshot_format::Finding;
use foldback_dm_table::Stage;
use foldback_units::{ChunkSize, LvName, VgName};

/// Why the job failed.
#[derive(Debug, thiserror::Error)]
pub enum MergeError<E: std::error::Error + Send + Sync + 'static> {
    /// The VG is not to be had.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The merge is refused; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A store could not be looked at; nothing was written.
    #[error("{source}{}", unlooked(source))]
    Check {
        /// Why.
        #[from]
        source: CheckError,
    },
    /// The snapshot has overflowed, or its device failed once.
    #[error("Unable to merge invalidated snapshot LV {vg}/{lv}.")]
    Invalidated {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// A store that takes part cannot be trusted; nothing was written.
    #[error(
        "Unable to merge into {vg}/{origin}: the exception store of {vg}/{lv} is damaged: {finding}. Nothing was changed; `check {vg}/{lv}` lists all that is wrong."
    )]
    Damaged {
        /// The VG.
        vg: VgName,
        /// The origin.
        origin: LvName,
        /// Whose store.
        lv: LvName,
        /// The first finding that refuses.
        finding: Box<Finding>,
    },
    /// Another snapshot of the origin would be lost by it; nothing was written.
    #[error(
        "Merging {vg}/{lv} would overflow {vg}/{other}: what changes must be copied out to it, {needed} chunks of {chunk_size}, and it has room for {free}. Nothing was changed."
    )]
    WouldOverflow {
        /// The VG.
        vg: VgName,
        /// The snapshot to be merged.
        lv: LvName,
        /// The snapshot that would be lost.
        other: LvName,
        /// Chunks it would have to take.
        needed: u64,
        /// Chunks it can take.
        free: u64,
        /// Of what size.
        chunk_size: ChunkSize,
    },
    /// The origin was extended, and its old end is in the middle of a chunk; nothing was written.
    #[error(
        "Merging {vg}/{lv}: {origin} was extended after the snapshot was taken, and ended in the middle of a chunk then; what was written behind that end would be lost. Nothing was changed."
    )]
    Grown {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// Its origin.
        origin: LvName,
    },
    /// The LVs cannot become devices; nothing was written.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// The VG was not written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The snapshot to undo the merge was not taken.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Locks, or devices. The merge goes on when the same command is given again.
    #[error("{attempt}: {source}")]
    Host {
        /// What was attempted.
        attempt: &'static str,
        /// Why not.
        source: E,
    },
    /// The transaction that marks or starts the merge was taken back.
    #[error("{attempt} the merge of {vg}/{lv}: {source}{}", left(*.stage))]
    Start {
        /// What was attempted with it.
        attempt: &'static str,
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// How far it came.
        stage: Stage,
        /// Why.
        source: E,
    },
    /// The transaction that ends the merge was taken back.
    #[error(
        "ending the merge of {vg}/{lv}: {source}{}. The snapshot is merged whole; the same command ends the merge.", left(*.stage)
    )]
    Finish {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// How far it came.
        stage: Stage,
        /// Why.
        source: E,
    },
    /// Somebody took away, or changed, what the merge works on.
    #[error(
        "merging {vg}/{lv}: somebody changed its origin or a snapshot of it meanwhile; stopped at once, and nothing more was written. Look at the volume group with `lvs -a`; if {lv} is still merging there, the same command goes on."
    )]
    Changed {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// Somebody changed the VG meanwhile so that the merge cannot be ended.
    #[error(
        "{vg}/{lv} is not merging any more: somebody changed the volume group meanwhile. Nothing more was written."
    )]
    NotMerging {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
}

/// What a transaction has left that was taken back. Who carries it out says himself what became of headers.
fn left(stage: Stage) -> &'static str {
    match stage {
        Stage::Preload | Stage::Suspend => "; nothing was changed",
        Stage::Resume => "; all is as it was",
        Stage::Commit | Stage::Clean => "",
    }
}

/// A refusal says itself that nothing was changed; a disk that fails does not.
fn unlooked(error: &CheckError) -> &'static str {
    match error {
        CheckError::Refused(_) => "",
        CheckError::Read { .. } | CheckError::Feed { .. } => "; nothing was changed",
    }
}
