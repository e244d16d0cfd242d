//! The one VG that a command names, where it may be changed.
//!
//! What must hold:
//! - Two VGs of one name are never guessed between.
//! - A VG that is refused is refused with the sentence of the finding that refuses it.

use crate::store::discovery::{Discovery, FoundVg};
use crate::store::finding::Finding;
use foldback_units::VgName;

/// Why the VG is not to be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectError {
    /// No such VG on the disks that were given.
    #[error("Volume group \"{0}\" not found\n  Cannot process volume group {0}")]
    NotFound(VgName),
    /// It is there, and its text cannot be read.
    #[error("Volume group {vg} on {path} cannot be read: {reason}\n  Cannot process volume group {vg}")]
    Unreadable {
        /// The VG.
        vg: VgName,
        /// Where it is.
        path: String,
        /// Why.
        reason: String,
    },
    /// A finding refuses it.
    #[error("{}", finding.refusal(vg.as_str()))]
    Refused {
        /// The VG.
        vg: VgName,
        /// Why.
        finding: Box<Finding>,
    },
}

/// The VG of that name, to look at.
pub fn to_read<'f>(found: &'f Discovery, vg: &VgName) -> Result<&'f FoundVg, SelectError> {
    if let Some(found) = found.vgs.iter().find(|found| found.vg.name == *vg) {
        return Ok(found);
    }
    let unreadable = found.unreadable.iter().find(|other| other.name.as_deref() == Some(vg.as_str()));
    Err(match unreadable {
        Some(other) => {
            SelectError::Unreadable { vg: vg.clone(), path: other.path.clone(), reason: other.reason.clone() }
        }
        None => SelectError::NotFound(vg.clone()),
    })
}

/// The VG of that name, to change it.
pub fn to_change<'f>(found: &'f Discovery, vg: &VgName) -> Result<&'f FoundVg, SelectError> {
    let found = to_read(found, vg)?;
    match found.refuses_change() {
        Some(finding) => Err(SelectError::Refused { vg: vg.clone(), finding: Box::new(finding.clone()) }),
        None => Ok(found),
    }
}
