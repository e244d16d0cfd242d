//! What is held, and where each device's requests go.
//!
//! What must hold:
//! - A route follows from live tables and running groups alone.
//! - A suspended origin holds its group, merge included; a suspended device under a group holds all of it; a suspended
//!   snapshot holds only its own requests.

use crate::error::{DmError, DmErrorKind};
use crate::group::{GroupId, OriginGroup};
use crate::mapped::{DeviceId, Mapped, Route, is_group_target, whole_target};
use crate::run::UserDm;
use foldback_device::Disks;
use foldback_dm_table::{DeviceRef, SnapshotParams, Target};
use foldback_engine::Volume;

impl<D: Disks> UserDm<D> {
    /// Holds the groups that stand on something suspended, releases the others.
    pub(crate) fn hold_and_release(&mut self) -> Result<(), DmErrorKind> {
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            if self.must_hold(id) {
                self.hold_until_quiet(id)?;
            } else if let Some(group) = self.groups.get_mut(&id)
                && group.held
            {
                group.engine.release();
                group.held = false;
            }
        }
        Ok(())
    }

    /// A suspended origin stops its merge; a suspended device under the group stops all of it. A suspended snapshot
    /// stops only its own requests.
    fn must_hold(&self, id: GroupId) -> bool {
        self.devices.values().any(|device| match device.route {
            Route::Group(group, volume) if group == id => {
                let suspended = |below| self.devices.get(below).is_some_and(|lower| lower.suspended);
                (device.suspended && volume == Volume::Origin) || device.below.iter().any(suspended)
            }
            _ => false,
        })
    }

    /// Finds where each device's requests go, and what they pass through. A device whose table cannot be carried (any more)
    /// leads nowhere and is an error.
    pub(crate) fn find_routes(&mut self) -> Result<(), DmErrorKind> {
        let ids: Vec<DeviceId> = self.devices.keys().copied().collect();
        let mut outcome = Ok(());
        for id in ids {
            let Some(device) = self.devices.get(&id) else { continue };
            let route = self.route_of(device).unwrap_or_else(|error| {
                outcome = Err(error);
                Route::Nowhere
            });
            let below = device.live.as_ref().map(|live| self.names().below(&live.table));
            if let Some(device) = self.devices.get_mut(&id) {
                device.route = route;
                device.below = below.unwrap_or_default();
            }
        }
        outcome
    }

    fn route_of(&self, device: &Mapped) -> Result<Route, DmErrorKind> {
        let Some(live) = &device.live else { return Ok(Route::Nowhere) };
        let group_target = whole_target(&live.table).filter(|target| is_group_target(target));
        Ok(match group_target {
            None => Route::Plain(self.names().map_of_table(&live.table, 0)?),
            Some(Target::Snapshot(params)) => self.snapshot_route(params),
            Some(Target::SnapshotOrigin { origin }) => self.origin_route(origin),
            Some(Target::SnapshotMerge(params)) => self.origin_route(&params.origin),
            Some(_) => Route::Nowhere,
        })
    }

    fn origin_route(&self, origin: &DeviceRef) -> Route {
        self.group_on(origin).map_or(Route::Nowhere, |(id, _)| Route::Group(id, Volume::Origin))
    }

    /// A snapshot whose store merges has none any more.
    fn snapshot_route(&self, params: &SnapshotParams) -> Route {
        let (origin, _) = self.names().base_of(&params.origin);
        let Some((id, group)) = self.group_on(origin) else { return Route::Nowhere };
        let store = self.names().lower(&params.cow).and_then(|cow| group.store_on(cow));
        match store.and_then(|store| Some((store, group.stores.get(&store)?))) {
            Some((store, attached)) if !attached.merging => Route::Group(id, Volume::Snapshot(store)),
            _ => Route::Stale,
        }
    }

    /// The group of an origin device.
    pub(crate) fn group_on(&self, origin: &DeviceRef) -> Option<(GroupId, &OriginGroup)> {
        let lower = self.names().lower(origin)?;
        self.groups.iter().find(|(_, group)| group.origin == lower).map(|(id, group)| (*id, group))
    }

    pub(crate) fn failed(verb: &'static str, device: &str, kind: DmErrorKind) -> DmError {
        DmError { verb, device: device.to_owned(), kind }
    }
}
