//! The disks of one command: opened, locked, and read.
//!
//! What must hold:
//! - Reading shares the metadata's lock; changing has it alone, from reading to commit.
//! - Disks are opened in the order given, and never two openings of one disk.
//! - A lock that somebody holds is waited for, as LVM2 waits, but not for ever.

use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::disks_or_live;
use crate::options::{Options, YesNo};
use foldback_device::{
    Access, Backend, DiskErrorKind, DiskFile, DiskKind, Disks, HeldPart, Hold, HoldMode, Identity,
    open_disks, open_files,
};
use foldback_manager::backup::BackupPlaces;
use foldback_manager::config::{Config, DEFAULT_SYSTEM_DIR};
use foldback_manager::lock::{LockMode, Locks, VgLock};
use foldback_manager::store::{Discovery, DiskSet, discover};
use foldback_units::VgName;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);
/// How long the content of a disk is waited for: a process that was killed lets go of its disks only after its last
/// I/O has ended.
const DATA_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Opened disks.
pub(crate) struct Session {
    pub(crate) files: Vec<Arc<DiskFile>>,
    pub(crate) disks: Box<dyn Disks>,
    pub(crate) paths: Vec<String>,
    pub(crate) config: Config,
    /// The metadata's lock on image files.
    metadata: Vec<Hold>,
}

/// The locks under which a VG is changed.
#[derive(Debug)]
pub(crate) struct LockedMetadata {
    _vg: VgLock,
    _images: Vec<Hold>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens the disks that the options name.
    pub(crate) fn open(options: &Options, access: Access) -> Result<Self, CliError> {
        Self::open_with(options, &[], access)
    }

    /// Opens the disks that the options name, and `also`, and locks their metadata.
    pub(crate) fn open_with(options: &Options, also: &[String], access: Access) -> Result<Self, CliError> {
        let mut session = Self::open_unlocked(options, also, access)?;
        let sharing = match access {
            Access::Read => HoldMode::Shared,
            Access::Write => HoldMode::Exclusive,
        };
        if !(options.nolocking && access == Access::Read) {
            session.metadata = hold_metadata(&session.files, sharing)?;
        }
        Ok(session)
    }

    /// Opens the disks without a lock.
    pub(crate) fn open_unlocked(
        options: &Options,
        also: &[String],
        access: Access,
    ) -> Result<Self, CliError> {
        let mut paths = disks_or_live(options)?;
        for path in also {
            // One disk under two names is opened once, by the name that the command uses.
            match paths.iter_mut().find(|known| is_same(known, path)) {
                Some(known) => known.clone_from(path),
                None => paths.push(path.clone()),
            }
        }
        if paths.is_empty() {
            return Err(no_disks());
        }
        let files = open_files(&paths, access)?;
        let disks = open_disks(&files, Backend::from_environment())
            .map_err(|error| CliError::failed(format!("setting up I/O: {error}.")))?;
        let mut config = config(options, &files)?;
        if options.autobackup == Some(YesNo::No) {
            config.backup = false;
        }
        Ok(Self { files, disks, paths, config, metadata: Vec::new() })
    }

    /// Where backups of VGs on these disks go.
    pub(crate) fn backup_places(&self) -> BackupPlaces {
        let image = self.files.iter().find(|file| file.kind() == DiskKind::Image);
        BackupPlaces::choose(&self.config, image.map(|file| file.path()))
    }

    /// Locks the images' metadata to change it.
    pub(crate) fn lock_metadata(&mut self) -> Result<(), CliError> {
        self.metadata = hold_metadata(&self.files, HoldMode::Exclusive)?;
        Ok(())
    }

    /// Locks the images' metadata to read it.
    pub(crate) fn share_metadata(&mut self) -> Result<(), CliError> {
        self.metadata = hold_metadata(&self.files, HoldMode::Shared)?;
        Ok(())
    }

    /// Lets others change metadata again.
    pub(crate) fn unlock_metadata(&mut self) {
        self.metadata.clear();
    }

    /// Holds the content of all disks, or says who does.
    pub(crate) fn hold_all_data(&self) -> Result<Vec<Hold>, CliError> {
        let take = |file| hold(file, HeldPart::Data, HoldMode::Exclusive, DATA_PATIENCE);
        self.files.iter().map(take).collect()
    }

    /// Holds the content of all disks against whoever would change it.
    pub(crate) fn share_all_data(&self) -> Result<Vec<Hold>, CliError> {
        let take = |file| hold(file, HeldPart::Data, HoldMode::Shared, DATA_PATIENCE);
        self.files.iter().map(take).collect()
    }

