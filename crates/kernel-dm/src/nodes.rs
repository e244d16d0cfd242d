//! /dev/mapper/NAME and /dev/VG/LV, where udev makes neither.
//!
//! What must hold (lvm2.md 2.1):
//! - Only a top device of LVM2's has a link in the VG's directory: no layer, no hidden LV, and not the error device in the
//!   place of a snapshot that merges.
//! - Nothing foreign is replaced or removed: only a block node, or a link into `mapper` or to a `dm-N`, is ours.
//! - Whoever asks again gets the same: what is there already is left.

use foldback_dm_table::DmName;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// `LVM-` and two UUIDs of 32 characters: a device without a layer.
const TOP_UUID: usize = 68;
/// What names of LVs that LVM2 hides hold (lvm2.md 1.7).
const HIDDEN: [&str; 15] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog", "_rimage", "_rmeta",
    "_tdata", "_tmeta", "_vdata", "_vorigin", "_pmspare",
];

/// The VG and the LV whose link leads to a device, by its name and UUID; `None` where it has no link.
pub(crate) fn link_of(name: &DmName, uuid: &str) -> Option<(String, String)> {
    if uuid.len() != TOP_UUID || !uuid.starts_with("LVM-") {
        return None;
    }
    let mut parts = split(&name.0);
    let (lv, vg) = (parts.pop()?, parts.pop()?);
    let hidden = HIDDEN.iter().any(|part| lv.contains(part)) || lv.starts_with("pvmove");
    (parts.is_empty() && !vg.is_empty() && !lv.is_empty() && !hidden).then_some((vg, lv))
}

/// The parts of a name between single hyphens; doubled ones belong to a part.
fn split(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '-' && characters.next_if_eq(&'-').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

/// The directory of devices.
#[derive(Debug)]
pub(crate) struct Nodes {
    dev: PathBuf,
}

/// Why a node or link is not as it should be. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("{} is not ours and stays as it is", .0.display())]
    Foreign(PathBuf),
    #[error("{}: {error}", .path.display())]
    System { path: PathBuf, error: io::Error },
}

impl Nodes {
    /// Below `dev`.
    pub(crate) fn new(dev: &Path) -> Self {
        Self { dev: dev.to_owned() }
    }

    fn node(&self, name: &DmName) -> PathBuf {
        self.dev.join("mapper").join(&name.0)
    }

    /// Makes the node of a device.
    pub(crate) fn appear(&self, name: &DmName, number: u64) -> Result<(), NodeError> {
        let path = self.node(name);
        if std::fs::metadata(&path).is_ok_and(|found| is_block(&found) && found.rdev() == number) {
            return Ok(());
        }
        self.clear(&path)?;
        make_parent(&path)?;
        let device = makedev(rustix::fs::major(number), rustix::fs::minor(number));
        let rights = Mode::RUSR | Mode::WUSR;
        let outcome = mknodat(CWD, &path, FileType::BlockDevice, rights, device);
        outcome.map_err(|error| NodeError::System { path, error: error.into() })
    }

    /// Removes the node of a device that is gone.
    pub(crate) fn vanish(&self, name: &DmName) -> Result<(), NodeError> {
        self.clear(&self.node(name))
    }

    /// Makes the link of an LV to the node of its device.
    pub(crate) fn link(&self, (vg, lv): &(String, String), name: &DmName) -> Result<(), NodeError> {
        let path = self.dev.join(vg).join(lv);
        let target = self.node(name);
        if std::fs::read_link(&path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        self.clear(&path)?;
        make_parent(&path)?;
        std::os::unix::fs::symlink(&target, &path).map_err(|error| NodeError::System { path, error })
    }

    /// Removes the link of an LV, and the VG's directory with the last one.
    pub(crate) fn unlink(&self, (vg, lv): &(String, String)) -> Result<(), NodeError> {
        let path = self.dev.join(vg).join(lv);
        if std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            self.clear(&path)?;
            // It stays as long as there is another link in it.
            std::fs::remove_dir(self.dev.join(vg)).ok();
        }
        Ok(())
    }

    /// Removes what lies at a path, if it is ours.
    fn clear(&self, path: &Path) -> Result<(), NodeError> {
        let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
        let ours = is_block(&found) || (found.is_symlink() && self.leads_to_mapped(path));
        if !ours {
            return Err(NodeError::Foreign(path.to_owned()));
        }
        std::fs::remove_file(path).map_err(|error| NodeError::System { path: path.to_owned(), error })
    }

