//! An operation carried out as one transaction, and whether it is what it says.
//!
//! What must hold (architecture.md, "One transaction, one owner"):
//! - Carried out: the VG reads as after it and every live table is the new one. Taken back: the VG reads as before it and
//!   every live table is the old one. Nothing stays suspended, and no inactive table stays.
//! - What failed after the commit is taken back or gone on with, as `activation::recovery` says.
//! - Live tables are always what an activation of the VG's text would make, but for merges that are marked and have not
//!   begun.

use super::bug::LiveBug;
use super::facts::{Facts, Volume};
use super::life::Life;
use super::op::{self, Op};
use super::seen;
use crate::report::{Failure, Scene};
use crate::volume::change::Change as VgChange;
use crate::volume::vg_world::{EXTENT, Repeatable, after_text, find, found_on, paths, read_text, unexpected};
use foldback_dm_table::{DeviceMapper, DmName, Stage, Table, Target, Transaction, Verb};
use foldback_manager::activation::{Change, Group};
use foldback_manager::store::{CommitError, DiskSet, FoundVg, stage};
use foldback_testkit::{Image, Order, Sector, SimDisks, VolumeModel};
use foldback_units::{Bytes, LvName, LvmUuid};
use foldback_user_dm::{DmError, DmErrorKind, UserDm, WhenFull};
use std::collections::BTreeMap;

/// A planned operation.
pub(crate) struct Planned {
    pub(crate) before: FoundVg,
    pub(crate) changes: Vec<Change>,
    pub(crate) transaction: Transaction,
    pub(crate) after: Facts,
    /// A verb of it was made to fail.
    pub(crate) tampered: bool,
}

/// Whether the live table of a device is a merge.
pub(crate) fn merges(dm: &mut UserDm<SimDisks>, device: &DmName) -> bool {
    let table = dm.table(device).ok().flatten();
    let merge =
        |table: &Table| table.lines.iter().any(|line| matches!(line.target, Target::SnapshotMerge(_)));
    table.as_ref().is_some_and(merge)
}

