//! Why something could not be served, attached or let go: what was attempted, on what, why, and what to do instead.
//!
//! What must hold:
//! - Whatever keeps FUSE from working says that NBD is the other way.
//! - A volume in use is an error that names its users.

use crate::in_use::InUse;
use foldback_engine::Fault;
use foldback_user_dm::IoError;
use fuser::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Something that failed.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} {path}: {kind}", path = path.display())]
pub struct FuseError {
    /// What was attempted, as the beginning of a sentence: `mounting on`, `attaching a loop device to`.
    pub attempt: &'static str,
    /// The directory, file or device.
    pub path: PathBuf,
    /// Why it failed.
    pub kind: FuseErrorKind,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub enum FuseErrorKind {
    /// The kernel has no FUSE, or this place has no `/dev/fuse`.
    #[error(
        "there is no FUSE here (load it with `modprobe fuse`, or give the container /dev/fuse); serve through NBD instead"
    )]
    NoFuse,
    /// Neither root nor the setuid program that mounts for others.
    #[error(
        "without root a mount needs `fusermount3` (package fuse3), which was not found; install it, or serve through NBD instead"
    )]
    NoFusermount,
    /// That program refused.
    #[error("fusermount3 refused: {0}; serve through NBD instead")]
    Fusermount(String),
    /// Something of ours is mounted there already.
    #[error("a volume group is served there already; unmount it first")]
    Mounted,
    /// It is not, or no longer, the mount or device that was made.
    #[error("it is not there any more")]
    Gone,
    /// Somebody uses it.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// No loop devices.
    #[error("there are no loop devices here (load them with `modprobe loop`); use the file itself, or NBD")]
    NoLoop,
    /// Others took every loop device that was found free.
    #[error("every free loop device was taken by others first, {0} times; try again")]
    LoopTaken(u32),
    /// A discard could reach the file.
    #[error(
        "its discard_max_bytes cannot be set to 0: {0}; a loop device that discards would fill every store"
    )]
    Discard(io::Error),
    /// The kernel takes no discards any more.
    #[error(
        "this kernel does not let a loop device discard again ({0}); it will when the volume is next activated, and NBD does now"
    )]
    NoDiscard(io::Error),
    /// It will go when the last user closes it.
    #[error("it was told to detach, and somebody opened it meanwhile; it detaches when they close it")]
    Detaching,
    /// The session's threads ended with an error.
    #[error("the session ended: {0}")]
    Ended(io::Error),
    /// What the system says.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl FuseError {
    pub(crate) fn of(attempt: &'static str, path: &Path, kind: impl Into<FuseErrorKind>) -> Self {
        Self { attempt, path: path.to_path_buf(), kind: kind.into() }
    }

    /// Who uses it, where that is the reason.
    pub fn in_use(&self) -> Option<&InUse> {
        match &self.kind {
            FuseErrorKind::InUse(in_use) => Some(in_use),
            _ => None,
        }
    }
}

/// What a program is told about a request that failed.
pub(crate) fn errno(error: IoError) -> Errno {
    match error {
        IoError::NoDevice => Errno::ENXIO,
        IoError::ReadOnly => Errno::EROFS,
        // The volume became smaller between the look at its shape and the request.
        IoError::Range | IoError::Fault(Fault::Range) => Errno::EINVAL,
        IoError::Fault(Fault::Device | Fault::Invalid | Fault::Gone) => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::{FuseError, FuseErrorKind};
    use std::path::Path;

    #[test]
    fn what_keeps_fuse_away_says_what_to_do() {
        for kind in [
            FuseErrorKind::NoFuse,
            FuseErrorKind::NoFusermount,
            FuseErrorKind::Fusermount("mount failed".to_owned()),
        ] {
            let said = FuseError::of("mounting on", Path::new("/run/x"), kind).to_string();
            assert!(said.starts_with("mounting on /run/x: ") && said.contains("NBD"), "{said}");
        }
    }
}
