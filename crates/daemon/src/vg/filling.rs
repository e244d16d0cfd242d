//! Stores that fill: extended before they are full, held while that fails, given up when it fails for too long
//! (architecture.md, "When things go wrong"; lvm2.md 3.5).
//!
//! What must hold:
//! - Only where LVM2's `snapshot_autoextend_threshold` is below 100, and by its percentage; otherwise a store that is full
//!   is invalidated at once, as the kernel does it. A merging store never grows.
//! - A store that is full is extended at once, however little time there was since the last look: writes that need room in
//!   it wait meanwhile. With the last free extents it gets what is left.
//! - They wait for no more than `foldback/hold_seconds`; then the snapshot is given up (C5 is the engine's). No lock is
//!   waited for longer than a moment, so nobody can make that later.
//! - A group whose extents are somebody else's by now is not touched: its requests wait for another reason.
//! - What is said, is said once.

use super::failed::Failed;
use super::{ChangeError, Vg, locked};
use crate::carrier::Carrier;
use crate::vg::LvStatus;
use foldback_dm_table::{DmName, SnapshotStatus, Stage};
use foldback_manager::activation::{Change, Group, reload};
use foldback_manager::environment::Machine;
use foldback_manager::ops::extend::{Amount, Extended, Extension, Situation, plan};
use foldback_manager::ops::{PercentOf, SizeRequest};
use foldback_manager::store::{DiskSet, FoundVg, select, stage};
use foldback_units::{LvName, LvmUuid, Sectors};
use std::collections::BTreeMap;
use std::time::Instant;

/// Stores that could not be extended, and how full they were then.
pub(crate) type Refused = BTreeMap<[u8; 32], Sectors>;

/// Snapshots in whose stores somebody waits for room, by their UUIDs.
pub(crate) type Waits = BTreeMap<[u8; 32], Wait>;

/// Since when somebody waits, and why the store was not extended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wait {
    since: Instant,
    why: String,
}

/// Somebody waits for room in a snapshot's store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreWait {
    /// For so many seconds.
    pub seconds: u64,
    /// After so many more the snapshot is given up.
    pub seconds_left: u64,
    /// Why the store was not extended.
    pub why: String,
}

/// How full a store is, unless it merges.
fn usage(lv: &LvStatus) -> Option<(Sectors, Sectors)> {
    match lv.status.iter().find_map(|line| SnapshotStatus::parse(line))? {
        SnapshotStatus::Usage { allocated, total, .. } if lv.merge.is_none() => Some((allocated, total)),
        _ => None,
    }
}

impl Vg {
    /// Extends the stores that are fuller than LVM2's settings allow, and gives up those that are full for too long.
    pub(crate) fn look_after_stores(&self) {
        if !self.extends_stores() {
            return;
        }
        // With a carrier that is gone there is nothing to look after.
        let Ok(full) = self.carrier.call(|carrier: &mut Carrier| carrier.dm.full_stores()) else { return };
        let lvs = self.lvs().unwrap_or_default();
        self.forget_waits(&lvs, &full);
        let astray = locked(&self.state).held.clone();
        for lv in lvs.iter().filter(|lv| !astray.contains_key(&lv.device)) {
            if full.contains(&lv.device) {
                self.make_room(lv);
            } else {
                self.grow_early(lv);
            }
        }
    }

    /// Extends a store that is fuller than the threshold.
    fn grow_early(&self, lv: &LvStatus) {
        let Some((used, total)) = usage(lv) else { return };
        let Some(percent) = self.fills().policy().growth(used, total) else { return };
        if locked(&self.refused).get(lv.id.as_bytes()).is_some_and(|before| *before == used) {
            return;
        }
        match self.extend_store(&lv.id, &[SizeRequest::Percent(percent, PercentOf::Lv)]) {
            // Whoever has the lock is done in a second, perhaps.
            Ok(()) | Err(Failed::Lock(_)) => return,
            Err(Failed::Nothing) => {}
            Err(error) => say!("foldback: extending the store of {}: {error}", lv.device),
        }
        locked(&self.refused).insert(*lv.id.as_bytes(), used);
    }

    /// Extends a store for whose room somebody waits, or gives its snapshot up.
    fn make_room(&self, lv: &LvStatus) {
        let since = Instant::now();
        let policy = self.fills().policy();
        let total = usage(lv).map_or(Sectors(1), |(_, total)| total);
        let wanted = policy.growth(total, total).map(|percent| SizeRequest::Percent(percent, PercentOf::Lv));
        let left = SizeRequest::Percent(100, PercentOf::Free);
        let requests: Vec<SizeRequest> = wanted.into_iter().chain([left]).collect();
        let Err(error) = self.extend_store(&lv.id, &requests) else {
            locked(&self.waits).remove(lv.id.as_bytes());
            return;
        };
        let patience = self.fills().hold();
        let overdue = {
            let mut waits = locked(&self.waits);
            let wait = waits.entry(*lv.id.as_bytes()).or_insert_with(|| {
                say!(
                    "foldback: the store of {} is full, and was not extended: {error}. Writes that need room in it wait for \
                     up to {} s",
                    lv.device,
                    patience.as_secs()
                );
                Wait { since, why: String::new() }
            });
            wait.why = error.to_string();
            wait.since.elapsed() >= patience
        };
        if overdue {
            self.give_up(&lv.device);
        }
    }