    /// A link as LVM2 or udev makes it.
    fn leads_to_mapped(&self, path: &Path) -> bool {
        let Ok(target) = std::fs::read_link(path) else { return false };
        let last = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        target.starts_with(self.dev.join("mapper")) || last.starts_with("dm-")
    }
}

fn is_block(found: &Metadata) -> bool {
    found.file_type().is_block_device()
}

fn make_parent(path: &Path) -> Result<(), NodeError> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(|error| NodeError::System { path: parent.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::{Nodes, TOP_UUID, link_of};
    use foldback_dm_table::DmName;
    use foldback_units::{LvName, VgName, dm_name};
    use proptest::prelude::*;

    fn top() -> String {
        format!("LVM-{}", "a".repeat(TOP_UUID - 4))
    }

    fn link(name: &str, uuid: &str) -> Option<(String, String)> {
        link_of(&DmName(name.to_owned()), uuid)
    }

    #[test]
    fn only_top_devices_of_visible_volumes_have_a_link() {
        let top = top();
        let of = |vg: &str, lv: &str| Some((vg.to_owned(), lv.to_owned()));
        assert_eq!(link("vg-root", &top), of("vg", "root"));
        assert_eq!(link("v--g-my--lv", &top), of("v-g", "my-lv"));
        assert_eq!(link("vg-root-real", &format!("{top}-real")), None);
        assert_eq!(link("vg-root-real", &top), None, "three parts");
        assert_eq!(link("vg-thin_vorigin", &top), None);
        assert_eq!(link("vg-root", "CRYPT-x"), None);
        assert_eq!(link("luks", &top), None);
    }

    proptest! {
        /// The twin: what the manager makes names with.
        #[test]
        fn a_name_is_split_as_it_was_joined(vg in "[a-z+][a-z.]{0,2}[a-z-]{0,5}", lv in "[a-z+]{1,3}[a-z-]{0,5}") {
            let name = dm_name(&VgName::new(&vg).unwrap(), &LvName::new(&lv).unwrap(), None);
            prop_assert_eq!(link(&name, &top()), Some((vg, lv)));
        }
    }

    #[test]
    fn links_are_made_moved_and_removed_and_the_directory_goes_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let nodes = Nodes::new(dir.path());
        let (root, other) = (("vg".to_owned(), "root".to_owned()), ("vg".to_owned(), "other".to_owned()));
        let name = |text: &str| DmName(text.to_owned());
        nodes.link(&root, &name("vg-root")).unwrap();
        nodes.link(&root, &name("vg-root")).unwrap();
        nodes.link(&other, &name("vg-other")).unwrap();
        let read = |lv: &str| std::fs::read_link(dir.path().join("vg").join(lv)).unwrap();
        assert_eq!(read("root"), dir.path().join("mapper/vg-root"));
        nodes.link(&root, &name("vg-new")).unwrap();
        assert_eq!(read("root"), dir.path().join("mapper/vg-new"));
        nodes.unlink(&root).unwrap();
        assert!(dir.path().join("vg").is_dir());
        nodes.unlink(&other).unwrap();
        assert!(!dir.path().join("vg").exists());
        nodes.unlink(&other).unwrap();
    }

    #[test]
    fn what_is_foreign_stays() {
        let dir = tempfile::tempdir().unwrap();
        let nodes = Nodes::new(dir.path());
        let root = ("vg".to_owned(), "root".to_owned());
        let name = DmName("vg-root".to_owned());
        std::fs::create_dir_all(dir.path().join("vg")).unwrap();
        std::fs::create_dir_all(dir.path().join("mapper")).unwrap();
        std::fs::write(dir.path().join("vg/root"), "a file").unwrap();
        std::fs::write(dir.path().join("mapper/vg-root"), "a file").unwrap();
        assert!(nodes.link(&root, &name).unwrap_err().to_string().contains("not ours"));
        assert!(nodes.appear(&name, 0xfd00).unwrap_err().to_string().contains("not ours"));
        assert!(nodes.vanish(&name).is_err());
        nodes.unlink(&root).unwrap();
        std::fs::remove_file(dir.path().join("vg/root")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("vg/root")).unwrap();
        assert!(nodes.link(&root, &name).is_err());
        assert!(nodes.unlink(&root).is_err());
        assert!(dir.path().join("vg/root").is_symlink());
    }
}
