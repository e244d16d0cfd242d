//! File systems on a volume's block device, frozen while a snapshot is taken of it (architecture.md, "Freezing").
//!
//! What must hold:
//! - What was written is on the volume before the file system counts as frozen, and nobody writes to it until it is
//!   thawed.
//! - What was frozen is thawed when the value goes, in the reverse order. A process that is killed thaws nothing: whoever
//!   freezes does so in a process of its own, which ends by itself.

use crate::loopdev::ioctl;
use crate::mountinfo;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where file systems on a block device are mounted, as this process sees it: one place for each file system.
///
/// # Errors
/// procfs, or the device.
pub fn mounted_on(device: &Path) -> io::Result<Vec<PathBuf>> {
    let number = std::fs::metadata(device)?.rdev();
    let number = (rustix::fs::major(number), rustix::fs::minor(number));
    let mounts = mountinfo::read("self")?;
    Ok(mounts.into_iter().find(|mount| mount.device == number).map(|mount| mount.point).into_iter().collect())
}

/// Writes back what the file systems mounted at these places hold in memory, however long that takes, so that freezing
/// them is short.
///
/// # Errors
/// One could not be written back.
pub fn write_back(points: &[PathBuf]) -> Result<(), (PathBuf, io::Error)> {
    points.iter().try_for_each(|point| {
        let told = |error| (point.clone(), error);
        let root = File::open(point).map_err(told)?;
        rustix::fs::syncfs(root).map_err(|error| told(error.into()))
    })
}

/// Frozen file systems.
#[derive(Debug, Default)]
pub struct Frozen(Vec<File>);

impl Frozen {
    /// Writes back and freezes the file systems mounted at these places; none stays frozen where one cannot be. It takes as
    /// long as writing back takes: see [`write_back`].
    ///
    /// # Errors
    /// One is frozen already, does not know freezing, or may not be frozen by this user.
    pub fn freeze(points: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let mut frozen = Self::default();
        for point in points {
            let told = |error| (point.clone(), error);
            let root = File::open(point).map_err(told)?;
            ioctl::freeze(&root).map_err(told)?;
            frozen.0.push(root);
        }
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for root in self.0.iter().rev() {
            // One that is not frozen any more was thawed by somebody else.
            ioctl::thaw(root).ok();
        }
    }
}
