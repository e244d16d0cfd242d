//! Why a job of the keeper changed nothing.
//!
//! What must hold: a lock that somebody has is told from what will not work either in a second.

use super::{ChangeError, GroundError};
use foldback_manager::activation::ActivationError;
use foldback_manager::host::LockVgError;
use foldback_manager::ops::Refusal;
use foldback_manager::store::{CommitError, SelectError};

#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Ground(#[from] GroundError),
    #[error(transparent)]
    Lock(#[from] LockVgError),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Group(#[from] ActivationError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The metadata knows no such LV, or it has its largest size.
    #[error("it cannot grow")]
    Nothing,
}
