//! A mapped device: its tables, its state, and where its requests go.
//!
//! What must hold:
//! - A table in a slot was checked when it was loaded.
//! - `route` and `below` follow from the live tables of this device and of those under it; they are found anew after
//!   every change (`settle.rs`).

use crate::counts::RequestCounts;
use crate::group::GroupId;
use crate::map::Map;
use foldback_device::DiskId;
use foldback_dm_table::{DmName, SnapshotParams, Table, Target};
use foldback_engine::{OpenedStore, StoreId, Volume};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// A mapped device's number; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeviceId(pub(crate) u32);

/// What a table can stand on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lower {
    Disk(DiskId),
    Mapped(DeviceId),
}

/// A table in the live slot.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) table: Table,
    pub(crate) read_only: bool,
}

/// A table in the inactive slot, and the store that was opened for it.
#[derive(Debug)]
pub(crate) struct Inactive {
    pub(crate) live: Live,
    pub(crate) opened: Option<(StoreId, OpenedStore)>,
}

/// Where a device's requests go.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// Nowhere: no live table.
    Nowhere,
    /// Straight to disks.
    Plain(Rc<Map>),
    /// To an engine.
    Group(GroupId, Volume),
    /// The store was handed over to another device: everything fails.
    Stale,
}

#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) name: DmName,
    pub(crate) uuid: String,
    pub(crate) live: Option<Live>,
    pub(crate) inactive: Option<Inactive>,
    pub(crate) suspended: bool,
    /// What it stood on is somebody else's by now: everything fails.
    pub(crate) cut_off: bool,
    pub(crate) opens: u32,
    pub(crate) route: Route,
    /// Every mapped device that its requests pass through.
    pub(crate) below: BTreeSet<DeviceId>,
    /// Requests that were given to disks or to an engine.
    pub(crate) under_way: u64,
    /// Requests that wait for a resume.
    pub(crate) waiting: VecDeque<u64>,
    pub(crate) counts: RequestCounts,
}

impl Mapped {
    pub(crate) fn new(name: DmName, uuid: String) -> Self {
        Self {
            name,
            uuid,
            live: None,
            inactive: None,
            suspended: false,
            cut_off: false,
            opens: 0,
            route: Route::Nowhere,
            below: BTreeSet::new(),
            under_way: 0,
            waiting: VecDeque::new(),
            counts: RequestCounts::default(),
        }
    }

    /// Its tables, the live one first.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        let live = self.live.as_ref().map(|live| &live.table);
        live.into_iter().chain(self.inactive.as_ref().map(|inactive| &inactive.live.table))
    }

    /// The same, to change them.
    pub(crate) fn tables_mut(&mut self) -> impl Iterator<Item = &mut Table> {
        let live = self.live.as_mut().map(|live| &mut live.table);
        live.into_iter().chain(self.inactive.as_mut().map(|inactive| &mut inactive.live.table))
    }

    /// The snapshot target of its live table.
    pub(crate) fn live_snapshot(&self) -> Option<&SnapshotParams> {
        match whole_target(&self.live.as_ref()?.table)? {
            Target::Snapshot(params) => Some(params),
            _ => None,
        }
    }

    /// The merge target of its live table.
    pub(crate) fn live_merge(&self) -> Option<&SnapshotParams> {
        match whole_target(&self.live.as_ref()?.table)? {
            Target::SnapshotMerge(params) => Some(params),
            _ => None,
        }
    }
}

/// The target of a table of one line.
pub(crate) fn whole_target(table: &Table) -> Option<&Target> {
    match table.lines.as_slice() {
        [line] => Some(&line.target),
        _ => None,
    }
}

/// Whether a target makes its device a member of an origin group.
pub(crate) fn is_group_target(target: &Target) -> bool {
    matches!(target, Target::SnapshotOrigin { .. } | Target::Snapshot(_) | Target::SnapshotMerge(_))
}