    fn give_up(&self, device: &DmName) {
        let name = device.clone();
        match self.carrier.call(move |carrier: &mut Carrier| carrier.dm.give_up(&name)) {
            Ok(Ok(())) => {
                say!("foldback: {device} is given up: its store is full, and it becomes invalid");
            }
            // It goes on being full, and is given up again in a second.
            Ok(Err(error)) => say!("foldback: {error}"),
            Err(gone) => say!("foldback: {device}: {gone}"),
        }
    }

    /// Nobody waits for room in these any more.
    fn forget_waits(&self, lvs: &[LvStatus], full: &[DmName]) {
        let waits = |id: &[u8; 32]| lvs.iter().any(|lv| lv.id.as_bytes() == id && full.contains(&lv.device));
        locked(&self.waits).retain(|id, _| waits(id));
    }

    /// Whether somebody waits for room in a store that could not be extended.
    pub(crate) fn is_waiting(&self) -> bool {
        !locked(&self.waits).is_empty()
    }

    /// Who waits for room in a snapshot's store.
    pub(crate) fn wait_for_room(&self, id: &LvmUuid) -> Option<StoreWait> {
        let wait = locked(&self.waits).get(id.as_bytes())?.clone();
        let elapsed = wait.since.elapsed();
        let seconds_left = self.fills().hold().saturating_sub(elapsed).as_secs();
        Some(StoreWait { seconds: elapsed.as_secs(), seconds_left, why: wait.why })
    }

    /// Extends a store by the first of these amounts for which there is room.
    fn extend_store(&self, id: &LvmUuid, requests: &[SizeRequest]) -> Result<(), Failed> {
        let name = self.name();
        let _locked = self.ground.lock_soon(&name)?;
        let found = self.ground.discover()?;
        let found = select::to_change(&found, &name)?;
        let lv = found.vg.lvs.iter().find(|lv| lv.id == *id).ok_or(Failed::Nothing)?.name.clone();
        let planned = planned(found, &lv, requests)?;
        let mut machine = Machine::new(&format!("lvextend --use-policies {name}/{lv}"));
        let handover = {
            let mut disks = self.ground.disks()?;
            let mut set = DiskSet::new(&mut *disks, &self.ground.setting.paths);
            stage(&mut set, found, planned.vg, &mut machine)?.hand_over()
        };
        let (mut before, mut after) = (Group::of(found, &lv)?, Group::of(&handover.next, &lv)?);
        // A merge that waits must not begin by this.
        let origin = before.origin.top.name.clone();
        if self.lvs()?.iter().any(|lv| lv.device == origin && lv.merge.is_none()) {
            (before, after) = (before.while_deferred(), after.while_deferred());
        }
        let transaction = reload(&before, &after, handover.headers);
        match self.transact(transaction) {
            Err(ChangeError::Verb { stage: Some(Stage::Resume), error }) => {
                say!("foldback: {name}/{lv} is extended, but not all devices followed at once: {error}");
                self.go_on(&[Change::between(&before, &after)])?;
            }
            outcome => outcome?,
        }
        if let Some(notice) = planned.done.first() {
            say!("foldback: the store of {name}/{lv} fills: {}", notice.text);
        }
        // Not before: they may lie on a volume whose writes have waited for this.
        let places = self.ground.backup_places();
        let archived = places.archive(&found.vg, &mut machine);
        for error in archived.err().into_iter().chain(places.backup(&handover.next.vg, &mut machine).err()) {
            say!("foldback: {error}");
        }
        Ok(())
    }
}

/// The first of the amounts that can be had; otherwise why not the first.
fn planned(found: &FoundVg, lv: &LvName, requests: &[SizeRequest]) -> Result<Extended, Failed> {
    let mut refused = None;
    for request in requests {
        let extension =
            Extension { lv: lv.clone(), amount: Amount::By(*request), pvs: Vec::new(), policy: None };
        match plan(&found.vg, &extension, Situation { active: true, as_lvm2: false }) {
            Ok(planned) if planned.changed => return Ok(planned),
            Ok(_) => {}
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    Err(refused.map_or(Failed::Nothing, Failed::Refused))
}
