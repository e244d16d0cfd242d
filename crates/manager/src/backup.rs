//! Backup and archive files of VGs, as LVM2 writes them (`vgcfgrestore` reads both).
//!
//! What must hold:
//! - An archive of the VG as it was is written before a change, a backup of it as it is after the commit. Failing to is a
//!   warning, never a reason not to change or to take back.
//! - A file is replaced whole or not at all.
//! - A VG on image files never touches the host's `/etc/lvm`: [`BackupPlaces::choose`].

use crate::config::Config;
use crate::environment::{Environment, fresh_uuid};
use crate::store::clock_text;
use foldback_lvm2_format::metadata::{Header, Metadata};
use foldback_lvm2_format::text::{Dialect, Notes, WriteError};
use foldback_lvm2_format::vg::Vg;
use foldback_units::{LvName, VgName};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Seconds in a day.
const DAY: u64 = 86_400;

/// How many archives are read to find out what became of a snapshot.
const LOOK_BACK: usize = 64;
/// How much of a file is read: LVM2's areas hold less.
const MAX_TEXT: u64 = 64 << 20;

/// Where a VG's files go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupPlaces {
    backup: Option<PathBuf>,
    archive: Option<PathBuf>,
    retain_min: u64,
    retain_days: u64,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system said no.
    #[error("writing {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The VG cannot be written as text.
    #[error("writing {}: {source}", .path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: WriteError,
    },
}

impl BackupPlaces {
    /// Where the configuration says; for a VG on image files that nothing was said about, beside the first of them.
    pub fn choose(config: &Config, first_image: Option<&Path>) -> Self {
        let beside = |name: &str| {
            first_image.map(|image| {
                let mut directory = image.as_os_str().to_owned();
                directory.push(".foldback-backup");
                PathBuf::from(directory).join(name)
            })
        };
        let backup = config.backup_dir.clone().or_else(|| beside("backup"));
        let archive = config.archive_dir.clone().or_else(|| beside("archive"));
        Self {
            backup: backup.filter(|_| config.backup),
            archive: archive.filter(|_| config.archive),
            retain_min: config.retain_min,
            retain_days: config.retain_days,
        }
    }

    /// Writes the VG as it is before a change; a VG that was never written has no such file. Returns which file.
    pub fn archive(
        &self,
        vg: &Vg,
        environment: &mut dyn Environment,
    ) -> Result<Option<PathBuf>, BackupError> {
        let Some(directory) = self.archive.as_deref().filter(|_| vg.seqno > 0) else { return Ok(None) };
        let failed = |source| BackupError::File { path: directory.to_owned(), source };
        make_directory(directory).map_err(failed)?;
        let archives = archives_of(directory, &vg.name).map_err(failed)?;
        let next = archives.last().map_or(0, |(number, _)| number.saturating_add(1));
        let [a, b, c, d, ..] = environment.random();
        let random = u32::from_le_bytes([a, b, c, d]);
        let path = directory.join(format!("{}_{next:05}-{random}.vg", vg.name));
        write_file(&path, vg, "before", environment)?;
        self.prune(&archives, environment.now());
        Ok(Some(path))
    }

    /// Writes the VG as it is after a commit. Returns which file.
    pub fn backup(&self, vg: &Vg, environment: &mut dyn Environment) -> Result<Option<PathBuf>, BackupError> {
        let Some(directory) = &self.backup else { return Ok(None) };
        make_directory(directory).map_err(|source| BackupError::File { path: directory.clone(), source })?;
        let path = directory.join(vg.name.as_str());
        write_file(&path, vg, "after", environment)?;
        Ok(Some(path))
    }