    /// Refuses a file that is one of the disks themselves: it would be replaced, or read while it is written.
    pub(crate) fn refuse_own_disk(&self, name: &str) -> Result<(), CliError> {
        // One that does not exist is none of them.
        let Ok(found) = std::fs::metadata(name) else { return Ok(()) };
        let named = with_backing(identity(&found));
        let ours = self.files.iter().flat_map(|file| with_backing(file.identity()));
        if ours.into_iter().any(|disk| named.contains(&disk)) {
            return Err(CliError::failed(format!(
                "{name} is one of the disks that the volume group lies on."
            )));
        }
        Ok(())
    }

    /// Holds the content of the disk that was named `path`.
    pub(crate) fn hold_data(&self, path: &str) -> Result<Hold, CliError> {
        let absent = || CliError::failed(format!("No device found for {path}."));
        let index = self.paths.iter().position(|known| known == path).ok_or_else(absent)?;
        let file = self.files.get(index).ok_or_else(absent)?;
        hold(file, HeldPart::Data, HoldMode::Exclusive, DATA_PATIENCE)
    }

    /// Reads every label and metadata area.
    pub(crate) fn discover(&mut self) -> Discovery {
        let id = self.config.system_id.as_deref();
        discover(&mut DiskSet::new(&mut *self.disks, &self.paths), id)
    }
}

fn is_same(one: &str, other: &str) -> bool {
    let real = |path: &str| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|path| Some(path) == real(other))
}

/// Those of `paths` that exist; for the others it is said that they do not.
pub(crate) fn split_missing(context: &Context, paths: &[String]) -> (Vec<String>, Exit) {
    let mut exit = Exit::Success;
    let mut present: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        if !std::path::Path::new(path).exists() {
            let error = CliError::failed(format!("No device found for {path}."));
            error.hint(format!("an image file is made with: truncate -s 1G {path}")).tell(context.console);
            exit = Exit::Failed;
        } else if !present.contains(path) {
            present.push(path.clone());
        }
    }
    (present, exit)
}

fn identity(found: &Metadata) -> Identity {
    let block = found.file_type().is_block_device();
    let (device, inode) = if block { (found.rdev(), 0) } else { (found.dev(), found.ino()) };
    Identity { device, inode }
}

/// A disk, and the file behind it where it is a loop device.
fn with_backing(disk: Identity) -> Vec<Identity> {
    let (major, minor) = (rustix::fs::major(disk.device), rustix::fs::minor(disk.device));
    let backing = (disk.inode == 0)
        .then(|| std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/loop/backing_file")).ok());
    let backing = backing.flatten().and_then(|path| std::fs::metadata(path.trim_end_matches('\n')).ok());
    std::iter::once(disk).chain(backing.map(|found| identity(&found))).collect()
}

/// Says how disks are named.
fn no_disks() -> CliError {
    CliError {
        exit: Exit::BadCommandLine,
        message: "No disks were named.".to_owned(),
        hint: Some("name them with --devices FILE[,FILE] or in FOLDBACK_DEVICES".to_owned()),
    }
}

fn hold_metadata(files: &[Arc<DiskFile>], sharing: HoldMode) -> Result<Vec<Hold>, CliError> {
    files.iter().map(|file| hold(file, HeldPart::Metadata, sharing, LOCK_PATIENCE)).collect()
}

/// LVM2's settings, as far as they matter here: the host's own only where no image file is among the disks.
fn config(options: &Options, files: &[Arc<DiskFile>]) -> Result<Config, CliError> {
    let named = std::env::var_os("LVM_SYSTEM_DIR").map(PathBuf::from);
    let host = || files.iter().all(|file| file.kind() == DiskKind::Block);
    let directory = named.or_else(|| host().then(|| PathBuf::from(DEFAULT_SYSTEM_DIR)));
    let read = Config::read(directory.as_deref(), options.config.as_deref());
    read.map_err(|error| CliError { exit: Exit::BadCommandLine, message: error.to_string(), hint: None })
}

/// LVM2's locks.
pub(crate) fn locks(config: &Config) -> Locks {
    Locks::new(&config.locking_dir, config.wait_for_locks)
}

/// Locks a VG to change it: LVM2's lock, then the images' own.
pub(crate) fn lock_vg(
    vg: &VgName,
    files: &[Arc<DiskFile>],
    config: &Config,
) -> Result<LockedMetadata, CliError> {
    let vg = locks(config).vg(vg, LockMode::Exclusive)?;
    Ok(LockedMetadata { _vg: vg, _images: hold_metadata(files, HoldMode::Exclusive)? })
}

/// Holds a part of a disk, waiting up to `patience` for whoever holds it.
pub(crate) fn hold(
    file: &Arc<DiskFile>,
    part: HeldPart,
    mode: HoldMode,
    patience: Duration,
) -> Result<Hold, CliError> {
    let start = Instant::now();
    loop {
        match Hold::take(file, part, mode) {
            Err(error) if matches!(error.kind, DiskErrorKind::Held { .. }) && start.elapsed() < patience => {
                sleep(LOCK_PAUSE);
            }
            other => return other.map_err(CliError::from),
        }
    }
}
