//! One life of a daemon: groups are brought up from the VG's text, operations and requests are mixed, until it ends.
//!
//! What must hold:
//! - Nothing is brought up from memory: what is active is known by UUID, all else is read.
//! - A marked merge begins when its origin is brought up, not before.

use super::bug::LiveBug;
use super::requests::Asked;
use super::{Run, switch};
use crate::report::{Failure, Scene, Scenes};
use crate::volume::vg_world::{paths, unexpected};
use foldback_dm_table::{DeviceMapper, DmName, Verb};
use foldback_manager::activation::{self, Group};
use foldback_testkit::{FaultKind, InjectedFault, Rng, SimDisks};
use foldback_units::LvmUuid;
use foldback_user_dm::{UserDm, WhenFull};
use std::collections::BTreeMap;

pub(crate) struct Life<'r> {
    pub(crate) run: &'r mut Run,
    pub(crate) rng: &'r mut Rng,
    pub(crate) scenes: &'r mut Scenes,
    pub(crate) dm: UserDm<SimDisks>,
    pub(crate) disks: SimDisks,
    pub(crate) asked: BTreeMap<u64, Asked>,
    pub(crate) last: bool,
    /// Chunks that merges had left when they came to rest.
    pub(crate) paused: BTreeMap<LvmUuid, Option<u64>>,
    hits_noted: u64,
    base: u64,
    pub(crate) flushes_fail: bool,
}

impl<'r> Life<'r> {
    pub(crate) fn new(
        run: &'r mut Run,
        disks: &SimDisks,
        rng: &'r mut Rng,
        scenes: &'r mut Scenes,
        last: bool,
    ) -> Result<Self, Failure> {
        let paths = paths(run.physical.len());
        let dm = UserDm::new(disks.clone(), &paths, run.settings);
        let dm = dm.map_err(|error| unexpected("user-dm", error))?;
        let hits_noted = disks.faults_hit();
        Ok(Self {
            run,
            rng,
            scenes,
            dm,
            disks: disks.clone(),
            asked: BTreeMap::new(),
            last,
            paused: BTreeMap::new(),
            hits_noted,
            base: hits_noted,
            flushes_fail: false,
        })
    }

    /// Whether a disk has failed an operation in this life.
    pub(crate) fn is_faulty(&self) -> bool {
        self.disks.faults_hit() > self.base
    }

    pub(crate) fn note_faults(&mut self) {
        let hits = self.disks.faults_hit();
        if hits > self.hits_noted {
            self.hits_noted = hits;
            self.spread_faults();
        }
    }

    /// A disk that was poisoned fails also what comes later.
    pub(crate) fn spread_faults(&mut self) {
        if self.is_faulty() {
            self.run.facts.met_an_error(self.flushes_fail);
            self.run.coming.iter_mut().for_each(|facts| facts.met_an_error(self.flushes_fail));
        }
    }

