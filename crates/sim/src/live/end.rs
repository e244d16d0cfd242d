//! The end of a run: without further trouble everything comes to rest, and the plain readers agree.
//!
//! What must hold:
//! - Every merge comes to its end and is ended; in some runs every snapshot is merged.
//! - What was read through the devices is what lies on the disks when all is taken down and the power is cut.

use super::life::Life;
use super::op::Op;
use crate::report::{Failure, Scene};
use foldback_testkit::Cut;
use foldback_units::LvmUuid;
use foldback_user_dm::RequestKind;

/// No run merges as often.
const MAX_MERGES: u32 = 40;

impl Life<'_> {
    pub(crate) fn come_to_rest(&mut self) -> Result<(), Failure> {
        self.disks.clear_faults();
        self.drain()?;
        for origin in self.run.facts.origins() {
            if !self.run.active.contains(&origin) {
                self.bring_up(&origin, false)?;
            }
        }
        self.clear_unknown()?;
        let all = self.rng.one_in(2);
        for _ in 0..MAX_MERGES {
            if !self.merge_one(all)? {
                break;
            }
        }
        self.read_all()?;
        for origin in self.run.active.iter().copied().collect::<Vec<_>>() {
            self.take_down(&origin)?;
        }
        let image = self.disks.power_off(Some(Cut::LoseAll));
        self.run.find(&image)?;
        let contents = self.run.facts.judge(&image)?;
        for (id, seen) in contents {
            let volume = self.run.facts.volume(&id)?;
            if volume.is_sound() && volume.model.settled().is_some_and(|settled| settled != seen) {
                return Err(Failure::new("end", format!("{id} differs from what was read")));
            }
        }
        Ok(())
    }

    /// Brings one merge to its end; whether there was one.
    fn merge_one(&mut self, all: bool) -> Result<bool, Failure> {
        self.look_at_validity()?;
        for origin in self.run.facts.origins() {
            if let Some(deferred) = self.run.facts.deferred(&origin) {
                match self.rng.below(3) {
                    0 => drop(self.carry_out(&Op::Cancel(deferred))?),
                    1 => drop(self.carry_out(&Op::Start(deferred))?),
                    _ => {
                        self.take_down(&origin)?;
                        self.bring_up(&origin, false)?;
                    }
                }
                return Ok(true);
            }
            if self.run.facts.has_begun(&origin) && !self.run.facts.volume(&origin)?.lost {
                self.finish(&origin)?;
                return Ok(true);
            }
            let snapshots = self.run.facts.snapshots_of(&origin);
            let next = snapshots.into_iter().find(|id| self.run.facts.can_merge(id));
            if let Some(next) = next.filter(|_| all)
                && self.carry_out(&Op::Start(next))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn finish(&mut self, origin: &LvmUuid) -> Result<(), Failure> {
        let Some(device) = self.device(origin) else {
            return Err(Failure::new("merge", format!("{origin} has no device")));
        };
        self.paused.remove(origin);
        let done = self.dm.set_merge_pace(&device, None).and_then(|()| self.dm.resume_merge(&device));
        done.map_err(|error| self.excuse("resuming the merge", error))?;
        while !self.is_finished(origin) {
            let failed = self.dm.merge_progress(&device).is_some_and(|progress| progress.failed);
            if failed {
                self.dm.resume_merge(&device).map_err(|error| self.excuse("trying again", error))?;
            }
            if !self.step()? && !self.is_finished(origin) && !self.relieve()? {
                let progress = self.dm.merge_progress(&device);
                return Err(Failure::new(
                    "liveness",
                    format!("the merge into {device} stands: {progress:?}"),
                ));
            }
        }
        if !self.carry_out(&Op::End(*origin))? {
            return Err(Failure::new("merge", format!("the merge into {device} is not ended")));
        }
        self.scenes.saw(Scene::LiveMergeDone);
        Ok(())
    }

    fn read_all(&mut self) -> Result<(), Failure> {
        for id in self.sound() {
            let len = self.run.facts.volume(&id)?.model.len();
            self.ask_for(&id, RequestKind::Read, 0, len);
            self.ask(&id, RequestKind::Flush);
        }
        self.drain()
    }
}
