//! Devices that are cut off from what they stood on, since it is somebody else's by now.
//!
//! What must hold:
//! - No disk is touched for it: what is held is not begun, no store is opened, no group is made anew. So all devices of an
//!   origin group are cut off at once; one after the other, the group would be made anew without the first.
//! - Who waits is answered with an error, flushes as well, and so is whoever comes later: until the device is removed.

use crate::error::{DmError, DmErrorKind, IoError};
use crate::group::GroupId;
use crate::mapped::{DeviceId, Route};
use crate::run::UserDm;
use crate::settle::Opened;
use foldback_device::Disks;
use foldback_dm_table::{DmName, Table, Target};
use foldback_engine::Fault;
use std::collections::BTreeSet;

impl<D: Disks> UserDm<D> {
    /// Gives these devices, and all that are in an origin group with one of them, an `error` table. Those that are not
    /// suspended are suspended first: what is under way ends.
    ///
    /// # Errors
    /// One of them does not exist, or cannot be suspended; none is cut off then.
    pub fn cut_off(&mut self, devices: &[DmName]) -> Result<(), DmError> {
        let mut chosen = BTreeSet::new();
        for name in devices {
            let found = self.find(name);
            chosen.insert(found.map_err(|kind| Self::failed("cutting off", &name.0, kind))?);
        }
        self.add_groups(&mut chosen);
        let names: Vec<DmName> =
            chosen.iter().filter_map(|id| self.devices.get(id)).map(|device| device.name.clone()).collect();
        for name in &names {
            self.suspend(name).map_err(|kind| Self::failed("cutting off", &name.0, kind))?;
        }
        let outcome = self.replace_all(&chosen);
        let whom = names.first().map_or("devices", |name| &name.0);
        outcome.map_err(|kind| Self::failed("cutting off", whom, kind))
    }

    /// Whether [`UserDm::cut_off`] did so to a device.
    pub fn is_cut_off(&self, device: &DmName) -> bool {
        let found = self.find(device).ok().and_then(|id| self.devices.get(&id));
        found.is_some_and(|device| device.cut_off)
    }

    fn add_groups(&self, chosen: &mut BTreeSet<DeviceId>) {
        let group = |id: &DeviceId| -> Option<GroupId> {
            match self.devices.get(id)?.route {
                Route::Group(group, _) => Some(group),
                _ => None,
            }
        };
        let groups: BTreeSet<GroupId> = chosen.iter().filter_map(group).collect();
        let is_in = |id: &&DeviceId| group(id).is_some_and(|group| groups.contains(&group));
        chosen.extend(self.devices.keys().filter(is_in));
    }

    /// All of them are suspended, so their groups are held and quiet.
    fn replace_all(&mut self, chosen: &BTreeSet<DeviceId>) -> Result<(), DmErrorKind> {
        for id in chosen {
            let Some(device) = self.devices.get_mut(id) else { continue };
            device.cut_off = true;
            device.inactive = None;
            if let Some(live) = &mut device.live {
                live.table = Table::of(live.table.len(), Target::Error);
            }
        }
        // Ends their groups; what these had taken and not begun is dispatched, and finds its device cut off.
        let outcome = self.settle(Opened::new());
        for id in chosen {
            let Some(device) = self.devices.get_mut(id) else { continue };
            device.suspended = false;
            for ticket in std::mem::take(&mut device.waiting) {
                self.answer(ticket, Err(IoError::Fault(Fault::Device)));
            }
        }
        outcome
    }
}
