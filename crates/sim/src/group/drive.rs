//! The loop of a run: one event after the other, in random order, and what to do when nothing is left to happen.
//!
//! What must hold:
//! - Nothing hangs: while something was asked for and not answered, there is an I/O under way or one to come.
//! - The number of events is bounded.

use super::foreground::Outstanding;
use super::judge::{Facts, StoreFacts};
use super::opening::Openings;
use super::runner::{Owner, Runner};
use super::scenario::Scenario;
use super::world::{World, geometry};
use crate::report::{Failure, RunReport, Scene, Scenes};
use foldback_engine::{
    Buffer, Group, GroupConfig, Io, Outcome, RequestId, Space, SpaceGeometry, StoreId, Volume,
};
use foldback_testkit::cow::{State, load};
use foldback_testkit::{Moment, Rng, SimSet, VolumeModel};
use foldback_units::{ChunkSize, Sectors};
use std::collections::{BTreeMap, BTreeSet};

/// No run takes as many events.
const MAX_STEPS: u64 = 400_000;
/// How often a stopped merge is resumed before the process is started again.
const MAX_RESUMES: u64 = 12;

/// Why a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The power is cut.
    Cut,
    /// The process is killed; what the disks have in their caches stays.
    Kill,
    /// Everything was asked, answered and merged.
    Done,
}

/// What a hold is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Nothing,
    StartMerge,
    Attach(StoreId),
    Detach(StoreId),
    EndMerge,
}

pub(crate) struct Drive {
    pub(crate) scenario: Scenario,
    pub(crate) rng: Rng,
    pub(crate) scenes: Scenes,
    pub(crate) facts: Facts,
    pub(crate) runner: Runner,
    pub(crate) geometries: BTreeMap<Space, SpaceGeometry>,
    pub(crate) group: Option<Group>,
    pub(crate) outstanding: BTreeMap<RequestId, Outstanding>,
    pub(crate) holding: Option<Purpose>,
    pub(crate) paused: bool,
    /// A snapshot of this life was removed, or one not yet taken: stores that are not there.
    pub(crate) absent: BTreeSet<StoreId>,
    pub(crate) now: Moment,
    pub(crate) steps: u64,
    pub(crate) next_request: u64,
    pub(crate) requests_left: u64,
    /// Events until the power is cut or the process killed.
    pub(crate) stop_in: Option<(u64, Stop)>,
    /// An I/O of this life met an error.
    pub(crate) trouble: bool,
    /// Requests of which a read met an error.
    pub(crate) failed_reads: BTreeSet<RequestId>,
    pub(crate) resumes: u64,
    pub(crate) life: u64,
    pub(crate) last_life: bool,
    pub(crate) faults_left: u64,
    pub(crate) openings: Openings,
    pub(crate) next_opening: u64,
    pub(crate) one_sector: ChunkSize,
    trace: Option<Vec<String>>,
}

impl Drive {
    pub(crate) fn new(
        scenario: Scenario,
        mut rng: Rng,
        mut scenes: Scenes,
        traced: bool,
    ) -> Result<Self, Failure> {
        let one_sector =
            ChunkSize::from_sectors(1).map_err(|error| Failure::new("units", error.to_string()))?;
        let world = World::build(&scenario, &mut rng, &mut scenes);
        let set = SimSet::new(world.image.clone(), &world.physical, scenario.order, rng.fork());
        let mut facts = Facts { maps: world.maps.clone(), ..Facts::default() };
        facts.models.insert(Volume::Origin, VolumeModel::new(world.origin.clone()));
        let mut absent = BTreeSet::new();
        for (index, plan) in (0..).zip(&scenario.stores) {
            let store = StoreId(index);
            if plan.later {
                absent.insert(store);
                continue;
            }
            facts.models.insert(Volume::Snapshot(store), VolumeModel::new(world.snapshots[&store].clone()));
            facts.stores.insert(store, StoreFacts::of(plan));
        }
        let geometries =
            world.maps.iter().map(|(space, map)| (*space, geometry(map, &world.physical))).collect();
        let requests_left = scenario.requests;
        let faults_left = scenario.faults;
        let runner = Runner::new(set, world.maps, scenario.scratch);
        let mut drive = Self {
            scenario,
            rng,
            scenes,
            facts,
            runner,
            geometries,
            group: None,
            outstanding: BTreeMap::new(),
            holding: None,
            paused: false,
            absent,
            now: 1,
            steps: 0,
            next_request: 0,
            requests_left,
            stop_in: None,
            trouble: false,
            failed_reads: BTreeSet::new(),
            resumes: 0,
            life: 0,
            last_life: false,
            faults_left,
            openings: Openings::new(),
            next_opening: 0,
            one_sector,
            trace: traced.then(Vec::new),
        };
        drive.note(|drive| format!("{:?}", drive.scenario));
        Ok(drive)
    }

    pub(crate) fn report(self, seed: u64, failure: Option<Failure>) -> RunReport {
        RunReport {
            seed,
            steps: self.steps,
            scenes: self.scenes,
            failure,
            trace: self.trace.unwrap_or_default(),
        }
    }

