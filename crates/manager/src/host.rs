//! The disks of a VG on this host: opened together, and locked.
//!
//! What must hold (architecture.md, "Holding and locking"):
//! - Whoever changes metadata has LVM2's lock of the VG, then byte 1 of every image, from reading to commit.
//! - A lock that somebody holds is waited for, but not for ever, and the refusal says who has it.

use crate::config::Config;
use crate::lock::{LockError, LockMode, Locks, VgLock};
use foldback_device::{DiskError, DiskErrorKind, DiskFile, HeldPart, Hold, HoldMode};
use foldback_units::VgName;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the metadata of an image is waited for.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(20);
/// How long the content of a disk is waited for: a process that was killed lets go of its disks only after its last
/// I/O has ended.
pub const DATA_PATIENCE: Duration = Duration::from_secs(3);
/// How long a disk is waited for that nobody is seen to hold: a killed process's ring keeps its files until its last I/O
/// has ended, and on a loaded machine that takes a while.
pub const UNSEEN_PATIENCE: Duration = Duration::from_mins(1);
/// How often it is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The locks under which a VG is changed.
#[derive(Debug)]
#[must_use = "the locks end when this is dropped"]
pub struct LockedVg {
    _vg: VgLock,
    _images: Vec<Hold>,
}

/// Why a VG could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockVgError {
    /// LVM2's lock.
    #[error(transparent)]
    Vg(#[from] LockError),
    /// An image's.
    #[error(transparent)]
    Image(#[from] DiskError),
}

/// Holds a part of a disk, waiting up to `patience` for a process that holds it, and [`UNSEEN_PATIENCE`] where there is
/// none any more.
///
/// # Errors
/// It is still held then, or the system said no.
pub fn hold(
    file: &Arc<DiskFile>,
    part: HeldPart,
    mode: HoldMode,
    patience: Duration,
) -> Result<Hold, DiskError> {
    let start = Instant::now();
    loop {
        match Hold::take(file, part, mode) {
            Err(error) if start.elapsed() < patience_with(&error, patience) => sleep(LOCK_PAUSE),
            other => return other,
        }
    }
}

fn patience_with(error: &DiskError, patience: Duration) -> Duration {
    match &error.kind {
        DiskErrorKind::Held { holder: None } => patience.max(UNSEEN_PATIENCE),
        DiskErrorKind::Held { .. } => patience,
        _ => Duration::ZERO,
    }
}

/// Locks the metadata of images.
///
/// # Errors
/// As [`hold`].
pub fn hold_metadata(files: &[Arc<DiskFile>], mode: HoldMode) -> Result<Vec<Hold>, DiskError> {
    files.iter().map(|file| hold(file, HeldPart::Metadata, mode, LOCK_PATIENCE)).collect()
}

/// Holds the content of disks.
///
/// # Errors
/// As [`hold`].
pub fn hold_data(files: &[Arc<DiskFile>], mode: HoldMode) -> Result<Vec<Hold>, DiskError> {
    files.iter().map(|file| hold(file, HeldPart::Data, mode, DATA_PATIENCE)).collect()
}

/// LVM2's locks, as configured.
pub fn locks(config: &Config) -> Locks {
    Locks::new(&config.locking_dir, config.wait_for_locks)
}

/// Locks a VG to change it: LVM2's lock, then the images' own.
///
/// # Errors
/// One of them is not to be had.
pub fn lock_vg(vg: &VgName, files: &[Arc<DiskFile>], config: &Config) -> Result<LockedVg, LockVgError> {
    let vg = locks(config).vg(vg, LockMode::Exclusive)?;
    Ok(LockedVg { _vg: vg, _images: hold_metadata(files, HoldMode::Exclusive)? })
}
