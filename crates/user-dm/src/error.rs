//! What can go wrong with a verb or a request: which verb, on which device, why, and what to do.

use crate::traffic::What;
use foldback_device::DiskId;
use foldback_dm_table::{DeviceRef, DmName, TableError};
use foldback_engine::{ConfigError, Fault, MergeRefused, OpenError};
use std::io;

/// A verb that failed. What it leaves is said at the verb.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {device}: {kind}")]
pub struct DmError {
    /// What was attempted, as the beginning of a sentence: `loading a table into`.
    pub verb: &'static str,
    /// The device, or the PV of a header.
    pub device: String,
    /// Why it failed.
    pub kind: DmErrorKind,
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum DmErrorKind {
    /// No such mapped device.
    #[error("there is no such mapped device")]
    Missing,
    /// The name or UUID is taken.
    #[error("a mapped device with this name or UUID exists already; remove it first")]
    Exists,
    /// It has no live table.
    #[error("it has no live table; load and resume one first")]
    NoTable,
    /// The table itself is wrong.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A target that is not carried.
    #[error("target {0} is not carried in user space")]
    Target(String),
    /// A snapshot target beside other lines.
    #[error("a {0} target must be the whole table")]
    NotAlone(String),
    /// A table names a device that is not there.
    #[error("{0} is neither a PV of this set nor a mapped device")]
    NoLower(DeviceRef),
    /// A table refers to its own device, perhaps through others.
    #[error("the table leads back to the device itself, or through more than {0} devices")]
    Cycle(usize),
    /// A table refers to a device that is itself a snapshot or an origin.
    #[error("{0} is an origin or a snapshot, on which no other device can be built")]
    Stacked(DmName),
    /// A table ends behind the device that it names.
    #[error("{device} has {has} sectors, the table needs {needs}")]
    TooShort {
        /// The lower device.
        device: DeviceRef,
        /// Its length in sectors.
        has: u64,
        /// What the table needs.
        needs: u64,
    },
    /// Tables of other devices refer to it.
    #[error("{0} is built on it; remove that first")]
    Used(DmName),
    /// Somebody has it open.
    #[error("it is open; close it first")]
    Open,
    /// The store still belongs to a snapshot that is running (K8).
    #[error("its exception store belongs to {0}, which has to be suspended first")]
    Handover(DmName),
    /// Two merges into one origin.
    #[error("a snapshot is already merging into this origin")]
    Merging,
    /// A table would make a snapshot of a merged view one of the origin before the merge has ended, or the reverse.
    #[error("snapshots of it are of the merged view, or would become so; finish the merge first")]
    MergedView,
    /// The exception store was refused, or could not be read.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The engine refused the group.
    #[error(transparent)]
    Group(#[from] ConfigError),
    /// The engine refused the merge.
    #[error(transparent)]
    Merge(#[from] MergeRefused),
    /// The merge met an error and stands; all is still served.
    #[error("the merge failed; check the devices, then start it again")]
    MergeFailed,
    /// A disk stopped the merge; all is still served.
    #[error("{0}; the merge stopped where it can go on")]
    MergeStopped(DiskFailure),
    /// A disk failed a request.
    #[error(transparent)]
    Disk(DiskFailure),
    /// The snapshot that is merging has lost its store.
    #[error("the snapshot is invalid and cannot be merged")]
    Invalid,
    /// Nothing merges into the device.
    #[error("nothing is merging into it")]
    NotMerging,
    /// A request failed.
    #[error(transparent)]
    Request(#[from] IoError),
    /// The device is no snapshot, or has no store.
    #[error("it is not a snapshot with an exception store")]
    NoSnapshot,
    /// Waiting for room in a store.
    #[error(
        "it waits for room in an exception store that is full; extend the store, or give its snapshot up"
    )]
    Full,
    /// Waiting for something that cannot come.
    #[error("it waits for a device that is suspended; resume that first")]
    Suspended,
    /// Not enough memory for the group's scratch.
    #[error("there is no memory for {0} bytes of scratch")]
    Memory(usize),
    /// The PV has no header at this place.
    #[error("disk {} and its {bytes} bytes at {offset}: {error}", .disk.0)]
    Header {
        /// Which disk.
        disk: DiskId,
        /// How many bytes.
        bytes: usize,
        /// Where.
        offset: u64,
        /// What the disk said.
        error: io::Error,
    },
    /// Not one header could be written, and each that may have been written in part was taken back.
    #[error("{0}; the VG is unchanged")]
    NotCommitted(Box<DmErrorKind>),
    /// Not one header could be written, and what is there now is not known.
    #[error(
        "{error}; taking it back failed, too ({revert}): after the disk works again the VG reads as either old or new, and its devices have their old tables"
    )]
    Unknown {
        /// What failed first.
        error: Box<DmErrorKind>,
        /// What failed then.
        revert: Box<DmErrorKind>,
    },
    /// The disks' queue broke: what was under way is lost.
    #[error("the queue of the disks broke: {0}; open them again")]
    Queue(#[source] io::Error),
    /// Undoing failed as well.
    #[error("{error}; and undoing it: {undo}; the devices named here need a look")]
    Undo {
        /// Why the change failed.
        error: Box<DmError>,
        /// Why undoing it failed.
        undo: Box<DmError>,
    },
}

/// What a disk did not do.
#[derive(Debug, thiserror::Error)]
#[error("{} {}: {error}", self.work(), self.path)]
pub struct DiskFailure {
    /// The disk, as it was named.
    pub path: String,
    /// What the system said.
    pub error: io::Error,
    what: What,
}

impl DiskFailure {
    pub(crate) fn new(path: String, what: What, error: io::Error) -> Self {
        Self { path, error, what }
    }

    fn work(&self) -> String {
        match self.what {
            What::Read { at, len } => format!("reading {len} bytes at byte {} of", at.get()),
            What::Write { at, len } => format!("writing {len} bytes at byte {} of", at.get()),
            What::Discard { at, len } => format!("discarding {len} bytes at byte {} of", at.get()),
            What::Flush => "flushing".to_owned(),
        }
    }
}

impl DmErrorKind {
    /// The disk that is to blame, where one is.
    pub fn disk_failure(&self) -> Option<&DiskFailure> {
        match self {
            Self::MergeStopped(failure) | Self::Disk(failure) => Some(failure),
            _ => None,
        }
    }
}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IoError {
    /// The disk or the engine said no.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// There is no such device, or it has no table.
    #[error("the device is not there")]
    NoDevice,
    /// The device's table is read-only.
    #[error("the device is read-only")]
    ReadOnly,
    /// Behind the device's end, or not a whole number of sectors.
    #[error("the range is not inside the device")]
    Range,
}
