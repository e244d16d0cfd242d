//! What can go wrong with a verb: which, on which device, why, and what to do.

use crate::message::MessageError;
use foldback_dm_table::{DeviceRef, DmName, TableError};
use std::io;

/// A verb that failed. What it leaves is said at the verb.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {device}: {kind}")]
pub struct KernelDmError {
    /// What was attempted, as the beginning of a sentence: `loading a table into`.
    pub verb: &'static str,
    /// The device, or the PV of a header.
    pub device: String,
    /// Why it failed.
    pub kind: KernelDmErrorKind,
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum KernelDmErrorKind {
    /// The kernel has no device-mapper.
    #[error("this kernel has no device-mapper; load its module dm-mod, or use --backend user")]
    NoDriver,
    /// It speaks another version.
    #[error("the kernel's device-mapper speaks version {}.{}.{}, and this program 4", .0[0], .0[1], .0[2])]
    Version([u32; 3]),
    /// No such device.
    #[error("there is no such mapped device")]
    Missing,
    /// The name, the UUID or the minor number is taken.
    #[error("a mapped device with this name, UUID or minor number exists already; remove it first")]
    Exists,
    /// It has no live table.
    #[error("it has no live table; load and resume one first")]
    NoTable,
    /// Somebody has it open, or is built on it.
    #[error("it is in use; close what uses it first")]
    InUse,
    /// The kernel said no.
    #[error("{0}; the kernel's log (dmesg) may say more")]
    Refused(io::Error),
    /// The system said no.
    #[error(transparent)]
    System(io::Error),
    /// What cannot be told to the kernel, or what it told.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The table itself is wrong.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A table on which kernels crash.
    #[error("such a table crashes kernels: {0}")]
    Crashes(&'static str),
    /// A table that leads back to the device.
    #[error("the table leads back to the device itself")]
    Cycle,
    /// A target that the kernel lacks.
    #[error("the kernel has no target {0}, also after loading its module")]
    Target(String),
    /// A table names a device that is not there.
    #[error("{0} is neither a block device nor a mapped device")]
    NoLower(DeviceRef),
    /// A plan that cannot be carried out while devices are suspended.
    #[error("this cannot be done while devices are suspended: {0}")]
    Order(&'static str),
    /// A plan that would leave a device suspended.
    #[error("the plan suspends it and never resumes it")]
    NeverResumed,
    /// Memory could not be locked.
    #[error("locking memory, so that nothing waits for a suspended device: {0}")]
    Memory(io::Error),
    /// A header could not be written.
    #[error("512 bytes at {offset}: {error}")]
    Header {
        /// Where.
        offset: u64,
        /// What the disk said.
        error: io::Error,
    },
    /// Not one header could be written, and each that may have been written in part was taken back.
    #[error("512 bytes at {offset}: {error}; the VG is unchanged")]
    NotCommitted {
        /// Where.
        offset: u64,
        /// What the disk said.
        error: io::Error,
    },
    /// Not one header could be written, and what is there now is not known.
    #[error(
        "512 bytes at {offset}: {error}; taking it back failed, too ({revert}): after the disk works again the VG reads as either old or new, and its devices have their old tables"
    )]
    Unknown {
        /// Where.
        offset: u64,
        /// What the disk said first.
        error: io::Error,
        /// What it said then.
        revert: io::Error,
    },
    /// Undoing failed as well.
    #[error("{error}; and undoing it: {undo}; the devices named here need a look")]
    Undo {
        /// Why the change failed.
        error: Box<KernelDmError>,
        /// Why undoing it failed.
        undo: Box<KernelDmError>,
    },
}

impl KernelDmErrorKind {
    /// What an error of the call means: to every verb the same.
    pub(crate) fn of_call(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENXIO | libc::ENODEV) => Self::Missing,
            Some(libc::EBUSY) => Self::InUse,
            _ => Self::Refused(error),
        }
    }

    /// With the verb and the device.
    pub(crate) fn on(self, verb: &'static str, device: &DmName) -> KernelDmError {
        KernelDmError { verb, device: device.0.clone(), kind: self }
    }
}

/// A failure, and one while it was undone.
pub(crate) fn both(error: KernelDmError, undo: KernelDmError) -> KernelDmError {
    KernelDmError {
        verb: "changing",
        device: error.device.clone(),
        kind: KernelDmErrorKind::Undo { error: Box::new(error), undo: Box::new(undo) },
    }
}