    /// Takes the backup of a VG away that is no more; its archives stay.
    pub fn forget(&self, vg: &VgName) -> Result<(), BackupError> {
        let Some(path) = self.backup.as_ref().map(|directory| directory.join(vg.as_str())) else {
            return Ok(());
        };
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(BackupError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Whether there are archives of the VG that can be read: what they do not know of has not been there for long.
    pub fn has_archives(&self, vg: &VgName) -> bool {
        let directory = self.archive.as_deref();
        directory.and_then(|directory| archives_of(directory, vg).ok()).is_some_and(|found| !found.is_empty())
    }

    /// The origin into which a snapshot was merged that `vg` does not have any more, by its name now: the newest archive
    /// that knows the snapshot is of the moment before its merge was ended. `None` also where nothing is known.
    pub fn merged_into(&self, vg: &Vg, snapshot: &LvName) -> Option<LvName> {
        let archives = archives_of(self.archive.as_deref()?, &vg.name).ok()?;
        let texts = archives.iter().rev().take(LOOK_BACK).filter_map(|(_, path)| read_file(path));
        let before = texts
            .filter(|text| text.vg.id == vg.id && text.vg.seqno < vg.seqno)
            .find(|text| text.vg.lv(snapshot).is_some())?;
        let store = before.vg.lv(snapshot)?;
        let links = before.vg.snapshots();
        let segment = links.of_cow(snapshot).map(|snapshot| snapshot.segment)?;
        // It may have been renamed; or it was not merged, but removed.
        let is_there = vg.lvs.iter().any(|lv| lv.id == store.id);
        if is_there || !segment.merging || !ends_merges(&before.header.description) {
            return None;
        }
        let origin = before.vg.lv(&segment.origin)?;
        vg.lvs.iter().find(|lv| lv.id == origin.id).map(|lv| lv.name.clone())
    }

    /// Removes archives that are both too many and too old.
    fn prune(&self, archives: &[(u64, PathBuf)], now: u64) {
        let keep = usize::try_from(self.retain_min).unwrap_or(usize::MAX);
        let old = archives.len().saturating_add(1).saturating_sub(keep);
        for (_, path) in archives.iter().take(old) {
            let written = fs::metadata(path).and_then(|found| found.modified()).ok();
            let written = written.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let age = written.map_or(0, |written| now.saturating_sub(written.as_secs()));
            if age > self.retain_days.saturating_mul(DAY) {
                // One that stays is removed next time.
                fs::remove_file(path).ok();
            }
        }
    }
}

/// Whether the command that an archive was written before may end merges; one that removes volumes does not.
fn ends_merges(description: &str) -> bool {
    let command = description.split_once("executing '").map_or("", |(_, command)| command);
    let program = command.split([' ', '\'']).next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    ["lvconvert", "lvpoll", "lvchange", "vgchange", "foldback"].contains(&name)
}

/// What an archive says; `None` where it cannot be read.
fn read_file(path: &Path) -> Option<Metadata> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MAX_TEXT).read_to_end(&mut text).ok()?;
    Metadata::parse(&text, Dialect::Backup).ok().map(|read| read.metadata)
}

fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// The VG's archives by number, ascending.
fn archives_of(directory: &Path, vg: &VgName) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut archives = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name
            .and_then(|name| name.strip_prefix(vg.as_str())?.strip_prefix('_')?.strip_suffix(".vg"))
            .and_then(|middle| middle.split_once('-')?.0.parse().ok());
        archives.extend(number.map(|number: u64| (number, path)));
    }
    archives.sort();
    Ok(archives)
}

fn write_file(
    path: &Path,
    vg: &Vg,
    when: &str,
    environment: &mut dyn Environment,
) -> Result<(), BackupError> {
    let now = environment.now();
    let time = clock_text(now);
    let header = Header {
        description: format!("Created *{when}* executing '{}'", environment.command()),
        creation_host: environment.host(),
        creation_host_system_id: None,
        creation_time: i64::try_from(now).unwrap_or(i64::MAX),
        other: Vec::new(),
    };
    let writer = format!("{}: {time}", environment.writer());
    let system = environment.system();
    let notes = Notes {
        generated_by: Some(&writer),
        host: Some(&system),
        time: Some(&time),
        lv_time: Some(&lv_time),
    };
    let text = Metadata { header, vg: vg.clone() }
        .write(Dialect::Backup, &notes)
        .map_err(|source| BackupError::Text { path: path.to_owned(), source })?;
    replace(path, &text, environment).map_err(|source| BackupError::File { path: path.to_owned(), source })
}

fn lv_time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S +0000").to_string())
}

