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
use foldback_units::VgName;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Seconds in a day.
const DAY: u64 = 86_400;

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
    use crate::testing::{TestEnvironment, vg_of};
    use foldback_lvm2_format::metadata::Metadata;
    use foldback_lvm2_format::text::Dialect;
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
