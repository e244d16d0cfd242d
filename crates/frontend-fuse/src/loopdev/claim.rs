//! Holding a loop device alone, and letting it go.
//!
//! What must hold:
//! - Who has a claim is the only user: O_EXCL keeps mounts out, and nobody else had the device open when it was taken.
//! - A device whose server lives is told to detach only through a claim. One whose server is gone is dead for whoever uses
//!   it: it is told so in any case, and goes with the last of them.
//! - Detached means that the kernel says so, not that it was told to.

use super::{LoopDevice, ioctl, sysfs, users};
use crate::error::{FuseError, FuseErrorKind};
use crate::in_use::{InUse, patiently};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const CLAIMING: &str = "claiming";
const DETACHING: &str = "detaching";

/// A loop device that nobody else uses, and nobody can mount until this is dropped.
#[derive(Debug)]
#[must_use = "others can use the device again when this is dropped"]
pub struct LoopClaim {
    device: LoopDevice,
    exclusive: File,
}

pub(super) fn take(device: &LoopDevice) -> Result<LoopClaim, FuseError> {
    let refused = |error: FuseError| match &error.kind {
        FuseErrorKind::System(system) if system.raw_os_error() == Some(libc::EBUSY) => {
            device.failed(CLAIMING, InUse::by(users(device.number).unwrap_or_default()))
        }
        _ => error,
    };
    patiently(|| {
        let exclusive = device.open(libc::O_EXCL)?;
        // O_EXCL keeps out who asks for O_EXCL, and dd does not.
        let others = users(device.number).map_err(|error| device.failed(CLAIMING, error))?;
        if others.is_empty() {
            Ok(LoopClaim { device: device.clone(), exclusive })
        } else {
            Err(device.failed(CLAIMING, InUse::by(others)))
        }
    })
    .map_err(refused)
}

impl LoopClaim {
    /// The device.
    pub fn device(&self) -> &LoopDevice {
        &self.device
    }

    /// Writes back and forgets what the page cache has of the device: its content changes now.
    ///
    /// # Errors
    /// What the system says.
    pub fn flush_buffers(&self) -> Result<(), FuseError> {
        ioctl::flush_buffers(&self.exclusive).map_err(|error| self.device.failed("flushing", error))
    }

    /// Detaches the device, and waits until it is.
    ///
    /// # Errors
    /// [`FuseErrorKind::Detaching`] where somebody opened it after the claim was taken (not to mount it); what the system
    /// says.
    pub fn detach(self) -> Result<(), FuseError> {
        let Self { device, exclusive } = self;
        detach(device.number, exclusive)
    }
}

/// What became of a device that a daemon that died has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stale {
    /// It is attached to something else, or to nothing.
    NotOurs,
    /// It is detached.
    Detached,
    /// Somebody uses it still, and gets nothing but errors: its server does not come back. It detaches when they let it go.
    InUse(InUse),
}

/// Detaches what a daemon that died has left: device `number`, if its backing file is `backing` by its path, as it was when
/// it was attached. To be called before the stale mount below is unmounted: after that the path is not what it was.
///
/// # Errors
/// What the system says.
pub fn detach_stale(number: u32, backing: &Path) -> Result<Stale, FuseError> {
    let node = sysfs::node(number);
    let failed = |error: io::Error| FuseError::of(DETACHING, &node, error);
    let is_it =
        || Ok::<_, FuseError>(sysfs::backing(number).map_err(failed)?.is_some_and(|it| it == backing));
    if !is_it()? {
        return Ok(Stale::NotOurs);
    }
    let opened = patiently(|| OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&node));
    let (device, alone) = match opened {
        Ok(exclusive) => (exclusive, true),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            (OpenOptions::new().read(true).open(&node).map_err(failed)?, false)
        }
        Err(error) => return Err(failed(error)),
    };
    // Held now, so what is seen now stays.
    if !is_it()? {
        return Ok(Stale::NotOurs);
    }
    if alone {
        return detach(number, device).map(|()| Stale::Detached);
    }
    let users = InUse::by(users(number).unwrap_or_default());
    // The next user of this number should be able to discard; where the kernel refuses that, it is so until the number is
    // made anew.
    drop(sysfs::allow_discard(number));
    // With users left the kernel detaches it when the last of them ends.
    ioctl::clear(&device).map_err(failed)?;
    Ok(Stale::InUse(users))
}

fn detach(number: u32, exclusive: File) -> Result<(), FuseError> {
    let node = sysfs::node(number);
    let failed = |kind: FuseErrorKind| FuseError::of(DETACHING, &node, kind);
    let attached = sysfs::backing(number).map_err(|error| failed(error.into()))?;
    let restored = sysfs::allow_discard(number);
    ioctl::clear(&exclusive).map_err(|error| failed(error.into()))?;
    // The kernel detaches when the last opening ends.
    drop(exclusive);
    patiently(|| match sysfs::backing(number) {
        Ok(now) if now.is_some() && now == attached => Err(failed(FuseErrorKind::Detaching)),
        Ok(_) => Ok(()),
        Err(error) => Err(failed(error.into())),
    })?;
    if restored.is_err() {
        // Linux 6.18 takes no other value once it was 0, as long as the device exists; the next user of this number should
        // be able to discard. Where it cannot be made anew somebody has it already: then that is how it is.
        let control = OpenOptions::new().read(true).write(true).open(super::CONTROL);
        drop(control.and_then(|control| ioctl::renew(&control, number)));
    }
    Ok(())
}
