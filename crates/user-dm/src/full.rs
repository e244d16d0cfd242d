//! Exception stores that are full: what is to become of them, who waits, and growing them in place.
//!
//! What must hold (docs/decisions/0001-engine.md, "A store that is full"):
//! - What was chosen for a store holds as long as its device is there, whatever becomes of its group or its tables.
//! - A store whose device has a longer table grows where it is: its group is not made anew, its merge goes on.
//! - A request that waits for room passes through no device: a suspend does not wait for it, and while its device is
//!   suspended it is not released.

use crate::error::{DmError, DmErrorKind};
use crate::group::{Attached, GroupId, OriginGroup};
use crate::mapped::{DeviceId, Lower, Mapped, Route, whole_target};
use crate::requests::Ticket;
use crate::run::UserDm;
use crate::wanted::WantedGroup;
use foldback_device::Disks;
use foldback_dm_table::{DmName, Table, Target};
use foldback_engine::{ConfigError, RequestId, StoreId, WhenFull};
use std::rc::Rc;

/// A store that is full and held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FullStore {
    /// The request that found it so first; `None` where a merge did.
    pub first: Option<Ticket>,
    /// Parts of requests, and a merge, that wait.
    pub waiting: usize,
}

impl<D: Disks> UserDm<D> {
    /// What becomes of snapshots for which nothing else is chosen, to be said before the first of them is made: without it
    /// they are invalidated.
    pub fn otherwise_when_full(&mut self, when_full: WhenFull) {
        self.otherwise_when_full = when_full;
    }

    /// What becomes of the snapshot `device` when its store has no room for an exception; it is invalidated unless this
    /// says otherwise. Whoever waits when that is chosen goes on without the snapshot.
    ///
    /// # Errors
    /// The device has no table of a snapshot.
    pub fn set_when_full(&mut self, device: &DmName, when_full: WhenFull) -> Result<(), DmError> {
        let failed = |kind| Self::failed("choosing what becomes, when it is full, of", &device.0, kind);
        let id = self.find(device).map_err(failed)?;
        let cow = self.devices.get(&id).and_then(|found| self.cow_of_device(found));
        let cow = cow.ok_or_else(|| failed(DmErrorKind::NoSnapshot))?;
        self.when_full.insert(cow, when_full);
        for group in self.groups.values_mut() {
            if let Some(store) = group.store_on(cow) {
                group.engine.set_when_full(store, when_full).map_err(|error| failed(error.into()))?;
            }
        }
        Ok(())
    }

    /// Who waits for room in the store of the snapshot `device`; `None` where nobody does. The caller has the clock: it has
    /// the store extended, or gives it up.
    pub fn full_store(&self, device: &DmName) -> Option<FullStore> {
        let (group, store) = self.store_of(device)?;
        let full = self.groups.get(&group)?.engine.full_store(store)?;
        let ticket = |request: RequestId| Ticket(request.0);
        Some(FullStore { first: full.first.map(ticket), waiting: full.waiting })
    }

    /// The snapshots in whose stores somebody waits for room.
    pub fn full_stores(&self) -> Vec<DmName> {
        let full = |group: &OriginGroup| -> Vec<Lower> {
            let waits = |(id, _): &(&StoreId, &Attached)| group.engine.full_store(**id).is_some();
            group.stores.iter().filter(waits).map(|(_, attached)| attached.cow).collect()
        };
        let full: Vec<Lower> = self.groups.values().flat_map(full).collect();
        if full.is_empty() {
            return Vec::new();
        }
        let is_full = |device: &&Mapped| {
            let cow = device.live_snapshot().and_then(|params| self.names().lower(&params.cow));
            cow.is_some_and(|cow| full.contains(&cow))
        };
        self.devices.values().filter(is_full).map(|device| device.name.clone()).collect()
    }

    /// Gives up the snapshot `device`: it is invalid, and when its store says so durably, whoever waits for room goes on.
    ///
    /// # Errors
    /// The device has no store, or it merges.
    pub fn give_up(&mut self, device: &DmName) -> Result<(), DmError> {
        let failed = |kind| Self::failed("giving up", &device.0, kind);
        let found = self.store_of(device);
        let Some((group, store)) = found.and_then(|(id, store)| Some((self.groups.get_mut(&id)?, store)))
        else {
            return Err(failed(DmErrorKind::NoSnapshot));
        };
        group.engine.give_up(store).map_err(|error| failed(error.into()))
    }

    /// Why nothing moves any more: somebody waits for room, or for a device that is suspended.
    pub(crate) fn standstill(&self) -> DmErrorKind {
        let full = |group: &OriginGroup| group.stores.keys().any(|id| group.engine.full_store(*id).is_some());
        if self.groups.values().any(full) { DmErrorKind::Full } else { DmErrorKind::Suspended }
    }

    /// How many requests to a device wait for room.
    pub(crate) fn parked_requests(&self, id: DeviceId, device: &Mapped) -> u64 {
        let Route::Group(group, _) = device.route else { return 0 };
        let Some(group) = self.groups.get(&group) else { return 0 };
        let parked = self.requests.iter().filter(|(ticket, pending)| {
            pending.device == id && pending.begun && group.engine.is_parked(RequestId(**ticket))
        });
        u64::try_from(parked.count()).unwrap_or(u64::MAX)
    }

    /// Stores whose devices are longer than they were.
    pub(crate) fn grow_stores(&mut self, id: GroupId, wanted: &WantedGroup) -> Result<(), DmErrorKind> {
        let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
        for (store, attached) in &mut group.stores {
            let Some(wanted) = wanted.stores.get(&attached.cow) else { continue };
            if wanted.geometry.size <= attached.geometry.size {
                continue;
            }
            match group.engine.grow_store(*store, wanted.geometry.clone()) {
                Ok(()) => {
                    attached.geometry = wanted.geometry.clone();
                    attached.map = Rc::clone(&wanted.map);
                }
                // On other disks, or in other blocks: the group is made anew.
                Err(ConfigError::NotGrown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What was chosen for the store on `cow`.
    pub(crate) fn when_full_of(&self, cow: Lower) -> WhenFull {
        self.when_full.get(&cow).copied().unwrap_or(self.otherwise_when_full)
    }

    fn store_of(&self, device: &DmName) -> Option<(GroupId, StoreId)> {
        let cow = self.cow_of_device(self.devices.get(&self.find(device).ok()?)?)?;
        self.groups.iter().find_map(|(id, group)| Some((*id, group.store_on(cow)?)))
    }

    /// The store that a device's tables name, the live one first.
    fn cow_of_device(&self, device: &Mapped) -> Option<Lower> {
        let cow = |table: &Table| match whole_target(table) {
            Some(Target::Snapshot(params) | Target::SnapshotMerge(params)) => self.names().lower(&params.cow),
            _ => None,
        };
        device.tables().find_map(cow)
    }
}
