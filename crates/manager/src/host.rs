//! The disks of a VG on this host: opened together, and locked.
//!
//! What must hold (architecture.md, "Holding and locking"):
//! - Whoever changes metadata has LVM2's lock of the VG, then byte 1 of every image, from reading to commit.
//! - A lock that somebody holds is waited for, but not for ever, and the refusal says who has it.

use crate::config::Config;
use crate::lock::{LockError, LockWait, Locks, VgLock};
use foldback_device::{DiskError, DiskErrorKind, DiskFile, DiskKind, HeldPart, Hold, HoldMode};
use foldback_units::VgName;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the metadata of an image is waited for.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(20);
/// How long the content of a disk is waited for that a process holds.
pub const DATA_PATIENCE: Duration = Duration::from_secs(3);
/// How long an image is waited for that nobody is seen to hold: a killed process's ring keeps its files until its last I/O
/// has ended, and on a loaded machine that takes a while.
pub const UNSEEN_PATIENCE: Duration = Duration::from_mins(1);
/// How long is waited before it is said.
const SILENCE: Duration = Duration::from_secs(1);
/// How often it is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The locks under which a VG is changed, or kept from being changed.
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

/// What is waited for.
#[derive(Debug)]
pub struct Waiting<'w> {
    /// The disk.
    pub disk: &'w Path,
    /// What kind of disk.
    pub kind: DiskKind,
    /// The process that holds it, where one is seen to.
    pub holder: Option<u32>,
}

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk.display();
        match (self.holder, self.kind) {
            (Some(pid), _) => write!(out, "Waiting for process {pid}, which holds {disk}."),
            (None, DiskKind::Image) => {
                write!(out, "Waiting for the last I/O of a process that has ended: nobody else holds {disk}.")
            }
            (None, DiskKind::Block) => write!(out, "Waiting for {disk}, which is in use."),
        }
    }
}

