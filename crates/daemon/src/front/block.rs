//! A served file as a block device, and the links by which LVM2 would name it (root alone).
//!
//! What must hold (architecture.md, "Served names"):
//! - A link is never made over something that exists, and only links of ours are removed.

use foldback_frontend_fuse::{FuseError, LoopClaim, LoopDevice, LoopOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A volume's loop device with its links.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) device: LoopDevice,
    pub(crate) links: Vec<PathBuf>,
    discards: bool,
    /// It was said that it cannot discard again.
    told: bool,
}

impl Block {
    /// Attaches a loop device to a file and links `names` to it; a name that is taken is left alone and told.
    pub(crate) fn attach(
        file: &Path,
        options: LoopOptions,
        names: &[PathBuf],
        told: &mut dyn FnMut(String),
    ) -> Result<Self, FuseError> {
        let device = LoopDevice::attach(file, options)?;
        let mut block = Self { device, links: Vec::new(), discards: options.discards, told: false };
        block.relink(names, told);
        Ok(block)
    }

    /// Links these names to the device, and no others.
    pub(crate) fn relink(&mut self, names: &[PathBuf], told: &mut dyn FnMut(String)) {
        self.unlink();
        self.links.clear();
        for name in names {
            match link(&self.device.path(), name) {
                Ok(()) => self.links.push(name.clone()),
                Err(error) => told(format!("linking {}: {error}", name.display())),
            }
        }
    }

    /// Lets no more discards through, once those under way have ended. The volume's requests must not be held.
    pub(crate) fn refuse_discards(&mut self) -> Result<(), FuseError> {
        if self.discards {
            self.device.set_discards(false)?;
            self.discards = false;
        }
        Ok(())
    }

    /// Lets discards through again; where the kernel cannot, that is told once.
    pub(crate) fn allow_discards(&mut self, told: &mut dyn FnMut(String)) {
        if self.discards || self.told {
            return;
        }
        match self.device.set_discards(true) {
            Ok(()) => self.discards = true,
            Err(error) => {
                self.told = true;
                told(error.to_string());
            }
        }
    }

    /// Removes the links and detaches the device.
    pub(crate) fn detach(self, claim: Option<LoopClaim>) -> Result<(), FuseError> {
        let claim = claim.map_or_else(|| self.device.claim(), Ok)?;
        self.unlink();
        claim.flush_buffers()?;
        claim.detach()
    }

    fn unlink(&self) {
        let device = self.device.path();
        self.links.iter().for_each(|name| unlink(&device, name));
    }
}

fn link(device: &Path, name: &Path) -> io::Result<()> {
    if let Some(directory) = name.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::os::unix::fs::symlink(device, name)
}

/// Removes a link if it still leads to this device; and its directory, if it was the last there.
pub(crate) fn unlink(device: &Path, name: &Path) {
    if std::fs::read_link(name).is_ok_and(|target| target == device) && std::fs::remove_file(name).is_ok() {
        // Not empty, or not ours to remove: it stays.
        let directory = name.parent().filter(|parent| *parent != Path::new("/dev/mapper"));
        directory.map(std::fs::remove_dir).transpose().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::{link, unlink};
    use std::path::Path;

    #[test]
    fn links_never_replace_and_only_ours_go() {
        let dir = tempfile::tempdir().unwrap();
        let (name, other) = (dir.path().join("vg/root"), dir.path().join("vg/other"));
        link(Path::new("/dev/loop7"), &name).unwrap();
        assert!(link(Path::new("/dev/loop8"), &name).is_err(), "never over something that exists");
        unlink(Path::new("/dev/loop8"), &name);
        assert!(name.is_symlink(), "not ours");
        std::fs::write(&other, []).unwrap();
        unlink(Path::new("/dev/loop7"), &name);
        assert!(!name.is_symlink() && other.exists());
        std::fs::remove_file(&other).unwrap();
        link(Path::new("/dev/loop7"), &name).unwrap();
        unlink(Path::new("/dev/loop7"), &name);
        assert!(!dir.path().join("vg").exists(), "an empty directory goes with its last link");
    }
}
