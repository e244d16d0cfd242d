//! Finding block devices: their nodes, their names, and what sysfs says of them.
//!
//! What must hold:
//! - Nothing is opened but what is asked for by [`has_label`], and that for reading only; a suspended device would make
//!   the reader wait, so who asks looks at [`Traits::suspended`] first (lvm2.md trap 13).
//! - A device is one entry, whatever number of names leads to it.
//! - A directory that cannot be read hides what is in it, and nothing else.

use rustix::fs::{Mode, OFlags, major, minor};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How deep directories below `/dev` lie at most.
const DEPTH_MAX: u32 = 16;
/// The most nodes that are looked at.
const NODES_MAX: usize = 1 << 20;
/// An LVM2 label stands in one of the first four sectors.
const LABEL_BYTES: usize = 2048;
const LABEL: &[u8] = b"LABELONE";
const SECTOR: usize = 512;

/// A block device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockDevice {
    /// Its number, as `st_rdev` has it.
    pub number: u64,
    /// Every name, the one to call it by first.
    pub names: Vec<PathBuf>,
}

/// What sysfs tells of a block device.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Traits {
    /// Of a device-mapper device: its UUID, which may be empty.
    pub dm_uuid: Option<String>,
    /// I/O to it would wait.
    pub suspended: bool,
    /// It is part of a multipath device or of a RAID array of md.
    pub component: bool,
    /// Of a loop device: the file behind it.
    pub loop_file: Option<String>,
    /// It has no sectors.
    pub empty: bool,
}

impl BlockDevice {
    /// The name to call it by.
    pub fn path(&self) -> &Path {
        self.names.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Where sysfs tells of it.
    pub fn sysfs(&self) -> PathBuf {
        PathBuf::from(format!("/sys/dev/block/{}:{}", major(self.number), minor(self.number)))
    }

    fn read(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.sysfs().join(name)).ok();
        text.map(|text| text.trim_end_matches('\n').to_owned())
    }

    /// [`Traits::dm_uuid`] alone: there may be thousands of LVs.
    pub fn dm_uuid(&self) -> Option<String> {
        self.read("dm/uuid")
    }

    /// What sysfs tells.
    pub fn traits(&self) -> Traits {
        let sysfs = self.sysfs();
        let read = |name: &str| self.read(name);
        Traits {
            dm_uuid: self.dm_uuid(),
            suspended: read("dm/suspended").is_some_and(|text| text == "1"),
            component: has_array_above(&sysfs.join("holders")),
            loop_file: read("loop/backing_file"),
            empty: read("size").is_some_and(|text| text == "0"),
        }
    }
}

fn has_array_above(holders: &Path) -> bool {
    let Ok(entries) = fs::read_dir(holders) else { return false };
    for holder in entries.flatten().map(|entry| entry.path()) {
        let uuid = fs::read_to_string(holder.join("dm/uuid")).unwrap_or_default();
        // What carries LVs is no part of something else; there may be thousands of them.
        if uuid.starts_with("LVM-") {
            return false;
        }
        if uuid.starts_with("mpath-") || holder.join("md").exists() {
            return true;
        }
    }
    false
}

/// Every block device that has a name below one of the directories.
pub fn block_devices(directories: &[PathBuf]) -> Vec<BlockDevice> {
    let mut names: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let mut waiting: Vec<(PathBuf, u32)> = directories.iter().map(|path| (path.clone(), 0)).collect();
    let mut seen: usize = 0;
    while let Some((path, depth)) = waiting.pop() {
        seen = seen.saturating_add(1);
        if seen > NODES_MAX {
            break;
        }
        // A link is followed to a device, never into a directory: /dev has rings of those.
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            if depth < DEPTH_MAX
                && let Ok(entries) = fs::read_dir(&path)
            {
                let below = entries.flatten().map(|entry| (entry.path(), depth.saturating_add(1)));
                waiting.extend(below);
            }
            continue;
        }
        let Ok(found) = fs::metadata(&path) else { continue };
        if found.file_type().is_block_device() {
            names.entry(found.rdev()).or_default().push(path);
        }
    }
    let device = |(number, mut names): (u64, Vec<PathBuf>)| {
        names.sort_by_cached_key(|name| {
            rank(name, fs::symlink_metadata(name).is_ok_and(|found| found.is_symlink()))
        });
        names.dedup();
        BlockDevice { number, names }
    };
    let mut all: Vec<BlockDevice> = names.into_iter().map(device).collect();
    all.sort_by(|one, other| one.path().cmp(other.path()));
    all
}

/// The lower, the better a name: device-mapper's own before its number, then few directories, a node before a link.
fn rank(name: &Path, is_link: bool) -> (bool, usize, bool, PathBuf) {
    let numbered = name.file_name().is_some_and(|last| last.to_string_lossy().starts_with("dm-"));
    let mapped = name.parent().is_some_and(|parent| parent.ends_with("mapper"));
    let depth = if mapped { 0 } else { name.components().count() };
    (numbered, depth, is_link, name.to_path_buf())
}

/// Whether there is an LVM2 label on it; not where it cannot be read.
pub fn has_label(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(descriptor) = rustix::fs::open(path, flags, Mode::empty()) else { return false };
    let mut start = [0; LABEL_BYTES];
    fs::File::from(descriptor).read_exact_at(&mut start, 0).is_ok() && shows_label(&start)
}

fn shows_label(start: &[u8]) -> bool {
    start.chunks(SECTOR).any(|sector| sector.starts_with(LABEL))
}

#[cfg(test)]
mod tests {
    use super::{block_devices, has_label, rank, shows_label};
    use std::path::{Path, PathBuf};

    #[test]
    fn a_device_goes_by_the_name_that_people_use() {
        let mut names = [
            ("/dev/block/254:0", true),
            ("/dev/dm-0", false),
            ("/dev/disk/by-id/dm-name-a", true),
            ("/dev/mapper/a", true),
        ];
        names.sort_by_key(|(name, link)| rank(Path::new(name), *link));
        assert_eq!(names[0].0, "/dev/mapper/a");
        let mut names = [("/dev/disk/by-id/x", true), ("/dev/sdb-link", true), ("/dev/sdb", false)];
        names.sort_by_key(|(name, link)| rank(Path::new(name), *link));
        assert_eq!(names.map(|(name, _)| name)[..2], ["/dev/sdb", "/dev/sdb-link"]);
    }

    #[test]
    fn a_label_is_seen_in_the_first_four_sectors_only() {
        let mut start = vec![0; 2048];
        assert!(!shows_label(&start));
        start[1536..1544].copy_from_slice(b"LABELONE");
        assert!(shows_label(&start));
        start.rotate_right(8);
        assert!(!shows_label(&start), "not in the middle of a sector");
    }

    #[test]
    fn files_and_rings_of_links_are_no_devices() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), [0; 4096]).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("ring")).unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("null")).unwrap();
        assert_eq!(block_devices(&[dir.path().to_path_buf(), PathBuf::from("/nowhere")]), []);
        assert!(!has_label(&dir.path().join("file")) && !has_label(Path::new("/nowhere")));
    }
}
