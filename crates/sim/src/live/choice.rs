//! Which operation comes next.

use super::facts::Volume;
use super::life::Life;
use super::op::{Op, Wish};
use super::{switch, world};
use crate::report::{Failure, Scene};
use crate::volume::change::Change;
use foldback_units::{LvName, LvmUuid};
use foldback_user_dm::RequestKind;

impl Life<'_> {
    fn fresh_name(&mut self) -> Result<LvName, Failure> {
        self.run.names += 1;
        world::name(&format!("n{}", self.run.names))
    }

    /// One operation, of those that make sense now.
    pub(crate) fn operation(&mut self) -> Result<(), Failure> {
        self.look_at_validity()?;
        let active: Vec<LvmUuid> = self.run.active.iter().copied().collect();
        if active.is_empty() || self.rng.one_in(20) {
            return self.up_or_down();
        }
        let origin = *self.rng.pick(&active);
        let sound = |id: &LvmUuid| self.run.facts.volumes.get(id).is_some_and(Volume::is_sound);
        if !self.run.facts.volumes.contains_key(&origin) {
            self.run.active.remove(&origin);
            return Ok(());
        }
        let origin_is_sound = sound(&origin);
        let all = self.run.facts.snapshots_of(&origin);
        let mut snapshots = all.clone();
        snapshots.retain(|id| self.run.facts.can_merge(id));
        if self.is_finished(&origin) && self.rng.one_in(2) {
            return self.carry_out(&Op::End(origin)).map(|_| ());
        }
        if let Some(deferred) = self.run.facts.deferred(&origin) {
            match self.rng.below(6) {
                0 => return self.carry_out(&Op::Cancel(deferred)).map(|_| ()),
                1 => return self.carry_out(&Op::Start(deferred)).map(|_| ()),
                2 => {
                    self.take_down(&origin)?;
                    return self.bring_up(&origin, false);
                }
                _ => {}
            }
        }
        let snapshot = (!snapshots.is_empty()).then(|| *self.rng.pick(&snapshots));
        let any = if all.is_empty() || self.rng.one_in(2) { origin } else { *self.rng.pick(&all) };
        let op = match (self.rng.below(16), snapshot) {
            (0..=3, _) if origin_is_sound => return self.take_some(&origin),
            (4 | 5, Some(id)) => Op::Start(id),
            (6 | 7, Some(id)) if all.len() == 1 => Op::Keep(id),
            (6, Some(id)) => Op::Mark(id),
            (7, Some(id)) => return self.undo(&id),
            (8, Some(id)) => Op::ExtendStore(id, self.rng.between(1, 3) as u32),
            (9, _) => Op::Extend(origin, self.rng.between(1, 2) as u32),
            (10 | 11, _) => Op::Rename(any, self.fresh_name()?),
            (12, _) if !all.is_empty() => Op::Remove(*self.rng.pick(&all)),
            (13, _) if self.rng.one_in(4) => Op::Remove(origin),
            (14, _) if self.run.facts.has_begun(&origin) => {
                let store = self.run.facts.merges.get(&origin).map_or(origin, |merging| merging.store);
                Op::Cancel(store)
            }
            (15, _) if self.run.facts.origins().len() < 3 => return self.create(),
            _ => return Ok(()),
        };
        self.carry_out(&op).map(|_| ())
    }

    fn up_or_down(&mut self) -> Result<(), Failure> {
        let origins = self.run.facts.origins();
        if origins.is_empty() {
            return self.create();
        }
        let origin = *self.rng.pick(&origins);
        if self.run.active.contains(&origin) {
            self.take_down(&origin)
        } else {
            self.bring_up(&origin, false)?;
            self.clear_unknown()
        }
    }

    pub(crate) fn is_finished(&mut self, origin: &LvmUuid) -> bool {
        let device = self.device(origin);
        let progress = device.and_then(|device| self.dm.merge_progress(&device));
        self.run.facts.has_begun(origin) && progress.is_some_and(|progress| progress.finished)
    }

    /// Snapshots of one origin, or of several at one instant.
    fn take_some(&mut self, origin: &LvmUuid) -> Result<(), Failure> {
        let begun = self.run.facts.has_begun(origin);
        let mut origins = vec![*origin];
        if self.rng.one_in(2) {
            // What is said of the merge is said of all of them.
            let others = self.run.active.iter().copied().filter(|other| other != origin);
            let fits = |other: &LvmUuid| {
                self.run.facts.has_begun(other) == begun
                    && self.run.facts.volumes.get(other).is_some_and(Volume::is_sound)
            };
            origins.extend(others.filter(fits));
        }
        if self.rng.one_in(6) {
            origins.push(*origin);
        }
        let several = origins.len() > 1;
        let mut wishes = Vec::new();
        for origin in origins {
            if self.run.facts.snapshots_of(&origin).len() < 4 {
                let (extents, chunk) = (self.rng.between(3, 12) as u32, 8 << self.rng.below(3));
                let (name, hold) = (self.fresh_name()?, self.rng.one_in(2));
                wishes.push(Wish { origin, name, extents, chunk, hold });
            }
        }
        if wishes.is_empty() {
            return Ok(());
        }
        let taken = self.carry_out(&Op::Take(wishes))?;
        self.scenes.saw_if(taken && several, Scene::LiveOneInstant);
        self.scenes.saw_if(taken && begun, Scene::LiveView);
        Ok(())
    }

    /// `--undo`: a snapshot of the origin first, then the merge.
    fn undo(&mut self, id: &LvmUuid) -> Result<(), Failure> {
        // What the room is counted from is what the store says on disk.
        self.ask(id, RequestKind::Flush);
        self.drain()?;
        let too_late = self.run.bug == Some(super::LiveBug::UndoTooLate);
        let name = self.fresh_name()?;
        if too_late {
            let origin = self.run.facts.group_of(id);
            let kept = self.run.facts.volumes.get(&origin).map(|volume| volume.model.clone());
            if self.carry_out(&Op::Start(*id))? && self.run.facts.volumes.contains_key(&origin) {
                let wish = Wish { origin, name: name.clone(), extents: 8, chunk: 8, hold: true };
                self.carry_out(&Op::Take(vec![wish]))?;
                let taken = self.run.facts.found.vg.lv(&name).map(|lv| lv.id);
                if let (Some(taken), Some(kept)) = (taken, kept)
                    && let Ok(volume) = self.run.facts.volume(&taken)
                {
                    volume.model = kept;
                }
            }
            return Ok(());
        }
        if self.carry_out(&Op::TakeUndo(*id, name))? && self.carry_out(&Op::Start(*id))? {
            self.scenes.saw(Scene::LiveUndo);
        }
        Ok(())
    }

    /// A new volume, in a commit that touches no device.
    fn create(&mut self) -> Result<(), Failure> {
        let name = self.fresh_name()?;
        let extents = self.rng.between(1, 4) as u32;
        self.create_lv(&Change::Create { name, extents })
    }

    pub(crate) fn merges_live(&mut self, origin: &LvmUuid) -> bool {
        let device = self.device(origin);
        device.is_some_and(|device| switch::merges(&mut self.dm, &device))
    }
}