/// Writes beside the file, makes that durable, and puts it in the file's place.
fn replace(path: &Path, text: &[u8], environment: &mut dyn Environment) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let beside = directory.join(format!(".foldback-{}", fresh_uuid(environment).compact()));
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        });
    let renamed = written.and_then(|()| fs::rename(&beside, path));
    if let Err(error) = renamed {
        // The file is not there, or of no use: what stays of it must not hide the first error.
        fs::remove_file(&beside).ok();
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::BackupPlaces;
    use crate::config::Config;
    use crate::ops::merge::{Finish, finish};
    use crate::testing::{TestEnvironment, lv_name, merging, vg_of, with_snapshots};
    use foldback_lvm2_format::metadata::Metadata;
    use foldback_lvm2_format::text::Dialect;
    use foldback_lvm2_format::vg::Vg;
    use std::path::{Path, PathBuf};

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_images_files_lie_beside_it_and_never_in_etc() {
        let image = Path::new("/tmp/disk.img");
        let config = Config::read(None, None).unwrap();
        let places = BackupPlaces::choose(&config, Some(image));
        assert_eq!(places.backup, Some(PathBuf::from("/tmp/disk.img.foldback-backup/backup")));
        assert_eq!(places.archive, Some(PathBuf::from("/tmp/disk.img.foldback-backup/archive")));
        let config = Config::read(None, Some("backup/backup=0 backup/archive_dir=\"/x\"")).unwrap();
        let places = BackupPlaces::choose(&config, Some(image));
        assert_eq!((places.backup, places.archive), (None, Some(PathBuf::from("/x"))));
    }

    #[test]
    fn files_are_lvm2s_and_are_numbered_on() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::read(Some(dir.path()), None).unwrap();
        let places = BackupPlaces::choose(&config, None);
        let mut environment = TestEnvironment::new();
        let mut vg = vg_of(&["root"]);
        places.archive(&vg, &mut environment).unwrap();
        vg.seqno = 2;
        let before = places.archive(&vg, &mut environment).unwrap().unwrap();
        let backup = places.backup(&vg, &mut environment).unwrap().unwrap();
        let archives = names(&dir.path().join("archive"));
        assert!(archives[0].starts_with("vg_00000-") && archives[1].starts_with("vg_00001-"));
        assert_eq!(names(&dir.path().join("backup")), ["vg"]);
        for (path, words) in [(before, "before"), (backup, "after")] {
            let text = std::fs::read(path).unwrap();
            let read = Metadata::parse(&text, Dialect::Backup).unwrap().metadata;
            assert_eq!(read.vg, vg);
            assert_eq!(read.header.description, format!("Created *{words}* executing 'test command'"));
        }
        vg.seqno = 0;
        assert_eq!(places.archive(&vg, &mut environment).unwrap(), None);
    }

    /// A merge that was killed after its last commit has ended: its archive says so, and the same command may.
    #[test]
    fn what_became_of_a_snapshot_is_found_in_the_archives() {
        let before = merging(&["snap", "other"]);
        let id = before.lv(&lv_name("snap")).unwrap().id;
        let Finish::Finished(after) = finish(&before, &id) else { panic!("it is merging") };
        let mut after = *after;
        after.seqno = before.seqno + 1;
        let found = |archives: &[(&Vg, &str)], after: &Vg, name: &str| {
            let dir = tempfile::tempdir().unwrap();
            let places = BackupPlaces::choose(&Config::read(Some(dir.path()), None).unwrap(), None);
            for (vg, command) in archives {
                places.archive(vg, &mut TestEnvironment::running(command)).unwrap();
            }
            assert_eq!(places.has_archives(&after.name), !archives.is_empty());
            places.merged_into(after, &lv_name(name))
        };
        let root = Some(lv_name("root"));
        let ended = (&before, "lvconvert --merge vg/snap");
        assert_eq!(found(&[ended], &after, "snap"), root);
        assert_eq!(
            found(&[ended, (&after, "lvcreate vg")], &after, "snap"),
            root,
            "and something else since"
        );
        assert_eq!(found(&[(&before, "/sbin/lvpoll --polloperation merge")], &after, "snap"), root);
        let mut renamed = after.clone();
        renamed.lv_mut(&lv_name("root")).unwrap().name = lv_name("base");
        assert_eq!(found(&[ended], &renamed, "snap"), Some(lv_name("base")));
        // Nobody knows; it was removed; it was not merging; it is there still; its origin is gone; another VG.
        assert_eq!(found(&[], &after, "snap"), None);
        assert_eq!(found(&[ended], &after, "nosuch"), None);
        assert_eq!(found(&[(&before, "lvremove -y vg/snap")], &after, "snap"), None);
        let unmarked = with_snapshots(&["snap"]);
        assert_eq!(found(&[(&unmarked, "lvconvert --merge vg/snap")], &after, "snap"), None);
        let mut there = before.clone();
        there.seqno += 1;
        assert_eq!(found(&[ended], &there, "snap"), None);
        let mut gone = after.clone();
        gone.lvs.clear();
        assert_eq!(found(&[ended], &gone, "snap"), None);
        let mut other = after.clone();
        other.id = crate::testing::uuid(99);
        assert_eq!(found(&[ended], &other, "snap"), None);
    }

    #[test]
    fn old_archives_beyond_the_number_to_keep_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config::read(Some(dir.path()), Some("backup/retain_min=2 backup/retain_days=7")).unwrap();
        let places = BackupPlaces::choose(&config, None);
        let archive = dir.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        // The test's clock stands in 2023; what is older must be too old for it.
        for number in 0..4 {
            let file = std::fs::File::create(archive.join(format!("vg_{number:05}-1.vg"))).unwrap();
            let days = if number == 1 { 3 } else { 30 };
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 - days * 86_400);
            file.set_modified(time).unwrap();
        }
        places.archive(&vg_of(&[]), &mut TestEnvironment::new()).unwrap();
        let left: Vec<String> = names(&archive).iter().map(|name| name[..8].to_owned()).collect();
        assert_eq!(left, ["vg_00001", "vg_00003", "vg_00004"]);
    }
}
