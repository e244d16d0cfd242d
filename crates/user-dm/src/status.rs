//! What is known of mapped devices: lists, tables, status lines.
//!
//! What must hold:
//! - The texts are the kernel's (dm-snapshot.md 1.8).
//! - `Invalid` and a handed-over store are told as the kernel tells them, and raise the event counter once.

use crate::error::{DmError, DmErrorKind};
use crate::mapped::{Mapped, Route};
use crate::resolve::needs;
use crate::run::UserDm;
use foldback_device::Disks;
use foldback_dm_table::{
    DeviceMapper, DmName, Info, Line, SnapshotStatus, Stage, Table, Target, TargetStatus, Transaction, Verb,
};
use foldback_engine::{StoreStatus, Volume};

impl<D: Disks> DeviceMapper for UserDm<D> {
    type Error = DmError;

    fn apply(&mut self, verb: &Verb) -> Result<(), DmError> {
        self.carry_out(verb)
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, DmError)> {
        self.carry_out_transaction(transaction)
    }

    fn list(&mut self) -> Result<Vec<Info>, DmError> {
        Ok(self
            .devices
            .iter()
            .map(|(id, device)| {
                let users = self.names().users_of(*id).count();
                Info {
                    name: device.name.clone(),
                    uuid: device.uuid.clone(),
                    suspended: device.suspended,
                    live: device.live.is_some(),
                    inactive: device.inactive.is_some(),
                    open_count: device.opens.saturating_add(u32::try_from(users).unwrap_or(u32::MAX)),
                    event: u32::from(self.snapshot_status(device) == Some(SnapshotStatus::Invalid)),
                }
            })
            .collect())
    }

    fn table(&mut self, name: &DmName) -> Result<Option<Table>, DmError> {
        let device = self.known("reading the table of", name)?;
        Ok(device.live.as_ref().map(|live| live.table.clone()))
    }

    fn status(&mut self, name: &DmName) -> Result<Vec<String>, DmError> {
        let device = self.known("reading the status of", name)?;
        let Some(live) = &device.live else { return Ok(Vec::new()) };
        Ok(live.table.lines.iter().map(|line| self.line_status(device, line).to_string()).collect())
    }
}

impl<D: Disks> UserDm<D> {
    pub(crate) fn known(&self, verb: &'static str, name: &DmName) -> Result<&Mapped, DmError> {
        let device = self.find(name).ok().and_then(|id| self.devices.get(&id));
        device.ok_or_else(|| Self::failed(verb, &name.0, DmErrorKind::Missing))
    }

    fn line_status(&self, device: &Mapped, line: &Line) -> TargetStatus {
        match &line.target {
            Target::Snapshot(_) | Target::SnapshotMerge(_) => {
                TargetStatus::Snapshot(self.snapshot_status(device).unwrap_or(SnapshotStatus::Unknown))
            }
            Target::Striped { .. } => TargetStatus::Striped(
                needs(line).into_iter().map(|(device, _)| (device.clone(), true)).collect(),
            ),
            _ => TargetStatus::Nothing,
        }
    }

    /// The state of the store behind a device, `None` where it has none.
    fn snapshot_status(&self, device: &Mapped) -> Option<SnapshotStatus> {
        if matches!(device.route, Route::Stale) {
            return Some(SnapshotStatus::Invalid);
        }
        let Route::Group(id, volume) = device.route else { return None };
        let group = self.groups.get(&id)?;
        let store = match volume {
            Volume::Snapshot(store) => store,
            Volume::Origin if device.live_merge().is_some() => group.merging()?.0,
            Volume::Origin => return None,
        };
        Some(match group.engine.store_status(store)? {
            StoreStatus::Valid { allocated, total, metadata } => {
                SnapshotStatus::Usage { allocated, total, metadata }
            }
            StoreStatus::Invalid => SnapshotStatus::Invalid,
            StoreStatus::MergeFailed => SnapshotStatus::MergeFailed,
            StoreStatus::Overflow => SnapshotStatus::Overflow,
        })
    }
}
