//! What a daemon leaves for the next one: `active.json` (architecture.md, "Processes").
//!
//! What must hold:
//! - It is replaced whole, before a call that changed what is active is answered.
//! - It names VGs and LVs by UUID and disks by path and identity, never a table: the next daemon reads the VG anew.
//! - After a reboot nothing is active, whatever the file says.

use crate::rundir::RunDir;
use crate::vg::{Fills, Setting};
use foldback_device::Identity;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

/// The longest file that is read.
const MAX_LEN: u64 = 16 << 20;

/// One VG.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ActiveVg {
    /// Its name when it was written.
    pub(crate) name: String,
    /// Its UUID.
    pub(crate) id: String,
    /// Its disks.
    pub(crate) setting: Setting,
    /// Which disks these were, in their order.
    #[serde(default)]
    pub(crate) disks: Vec<Disk>,
    /// The UUIDs of its live LVs.
    pub(crate) lvs: Vec<String>,
    /// What was served, and how.
    #[serde(default)]
    pub(crate) fronts: Vec<Front>,
    /// What is to become of stores that fill.
    #[serde(default)]
    pub(crate) fills: Option<Fills>,
    /// Merges that are paused or paced.
    #[serde(default)]
    pub(crate) merges: Vec<Steered>,
}

/// Which file or device a disk is, whatever path leads there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// The file system's device number; for a block device its own.
    device: u64,
    /// The inode; 0 for a block device.
    inode: u64,
}

impl From<Identity> for Disk {
    fn from(Identity { device, inode }: Identity) -> Self {
        Self { device, inode }
    }
}

/// A merge that somebody has paused, or slowed down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Steered {
    /// The UUID of the LV into which it merges.
    pub(crate) origin: String,
    /// No window of it is begun.
    pub(crate) paused: bool,
    /// Bytes that it may move in a second.
    pub(crate) rate: Option<u64>,
}

/// How one LV is served beside its file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Front {
    /// The LV's UUID.
    pub(crate) lv: String,
    /// The file that the loop device is attached to, as it was called then: the kernel goes on calling it so.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// A loop device, `/dev/loopN`.
    pub(crate) block: Option<String>,
    /// Links to it that were made.
    #[serde(default)]
    pub(crate) links: Vec<String>,
    /// Addresses of NBD servers.
    #[serde(default)]
    pub(crate) nbd: Vec<String>,
}

/// Everything.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Active {
    /// The kernel's boot id.
    boot: String,
    /// VGs with live LVs.
    pub(crate) vgs: Vec<ActiveVg>,
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

impl Active {
    pub(crate) fn of(vgs: Vec<ActiveVg>) -> Self {
        Self { boot: boot_id(), vgs }
    }

    /// What an earlier daemon left; nothing where there is none, or it was before a reboot.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub(crate) fn read(run: &RunDir) -> io::Result<Self> {
        let path = run.active();
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
            Ok(found) if found.len() > MAX_LEN => {
                return Err(io::Error::other(format!("{} is longer than it can be", path.display())));
            }
            Ok(_) => {}
        }
        let text = std::fs::read(&path)?;
        let active: Self = serde_json::from_slice(&text)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        Ok(if active.boot == boot_id() { active } else { Self::default() })
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// The directory cannot be written; the old file is there still.
    pub(crate) fn write(&self, run: &RunDir) -> io::Result<()> {
        let path = run.active();
        if self.vgs.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let fresh = path.with_extension("json.new");
        let written = write_whole(&fresh, &text).and_then(|()| std::fs::rename(&fresh, &path));
        if written.is_err() {
            // What is left of it takes room that is missing; the error to tell is the first.
            std::fs::remove_file(&fresh).ok();
        }
        written?;
        sync_directory(run.path())
    }
}

fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::fs::fsync(&directory) {
        // Some file systems have nothing to sync of a directory.
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Active, ActiveVg};
    use crate::rundir::RunDir;
    use crate::vg::Setting;

    fn active() -> Active {
        let setting = Setting { paths: vec!["/a.img".to_owned()], system_dir: None, config: None };
        let (name, id) = ("vg".to_owned(), "x".to_owned());
        Active::of(vec![ActiveVg {
            name,
            id,
            setting,
            disks: Vec::new(),
            lvs: vec!["y".to_owned()],
            fronts: Vec::new(),
            fills: None,
            merges: Vec::new(),
        }])
    }

    #[test]
    fn what_was_left_is_found_and_nothing_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        assert_eq!(Active::read(&run).unwrap(), Active::default());
        active().write(&run).unwrap();
        assert_eq!(Active::read(&run).unwrap(), active());
        Active::default().write(&run).unwrap();
        assert!(!run.active().exists());
    }

    #[test]
    fn a_reboot_ends_all() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        Active { boot: "another".to_owned(), ..active() }.write(&run).unwrap();
        assert_eq!(Active::read(&run).unwrap(), Active::default());
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        std::fs::write(run.active(), "{").unwrap();
        assert!(Active::read(&run).unwrap_err().to_string().contains("active.json"));
    }
}