    /// Errors and ends to come.
    pub(crate) fn arm(&mut self, within: u64) {
        match self.rng.below(3) {
            0 => self.disks.power_off_after(self.rng.below(within)),
            1 => self.disks.kill_after(self.rng.between(1, within)),
            _ => {
                let kind =
                    *self.rng.pick(&[FaultKind::Any, FaultKind::Read, FaultKind::Write, FaultKind::Flush]);
                self.flushes_fail |= matches!(kind, FaultKind::Any | FaultKind::Flush);
                let (after, times) = (self.rng.below(within), self.rng.between(1, 2));
                self.disks.inject(InjectedFault { kind, disk: None, after, times });
            }
        }
    }

    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        if !self.last && self.rng.one_in(3) {
            self.arm(400);
        }
        self.come_up()?;
        for _ in 0..self.rng.between(20, 120) {
            self.event()?;
        }
        if self.last {
            self.come_to_rest()
        } else if self.rng.one_in(2) {
            self.drain()
        } else {
            Ok(())
        }
    }

    fn event(&mut self) -> Result<(), Failure> {
        match self.rng.below(20) {
            0..=2 => self.operation(),
            3 => self.pace(),
            4 => self.look_at_stores(),
            5..=10 => {
                self.ask_any();
                Ok(())
            }
            _ => {
                self.step()?;
                self.look_at_pauses()
            }
        }
    }

    /// After a death, what was active comes up again; after a reboot, most of it.
    fn come_up(&mut self) -> Result<(), Failure> {
        let was: Vec<LvmUuid> = self.run.active.iter().copied().collect();
        let rebooted = was.is_empty();
        for origin in if rebooted { self.run.facts.origins() } else { was } {
            if !rebooted || self.last || !self.rng.one_in(8) {
                self.bring_up(&origin, !rebooted)?;
            }
        }
        self.same_tables()?;
        self.clear_unknown()
    }

    pub(crate) fn bring_up(&mut self, origin: &LvmUuid, again: bool) -> Result<(), Failure> {
        if !self.run.facts.volumes.contains_key(origin) {
            self.run.active.remove(origin);
            return Ok(());
        }
        let name = self.run.facts.name(origin)?;
        let group = Group::of(&self.run.facts.found, &name).map_err(|error| unexpected("a group", error))?;
        self.scenes.saw_if(self.run.facts.deferred(origin).is_some(), Scene::LiveDeferredBegun);
        self.scenes.saw_if(self.run.facts.has_begun(origin), Scene::LiveMergeResumed);
        self.run.facts.begin(origin)?;
        self.run.active.insert(*origin);
        let mut verbs = activation::activate(&group);
        let first = self.run.first_verbs.entry(*origin).or_insert_with(|| verbs.clone());
        if again && self.run.bug == Some(LiveBug::OldTablesReplayed) {
            verbs.clone_from(first);
        }
        let forgets = again && self.run.bug == Some(LiveBug::HoldForgotten);
        for verb in verbs {
            self.dm.apply(&verb).map_err(|error| self.excuse("activating", error))?;
            // Before the origin comes up, and with it a merge that fills stores.
            if let Verb::Resume { name } = &verb
                && !forgets
            {
                self.choose_when_full(&group, name)?;
            }
        }
        self.run.note(|| format!("{name} ({origin}) is up"));
        for snapshot in self.run.facts.snapshots_of(origin) {
            let name = self.run.facts.name(&snapshot)?;
            self.run.note(|| format!("  with {name} ({snapshot})"));
        }
        self.answers()
    }

    fn choose_when_full(&mut self, group: &Group, device: &DmName) -> Result<(), Failure> {
        let snapshot =
            group.snapshots.iter().find(|snapshot| snapshot.top.name == *device && !snapshot.merging);
        let Some(snapshot) = snapshot else { return Ok(()) };
        let id = self.run.facts.found.vg.lv(&snapshot.lv).map(|lv| lv.id);
        let hold = id.and_then(|id| self.run.facts.volumes.get(&id)).is_some_and(|volume| volume.hold);
        let when_full = if hold { WhenFull::Hold } else { WhenFull::Invalidate };
        self.dm.set_when_full(device, when_full).map_err(|error| self.excuse("choosing", error))
    }

    /// What failed: with a reason the life ends, without one the run fails.
    pub(crate) fn excuse(&self, what: &str, error: impl std::fmt::Display) -> Failure {
        if self.disks.is_off() || self.is_faulty() {
            unexpected(what, error)
        } else {
            Failure::new("without a reason", format!("{what}: {error}"))
        }
    }

    pub(crate) fn take_down(&mut self, origin: &LvmUuid) -> Result<(), Failure> {
        self.drain()?;
        self.look_at_validity()?;
        let name = self.run.facts.name(origin)?;
        let group = self.live_group(&self.run.facts.found.clone(), &name)?;
        for verb in activation::deactivate(&group) {
            self.dm.apply(&verb).map_err(|error| self.excuse("deactivating", error))?;
        }
        self.run.active.remove(origin);
        self.paused.remove(origin);
        self.run.note(|| format!("{name} is down"));
        self.same_tables()
    }

    /// What was extended or made is written, so that it is known what it holds.
    pub(crate) fn clear_unknown(&mut self) -> Result<(), Failure> {
        let unknown: Vec<(LvmUuid, u64, u64)> = self
            .run
            .facts
            .volumes
            .iter()
            .filter_map(|(id, volume)| Some((*id, volume.unknown?, volume.model.len())))
            .collect();
        for (id, from, len) in unknown {
            if self.run.active.contains(&id) {
                self.clear(&id, from, len - from);
            }
        }
        self.drain()
    }

    /// The group of an LV as it is live: a merge that is marked and has not begun runs as an ordinary snapshot.
    pub(crate) fn live_group(
        &mut self,
        found: &foldback_manager::store::FoundVg,
        lv: &foldback_units::LvName,
    ) -> Result<Group, Failure> {
        let group = Group::of(found, lv).map_err(|error| unexpected("a group", error))?;
        let begun = switch::merges(&mut self.dm, &group.origin.top.name);
        let is_lost = self.run.bug == Some(LiveBug::DeferredBegins);
        Ok(if begun || is_lost { group } else { group.while_deferred() })
    }
}
