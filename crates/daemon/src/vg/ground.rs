//! What a VG stands on: its disks, how they are locked, and LVM2's settings for them.
//!
//! What must hold:
//! - Metadata is read through a queue of the reader's own thread; the carrier's disks serve volumes alone.
//! - Paths are absolute, so that a daemon finds them wherever it was started.

use super::Fills;
use foldback_device::{
    Access, Backend, DiskError, DiskFile, DiskKind, Disks, HeldPart, HoldMode, open_disks, open_files,
};
use foldback_manager::backup::BackupPlaces;
use foldback_manager::config::{Config, ConfigError, DEFAULT_SYSTEM_DIR};
use foldback_manager::host;
use foldback_manager::store::{Discovery, DiskSet, discover};
use foldback_units::VgName;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a job waits for a lock.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// Who named the disks, and how LVM2 is set up for them.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Setting {
    /// The PVs' paths, absolute.
    pub paths: Vec<String>,
    /// `LVM_SYSTEM_DIR`, where it is set.
    pub system_dir: Option<PathBuf>,
    /// `--config`.
    pub config: Option<String>,
}

/// Why a VG's disks could not be used.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// A disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] host::LockVgError),
    /// LVM2's settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The queue of the disks.
    #[error("setting up I/O: {0}")]
    Queue(#[from] io::Error),
}

/// The opened disks of a VG.
#[derive(Debug)]
pub struct Ground {
    /// As it was asked for.
    pub setting: Setting,
    /// The disks, in the order of the paths.
    pub files: Vec<Arc<DiskFile>>,
    /// LVM2's settings.
    pub config: Config,
}

impl Ground {
    /// Opens the disks.
    pub fn open(setting: Setting) -> Result<Self, GroundError> {
        let files = open_files(&setting.paths, Access::Write)?;
        let config = read_config(&setting, setting.config.as_deref(), &files)?;
        Ok(Self { setting, files, config })
    }

    /// Whether a discard through a file costs nothing: it has to leave zeros, and all disks make these without writing them.
    pub fn makes_holes(&self) -> bool {
        self.files.iter().all(|file| file.makes_holes())
    }

    /// What the `--config` of another activation says of stores that fill; `None` where it says nothing of them.
    pub(super) fn fills_of(&self, setting: &Setting) -> Result<Option<Fills>, ConfigError> {
        let with = Fills::of(&read_config(setting, setting.config.as_deref(), &self.files)?);
        let without = Fills::of(&read_config(setting, None, &self.files)?);
        Ok((with != without).then_some(with))
    }

    /// A queue over the disks for the calling thread.
    pub fn disks(&self) -> Result<Box<dyn Disks>, GroundError> {
        Ok(open_disks(&self.files, Backend::from_environment())?)
    }

    /// Reads every label and metadata area, as they are now.
    pub fn discover(&self) -> Result<Discovery, GroundError> {
        let mut disks = self.disks()?;
        Ok(discover(&mut DiskSet::new(&mut *disks, &self.setting.paths), self.config.system_id.as_deref()))
    }

    /// The same while nobody changes them; whoever does is waited for so long.
    pub fn discover_locked(&self, patience: Duration) -> Result<Discovery, GroundError> {
        let held = self
            .files
            .iter()
            .map(|file| host::hold(file, HeldPart::Metadata, HoldMode::Shared, patience, &mut say_waiting))
            .collect::<Result<Vec<_>, _>>()?;
        let found = self.discover();
        drop(held);
        found
    }

    /// Keeps others from changing the VG while it is read and brought up. Who asks for that keeps them from it now, so that
    /// there is nothing to wait for.
    pub fn join(&self, vg: &VgName) -> Result<host::LockedVg, GroundError> {
        self.join_within(vg, LOCK_PATIENCE)
    }

    /// The same for what a dead daemon has left: whoever changes it now is waited for so long.
    pub fn join_within(&self, vg: &VgName, patience: Duration) -> Result<host::LockedVg, GroundError> {
        // A lock is its opening's: the jobs lock by those that are there already.
        let files = open_files(&self.setting.paths, Access::Read)?;
        Ok(host::join_vg(vg, &files, &self.config, patience)?)
    }

    /// Locks the VG to change it, waiting for nobody who takes longer than to report: who does that comes again.
    pub fn lock_soon(&self, vg: &VgName) -> Result<host::LockedVg, host::LockVgError> {
        host::lock_vg_soon(vg, &self.files, &self.config, LOCK_PATIENCE)
    }

    /// Where backups go.
    pub fn backup_places(&self) -> BackupPlaces {
        let image = self.files.iter().find(|file| file.kind() == DiskKind::Image);
        BackupPlaces::choose(&self.config, image.map(|file| file.path()))
    }

    /// Whether one of these is one of its disks.
    pub fn is_on_one_of(&self, paths: &[String]) -> bool {
        let real = |path: &String| std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
        let ours: Vec<PathBuf> = self.setting.paths.iter().map(real).collect();
        paths.iter().any(|path| ours.contains(&real(path)))
    }
}

fn read_config(
    setting: &Setting,
    text: Option<&str>,
    files: &[Arc<DiskFile>],
) -> Result<Config, ConfigError> {
    let host = || files.iter().all(|file| file.kind() == DiskKind::Block);
    let directory = setting.system_dir.clone().or_else(|| host().then(|| PathBuf::from(DEFAULT_SYSTEM_DIR)));
    Config::read(directory.as_deref(), text)
}

/// Says what is waited for.
pub(crate) fn say_waiting(waiting: &host::Waiting<'_>) {
    // With nobody to tell, the wait is the same.
    writeln!(io::stderr(), "  {waiting}").ok();
}
