//! Bringing a VG and its live devices together again where a change was committed and a device did not come back
//! (docs/decisions/0002-user-dm.md; [`crate::activation::take_back`] says which changes need it).
//!
//! What must hold:
//! - The VG before is committed anew, above what was committed meanwhile: a seqno never goes back.

use crate::activation::{self, Change, Tables};
use crate::environment::Environment;
use crate::store::{CommitError, DiskSet, FoundVg, stage};
use foldback_dm_table::Transaction;

/// Stages the VG before and plans the way back to it. `there` are the devices as they are now.
///
/// # Errors
/// The text could not be written; the devices are as they were.
pub fn take_back(
    set: &mut DiskSet<'_>,
    (before, next): (&FoundVg, &FoundVg),
    changes: &[Change],
    there: &Tables,
    environment: &mut dyn Environment,
) -> Result<Transaction, CommitError> {
    let handover = stage(set, next, before.vg.clone(), environment)?.hand_over();
    Ok(activation::take_back(changes, handover.headers, there))
}
