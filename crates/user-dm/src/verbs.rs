//! The verbs, with the kernel's rules.
//!
//! What must hold:
//! - `load` fills the inactive slot and changes nothing that runs; the exception store is read then, as the kernel does,
//!   unless a live snapshot has it, on the same device or on another over the same sectors: then it is handed over on
//!   resume, unread.
//! - `resume` swaps; one that fails returns to the old table, running (K8). It also starts a failed merge again.
//! - `suspend` returns when nothing of the device is under way.
//! - `remove` is refused while a table, live or not, names the device, or while it is open.
//! - `rename` changes a name and nothing else; tables of others go on naming the same device, as in the kernel.

use crate::error::{DmError, DmErrorKind};
use crate::mapped::{DeviceId, Inactive, Live, Lower, Mapped, Route, whole_target};
use crate::run::UserDm;
use crate::settle::Opened;
use foldback_device::Disks;
use foldback_dm_table::{DeviceRef, DmName, SnapshotParams, Table, Target, Verb};
use foldback_engine::{OpenedStore, StoreId, Volume};

impl<D: Disks> UserDm<D> {
    pub(crate) fn carry_out(&mut self, verb: &Verb) -> Result<(), DmError> {
        let (what, name, outcome) = match verb {
            Verb::Create { name, uuid, .. } => ("creating", name, self.create(name, uuid)),
            Verb::Load { name, table, read_only } => {
                ("loading a table into", name, self.load(name, table, *read_only))
            }
            // A file system is frozen by whoever serves the device, before the transaction.
            Verb::Suspend { name, lockfs: _ } => ("suspending", name, self.suspend(name)),
            Verb::Resume { name } => ("resuming", name, self.resume(name)),
            Verb::Clear { name } => ("clearing the inactive table of", name, self.clear(name)),
            Verb::Remove { name } => ("removing", name, self.remove(name)),
            Verb::Rename { name, new } => ("renaming", name, self.rename(name, new)),
        };
        outcome.map_err(|kind| Self::failed(what, &name.0, kind))
    }

    pub(crate) fn find(&self, name: &DmName) -> Result<DeviceId, DmErrorKind> {
        self.number(name).ok_or(DmErrorKind::Missing)
    }

    fn create(&mut self, name: &DmName, uuid: &str) -> Result<(), DmErrorKind> {
        let taken = |device: &Mapped| device.name == *name || (!uuid.is_empty() && device.uuid == uuid);
        if self.devices.values().any(taken) {
            return Err(DmErrorKind::Exists);
        }
        let id = DeviceId(self.next_device);
        self.next_device = self.next_device.saturating_add(1);
        drop(self.devices.insert(id, Mapped::new(name.clone(), uuid.to_owned())));
        Ok(())
    }

    fn load(&mut self, name: &DmName, table: &Table, read_only: bool) -> Result<(), DmErrorKind> {
        let id = self.find(name)?;
        self.names().check(id, table)?;
        let opened = match whole_target(table) {
            Some(Target::Snapshot(params) | Target::SnapshotMerge(params)) => self.open_for(params, table)?,
            _ => None,
        };
        let live = Live { table: table.clone(), read_only };
        if let Some(device) = self.devices.get_mut(&id) {
            device.inactive = Some(Inactive { live, opened });
        }
        Ok(())
    }

    /// Opens the store that a table names, unless it is open already.
    fn open_for(
        &mut self,
        params: &SnapshotParams,
        table: &Table,
    ) -> Result<Option<(StoreId, OpenedStore)>, DmErrorKind> {
        let cow = self.names().lower(&params.cow);
        let origin = self.names().lower(&params.origin);
        if cow == origin {
            return Err(DmErrorKind::Cycle(1));
        }
        let (_, map, geometry) = self.space(&params.cow)?;
        let mut live = self.groups.values().flat_map(|group| group.stores.values());
        if live.any(|store| store.map == map) {
            return Ok(None);
        }
        self.open_store(&map, &geometry, table.len(), params.chunk_size).map(Some)
    }

    pub(crate) fn suspend(&mut self, name: &DmName) -> Result<(), DmErrorKind> {
        let id = self.find(name)?;
        let was = self.devices.get(&id).is_some_and(|device| device.suspended);
        self.set_suspended(id, true);
        // A request that has come to wait for room meanwhile holds the group.
        let outcome =
            self.hold_and_release().and_then(|()| self.wait_for(id)).and_then(|()| self.hold_and_release());
        if outcome.is_err() {
            // Not reached quiet: as it was before.
            self.set_suspended(id, was);
        }
        outcome
    }

    fn set_suspended(&mut self, id: DeviceId, suspended: bool) {
        if let Some(device) = self.devices.get_mut(&id) {
            device.suspended = suspended;
        }
    }

    /// Runs until nothing passes through the device; what a held group has taken and not begun does not count.
    fn wait_for(&mut self, id: DeviceId) -> Result<(), DmErrorKind> {
        loop {
            let busy = self.devices.iter().any(|(other, device)| {
                let through = *other == id || device.below.contains(&id);
                let held = match &device.route {
                    Route::Group(group, _) => self.groups.get(group).is_some_and(|group| group.held),
                    _ => false,
                };
                through && !held && device.under_way > self.parked_requests(*other, device)
            });
            if !busy {
                return Ok(());
            }
            if !self.step(true).map_err(|error| error.kind)? {
                return Err(DmErrorKind::Suspended);
            }
        }
    }

    pub(crate) fn resume(&mut self, name: &DmName) -> Result<(), DmErrorKind> {
        let id = self.find(name)?;
        let inactive = self.devices.get_mut(&id).and_then(|device| device.inactive.take());
        let outcome = if let Some(inactive) = inactive {
            self.swap(id, name, inactive)
        } else {
            self.set_suspended(id, false);
            self.settle(Opened::new())
        };
        self.retry_merge(id);
        self.wake();
        outcome
    }

