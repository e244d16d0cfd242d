//! LVM2's lock files, taken as LVM2 takes them, so that both may run on one machine.
//!
//! What must hold:
//! - A VG's file is `V_<vg>`, the one for PVs without a VG and for making VGs is `P_global`; `flock` shared to report,
//!   exclusive to change.
//! - Whoever wants either takes `FILE:aux` exclusively first: a writer keeps it until it has the file, a reader gives it
//!   back at once. So a waiting writer is not overtaken by readers for ever.
//! - A file is removed by the last who used it. So a lock counts only if the path still names the file that was locked.
//! - `P_global` comes before any `V_<vg>`; two VGs in the order of their names.
//!
//! Where the directory cannot be written (no root, read-only system) there is no lock and [`VgLock::is_held`] says so. That
//! is enough for image files, which have locks of their own (`foldback_device::Hold`), and to read; block devices are not
//! changed then.

use foldback_units::VgName;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where LVM2 puts its lock files unless told otherwise.
pub const DEFAULT_LOCKING_DIR: &str = "/run/lock/lvm";
/// How often a file that was removed under us is opened again before giving up.
const REOPEN_MAX: u32 = 10_000;

/// What a lock is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockMode {
    /// To read and report.
    Shared,
    /// From reading to committing a change.
    Exclusive,
}

/// What to do while somebody else has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockWait {
    /// Wait, as LVM2 does by default (`wait_for_locks=1`).
    Wait,
    /// Fail at once.
    Fail,
}

/// Why a lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it, and waiting was not wanted.
    #[error("{}: flock failed: Resource temporarily unavailable\n  Can't get lock for {resource}", .path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// The VG, or `global`.
        resource: String,
    },
    /// The system said no.
    #[error("locking {resource} with {}: {source}", .path.display())]
    System {
        /// The lock file.
        path: PathBuf,
        /// The VG, or `global`.
        resource: String,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no place for it, and LVM2 could have the same disks.
    #[error(
        "Cannot lock {resource}: {} cannot be written, and without that lock LVM2 could change block devices at the same \
         time. Set global/locking_dir to a directory that can.",
        .directory.display()
    )]
    NoPlace {
        /// Where locks are taken.
        directory: PathBuf,
        /// The VG, or `global`.
        resource: String,
    },
}

/// A lock, held until this is dropped.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct VgLock {
    held: Option<LockedFile>,
}

/// Where and how locks are taken.
#[derive(Clone, Debug)]
pub struct Locks {
    directory: PathBuf,
    wait: LockWait,
}

impl Locks {
    /// Locks in `directory` (LVM2's `global/locking_dir`).
    pub fn new(directory: &Path, wait: LockWait) -> Self {
        Self { directory: directory.to_owned(), wait }
    }

    /// The lock with which a VG (`None`: what is in no VG) is changed. `lvm2_may`: it is on disks that LVM2 could change, too.
    ///
    /// # Errors
    /// As [`Locks::vg`]; [`LockError::NoPlace`] where LVM2 may and the directory cannot be written.
    pub fn to_change(&self, vg: Option<&VgName>, lvm2_may: bool) -> Result<VgLock, LockError> {
        let lock = match vg {
            Some(vg) => self.vg(vg, LockMode::Exclusive)?,
            None => self.global(LockMode::Exclusive)?,
        };
        if lvm2_may && !lock.is_held() {
            let resource = vg.map_or("global", VgName::as_str).to_owned();
            return Err(LockError::NoPlace { directory: self.directory.clone(), resource });
        }
        Ok(lock)
    }

    /// The lock of one VG.
    ///
    /// # Errors
    /// [`LockError::Busy`] only where waiting was not wanted.
    pub fn vg(&self, vg: &VgName, mode: LockMode) -> Result<VgLock, LockError> {
        self.take(&format!("V_{vg}"), vg.as_str(), mode)
    }

    /// A share of a VG's lock for a process that works for one which has a share already: at once or not at all. It does not
    /// queue behind a writer, who waits for that very process.
    ///
    /// # Errors
    /// As [`Locks::vg`]; [`LockError::Busy`] where somebody changes the VG.
    pub fn join(&self, vg: &VgName) -> Result<VgLock, LockError> {
        if !self.is_usable() {
            return Ok(VgLock { held: None });
        }
        let path = self.directory.join(format!("V_{vg}"));
        let taken = LockedFile::take(&path, LockMode::Shared, LockWait::Fail);
        let held = taken.map_err(|error| failed(&path, vg.as_str(), error))?;
        Ok(VgLock { held: Some(held) })
    }

    /// The lock of everything that is no VG: orphan PVs, and the names of VGs.
    ///
    /// # Errors
    /// As [`Locks::vg`].
    pub fn global(&self, mode: LockMode) -> Result<VgLock, LockError> {
        self.take("P_global", "global", mode)
    }

