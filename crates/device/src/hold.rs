//! Holding a disk against other processes (architecture.md, "Holding and locking").
//!
//! What must hold:
//! - An image file is locked with locks of the open file (OFD): byte 0 for its data, byte 1 for its metadata; so two
//!   openings conflict also inside one process, and closing some other descriptor of the file releases nothing.
//! - A block device's data is held with O_EXCL, which stops mounts and LVM2's activation; its metadata is not held here
//!   (that is LVM2's own lock file).
//! - A refusal never waits, and names the process that holds the disk where the system can tell.

use crate::error::{DiskError, DiskErrorKind};
use crate::file::{Access, DiskFile, DiskKind};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The most processes that are looked at to find who holds a disk.
const MAX_PROCESSES: usize = 65_536;

/// What is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeldPart {
    /// The volumes' content: a daemon, a merge, an import or export.
    Data,
    /// Labels and metadata areas: shared to read, exclusive from read to commit.
    Metadata,
}

/// With whom it is shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldMode {
    /// With others who also share.
    Shared,
    /// With nobody.
    Exclusive,
}

/// A part of a disk, held until this is dropped.
#[derive(Debug)]
#[must_use = "the hold ends when this is dropped"]
pub struct Hold {
    disk: Arc<DiskFile>,
    by: Means,
}

#[derive(Debug)]
enum Means {
    /// The locked byte of an image.
    Byte(HeldPart),
    /// A second opening, with O_EXCL; closing it ends the hold.
    Exclusive { _descriptor: OwnedFd },
    /// A part that is not held here.
    Nothing,
}

impl Hold {
    /// Holds `part` of `disk`, or says who does. Holding a part again through the same opened disk changes its mode, and
    /// the first of the two holds to be dropped ends both: hold each part once.
    ///
    /// # Errors
    /// [`DiskErrorKind::Held`] where somebody else has it; what the system reports otherwise.
    pub fn take(disk: &Arc<DiskFile>, part: HeldPart, mode: HoldMode) -> Result<Self, DiskError> {
        let attempt = match part {
            HeldPart::Data => "holding the data of",
            HeldPart::Metadata => "locking the metadata of",
        };
        let refused = |kind| DiskError::of(attempt, disk.path(), kind);
        let by = match (disk.kind(), part, mode) {
            (DiskKind::Image, _, HoldMode::Exclusive) if disk.access() == Access::Read => {
                return Err(refused(DiskErrorKind::ReadOnly));
            }
            (DiskKind::Image, ..) => {
                lock(disk, part, lock_type(mode)).map_err(|error| match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EACCES) => {
                        refused(DiskErrorKind::Held { holder: image_holder(disk) })
                    }
                    _ => DiskError::system(attempt, disk.path(), error),
                })?;
                Means::Byte(part)
            }
            (DiskKind::Block, HeldPart::Data, HoldMode::Exclusive) => {
                let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
                let descriptor = rustix::fs::open(disk.path(), flags, Mode::empty())
                    .map_err(|error| DiskError::system(attempt, disk.path(), error.into()))?;
                Means::Exclusive { _descriptor: descriptor }
            }
            (DiskKind::Block, ..) => Means::Nothing,
        };
        Ok(Self { disk: Arc::clone(disk), by })
    }

    /// The disk that is held.
    pub fn disk(&self) -> &Arc<DiskFile> {
        &self.disk
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Means::Byte(part) = self.by {
            let unlocked = lock(&self.disk, part, libc::F_UNLCK);
            debug_assert!(unlocked.is_ok(), "unlocking a byte of one's own file: {unlocked:?}");
        }
    }
}

fn lock_type(mode: HoldMode) -> libc::c_int {
    match mode {
        HoldMode::Shared => libc::F_RDLCK,
        HoldMode::Exclusive => libc::F_WRLCK,
    }
}

fn lock(disk: &DiskFile, part: HeldPart, kind: libc::c_int) -> io::Result<()> {
    let byte = match part {
        HeldPart::Data => 0,
        HeldPart::Metadata => 1,
    };
    let short = |number: libc::c_int| libc::c_short::try_from(number).map_err(io::Error::other);
    let request = libc::flock {
        l_type: short(kind)?,
        l_whence: short(libc::SEEK_SET)?,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open as long as `disk` lives, and `request` is a whole flock that outlives the call.
    let done = unsafe { libc::fcntl(disk.file.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Who has a lock on this image. F_OFD_GETLK answers -1 for such locks; but each process's fdinfo lists the locks of a
/// descriptor, for processes of the same user.
fn image_holder(disk: &DiskFile) -> Option<u32> {
    let identity = disk.identity();
    let own = disk.file.as_raw_fd();
    for process in fs::read_dir("/proc").ok()?.take(MAX_PROCESSES).flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let same = fs::metadata(descriptor.path())
                .is_ok_and(|found| found.dev() == identity.device && found.ino() == identity.inode);
            let ours = pid == std::process::id() && descriptor.file_name().to_str() == Some(&own.to_string());
            if same && !ours && has_lock(&process.path().join("fdinfo").join(descriptor.file_name())) {
                return Some(pid);
            }
        }
    }
    None
}

fn has_lock(fdinfo: &Path) -> bool {
    fs::read_to_string(fdinfo).is_ok_and(|text| text.lines().any(|line| line.starts_with("lock:")))
}

#[cfg(test)]
mod tests {
    use super::{HeldPart::Data, HeldPart::Metadata, Hold, HoldMode::Exclusive, HoldMode::Shared};
    use crate::error::DiskErrorKind;
    use crate::file::{Access, DiskFile};
    use std::sync::Arc;

    fn twice() -> (tempfile::TempDir, Arc<DiskFile>, Arc<DiskFile>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pv.img");
        std::fs::write(&path, [0; 4096]).unwrap();
        let open = || Arc::new(DiskFile::open(&path, Access::Write).unwrap());
        let (first, second) = (open(), open());
        (dir, first, second)
    }

    #[test]
    fn data_and_metadata_are_held_apart_and_exclusively() {
        let (_dir, first, second) = twice();
        let held = Hold::take(&first, Data, Exclusive).unwrap();
        let refusal = Hold::take(&second, Data, Shared).unwrap_err();
        let DiskErrorKind::Held { holder } = refusal.kind else { panic!("{refusal}") };
        assert_eq!(holder, Some(std::process::id()), "the holder is named");
        let metadata = Hold::take(&second, Metadata, Exclusive).unwrap();
        drop(held);
        drop(Hold::take(&second, Data, Exclusive).unwrap());
        assert!(Hold::take(&first, Metadata, Shared).is_err());
        drop(metadata);
    }

    #[test]
    fn readers_share_and_keep_a_writer_out() {
        let (_dir, first, second) = twice();
        let one = Hold::take(&first, Metadata, Shared).unwrap();
        let two = Hold::take(&second, Metadata, Shared).unwrap();
        assert!(Hold::take(&second, Metadata, Exclusive).is_err());
        drop(one);
        drop(two);
        drop(Hold::take(&second, Metadata, Exclusive).unwrap());
    }

    #[test]
    fn an_exclusive_hold_needs_a_disk_that_is_open_for_writing() {
        let (dir, ..) = twice();
        let reader = Arc::new(DiskFile::open(&dir.path().join("pv.img"), Access::Read).unwrap());
        let refusal = Hold::take(&reader, Data, Exclusive).unwrap_err();
        assert!(matches!(refusal.kind, DiskErrorKind::ReadOnly), "{refusal}");
        drop(Hold::take(&reader, Data, Shared).unwrap());
    }
}