    /// A resume starts a failed merge again, as in the kernel.
    fn retry_merge(&mut self, id: DeviceId) {
        let Some(device) = self.devices.get(&id) else { return };
        if let Route::Group(group, Volume::Origin) = device.route
            && device.live_merge().is_some()
            && let Some(group) = self.groups.get_mut(&group)
            && group.engine.merge_progress().is_some_and(|progress| progress.failed)
        {
            group.engine.retry_merge();
        }
    }

    /// Makes a table live; the old one again where that fails (K8).
    fn swap(&mut self, id: DeviceId, name: &DmName, inactive: Inactive) -> Result<(), DmErrorKind> {
        let Inactive { live, opened } = inactive;
        let ready = self.handover_ready(id, &live.table).and_then(|()| self.suspend(name));
        if let Err(kind) = ready {
            self.set_suspended(id, false);
            self.settle(Opened::new())?;
            return Err(kind);
        }
        let mut stores = Opened::new();
        if let (Some(store), Some(cow)) = (opened, self.cow_of(&live.table)) {
            drop(stores.insert(cow, store));
        }
        let old = self.replace_live(id, Some(live));
        self.set_suspended(id, false);
        let Err(kind) = self.settle(stores) else { return Ok(()) };
        drop(self.replace_live(id, old));
        match self.settle(Opened::new()) {
            Ok(()) => Err(kind),
            Err(undo) => Err(DmErrorKind::Undo {
                error: Box::new(Self::failed("resuming", &name.0, kind)),
                undo: Box::new(Self::failed("returning to the old table of", &name.0, undo)),
            }),
        }
    }

    fn replace_live(&mut self, id: DeviceId, live: Option<Live>) -> Option<Live> {
        let device = self.devices.get_mut(&id)?;
        std::mem::replace(&mut device.live, live)
    }

    fn cow_of(&self, table: &Table) -> Option<Lower> {
        match whole_target(table)? {
            Target::Snapshot(params) | Target::SnapshotMerge(params) => self.names().lower(&params.cow),
            _ => None,
        }
    }

    /// A store that another device's live snapshot has is handed over only when that device is suspended.
    fn handover_ready(&self, id: DeviceId, table: &Table) -> Result<(), DmErrorKind> {
        let Some(cow) = self.cow_of(table) else { return Ok(()) };
        let map = self.names().map_of(cow)?;
        let mut live = self.groups.values().flat_map(|group| group.stores.values());
        let Some(cow) = live.find(|store| store.map == map).map(|store| store.cow) else { return Ok(()) };
        let source = self.devices.iter().find(|(other, device)| {
            let has = device.live_snapshot().or_else(|| device.live_merge());
            **other != id && has.and_then(|params| self.names().lower(&params.cow)) == Some(cow)
        });
        match source {
            Some((_, device)) if !device.suspended => Err(DmErrorKind::Handover(device.name.clone())),
            _ => Ok(()),
        }
    }

    fn clear(&mut self, name: &DmName) -> Result<(), DmErrorKind> {
        let id = self.find(name)?;
        if let Some(device) = self.devices.get_mut(&id) {
            device.inactive = None;
        }
        Ok(())
    }

    fn remove(&mut self, name: &DmName) -> Result<(), DmErrorKind> {
        let id = self.find(name)?;
        if let Some(user) = self.names().user_of(id) {
            return Err(DmErrorKind::Used(user.clone()));
        }
        if self.devices.get(&id).is_some_and(|device| device.opens > 0) {
            return Err(DmErrorKind::Open);
        }
        self.suspend(name)?;
        self.pacing.remove(&Lower::Mapped(id));
        self.when_full.remove(&Lower::Mapped(id));
        let Some(removed) = self.devices.remove(&id) else { return Ok(()) };
        let outcome = self.settle(Opened::new());
        for ticket in removed.waiting {
            self.dispatch(ticket);
        }
        outcome
    }

    /// Nothing that runs changes: groups and maps know devices by number. Only the tables name them.
    fn rename(&mut self, name: &DmName, new: &DmName) -> Result<(), DmErrorKind> {
        let id = self.find(name)?;
        if self.devices.values().any(|device| device.name == *new) {
            return Err(DmErrorKind::Exists);
        }
        for device in self.devices.values_mut() {
            for reference in device.tables_mut().flat_map(Table::devices_mut) {
                let plain = reference.0.strip_prefix("/dev/mapper/").unwrap_or(&reference.0);
                if plain == name.0 {
                    *reference = DeviceRef(new.0.clone());
                }
            }
        }
        if let Some(device) = self.devices.get_mut(&id) {
            device.name = new.clone();
        }
        Ok(())
    }

    /// Counts a user of the device: while there is one, `remove` is refused. A rename changes nothing of that.
    ///
    /// # Errors
    /// There is no such device, or it has no live table.
    pub fn open(&mut self, number: DeviceId) -> Result<(), DmError> {
        let Some(device) = self.devices.get_mut(&number) else {
            return Err(Self::failed("opening", &format!("device {}", number.0), DmErrorKind::Missing));
        };
        if device.live.is_none() {
            return Err(Self::failed("opening", &device.name.0, DmErrorKind::NoTable));
        }
        device.opens = device.opens.saturating_add(1);
        Ok(())
    }

    /// The end of [`UserDm::open`]; nothing where the device is gone.
    pub fn close(&mut self, number: DeviceId) {
        if let Some(device) = self.devices.get_mut(&number) {
            device.opens = device.opens.saturating_sub(1);
        }
    }
}