    fn take(&self, file: &str, resource: &str, mode: LockMode) -> Result<VgLock, LockError> {
        if !self.is_usable() {
            return Ok(VgLock { held: None });
        }
        let path = self.directory.join(file);
        let aux_path = self.directory.join(format!("{file}:aux"));
        let aux = LockedFile::take(&aux_path, LockMode::Exclusive, self.wait)
            .map_err(|error| failed(&aux_path, resource, error))?;
        let waiting = match mode {
            LockMode::Exclusive => Some(aux),
            LockMode::Shared => {
                drop(aux);
                None
            }
        };
        let held =
            LockedFile::take(&path, mode, self.wait).map_err(|error| failed(&path, resource, error))?;
        drop(waiting);
        Ok(VgLock { held: Some(held) })
    }

    /// Whether the directory is there, or can be made, and may be written.
    fn is_usable(&self) -> bool {
        if !self.directory.is_dir() && std::fs::create_dir_all(&self.directory).is_err() {
            return false;
        }
        rustix::fs::access(&self.directory, rustix::fs::Access::WRITE_OK).is_ok()
    }
}

fn failed(path: &Path, resource: &str, error: Errno) -> LockError {
    let (path, resource) = (path.to_owned(), resource.to_owned());
    match error {
        Errno::WOULDBLOCK => LockError::Busy { path, resource },
        error => LockError::System { path, resource, source: error.into() },
    }
}

impl VgLock {
    /// Whether there is a lock at all; not where LVM2's directory cannot be written.
    pub const fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

#[derive(Debug)]
struct LockedFile {
    path: PathBuf,
    file: OwnedFd,
}

impl LockedFile {
    fn take(path: &Path, mode: LockMode, wait: LockWait) -> Result<Self, Errno> {
        let operation = match (mode, wait) {
            (LockMode::Shared, LockWait::Wait) => FlockOperation::LockShared,
            (LockMode::Shared, LockWait::Fail) => FlockOperation::NonBlockingLockShared,
            (LockMode::Exclusive, LockWait::Wait) => FlockOperation::LockExclusive,
            (LockMode::Exclusive, LockWait::Fail) => FlockOperation::NonBlockingLockExclusive,
        };
        let flags = OFlags::CREATE | OFlags::APPEND | OFlags::RDWR | OFlags::CLOEXEC;
        for _ in 0..REOPEN_MAX {
            let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o777))?;
            match rustix::fs::flock(&file, operation) {
                Ok(()) if names(path, &file) => return Ok(Self { path: path.to_owned(), file }),
                // Removed by the one who had it before: what we locked is nobody's any more.
                Ok(()) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::AGAIN)
    }
}

/// Whether `path` still names the open `file`.
fn names(path: &Path, file: &OwnedFd) -> bool {
    let (Ok(there), Ok(ours)) = (rustix::fs::stat(path), rustix::fs::fstat(file)) else { return false };
    (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Only who can have it alone is the last one, and only while the path is still this file may it be removed.
        let last = rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if last && names(&self.path, &self.file) {
            // A file that stays is found and used by the next one: no harm.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LockError, LockMode, LockWait, Locks};
    use foldback_units::VgName;
    use std::path::Path;

    fn name() -> VgName {
        VgName::new("vg").unwrap()
    }

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::new(dir.path(), LockWait::Fail);
        let one = locks.vg(&name(), LockMode::Shared).unwrap();
        let two = locks.vg(&name(), LockMode::Shared).unwrap();
        assert!(one.is_held());
        let refused = locks.vg(&name(), LockMode::Exclusive).unwrap_err();
        assert!(matches!(refused, LockError::Busy { .. }), "{refused}");
        drop((one, two));
        let alone = locks.vg(&name(), LockMode::Exclusive).unwrap();
        assert!(locks.vg(&name(), LockMode::Shared).is_err());
        drop(alone);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert!(left.is_empty(), "the last one removes the files: {left:?}");
    }

    #[test]
    fn a_removed_file_does_not_count_as_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::new(dir.path(), LockWait::Fail);
        let held = locks.global(LockMode::Exclusive).unwrap();
        std::fs::remove_file(dir.path().join("P_global")).unwrap();
        let other = locks.global(LockMode::Exclusive).unwrap();
        drop(held);
        assert!(dir.path().join("P_global").exists(), "the other's file is not removed by the first");
        drop(other);
    }

    #[test]
    fn where_the_directory_cannot_be_made_there_is_no_lock() {
        let locks = Locks::new(Path::new("/proc/no-such-directory"), LockWait::Fail);
        assert!(!locks.vg(&name(), LockMode::Exclusive).unwrap().is_held());
        assert!(!locks.to_change(Some(&name()), false).unwrap().is_held());
        for vg in [Some(&name()), None] {
            let refused = locks.to_change(vg, true).unwrap_err();
            assert!(matches!(refused, LockError::NoPlace { .. }), "{refused}");
        }
    }
}
