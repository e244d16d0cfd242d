//! A group as a list of devices with the tables they are to have: what two states of a group are compared by.
//!
//! What must hold:
//! - Devices are found again by UUID. Names may change while a volume is in use, and a name may go to another device.
//! - The order is that of resuming (lvm2.md 2.4, trap 10): `-real`, stores, snapshots, the origin, the error device of a
//!   merging snapshot.

use crate::activation::group::{Group, GroupSnapshot};
use crate::activation::tables::Device;
use foldback_dm_table::{Table, Target};

/// What a device is in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// The origin's own extents.
    Real,
    /// A store's own extents.
    Cow,
    /// What users open as a snapshot.
    Snapshot,
    /// What users open as the origin, or as an LV that stands alone.
    Origin,
    /// The error device of a merging snapshot.
    Merging,
}

impl Role {
    /// Whether users open it, and no other table names it but a snapshot's of a merged view.
    pub(crate) fn is_top(self) -> bool {
        !matches!(self, Self::Real | Self::Cow)
    }
}

/// A device, and the table it is to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub(crate) device: Device,
    pub(crate) role: Role,
    pub(crate) table: Table,
    pub(crate) read_only: bool,
}

impl Placed {
    /// The same device with nothing behind it.
    pub(crate) fn error_table(&self) -> Table {
        Table::of(self.table.len(), Target::Error)
    }

    /// Whether it has nothing behind it already.
    pub(crate) fn is_error(&self) -> bool {
        self.table == self.error_table()
    }
}

impl Group {
    /// Every device of the group, in the order of resuming.
    pub(crate) fn placed(&self) -> Vec<Placed> {
        let mut placed = Vec::new();
        if !self.snapshots.is_empty() {
            placed.push(self.placed_real());
        }
        placed.extend(self.snapshots.iter().map(placed_cow));
        placed.extend(self.live_snapshots().map(|snapshot| self.placed_top(snapshot)));
        placed.push(self.placed_origin());
        placed.extend(self.merging().map(|snapshot| self.placed_top(snapshot)));
        placed
    }

    /// Every device of the group, in the order in which tables can be loaded: each after those that it names.
    pub(crate) fn placed_for_loading(&self) -> Vec<Placed> {
        let mut placed = Vec::new();
        if !self.snapshots.is_empty() {
            placed.push(self.placed_real());
        }
        placed.push(self.placed_origin());
        for snapshot in &self.snapshots {
            placed.push(placed_cow(snapshot));
            placed.push(self.placed_top(snapshot));
        }
        placed
    }

    fn placed_real(&self) -> Placed {
        Placed {
            device: self.origin.real.clone(),
            role: Role::Real,
            table: self.origin.table.clone(),
            read_only: self.real_read_only(),
        }
    }

    fn placed_origin(&self) -> Placed {
        Placed {
            device: self.origin.top.clone(),
            role: Role::Origin,
            table: self.origin_table(),
            read_only: self.origin.read_only,
        }
    }

    fn placed_top(&self, snapshot: &GroupSnapshot) -> Placed {
        Placed {
            device: snapshot.top.clone(),
            role: if snapshot.merging { Role::Merging } else { Role::Snapshot },
            table: self.snapshot_table(snapshot),
            read_only: snapshot.read_only,
        }
    }
}

/// A store takes copies also where users may not write the snapshot.
fn placed_cow(snapshot: &GroupSnapshot) -> Placed {
    Placed {
        device: snapshot.cow.clone(),
        role: Role::Cow,
        table: snapshot.cow_table.clone(),
        read_only: false,
    }
}
