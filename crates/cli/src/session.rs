//! The disks of one command: opened, locked, and read.
//!
//! What must hold:
//! - Reading shares the metadata's lock; changing has it alone, from reading to commit.
//! - Disks are opened in the order given, and never two openings of one disk.
//! - A lock that somebody holds is waited for, as LVM2 waits, but not for ever.

use crate::error::CliError;
use crate::options::Options;
use foldback_device::{
    Access, Backend, DiskErrorKind, DiskFile, Disks, HeldPart, Hold, HoldMode, open_disks, open_files,
};
use foldback_manager::store::{Discovery, DiskSet, discover};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);
/// How often it is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Opened disks.
pub(crate) struct Session {
    pub(crate) files: Vec<Arc<DiskFile>>,
    pub(crate) disks: Box<dyn Disks>,
    pub(crate) paths: Vec<String>,
    /// Keeps the metadata's lock.
    _metadata: Vec<Hold>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens the disks that the options name.
    pub(crate) fn open(options: &Options, access: Access) -> Result<Self, CliError> {
        let paths = options.disks();
        if paths.is_empty() {
            return Err(no_disks());
        }
        let files = open_files(&paths, access)?;
        let mode = match access {
            Access::Read => HoldMode::Shared,
            Access::Write => HoldMode::Exclusive,
        };
        let mut holds = Vec::with_capacity(files.len());
        for file in &files {
            holds.push(hold(file, HeldPart::Metadata, mode, LOCK_PATIENCE)?);
        }
        let disks = open_disks(&files, Backend::from_environment())
            .map_err(|error| CliError::failed(format!("setting up I/O: {error}.")))?;
        Ok(Self { files, disks, paths, _metadata: holds })
    }

    /// Reads every label and metadata area.
    pub(crate) fn discover(&mut self) -> Discovery {
        discover(&mut DiskSet::new(&mut *self.disks, &self.paths), None)
    }
}

/// Says how disks are named.
fn no_disks() -> CliError {
    CliError {
        exit: crate::exit::Exit::BadCommandLine,
        message: "No disks were named.".to_owned(),
        hint: Some("name them with --devices FILE[,FILE] or in FOLDBACK_DEVICES".to_owned()),
    }
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
