//! Extending stores before they are full, as LVM2's dmeventd does it (lvm2.md 3.5).
//!
//! What must hold:
//! - Only where LVM2's `snapshot_autoextend_threshold` is below 100, and by its percentage; a merging store never grows.
//! - One that could not be extended is said once, and tried again when it has filled further.

use super::{ChangeError, GroundError, Vg, locked};
use crate::vg::LvStatus;
use foldback_dm_table::SnapshotStatus;
use foldback_manager::activation::{ActivationError, Group, extend};
use foldback_manager::environment::Machine;
use foldback_manager::host::LockVgError;
use foldback_manager::ops::extend::{Amount, Extension, Situation, plan};
use foldback_manager::ops::{PercentOf, Refusal, SizeRequest};
use foldback_manager::store::{CommitError, DiskSet, SelectError, select, stage};
use foldback_units::{LvmUuid, Sectors};
use std::collections::BTreeMap;

/// Stores that could not be extended, and how full they were then.
pub(crate) type Refused = BTreeMap<[u8; 32], Sectors>;

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Ground(#[from] GroundError),
    #[error(transparent)]
    Lock(#[from] LockVgError),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Group(#[from] ActivationError),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// How full a store is, unless it merges.
fn usage(lv: &LvStatus) -> Option<(Sectors, Sectors)> {
    match lv.status.iter().find_map(|line| SnapshotStatus::parse(line))? {
        SnapshotStatus::Usage { allocated, total, .. } if lv.merge.is_none() => Some((allocated, total)),
        _ => None,
    }
}

impl Vg {
    /// Extends the stores that are fuller than LVM2's settings allow.
    pub(crate) fn extend_stores(&self) {
        let policy = self.ground.config.snapshot_autoextend;
        if !policy.is_on() {
            return;
        }
        for lv in self.lvs().unwrap_or_default() {
            let Some((used, total)) = usage(&lv) else { continue };
            let Some(percent) = policy.growth(used, total) else { continue };
            let tried = locked(&self.refused).get(lv.id.as_bytes()).is_some_and(|before| *before == used);
            if tried {
                continue;
            }
            if let Err(error) = self.extend_store(&lv.id, percent) {
                eprintln!("foldback: extending the store of {}: {error}", lv.device);
                locked(&self.refused).insert(*lv.id.as_bytes(), used);
            }
        }
    }

    fn extend_store(&self, id: &LvmUuid, percent: u32) -> Result<(), Failed> {
        let name = self.name();
        let _locked = self.ground.lock(&name)?;
        let found = self.ground.discover()?;
        let found = select::to_change(&found, &name)?;
        let Some(lv) = found.vg.lvs.iter().find(|lv| lv.id == *id).map(|lv| lv.name.clone()) else {
            return Ok(());
        };
        let amount = Amount::By(SizeRequest::Percent(percent, PercentOf::Lv));
        let extension = Extension { lv: lv.clone(), amount, pvs: Vec::new() };
        let planned = plan(&found.vg, &extension, Situation { active: true, as_lvm2: false })?;
        if !planned.changed {
            return Ok(());
        }
        let mut machine = Machine::new(&format!("lvextend --use-policies {name}/{lv}"));
        let handover = {
            let mut disks = self.ground.disks()?;
            let mut set = DiskSet::new(&mut *disks, &self.ground.setting.paths);
            stage(&mut set, found, planned.vg, &mut machine)?.hand_over()
        };
        let transaction = extend(&Group::of(found, &lv)?, &Group::of(&handover.next, &lv)?, handover.headers);
        self.transact(transaction)?;
        eprintln!("foldback: extended the store of {name}/{lv} by {percent} %");
        if let Err(error) = self.ground.backup_places().backup(&handover.next.vg, &mut machine) {
            eprintln!("foldback: {error}");
        }
        Ok(())
    }
}
