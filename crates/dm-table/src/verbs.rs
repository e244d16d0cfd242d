//! The verbs of device-mapper, and the transaction that a change of a VG hands to whoever owns the devices.
//!
//! What must hold (architecture.md, "One transaction, one owner"):
//! - A transaction is carried out whole: while no header is written it can be taken back (old tables are resumed,
//!   written headers reverted); once one is written it is finished forward.
//! - To the executor a header is bytes at a place; it knows no VG.

use crate::{DeviceRef, Table};
use foldback_units::Bytes;
use std::error::Error;
use std::fmt;

/// The name of a mapped device, such as `vg-root-real`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DmName(pub String);

impl fmt::Display for DmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One change of one mapped device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Make the device, without a table.
    Create {
        /// Its name.
        name: DmName,
        /// Its UUID, `LVM-...`.
        uuid: String,
        /// The minor number that it is to have; in user space devices have none.
        minor: Option<u32>,
    },
    /// Put a table into the inactive slot.
    Load {
        /// Which device.
        name: DmName,
        /// The table.
        table: Table,
        /// Whether writes to the device are refused.
        read_only: bool,
    },
    /// Hold requests and wait until those under way are done and durable state is consistent.
    Suspend {
        /// Which device.
        name: DmName,
        /// Freeze a mounted file system first.
        lockfs: bool,
    },
    /// Make the inactive table live (if there is one) and let requests go on.
    Resume {
        /// Which device.
        name: DmName,
    },
    /// Drop the inactive table.
    Clear {
        /// Which device.
        name: DmName,
    },
    /// Remove the device; refused while it is used by another or open.
    Remove {
        /// Which device.
        name: DmName,
    },
    /// Give the device another name. It may be open and in use: its UUID stays, and so does what tables of other devices
    /// refer to.
    Rename {
        /// Which device.
        name: DmName,
        /// Its name from now on.
        new: DmName,
    },
}

impl Verb {
    /// The device that it is about.
    pub fn name(&self) -> &DmName {
        match self {
            Self::Create { name, .. }
            | Self::Load { name, .. }
            | Self::Suspend { name, .. }
            | Self::Resume { name }
            | Self::Clear { name }
            | Self::Rename { name, .. }
            | Self::Remove { name } => name,
        }
    }
}

/// 512 bytes of a metadata area's header, and what takes them back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderWrite {
    /// The PV.
    pub pv: DeviceRef,
    /// Where the header lies on it.
    pub offset: Bytes,
    /// The bytes to write: the commit.
    pub commit: Box<[u8; 512]>,
    /// The bytes that revert to the state before the precommit.
    pub revert: Box<[u8; 512]>,
}

/// A change of a VG and of its live devices, in the order of lvm2.md 2.4.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transaction {
    /// Creations and loads that change nothing live.
    pub preload: Vec<Verb>,
    /// Top-down.
    pub suspend: Vec<Verb>,
    /// The commit point: the first of these that reaches its disk.
    pub headers: Vec<HeaderWrite>,
    /// Bottom-up, by activation priority.
    pub resume: Vec<Verb>,
    /// What is left over.
    pub clean: Vec<Verb>,
}

/// The stage in which a transaction failed. From [`Stage::Resume`] on the change is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing had changed; nothing has.
    Preload,
    /// Suspended devices were resumed with their old tables.
    Suspend,
    /// No header could be written: reverted, old tables resumed.
    Commit,
    /// Committed, but a device did not come back; the error says which.
    Resume,
    /// Committed and running; something is left over.
    Clean,
}

/// What is known of a mapped device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Info {
    /// Its name.
    pub name: DmName,
    /// Its UUID.
    pub uuid: String,
    /// Whether requests are held.
    pub suspended: bool,
    /// Whether a table is live.
    pub live: bool,
    /// Whether a table waits in the inactive slot.
    pub inactive: bool,
    /// How many users it has, tables of other devices included.
    pub open_count: u32,
    /// How many events it has raised.
    pub event: u32,
}

/// An executor of verbs: `user-dm`, or the kernel.
pub trait DeviceMapper {
    /// What can go wrong; names the device and the verb.
    type Error: Error + 'static;

    /// Carries out one verb.
    fn apply(&mut self, verb: &Verb) -> Result<(), Self::Error>;

    /// Carries out a whole transaction, or takes it back; see [`Stage`] for what an error leaves.
    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, Self::Error)>;

    /// Every device.
    fn list(&mut self) -> Result<Vec<Info>, Self::Error>;

    /// The live table, `None` where there is none.
    fn table(&mut self, name: &DmName) -> Result<Option<Table>, Self::Error>;

    /// The status text of each line of the live table, as the kernel writes it (dm-snapshot.md 1.8).
    fn status(&mut self, name: &DmName) -> Result<Vec<String>, Self::Error>;
}