    /// Writes a line of the trace, if there is one.
    pub(crate) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let text = format!("{:>6} {}", self.steps, line(self));
            self.trace.get_or_insert_default().push(text);
        }
    }

    pub(crate) fn new_group(&self) -> Result<Group, Failure> {
        let config = GroupConfig {
            origin: self.geometries[&Space::Origin].clone(),
            scratch: Sectors(self.scenario.scratch),
            window: Sectors(self.scenario.window),
            depth: self.scenario.depth,
        };
        Group::new(config).map_err(|error| Failure::new("contract", format!("no group: {error}")))
    }

    /// Reads from the disks what the judge needs to know of each store: the table, and what is free.
    pub(crate) fn refresh(&mut self) {
        let image = self.runner.set.visible();
        for (store, facts) in &mut self.facts.stores {
            let device = self.facts.maps[&Space::Store(*store)].gather(&image);
            if let Ok(loaded) = load(&device) {
                // The judge has seen this image and found a reason; it stays invalid for good.
                facts.may_be_invalid |= loaded.state == State::Invalid;
                facts.next_free = loaded.next_free();
                facts.records = loaded.records;
                facts.wanted.clear();
                facts.leaked = 0;
            }
        }
        self.want_merge();
    }

    /// A merge writes to the origin wherever the merging store has an exception.
    pub(crate) fn want_merge(&mut self) {
        let Some(merge) = &self.facts.merge else { return };
        let (merging, records) = (merge.store, merge.records.clone());
        let chunk = self.facts.stores[&merging].chunk;
        for (store, facts) in &mut self.facts.stores {
            if *store != merging && !facts.view {
                for (old, _) in &records {
                    facts.want(old * chunk, chunk);
                }
            }
        }
    }

    /// Events until this life is over.
    pub(crate) fn live(&mut self) -> Result<Stop, Failure> {
        loop {
            if let Some(stop) = self.tick()? {
                return Ok(stop);
            }
            if !self.rng.percent(self.scenario.shares.lazy) {
                self.pump()?;
            }
            self.act()?;
            if !self.runner.is_idle() {
                continue;
            }
            self.pump()?;
            if self.runner.is_idle()
                && let Some(stop) = self.idle()?
            {
                return Ok(stop);
            }
        }
    }

    /// One more event; the end of the life, if this is it.
    pub(crate) fn tick(&mut self) -> Result<Option<Stop>, Failure> {
        self.steps += 1;
        self.now += 1;
        if self.steps > MAX_STEPS {
            return Err(Failure::new("liveness", format!("no end after {MAX_STEPS} events")));
        }
        if let Some((left, stop)) = &mut self.stop_in {
            if *left == 0 {
                return Ok(Some(*stop));
            }
            *left -= 1;
        }
        Ok(None)
    }

    fn act(&mut self) -> Result<(), Failure> {
        let shares = self.scenario.shares.clone();
        if self.rng.percent(shares.peek) {
            self.peek()?;
        }
        if self.rng.percent(shares.control) {
            self.control();
        }
        let may_submit = self.requests_left > 0 && self.outstanding.len() < self.scenario.outstanding;
        if may_submit && self.rng.percent(shares.submit) {
            self.submit();
            return Ok(());
        }
        self.complete()
    }

    /// Takes what the group wants done, and its answers.
    pub(crate) fn pump(&mut self) -> Result<(), Failure> {
        loop {
            let Some(group) = &mut self.group else { return Ok(()) };
            let io = group.poll_io();
            let answer = group.poll_answer();
            if io.is_none() && answer.is_none() {
                return self.watch_merge();
            }
            if let Some((id, answer)) = answer {
                self.answered(id, answer)?;
            }
            if let Some((id, io)) = io {
                self.note(|_| format!("io {} {}", id.0, Runner::describe(&io)));
                self.watch(&io)?;
                self.runner.submit(Owner::Group, id, io, &mut self.scenes)?;
            }
        }
    }

    /// What an I/O says about the engine.
    fn watch(&mut self, io: &Io) -> Result<(), Failure> {
        if let Io::Discard { .. } = io {
            let is_open = |store: &StoreId| !self.may_be_invalid(*store);
            if self.facts.merge.is_some() || self.facts.stores.keys().any(is_open) {
                return Err(Failure::new("discard", "a discard reaches the origin of a snapshot"));
            }
            self.scenes.saw(Scene::DiscardPassed);
        }
        Ok(())
    }

    /// Whether the snapshot may be invalid by now.
    pub(crate) fn may_be_invalid(&self, store: StoreId) -> bool {
        let device = self.facts.maps[&Space::Store(store)].len();
        self.facts.stores.get(&store).is_none_or(|facts| facts.may_be_invalid || facts.can_overflow(device))
    }

    /// Progress is durable and only goes one way (I9).
    fn watch_merge(&mut self) -> Result<(), Failure> {
        let Some(progress) = self.group.as_ref().and_then(Group::merge_progress) else { return Ok(()) };
        let Some(merge) = &mut self.facts.merge else { return Ok(()) };
        if progress.chunks_left > merge.ceiling {
            let what = format!("{} chunks left after {} were", progress.chunks_left, merge.ceiling);
            return Err(Failure::new("I9", what));
        }
        merge.ceiling = progress.chunks_left;
        if progress.failed && !self.trouble {
            return Err(Failure::new("I10", "the merge failed, though no I/O did"));
        }
        Ok(())
    }

    /// One operation completes.
    pub(crate) fn complete(&mut self) -> Result<(), Failure> {
        let Some(ended) = self.runner.step()? else { return Ok(()) };
        self.note(|_| {
            let failed = if matches!(ended.outcome, Outcome::Failed(_)) { " FAILED" } else { "" };
            format!("io {} of {:?} done{failed}", ended.id.0, ended.owner)
        });
        if let Outcome::Failed(_) = ended.outcome {
            self.met_error(&ended.io);
        }
        match ended.owner {
            Owner::Group => {
                if let Some(group) = &mut self.group {
                    group.complete_io(ended.id, ended.outcome);
                }
            }
            Owner::Opening(store) => self.complete_opening(store, ended.id, ended.outcome),
        }
        Ok(())
    }

    /// What an error excuses.
    fn met_error(&mut self, io: &Io) {
        if let Some(id) = foreground_read(io) {
            // It fails this request, and nothing else (architecture.md, "When things go wrong").
            self.scenes.saw(Scene::EioRead);
            self.failed_reads.insert(id);
            return;
        }
        self.trouble = true;
        let hit = |facts: &mut StoreFacts| {
            facts.may_be_invalid = true;
            facts.clean = false;
        };
        match io {
            Io::Read { .. } | Io::ReadMetadata { .. } | Io::Discard { .. } => {
                self.scenes.saw(Scene::EioRead);
                // A copy may be made of several reads; one that fails wastes the chunks of all of them.
                for facts in self.facts.stores.values_mut() {
                    facts.leaked += self.scenario.scratch.div_ceil(facts.chunk) + 1;
                }
            }
            Io::Write { space, .. } | Io::WriteMetadata { space, .. } => {
                self.scenes.saw(Scene::EioWrite);
                if let Space::Store(store) = space
                    && let Some(facts) = self.facts.stores.get_mut(store)
                {
                    hit(facts);
                }
            }
            Io::Flush { domain } => {
                self.scenes.saw(Scene::EioFlush);
                let shares = |space: &Space| self.geometries[space].domains.contains(domain);
                for (store, facts) in &mut self.facts.stores {
                    if shares(&Space::Store(*store)) {
                        hit(facts);
                    }
                }
                self.facts.models.values_mut().for_each(VolumeModel::distrust);
            }
        }
    }

    /// Looks at what a power cut would leave here.
    pub(crate) fn peek(&mut self) -> Result<(), Failure> {
        self.scenes.saw(Scene::Peek);
        let image = self.runner.set.cut(None);
        self.facts.judge(&image).map(|_| ())
    }

    /// Nothing is under way and nothing is to come.
    fn idle(&mut self) -> Result<Option<Stop>, Failure> {
        if let Some(purpose) = self.holding {
            return self.quiet(purpose);
        }
        if let Some((id, waiting)) = self.outstanding.first_key_value() {
            let what = format!("request {} ({waiting:?}) is not answered and nothing is under way", id.0);
            return Err(Failure::new("liveness", what));
        }
        if (0..self.runner.set.count()).any(|disk| self.runner.set.is_poisoned(disk)) {
            self.note(|_| "a disk is poisoned: restart".to_owned());
            return Ok(Some(Stop::Kill));
        }
        if self.paused {
            self.resume();
            return Ok(None);
        }
        if self.facts.merge.is_some() && !self.merge_is_finished() {
            return self.merge_stands_still();
        }
        if self.requests_left > 0 {
            self.submit();
            return Ok(None);
        }
        if self.scenario.merge && self.facts.merge.is_none() && !self.merge_is_over() {
            self.hold(Purpose::StartMerge);
            return Ok(None);
        }
        Ok(Some(Stop::Done))
    }

    /// A merge that an error stopped is resumed, and where that does not help, the process is started again.
    fn merge_stands_still(&mut self) -> Result<Option<Stop>, Failure> {
        let progress = self.group.as_ref().and_then(Group::merge_progress);
        if progress.is_some_and(|progress| progress.failed) {
            self.resumes += 1;
            self.scenes.saw(Scene::MergeFailed);
            if self.resumes > MAX_RESUMES {
                return Ok(Some(Stop::Kill));
            }
            self.resume();
            return Ok(None);
        }
        Err(Failure::new("liveness", format!("the merge stands still: {progress:?}")))
    }
}

/// The request that an I/O reads for, if it does.
fn foreground_read(io: &Io) -> Option<RequestId> {
    let Io::Read { into, .. } = io else { return None };
    match into.first()?.buffer {
        Buffer::Request(id) => Some(id),
        Buffer::Scratch | Buffer::Zeroes => None,
    }
}