/// Told of a wait, once, when it has taken a second.
pub type Watcher<'w> = &'w mut dyn FnMut(&Waiting<'_>);

/// Holds a part of a disk, waiting up to `patience` for a process that holds it, and [`UNSEEN_PATIENCE`] for an image
/// that none holds any more. A mounted device has no such process either, and stays mounted.
///
/// # Errors
/// It is still held then, or the system said no.
pub fn hold(
    file: &Arc<DiskFile>,
    part: HeldPart,
    mode: HoldMode,
    patience: Duration,
    watcher: Watcher<'_>,
) -> Result<Hold, DiskError> {
    let start = Instant::now();
    let mut told = false;
    loop {
        let error = match Hold::take(file, part, mode) {
            Err(error) if start.elapsed() < patience_with(&error.kind, file.kind(), patience) => error,
            other => return other,
        };
        if let DiskErrorKind::Held { holder } = error.kind
            && !told
            && start.elapsed() >= SILENCE
        {
            told = true;
            watcher(&Waiting { disk: &error.path, kind: file.kind(), holder });
        }
        sleep(LOCK_PAUSE);
    }
}

fn patience_with(error: &DiskErrorKind, disk: DiskKind, patience: Duration) -> Duration {
    match error {
        DiskErrorKind::Held { holder: None } if disk == DiskKind::Image => patience.max(UNSEEN_PATIENCE),
        DiskErrorKind::Held { .. } => patience,
        _ => Duration::ZERO,
    }
}

/// Locks the metadata of images.
///
/// # Errors
/// As [`hold`].
pub fn hold_metadata(
    files: &[Arc<DiskFile>],
    mode: HoldMode,
    watcher: Watcher<'_>,
) -> Result<Vec<Hold>, DiskError> {
    files.iter().map(|file| hold(file, HeldPart::Metadata, mode, LOCK_PATIENCE, watcher)).collect()
}

/// Holds the content of disks.
///
/// # Errors
/// As [`hold`].
pub fn hold_data(
    files: &[Arc<DiskFile>],
    mode: HoldMode,
    watcher: Watcher<'_>,
) -> Result<Vec<Hold>, DiskError> {
    files.iter().map(|file| hold(file, HeldPart::Data, mode, DATA_PATIENCE, watcher)).collect()
}

/// LVM2's locks, as configured.
pub fn locks(config: &Config) -> Locks {
    Locks::new(&config.locking_dir, config.wait_for_locks)
}

/// Whether LVM2 could change one of these disks, too.
pub fn lvm2_may(files: &[Arc<DiskFile>]) -> bool {
    files.iter().any(|file| file.kind() == DiskKind::Block)
}

/// Locks a VG to change it: LVM2's lock, then the images' own.
///
/// # Errors
/// One of them is not to be had.
pub fn lock_vg(
    vg: &VgName,
    files: &[Arc<DiskFile>],
    config: &Config,
    watcher: Watcher<'_>,
) -> Result<LockedVg, LockVgError> {
    let vg = locks(config).to_change(Some(vg), lvm2_may(files))?;
    Ok(LockedVg { _vg: vg, _images: hold_metadata(files, HoldMode::Exclusive, watcher)? })
}

/// Shares a VG's locks, for somebody who has a share of them or waits at most `patience`: nobody changes the VG until this is
/// dropped, also where that process is gone. `files` are openings that nothing else is held by.
///
/// # Errors
/// Somebody changes the VG.
pub fn join_vg(
    vg: &VgName,
    files: &[Arc<DiskFile>],
    config: &Config,
    patience: Duration,
) -> Result<LockedVg, LockVgError> {
    within(patience, || {
        let vg = locks(config).join(vg)?;
        let share = |file| Hold::take(file, HeldPart::Metadata, HoldMode::Shared);
        Ok(LockedVg { _vg: vg, _images: files.iter().map(share).collect::<Result<_, _>>()? })
    })
}

fn within<T>(patience: Duration, mut lock: impl FnMut() -> Result<T, LockVgError>) -> Result<T, LockVgError> {
    let start = Instant::now();
    loop {
        match lock() {
            Err(_) if start.elapsed() < patience => sleep(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
}

/// The same as [`lock_vg`], waiting only for who is done in a moment: for who can come again.
///
/// # Errors
/// One of them is not to be had within `patience`.
pub fn lock_vg_soon(
    vg: &VgName,
    files: &[Arc<DiskFile>],
    config: &Config,
    patience: Duration,
) -> Result<LockedVg, LockVgError> {
    within(patience, || lock_vg_at_once(vg, files, config))
}

fn lock_vg_at_once(vg: &VgName, files: &[Arc<DiskFile>], config: &Config) -> Result<LockedVg, LockVgError> {
    let vg = Locks::new(&config.locking_dir, LockWait::Fail).to_change(Some(vg), lvm2_may(files))?;
    let hold = |file| Hold::take(file, HeldPart::Metadata, HoldMode::Exclusive);
    Ok(LockedVg { _vg: vg, _images: files.iter().map(hold).collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::{DATA_PATIENCE, LOCK_PATIENCE, UNSEEN_PATIENCE, Waiting, hold, patience_with};
    use foldback_device::DiskKind::{Block, Image};
    use foldback_device::{Access, DiskErrorKind, DiskFile, HeldPart, Hold, HoldMode};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn an_image_that_nobody_is_seen_to_hold_is_waited_for_longest() {
        let (seen, unseen) = (DiskErrorKind::Held { holder: Some(1) }, DiskErrorKind::Held { holder: None });
        for patience in [DATA_PATIENCE, LOCK_PATIENCE] {
            assert_eq!(patience_with(&seen, Image, patience), patience);
            assert_eq!(patience_with(&unseen, Image, patience), UNSEEN_PATIENCE);
            assert_eq!(patience_with(&unseen, Block, patience), patience, "it may be mounted");
            assert_eq!(patience_with(&DiskErrorKind::ReadOnly, Image, patience), Duration::ZERO);
        }
    }

    /// Whoever waits for more than a second says once for what.
    #[test]
    fn a_wait_is_told_once_with_who_holds_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pv.img");
        std::fs::write(&path, [0; 4096]).unwrap();
        let open = || Arc::new(DiskFile::open(&path, Access::Write).unwrap());
        let held = Hold::take(&open(), HeldPart::Data, HoldMode::Exclusive).unwrap();
        let (mut words, second) = (Vec::new(), open());
        let mut wait = |patience| {
            let mut watcher = |waiting: &Waiting<'_>| words.push(waiting.to_string());
            hold(&second, HeldPart::Data, HoldMode::Exclusive, patience, &mut watcher).map(drop)
        };
        assert!(wait(Duration::from_millis(200)).is_err(), "it is held");
        assert!(wait(Duration::from_millis(1300)).is_err(), "it is held");
        drop(held);
        wait(Duration::from_millis(200)).unwrap();
        let (pid, disk) = (std::process::id(), path.display());
        assert_eq!(words, [format!("Waiting for process {pid}, which holds {disk}.")]);
    }

    #[test]
    fn where_no_process_is_seen_the_words_say_what_that_means() {
        let words = |kind| Waiting { disk: Path::new("pv"), kind, holder: None }.to_string();
        assert!(words(Image).contains("the last I/O of a process that has ended"));
        assert_eq!(words(Block), "Waiting for pv, which is in use.");
    }
}
