//! Merges that are paused and paced, stores that fill: what the daemon's keeper does, and that it is enough.
//!
//! What must hold:
//! - A paused merge that has come to rest moves nothing until it is resumed, whatever else is done to its group.
//! - Whoever waits for room goes on when the store has grown, or was given up.
//! - A snapshot that undoes a merge has room for all that the merge overwrites.

use super::life::Life;
use super::op::Op;
use crate::report::{Failure, Scene};
use foldback_dm_table::{DeviceMapper, SnapshotStatus};
use foldback_manager::ops::autoextend::Policy;
use foldback_units::{Bytes, LvmUuid};

impl Life<'_> {
    /// Pauses, resumes, paces the merge of some origin.
    pub(crate) fn pace(&mut self) -> Result<(), Failure> {
        let running: Vec<LvmUuid> =
            self.run.active.iter().copied().filter(|id| self.run.facts.has_begun(id)).collect();
        if running.is_empty() {
            return Ok(());
        }
        let origin = *self.rng.pick(&running);
        let Some(device) = self.device(&origin) else { return Ok(()) };
        let sectors = Bytes(512 * self.rng.between(1, 64));
        let (done, what) = match self.rng.below(6) {
            0 | 1 => {
                self.paused.insert(origin, None);
                self.scenes.saw(Scene::LivePaused);
                (self.dm.pause_merge(&device), "pausing")
            }
            2 => {
                self.paused.remove(&origin);
                (self.dm.resume_merge(&device), "resuming")
            }
            3 => (self.dm.set_merge_pace(&device, Some(sectors)), "pacing"),
            4 => (self.dm.set_merge_pace(&device, None), "unleashing"),
            _ => (self.dm.add_merge_budget(&device, sectors), "topping up"),
        };
        self.run.note(|| format!("{what} the merge into {device}: {done:?}"));
        match done {
            Err(_) if self.run.facts.volume(&origin)?.lost => Ok(()),
            done => done.map_err(|error| self.excuse(what, error)),
        }
    }

    pub(crate) fn look_at_pauses(&mut self) -> Result<(), Failure> {
        let faulty = self.is_faulty();
        for origin in self.paused.keys().copied().collect::<Vec<_>>() {
            let Some(device) = self.device(&origin) else { continue };
            let left = self.dm.merge_progress(&device).map(|progress| progress.chunks_left);
            let rests = self.dm.merge_is_paused_and_idle(&device);
            let Some(before) = self.paused.get_mut(&origin) else { continue };
            match *before {
                None if rests => *before = left,
                // A boundary that a disk refused may have landed.
                Some(before) if left.is_some() && left != Some(before) && !self.disks.is_off() && !faulty => {
                    let what = format!("the merge into {device} rested at {before} chunks, and has {left:?}");
                    return Err(Failure::new("pause", what));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whoever is invalid says so, and may be; nobody merges it.
    pub(crate) fn look_at_validity(&mut self) -> Result<(), Failure> {
        let excused = self.disks.is_off() || self.is_faulty();
        let snapshots = self.run.facts.volumes.iter().filter(|(_, volume)| volume.origin.is_some());
        for id in snapshots.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(device) = self.device(&id) else { continue };
            let status = self.dm.status(&device).unwrap_or_default();
            let invalid =
                status.iter().any(|line| SnapshotStatus::parse(line) == Some(SnapshotStatus::Invalid));
            let volume = self.run.facts.volume(&id)?;
            if invalid && !volume.mortal && !excused {
                return Err(Failure::new("I3", format!("{device} is invalid")));
            }
            volume.dead |= invalid;
        }
        for origin in self.run.active.iter().copied().collect::<Vec<_>>() {
            let Some(mortal) = self.run.facts.merges.get(&origin).filter(|m| m.begun).map(|m| m.mortal)
            else {
                continue;
            };
            let Some(device) = self.device(&origin) else { continue };
            if self.dm.merge_progress(&device).is_none() {
                if !mortal && !excused {
                    return Err(Failure::new("I3", format!("what merges into {device} is invalid")));
                }
                self.run.facts.volume(&origin)?.lost = true;
            }
        }
        Ok(())
    }

    /// The keeper's look: a store that is fuller than the settings allow grows.
    pub(crate) fn look_at_stores(&mut self) -> Result<(), Failure> {
        let policy = Policy { threshold: 70, percent: 30 };
        let snapshots: Vec<LvmUuid> = self
            .sound()
            .into_iter()
            .filter(|id| self.run.facts.volumes.get(id).is_some_and(|volume| volume.origin.is_some()))
            .collect();
        for id in snapshots {
            let Some(device) = self.device(&id) else { continue };
            let status = self.dm.status(&device).unwrap_or_default();
            let usage = status.iter().find_map(|line| SnapshotStatus::parse(line));
            let Some(SnapshotStatus::Usage { allocated, total, .. }) = usage else { continue };
            if policy.growth(allocated, total).is_some() && self.rng.one_in(2) {
                self.carry_out(&Op::ExtendStore(id, 1))?;
                break;
            }
        }
        Ok(())
    }

    /// Ends the wait of those who wait for room; whether there was anybody.
    pub(crate) fn relieve(&mut self) -> Result<bool, Failure> {
        let snapshots: Vec<LvmUuid> = self.run.facts.volumes.keys().copied().collect();
        for id in snapshots {
            let Some(device) = self.device(&id) else { continue };
            if self.dm.full_store(&device).is_none() {
                continue;
            }
            let volume = self.run.facts.volume(&id)?;
            if volume.undo {
                return Err(Failure::new(
                    "undo",
                    format!("{device} has no room for what the merge overwrites"),
                ));
            }
            if volume.mortal && !volume.hold {
                return Err(Failure::new("full", format!("{device} waits for room, and was not to")));
            }
            self.scenes.saw(Scene::LiveFull);
            let grown = !self.rng.one_in(4) && self.carry_out(&Op::ExtendStore(id, 1))?;
            self.run.note(|| format!("{device} was full: grown {grown}"));
            if !grown && self.device(&id).is_some_and(|device| self.dm.full_store(&device).is_some()) {
                self.run.facts.volume(&id)?.mortal = true;
                self.scenes.saw(Scene::LiveGivenUp);
                self.dm.give_up(&device).map_err(|error| self.excuse("giving up", error))?;
            }
            return Ok(true);
        }
        Ok(false)
    }
}
