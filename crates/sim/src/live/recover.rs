//! What follows when a device did not come back after the commit; and bugs that are planted into transactions.
//!
//! What must hold (`activation::recovery`):
//! - Snapshots whose origin may not have been switched, and swapped names, are taken back: the VG reads as before, and the
//!   old tables are live.
//! - All else is gone on with; a merge that was not switched may stay marked.

use super::bug::LiveBug;
use super::facts::Facts;
use super::life::Life;
use super::op::{self, Op, Wish};
use super::switch::Planned;
use crate::report::{Failure, Scene};
use crate::volume::vg_world::{Repeatable, after_text, find, paths, read_text, unexpected};
use foldback_dm_table::{DeviceMapper, Stage, Transaction, Verb};
use foldback_manager::activation::{self, Change};
use foldback_manager::store::{DiskSet, Staged, stage};
use foldback_units::LvmUuid;
use foldback_user_dm::RequestKind;

/// After so many attempts it must have worked.
const ATTEMPTS: u32 = 4;
/// Between two instants that should be one.
const STEPS_BETWEEN: u32 = 30;

impl Life<'_> {
    /// The transaction was committed and did not come to its end; whether the operation is done all the same.
    pub(crate) fn recover(&mut self, op: &Op, stage: Stage, planned: Planned) -> Result<bool, Failure> {
        match op {
            // All that is live is new; something is left over.
            _ if stage == Stage::Clean => self.go_on(op, planned).map(|()| true),
            // What the old origin held is being overwritten.
            Op::Keep(_) if self.came_up(&planned.changes)? => self.go_on(op, planned).map(|()| true),
            Op::Take(_) | Op::TakeUndo(..) | Op::Keep(_) => self.take_back(op, &planned).map(|()| false),
            Op::Start(id) if self.rng.one_in(2) && !self.merges_live(&self.run.facts.group_of(id)) => {
                self.leave_marked(id, planned).map(|()| false)
            }
            _ => self.go_on(op, planned).map(|()| true),
        }
    }

    fn came_up(&mut self, changes: &[Change]) -> Result<bool, Failure> {
        let there = activation::tables(&mut self.dm).map_err(|error| self.excuse("looking", error))?;
        Ok(activation::merge_came_up(changes, &there))
    }

    fn take_back(&mut self, op: &Op, planned: &Planned) -> Result<(), Failure> {
        let mut half = planned.after.clone();
        let new = half.volumes.iter_mut().filter(|(id, _)| !self.run.facts.volumes.contains_key(id));
        // Whether it takes copies is not known.
        new.for_each(|(_, volume)| volume.lost = true);
        self.run.coming = vec![half];
        if self.run.bug != Some(LiveBug::SwapNotTakenBack) || !matches!(op, Op::Keep(_)) {
            let (transaction, back) = self.plan_back(op, planned)?;
            self.run.coming.push(back.clone());
            self.note_verbs(op, &transaction);
            let outcome = self.dm.transact(&transaction);
            self.run
                .note(|| format!("taken back: {:?}", outcome.as_ref().map_err(|(s, e)| (*s, e.to_string()))));
            self.note_faults();
            if self.disks.is_off() {
                return Err(unexpected("taking back", "the power went, or the process"));
            }
            outcome.map_err(|(stage, error)| self.excuse("taking back", format!("{stage:?}: {error}")))?;
            (self.run.facts.found, self.run.facts.text) = (back.found, back.text);
            self.run.coming.clear();
        }
        if read_text(&self.disks.visible())? != self.run.facts.text {
            return Err(Failure::new("commit", format!("{op:?} was not taken back")));
        }
        self.scenes.saw(if matches!(op, Op::Keep(_)) { Scene::LiveSwapBack } else { Scene::LiveTakeBack });
        self.same_tables()?;
        self.answers()
    }

    fn plan_back(&mut self, op: &Op, planned: &Planned) -> Result<(Transaction, Facts), Failure> {
        self.run.transactions += 1;
        let mut environment = Repeatable::new(self.run.seed ^ self.run.transactions << 40);
        let paths = paths(self.run.physical.len());
        let staged = {
            let mut lent = self.dm.disks_mut();
            let mut set = DiskSet::new(&mut lent, &paths);
            let found = find(&mut set).map_err(|failure| unexpected("finding", failure))?;
            let vg = match op {
                Op::Keep(id) => op::unswapped(&found, &self.run.facts.group_of(id))?,
                _ => planned.before.vg.clone(),
            };
            let staged = stage(&mut set, &found, vg, &mut environment);
            staged.map(Staged::hand_over)
        };
        let handover = staged.map_err(|error| self.excuse("staging the way back", error))?;
        let there = activation::tables(&mut self.dm).map_err(|error| self.excuse("looking", error))?;
        let transaction = activation::take_back(&planned.changes, handover.headers, &there);
        let mut back = self.run.facts.clone();
        back.text = after_text(&transaction, &self.disks.visible(), planned.after.text.seqno)?;
        back.found = handover.next;
        Ok((transaction, back))
    }

    /// The merge is marked, and its devices are as they were: it begins at the next activation, or is started again.
    fn leave_marked(&mut self, id: &LvmUuid, planned: Planned) -> Result<(), Failure> {
        let mut after = self.run.facts.clone();
        (after.found, after.text) = (planned.after.found, planned.after.text);
        after.mark(id)?;
        self.committed(&Op::Mark(*id), after)?;
        self.scenes.saw(Scene::LiveLeftMarked);
        self.same_tables()?;
        self.answers()
    }

    fn go_on(&mut self, op: &Op, planned: Planned) -> Result<(), Failure> {
        self.committed(op, planned.after)?;
        for attempt in 0..ATTEMPTS {
            if self.run.bug == Some(LiveBug::RemovalLeft) && matches!(op, Op::Remove(_)) {
                break;
            }
            let outcome = if let Op::Rename(..) = op {
                self.rename_rest(&planned.changes)
            } else {
                let there =
                    activation::tables(&mut self.dm).map_err(|error| self.excuse("looking", error))?;
                let transaction = activation::go_on(&planned.changes, &there);
                self.note_verbs(op, &transaction);
                self.dm.transact(&transaction).map_err(|(stage, error)| format!("{stage:?}: {error}"))
            };
            self.run.note(|| format!("gone on with: {outcome:?}"));
            self.note_faults();
            if self.disks.is_off() {
                return Err(unexpected("going on", "the power went, or the process"));
            }
            match outcome {
                Ok(()) => break,
                Err(error) if attempt + 1 == ATTEMPTS || !self.is_faulty() => {
                    return Err(self.excuse("going on", error));
                }
                Err(_) => {}
            }
        }
        self.scenes.saw(Scene::LiveGoneOn);
        self.same_tables()?;
        if let Op::Extend(..) = op {
            self.clear_unknown()?;
        }
        self.answers()
    }

    /// Each device on its own: those that have their new names are not there under the old ones.
    fn rename_rest(&mut self, changes: &[Change]) -> Result<(), String> {
        for change in changes {
            let Some(after) = &change.after else { continue };
            for verb in activation::rename(&change.before, after, Vec::new()).clean {
                let Verb::Rename { name, .. } = &verb else { continue };
                let there = self.dm.list().map_err(|error| error.to_string())?;
                if there.iter().any(|info| info.name == *name) {
                    self.dm.apply(&verb).map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// What a manager with the bug would have planned.
    pub(crate) fn plant(&mut self, op: &Op, changes: &[Change], transaction: &mut Transaction) {
        match (self.run.bug, op) {
            (Some(LiveBug::LowerNotRemade), Op::Keep(_)) => {
                let Some((before, after)) =
                    changes.first().and_then(|c| Some((&c.before, c.after.as_ref()?)))
                else {
                    return;
                };
                let mut same = after.clone();
                same.origin.real = before.origin.real.clone();
                for (new, old) in same.snapshots.iter_mut().zip(&before.snapshots) {
                    new.cow = old.cow.clone();
                }
                *transaction =
                    activation::keep_snapshot(before, &same, std::mem::take(&mut transaction.headers));
            }
            (Some(LiveBug::GrownInTableOnly), Op::ExtendStore(..)) => transaction.headers.clear(),
            (Some(LiveBug::GrownInMetadataOnly), Op::ExtendStore(..)) => {
                let headers = std::mem::take(&mut transaction.headers);
                *transaction = Transaction { headers, ..Transaction::default() };
            }
            _ => {}
        }
    }

    /// The bug: one origin after the other, while they are written.
    pub(crate) fn two_instants(&mut self, op: &Op, mut planned: Planned) -> Result<bool, Failure> {
        let began = self.run.now;
        let (first, rest) = planned.changes.split_at(1);
        let headers = std::mem::take(&mut planned.transaction.headers);
        let failed = |(_, error): (_, foldback_user_dm::DmError)| unexpected("two instants", error);
        self.dm.transact(&activation::take_snapshots(first, headers)).map_err(failed)?;
        let origins: Vec<LvmUuid> = match op {
            Op::Take(wishes) => wishes.iter().map(|wish: &Wish| wish.origin).collect(),
            _ => Vec::new(),
        };
        for origin in origins.iter().chain(&origins) {
            self.ask(origin, RequestKind::Write { fua: false });
            for _ in 0..STEPS_BETWEEN {
                self.step()?;
            }
        }
        self.dm.transact(&activation::take_snapshots(rest, Vec::new())).map_err(failed)?;
        for origin in &origins {
            let now = self.run.facts.volume(origin)?.model.clone();
            planned.after.volume(origin)?.model = now;
        }
        self.done(op, planned, began).map(|()| true)
    }
}
