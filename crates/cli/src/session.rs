//! The disks of one command: opened, locked, and read.
//!
//! What must hold:
//! - Reading shares the metadata's lock; changing has it alone, from reading to commit.
//! - Disks are opened in the order given, and never two openings of one disk.
//! - A lock that somebody holds is waited for, as LVM2 waits, but not for ever.

use crate::commands::Context;
use crate::console::Console;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::{LiveVg, disks_or_live, is_same};
use crate::options::{Options, YesNo};
use crate::scanning::scanned;
use foldback_device::{
    Access, Backend, DiskFile, DiskKind, Disks, HeldPart, Hold, HoldMode, Identity, open_disks, open_files,
    open_found,
};
use foldback_manager::backup::BackupPlaces;
use foldback_manager::config::{Config, DEFAULT_SYSTEM_DIR};
use foldback_manager::host;
use foldback_manager::lock::{LockMode, VgLock};
use foldback_manager::store::{Discovery, DiskSet, FoundVg, discover};
use foldback_units::VgName;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Opened disks.
pub(crate) struct Session {
    pub(crate) files: Vec<Arc<DiskFile>>,
    pub(crate) disks: Box<dyn Disks>,
    pub(crate) paths: Vec<String>,
    pub(crate) config: Config,
    /// The metadata's lock on image files.
    metadata: Vec<Hold>,
    /// LVM2's lock of the VG that is kept from being changed.
    vg: Option<VgLock>,
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
            session.metadata = host::hold_metadata(&session.files, sharing, &mut say_waiting)?;
        }
        Ok(session)
    }

    /// Opens the disks that the options name to bring volumes of a VG up, or take them down: nobody changes it meanwhile.
    pub(crate) fn open_to_activate(options: &Options, vg: &VgName) -> Result<Self, CliError> {
        let mut session = Self::open_unlocked(options, &[], Access::Read)?;
        session.vg = Some(host::locks(&session.config).vg(vg, LockMode::Shared)?);
        session.share_metadata()?;
        Ok(session)
    }

    /// Opens the disks without a lock.
    pub(crate) fn open_unlocked(
        options: &Options,
        also: &[String],
        access: Access,
    ) -> Result<Self, CliError> {
        let scans = options.scans();
        let mut paths = if scans { scanned(options)? } else { disks_or_live(options)? };
        for path in also {
            // One disk under two names is opened once, by the name that the command uses.
            match paths.iter_mut().find(|known| is_same(known, path)) {
                Some(known) => known.clone_from(path),
                None => paths.push(path.clone()),
            }
        }
        if paths.is_empty() && !scans {
            return Err(no_disks());
        }
        let files = match access {
            Access::Write if scans => open_found(&paths)?,
            _ => open_files(&paths, access)?,
        };
        let disks = open_disks(&files, Backend::from_environment())
            .map_err(|error| CliError::failed(format!("setting up I/O: {error}.")))?;
        let mut config = config(options, &files)?;
        if access == Access::Write && config.metadata_read_only {
            return Err(CliError::failed("Operation prohibited while global/metadata_read_only is set."));
        }
        if options.autobackup == Some(YesNo::No) {
            config.backup = false;
        }
        Ok(Self { files, disks, paths, config, metadata: Vec::new(), vg: None })
    }

    /// Calls the disks as the daemon calls them, so that its devices and this session's tables mean the same.
    pub(crate) fn speak_as(&mut self, live: &LiveVg) {
        for path in &mut self.paths {
            if let Some(known) = live.info.devices.iter().find(|known| is_same(known, path)) {
                path.clone_from(known);
            }
        }
    }

    /// Where backups of VGs on these disks go.
    pub(crate) fn backup_places(&self) -> BackupPlaces {
        let image = self.files.iter().find(|file| file.kind() == DiskKind::Image);
        BackupPlaces::choose(&self.config, image.map(|file| file.path()))
    }

    /// Locks the images' metadata to change it.
    pub(crate) fn lock_metadata(&mut self) -> Result<(), CliError> {
        self.metadata = host::hold_metadata(&self.files, HoldMode::Exclusive, &mut say_waiting)?;
        Ok(())
    }

    /// Locks the images' metadata to read it.
    pub(crate) fn share_metadata(&mut self) -> Result<(), CliError> {
        self.metadata = host::hold_metadata(&self.files, HoldMode::Shared, &mut say_waiting)?;
        Ok(())
    }

    /// Lets others change metadata again.
    pub(crate) fn unlock_metadata(&mut self) {
        self.metadata.clear();
    }

    /// Holds the content of all disks, or says who does.
    pub(crate) fn hold_all_data(&self) -> Result<Vec<Hold>, CliError> {
        Ok(host::hold_data(&self.files, HoldMode::Exclusive, &mut say_waiting)?)
    }

    /// Holds the content of all disks against whoever would change it.
    pub(crate) fn share_all_data(&self) -> Result<Vec<Hold>, CliError> {
        Ok(host::hold_data(&self.files, HoldMode::Shared, &mut say_waiting)?)
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

    /// Holds the content of the disks on which a VG lies. Others, on which somebody else's volumes may be active, are left alone.
    pub(crate) fn hold_vg(&self, vg: &FoundVg) -> Result<Vec<Hold>, CliError> {
        let of_vg = vg.places.iter().flatten().filter_map(|place| usize::try_from(place.disk.0).ok());
        let files: Vec<_> = of_vg.filter_map(|index| self.files.get(index).cloned()).collect();
        Ok(host::hold_data(&files, HoldMode::Exclusive, &mut say_waiting)?)
    }

    /// Holds the content of the disk that was named `path`.
    pub(crate) fn hold_data(&self, path: &str) -> Result<Hold, CliError> {
        let absent = || CliError::failed(format!("No device found for {path}."));
        let index = self.paths.iter().position(|known| known == path).ok_or_else(absent)?;
        let file = self.files.get(index).ok_or_else(absent)?;
        Ok(host::hold(file, HeldPart::Data, HoldMode::Exclusive, host::DATA_PATIENCE, &mut say_waiting)?)
    }

    /// Reads every label and metadata area.
    pub(crate) fn discover(&mut self) -> Discovery {
        let id = self.config.system_id.as_deref();
        discover(&mut DiskSet::new(&mut *self.disks, &self.paths), id)
    }
}

/// Says what is waited for.
pub(crate) fn say_waiting(waiting: &host::Waiting<'_>) {
    Console::new(0, 0).error(&waiting.to_string());
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

/// Where LVM2's configuration is; the host's own only where `host` says so.
pub(crate) fn system_dir(host: bool) -> Option<PathBuf> {
    let named = std::env::var_os("LVM_SYSTEM_DIR").map(PathBuf::from);
    named.or_else(|| host.then(|| PathBuf::from(DEFAULT_SYSTEM_DIR)))
}

/// LVM2's settings, as far as they matter here: the host's own only where no image file is among the disks.
pub(crate) fn config(options: &Options, files: &[Arc<DiskFile>]) -> Result<Config, CliError> {
    let directory = system_dir(files.iter().all(|file| file.kind() == DiskKind::Block));
    let read = Config::read(directory.as_deref(), options.config.as_deref());
    read.map_err(|error| CliError { exit: Exit::BadCommandLine, message: error.to_string(), hint: None })
}