impl Life<'_> {
    /// Carries an operation out; whether that was done.
    pub(crate) fn carry_out(&mut self, op: &Op) -> Result<bool, Failure> {
        let entangles = matches!(op, Op::Start(_));
        if matches!(op, Op::Remove(_) | Op::Keep(_) | Op::TakeUndo(..)) || entangles && self.rng.one_in(2) {
            self.drain()?;
        }
        if let Op::Start(id) | Op::Keep(id) | Op::Mark(id) | Op::TakeUndo(id, _) = op {
            // As the job does: it checks the store first.
            self.look_at_validity()?;
            if !self.run.facts.can_merge(id) {
                return Ok(false);
            }
        }
        let Some(planned) = self.plan(op)? else { return Ok(false) };
        if self.run.bug == Some(LiveBug::TwoInstants) && planned.changes.len() > 1 {
            return self.two_instants(op, planned);
        }
        self.answers()?;
        if !self.last && self.rng.one_in(4) {
            self.arm(60);
        }
        self.run.coming.push(planned.after.clone());
        self.note_faults();
        let began = self.run.now;
        self.note_verbs(op, &planned.transaction);
        let outcome = self.dm.transact(&planned.transaction);
        let said = outcome.as_ref().map_err(|(stage, error)| (*stage, error.to_string())).copied();
        self.run.note(|| format!("  {said:?}"));
        self.note_faults();
        if self.disks.is_off() {
            return Err(unexpected("the transaction", "the power went, or the process"));
        }
        if let Err((_, DmError { kind: DmErrorKind::Undo { .. } | DmErrorKind::Unknown { .. }, .. })) =
            &outcome
        {
            return Err(self.excuse("undoing the transaction", format!("{said:?}")));
        }
        let reason = planned.tampered || self.is_faulty();
        match outcome {
            Err(_) if !reason => {
                Err(Failure::new("transact", format!("{op:?} failed without a reason: {said:?}")))
            }
            Err((Stage::Preload | Stage::Suspend | Stage::Commit, _)) => {
                if !self.is_faulty() {
                    self.run.coming.clear();
                }
                self.scenes.saw(Scene::LiveTakenBack);
                self.same_tables()?;
                self.answers()?;
                Ok(false)
            }
            Err((stage, _)) => self.recover(op, stage, planned),
            Ok(()) => self.done(op, planned, began).map(|()| true),
        }
    }

    /// The verbs, as a trace shows them.
    pub(crate) fn note_verbs(&mut self, op: &Op, transaction: &Transaction) {
        if self.run.trace.is_none() {
            return;
        }
        let Transaction { preload, suspend, headers: _, resume, clean } = transaction;
        self.run.note(|| format!("{op:?}"));
        for (stage, verbs) in
            [("preload", preload), ("suspend", suspend), ("resume", resume), ("clean", clean)]
        {
            for verb in verbs {
                self.run.note(|| match verb {
                    Verb::Load { name, table, .. } => {
                        format!("  {stage} load {name}: {}", table.to_string().trim())
                    }
                    verb => format!("  {stage} {verb:?}"),
                });
            }
        }
    }

    /// The VG is as after it, and so is all that is live.
    pub(crate) fn done(&mut self, op: &Op, planned: Planned, began: u64) -> Result<(), Failure> {
        self.committed(op, planned.after)?;
        self.same_tables()?;
        if let Op::Take(wishes) = op {
            for wish in wishes {
                let id = self.run.facts.found.vg.lv(&wish.name).map(|lv| lv.id);
                if let Some(id) = id {
                    self.pin(&id, wish.hold, began)?;
                }
            }
        }
        if let Op::TakeUndo(_, name) = op
            && let Some(id) = self.run.facts.found.vg.lv(name).map(|lv| lv.id)
        {
            self.pin(&id, true, began)?;
        }
        if let Op::Extend(..) = op {
            self.clear_unknown()?;
        }
        self.scenes.saw(op.scene());
        self.answers()?;
        self.look_at_validity()
    }

    /// From now on the VG is that.
    pub(crate) fn committed(&mut self, op: &Op, mut after: Facts) -> Result<(), Failure> {
        if self.is_faulty() {
            after.met_an_error(self.flushes_fail);
        }
        self.run.coming.clear();
        let before = std::mem::replace(&mut self.run.facts, after);
        match op {
            Op::Start(id) => self.entangled(&before.group_of(id), id),
            Op::Keep(id) => drop(self.run.active.insert(*id)),
            Op::End(id) => drop(self.paused.remove(id)),
            _ => {}
        }
        let facts = &self.run.facts;
        self.run.active.retain(|id| facts.volumes.contains_key(id));
        let text = read_text(&self.disks.visible())?;
        if text != self.run.facts.text {
            let what = format!("{op:?} was carried out, and the VG reads as seqno {}", text.seqno);
            return Err(Failure::new("commit", what));
        }
        seen::check(&self.run.facts)
    }

    /// A new snapshot shows one instant, and that for good.
    fn pin(&mut self, id: &LvmUuid, hold: bool, began: u64) -> Result<(), Failure> {
        let Some(device) = self.device(id) else {
            return Err(Failure::new("transact", format!("the snapshot {id} has no device")));
        };
        let when = if hold { WhenFull::Hold } else { WhenFull::Invalidate };
        self.dm.set_when_full(&device, when).map_err(|error| self.excuse("choosing", error))?;
        let len = self.run.facts.volume(id)?.model.len();
        let mut bytes = vec![0; (len * 512) as usize];
        match self.dm.read_at(&device, Bytes(0), &mut bytes) {
            Err(_) if self.disks.is_off() || self.is_faulty() || self.run.facts.volume(id)?.mortal => {
                return Ok(());
            }
            read => read.map_err(|error| self.excuse("reading a new snapshot", error))?,
        }
        self.run.now += 1;
        let now = self.run.now;
        let volume = self.run.facts.volume(id)?;
        if volume.lost {
            return Ok(());
        }
        let seen = Sector::split(&bytes);
        let wrong = (0..).zip(&seen).find(|(sector, seen)| !volume.model.may_read(*sector, seen, began + 1));
        if let Some((sector, seen)) = wrong {
            let what = format!("sector {sector} of the new snapshot {device} reads as {seen:?}");
            return Err(Failure::new("instant", what));
        }
        volume.model.adopt(&seen, now);
        self.run.now += 1;
        Ok(())
    }

    fn plan(&mut self, op: &Op) -> Result<Option<Planned>, Failure> {
        let paths = paths(self.run.physical.len());
        self.run.transactions += 1;
        let mut environment = Repeatable::new(self.run.seed ^ self.run.transactions << 40);
        let subject = match op {
            Op::Take(wishes) => wishes.first().map(|wish| wish.origin),
            Op::Cancel(id) => self.run.facts.merges.iter().find(|(_, m)| m.store == *id).map(|(o, _)| *o),
            _ => None,
        };
        let begun = subject.is_some_and(|origin| self.merges_live(&origin));
        let bug = self.run.bug;
        let (before, made, handover) = {
            let mut lent = self.dm.disks_mut();
            let mut set = DiskSet::new(&mut lent, &paths);
            let before = find(&mut set).map_err(|failure| unexpected("finding", failure))?;
            let planned = op.plan(&mut set, &before, &self.run.facts, (begun, bug), &mut environment)?;
            let Some(mut made) = planned else { return Ok(None) };
            if let Op::Cancel(_) = op
                && begun
                && bug != Some(LiveBug::CancelTooLate)
            {
                return Err(Failure::new("cancel", "a merge that has begun was cancelled"));
            }
            if bug == Some(LiveBug::NoMergeView) {
                let segments = made.vg.lvs.iter_mut().flat_map(|lv| &mut lv.segments);
                segments.for_each(|segment| segment.merge_view = false);
            }
            op::prepare(&mut set, &before, &made)?;
            match stage(&mut set, &before, made.vg.clone(), &mut environment) {
                // The ring has room for two texts only.
                Err(CommitError::Ring { .. }) => return Ok(None),
                staged => {
                    let staged = staged.map_err(|error| unexpected("staging", error))?;
                    (before, made, staged.hand_over())
                }
            }
        };
        let changes = self.changes(op, &before, &handover.next, &made.touched)?;
        let mut transaction = op.transaction(&changes, handover.headers);
        let mut after = self.run.facts.clone();
        after.found = handover.next.clone();
        after.text = after_text(&transaction, &self.disks.visible(), self.run.facts.text.seqno)?;
        op.apply(&self.run.facts, &mut after)?;
        if let Op::Start(id) = op {
            self.entangle(&self.run.facts.group_of(id), &mut after);
        }
        self.plant(op, &changes, &mut transaction);
        let tampered = !self.last && self.rng.one_in(8) && self.tamper(&mut transaction);
        Ok(Some(Planned { before, changes, transaction, after, tampered }))
    }

    /// The groups before and after, as they are live.
    fn changes(
        &mut self,
        op: &Op,
        before: &FoundVg,
        next: &FoundVg,
        touched: &[LvmUuid],
    ) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        for origin in touched {
            if !self.run.active.contains(origin) {
                continue;
            }
            let name = |found: &FoundVg, id: &LvmUuid| {
                found.vg.lvs.iter().find(|lv| lv.id == *id).map(|lv| lv.name.clone())
            };
            let Some(live) = name(before, origin) else { continue };
            let live = self.live_group(before, &live)?;
            let runs = live.merging().is_some();
            let id = if let Op::Keep(id) = op { id } else { origin };
            let after = name(next, id).map(|name| Group::of(next, &name)).transpose();
            let mut after = after.map_err(|error| unexpected("a group", error))?;
            if !runs && !matches!(op, Op::Start(_) | Op::Keep(_)) {
                after = after.map(Group::while_deferred);
            }
            let change = Change { before: live, after };
            if !change.is_empty() {
                changes.push(change);
            }
        }
        Ok(changes)
    }

    /// Makes a verb fail, or the headers of one disk.
    fn tamper(&mut self, transaction: &mut Transaction) -> bool {
        let none = Verb::Resume { name: DmName("vg-none".to_owned()) };
        let stages = [
            &mut transaction.preload,
            &mut transaction.suspend,
            &mut transaction.resume,
            &mut transaction.clean,
        ];
        let full: Vec<usize> = (0..4).filter(|index| !stages[*index].is_empty()).collect();
        if full.is_empty() {
            return false;
        }
        let which = *self.rng.pick(&full);
        for (index, verbs) in stages.into_iter().enumerate() {
            if index == which {
                let at = self.rng.index(verbs.len());
                if index == 3 { verbs[at] = none.clone() } else { verbs.insert(at, none.clone()) }
            }
        }
        true
    }

    /// Every live table is what the VG's text says; nothing is suspended, nothing is left over.
    pub(crate) fn same_tables(&mut self) -> Result<(), Failure> {
        let mut expected: BTreeMap<DmName, Table> = BTreeMap::new();
        for origin in self.run.active.clone() {
            let name = self.run.facts.name(&origin)?;
            let mut group =
                Group::of(&self.run.facts.found, &name).map_err(|error| unexpected("a group", error))?;
            if !self.run.facts.has_begun(&origin) {
                group = group.while_deferred();
            }
            expected.insert(group.origin.top.name.clone(), group.origin_table());
            if !group.snapshots.is_empty() {
                expected.insert(group.origin.real.name.clone(), group.origin.table.clone());
            }
            for snapshot in &group.snapshots {
                expected.insert(snapshot.cow.name.clone(), snapshot.cow_table.clone());
                expected.insert(snapshot.top.name.clone(), group.snapshot_table(snapshot));
            }
        }
        let devices = self.dm.list().map_err(|error| Failure::new("tables", format!("listing: {error}")))?;
        for info in devices {
            if info.suspended || info.inactive {
                return Err(Failure::new("tables", format!("{info:?}")));
            }
            let table = self.dm.table(&info.name).ok().flatten();
            let wanted = expected.remove(&info.name);
            if table != wanted || table.is_none() {
                let what = format!("{} has the table {table:?}, not {wanted:?}", info.name);
                return Err(Failure::new("tables", what));
            }
        }
        let missing = expected.keys().next();
        missing.map_or(Ok(()), |name| Err(Failure::new("tables", format!("there is no device {name}"))))
    }

    /// A commit without devices, and the new volume brought up.
    pub(crate) fn create_lv(&mut self, change: &VgChange) -> Result<(), Failure> {
        let VgChange::Create { name, .. } = change else { return Ok(()) };
        self.run.transactions += 1;
        let environment = || Repeatable::new(self.run.seed ^ self.run.transactions << 40);
        // What it will come to is found out on a copy.
        let mut copy = self.run.disks_on(self.disks.visible(), Order::Oldest);
        if change.make(&mut copy, &mut environment()).is_err() {
            return Ok(());
        }
        let after = self.with_created(name, &copy.visible())?;
        self.run.coming.push(after.clone());
        let made = change.make(&mut self.dm.disks_mut(), &mut environment());
        self.note_faults();
        made.map_err(|error| self.excuse("creating a volume", format!("{error:?}")))?;
        if self.disks.is_off() {
            return Err(unexpected("creating a volume", "the power went, or the process"));
        }
        let id = after.found.vg.lv(name).map(|lv| lv.id);
        self.committed(&Op::Cancel(LvmUuid::from_random([0; 32])), after)?;
        let Some(id) = id else { return Ok(()) };
        self.bring_up(&id, false)?;
        self.clear_unknown()
    }

    fn with_created(&self, name: &LvName, image: &Image) -> Result<Facts, Failure> {
        let mut after = self.run.facts.clone();
        (after.found, after.text) = (found_on(image)?, read_text(image)?);
        let lv = after.found.vg.lv(name).ok_or_else(|| Failure::new("commit", "no new volume"))?;
        let (id, len) = (lv.id, u64::from(lv.extent_count()) * EXTENT);
        let mut volume = Volume::new(VolumeModel::new(vec![Sector::Zero; len as usize]), None);
        volume.unknown = Some(0);
        after.volumes.insert(id, volume);
        Ok(after)
    }
}
