//! Transactions on live devices: snapshots are taken, merges begun and ended while requests are under way, the power
//! cut or an error met at any operation.
//!
//! What must hold (architecture.md, "One transaction, one owner"):
//! - Carried out: the VG reads as after it and every live table is the new one. Taken back: the VG reads as before it and
//!   every live table is the old one. Nothing stays suspended, and no inactive table stays.
//! - Every request is answered once, across suspensions and switches; reads show what the model allows.
//! - After a power cut the VG reads as before or as after, and the volumes as that says.

use super::live_facts::Facts;
use super::live_world::{Plan, after_text, changed, make_world, same_tables, trouble};
use super::meddler::{DiskBug, Meddler};
use super::vg_world::{Repeatable, find, found_on, paths, read_text, unexpected};
use crate::report::{Failure, Scene, Scenes};
use foldback_device::Memory;
use foldback_dm_table::{DeviceMapper, Stage, Transaction};
use foldback_manager::activation::{self, Change, Group};
use foldback_manager::store::{DiskSet, FoundVg, stage};
use foldback_testkit::{FaultKind, Image, InjectedFault, Moment, Order, Rng, Sector, SimDisks, WriteToken};
use foldback_units::{Bytes, LvName, SectorRange, Sectors};
use foldback_user_dm::{DmError, DmErrorKind, RequestKind, Settings, Ticket, UserDm, VolumeRequest};
use std::collections::BTreeMap;

/// No run takes as many steps.
const MAX_STEPS: u64 = 20_000;

pub(crate) struct Live {
    image: Image,
    physical: Vec<u64>,
    settings: Settings,
    bug: Option<DiskBug>,
    seed: u64,
    facts: Facts,
    /// What a transaction under way would make of it.
    coming: Option<Facts>,
    asked: BTreeMap<u64, Asked>,
    now: Moment,
    next_write: u64,
    snapshots_taken: u64,
    transactions: u64,
    last_life: bool,
    pub(crate) steps: u64,
    pub(crate) trace: Option<Vec<String>>,
}

struct Asked {
    lv: LvName,
    kind: RequestKind,
    at: u64,
    len: u64,
    began: Moment,
    token: WriteToken,
    memory: Option<Memory>,
}

/// One life: the devices and the disks they run on.
struct Devices {
    dm: UserDm<Meddler>,
    disks: SimDisks,
    group: Group,
}

impl Live {
    pub(crate) fn new(seed: u64, rng: &mut Rng, traced: bool, bug: Option<DiskBug>) -> Result<Self, Failure> {
        let disks = rng.between(1, 2);
        let physical: Vec<u64> = (0..disks).map(|_| *rng.pick(&[1, 8])).collect();
        let settings = Settings {
            scratch: Bytes(512 * 32 * rng.between(1, 8)),
            window: Bytes(512 * *rng.pick(&[8, 32, 64])),
            depth: rng.between(1, 8) as u32,
        };
        let (image, facts) = make_world(seed, &physical, rng)?;
        Ok(Self {
            image,
            physical,
            settings,
            bug,
            seed,
            facts,
            coming: None,
            asked: BTreeMap::new(),
            now: 1,
            next_write: 0,
            snapshots_taken: 0,
            transactions: 0,
            last_life: false,
            steps: 0,
            trace: traced.then(Vec::new),
        })
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>5} {}", self.steps, line()));
        }
    }

    pub(crate) fn run(&mut self, rng: &mut Rng, scenes: &mut Scenes) -> Result<(), Failure> {
        scenes.saw_if(self.facts.found.vg.snapshots().all().len() == 4, Scene::VgFourLive);
        let lives = rng.between(2, 5);
        for life in 0..lives {
            let order = *rng.pick(&[Order::Any, Order::Any, Order::Newest, Order::LateReads]);
            let disks =
                SimDisks::new(self.image.clone(), &self.physical, order, self.seed ^ (life + 1) << 32);
            self.last_life = life + 1 == lives;
            if !self.last_life && rng.one_in(3) {
                trouble(&disks, rng);
            }
            let ended = self.life(&disks, rng, scenes);
            let (was_off, faulty) = (disks.is_off(), disks.faults_hit() > 0);
            self.note(|| format!("life {life} ends, off {was_off}, faulty {faulty}: {ended:?}"));
            self.facts.excused |= faulty;
            if let Err(failure) = ended
                && (failure.invariant != "setup" || !(was_off || faulty))
            {
                return Err(failure);
            }
            scenes.saw_if(was_off, Scene::VgLiveCut);
            self.restart(&disks.power_off(None))?;
            if self.facts.lost {
                break;
            }
        }
        Ok(())
    }

    /// What is found after a life, by the judge.
    fn restart(&mut self, image: &Image) -> Result<(), Failure> {
        let text = read_text(image)?;
        let faulty = self.facts.excused;
        if let Some(coming) = self.coming.take().filter(|coming| coming.text == text) {
            self.facts = coming;
        }
        self.facts.excused |= faulty;
        if self.facts.text != text {
            let what = format!("seqno {} with a text that is neither before nor after", text.seqno);
            return Err(Failure::new("commit", what));
        }
        self.asked.clear();
        self.facts.judge(image)?;
        self.facts.found = found_on(image)?;
        self.image = image.clone();
        Ok(())
    }

    fn life(&mut self, disks: &SimDisks, rng: &mut Rng, scenes: &mut Scenes) -> Result<(), Failure> {
        let paths = paths(self.image.disks.len());
        let meddler = Meddler::new(disks.clone(), self.bug);
        let dm = UserDm::new(meddler, &paths, self.settings).map_err(|error| unexpected("user-dm", error))?;
        let group = Group::of(&self.facts.found, &self.facts.origin).map_err(|e| unexpected("a group", e))?;
        let mut devices = Devices { dm, disks: disks.clone(), group };
        for verb in activation::activate(&devices.group) {
            devices.dm.apply(&verb).map_err(|error| unexpected("activating", error))?;
        }
        for _ in 0..rng.between(10, 60) {
            match rng.below(12) {
                0 => self.transaction(&mut devices, rng, scenes)?,
                1..=5 => self.ask(&mut devices, rng),
                _ => self.step(&mut devices)?,
            }
        }
        self.drain(&mut devices)
    }

    fn step(&mut self, devices: &mut Devices) -> Result<(), Failure> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Failure::new("liveness", "requests or a merge do not come to an end"));
        }
        devices.dm.step(true).map_err(|error| unexpected("a step", error))?;
        self.answers(devices)
    }

    fn drain(&mut self, devices: &mut Devices) -> Result<(), Failure> {
        while !self.asked.is_empty() {
            self.step(devices)?;
        }
        Ok(())
    }

    /// A request to a volume that is there and does not merge.
    fn ask(&mut self, devices: &mut Devices, rng: &mut Rng) {
        let lvs: Vec<LvName> = self.facts.models.keys().cloned().collect();
        let lv = rng.pick(&lvs).clone();
        let Some(device) = activation::device_of(&devices.group, &lv).map(|device| device.name.clone())
        else {
            return;
        };
        let Some(model) = self.facts.models.get_mut(&lv) else { return };
        let at = rng.below(model.len());
        let len = rng.between(1, 24).min(model.len() - at);
        let fua = rng.one_in(4);
        let kind = match rng.below(10) {
            0..=4 => RequestKind::Write { fua },
            5 => RequestKind::WriteZeroes { fua },
            6 => RequestKind::Flush,
            _ => RequestKind::Read,
        };
        self.next_write += 1;
        self.now += 1;
        let token = WriteToken(self.next_write);
        let stamps = (0..len).map(|offset| Sector::Stamp((1 << 47) | token.0 << 16 | offset));
        let content: Vec<Sector> = match kind {
            RequestKind::Write { .. } => stamps.collect(),
            _ => vec![Sector::Zero; len as usize],
        };
        if matches!(kind, RequestKind::Write { .. } | RequestKind::WriteZeroes { .. }) {
            model.begin(token, at, &content, self.now);
        }
        let memory = matches!(kind, RequestKind::Read | RequestKind::Write { .. })
            .then(|| Memory::new((len * 512) as usize))
            .flatten();
        if let Some(memory) = &memory {
            // Cannot be refused: the memory is as long as the content.
            let copied = memory.whole().copy_from(&Sector::join(&content));
            debug_assert!(copied);
        }
        let Some(range) = SectorRange::new(Sectors(at), Sectors(len)) else { return };
        let buffer = memory.as_ref().map(Memory::whole);
        let ticket = devices.dm.submit(&device, VolumeRequest { kind, range, buffer });
        self.note(|| format!("{ticket:?} {lv} {kind:?} {at}+{len}"));
        self.asked.insert(ticket.0, Asked { lv, kind, at, len, began: self.now, token, memory });
    }

    fn answers(&mut self, devices: &mut Devices) -> Result<(), Failure> {
        while let Some((Ticket(number), outcome)) = devices.dm.poll_answer() {
            let Some(asked) = self.asked.remove(&number) else {
                return Err(Failure::new(
                    "exactly once",
                    format!("ticket {number} is answered, but not asked"),
                ));
            };
            self.now += 1;
            let now = self.now;
            let excused = devices.disks.is_off() || devices.disks.faults_hit() > 0 || self.facts.excused;
            if let Err(error) = &outcome
                && !excused
            {
                let what = format!("{:?} of {} failed without a reason: {error:?}", asked.kind, asked.lv);
                return Err(Failure::new("I10", what));
            }
            let Some(model) = self.facts.models.get_mut(&asked.lv) else { continue };
            match asked.kind {
                RequestKind::Write { fua } | RequestKind::WriteZeroes { fua } => {
                    model.end(asked.token, asked.at, asked.len, outcome.is_ok(), fua, now);
                }
                RequestKind::Flush if outcome.is_ok() => model.flushed(asked.began),
                RequestKind::Read if outcome.is_ok() => {
                    let bytes = asked.memory.map_or_else(Vec::new, |memory| memory.whole().to_vec());
                    for (sector, seen) in (asked.at..).zip(Sector::split(&bytes)) {
                        if devices.disks.faults_hit() == 0 && !model.may_read(sector, &seen, asked.began) {
                            let what = format!("sector {sector} of {} reads as {seen:?}", asked.lv);
                            return Err(Failure::new("read", what));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn any_plan(&mut self, devices: &mut Devices, rng: &mut Rng) -> Result<Option<Plan>, Failure> {
        if let Some(merging) = self.facts.merging.clone() {
            let progress = devices.dm.merge_progress(&devices.group.origin.top.name);
            if progress.is_some_and(|progress| progress.finished) {
                return Ok(Some(Plan::End(merging)));
            }
        }
        let snapshots = devices.group.snapshots.iter().filter(|snapshot| !snapshot.merging);
        let names: Vec<LvName> = snapshots.map(|snapshot| snapshot.lv.clone()).collect();
        if self.facts.merging.is_some() {
            let removed = (!names.is_empty() && rng.one_in(4)).then(|| rng.pick(&names).clone());
            return Ok(removed.map(Plan::Remove));
        }
        if names.len() < 4 && (names.is_empty() || rng.one_in(2)) {
            self.snapshots_taken += 1;
            let name = LvName::new(&format!("taken{}", self.snapshots_taken));
            return Ok(Some(Plan::Take(name.map_err(|error| unexpected("a name", error))?)));
        }
        // Nobody marks a snapshot that is lost.
        let name = rng.pick(&names).clone();
        let device = activation::device_of(&devices.group, &name).map(|device| device.name.clone());
        let status = device.and_then(|device| devices.dm.status(&device).ok()).unwrap_or_default();
        let lost = status.iter().any(|line| line == "Invalid");
        Ok(match rng.below(4) {
            0 => Some(Plan::Remove(name)),
            _ if lost => None,
            1 | 2 if names.len() == 1 => Some(Plan::Keep(name)),
            _ => Some(Plan::Start(name)),
        })
    }

    /// One transaction, and whether it is what it says.
    fn transaction(
        &mut self,
        devices: &mut Devices,
        rng: &mut Rng,
        scenes: &mut Scenes,
    ) -> Result<(), Failure> {
        let Some(plan) = self.any_plan(devices, rng)? else { return self.step(devices) };
        if let Plan::Start(_) | Plan::Keep(_) | Plan::Remove(_) = plan {
            // From then on a name means another volume, or none: the model does not mix them.
            self.drain(devices)?;
        }
        let paths = paths(self.image.disks.len());
        self.transactions += 1;
        let mut environment = Repeatable::new(self.seed ^ self.transactions << 40);
        let (transaction, next_group, next) = {
            let mut lent = devices.dm.disks_mut();
            let mut set = DiskSet::new(&mut lent, &paths);
            let found = find(&mut set).map_err(|failure| unexpected("finding", failure))?;
            let Some(vg) = changed(&mut set, &found, &self.facts.origin, &plan, &mut environment)? else {
                return Ok(());
            };
            let staged =
                stage(&mut set, &found, vg, &mut environment).map_err(|e| unexpected("staging", e))?;
            let handover = staged.hand_over();
            let origin = if let Plan::Keep(name) = &plan { name } else { &self.facts.origin };
            let next_group = Group::of(&handover.next, origin).map_err(|e| unexpected("a group", e))?;
            let headers = handover.headers;
            let transaction = match &plan {
                Plan::Take(_) => activation::take_snapshot(&devices.group, &next_group, headers),
                Plan::Start(_) => activation::start_merge(&devices.group, &next_group, headers),
                Plan::Keep(_) => activation::keep_snapshot(&devices.group, &next_group, headers),
                Plan::End(_) => activation::finish_merge(&devices.group, &next_group, headers),
                Plan::Remove(_) => {
                    activation::remove_lvs(&[Change::between(&devices.group, &next_group)], headers)
                }
            };
            (transaction, next_group, handover.next)
        };
        self.answers(devices)?;
        if !self.last_life {
            match rng.below(8) {
                0 | 1 => devices.disks.power_off_after(rng.below(40)),
                2 | 3 => devices.disks.inject(InjectedFault {
                    kind: *rng.pick(&[FaultKind::Any, FaultKind::Write, FaultKind::Flush]),
                    disk: None,
                    after: rng.below(25),
                    times: 1,
                }),
                _ => {}
            }
        }
        self.carry_out(devices, &plan, &transaction, next_group, next, scenes)
    }

    fn carry_out(
        &mut self,
        devices: &mut Devices,
        plan: &Plan,
        transaction: &Transaction,
        next_group: Group,
        next: FoundVg,
        scenes: &mut Scenes,
    ) -> Result<(), Failure> {
        let mut after = match plan {
            Plan::Take(name) => self.facts.with_snapshot(name)?,
            Plan::Start(name) => self.facts.with_merge(name)?,
            Plan::Keep(name) => self.facts.with_kept(name),
            Plan::End(name) => self.facts.without(name),
            Plan::Remove(name) => self.facts.with_removed(name),
        };
        after.found = next;
        after.text = after_text(transaction, &devices.disks.visible(), self.facts.text.seqno)?;
        self.coming = Some(after);
        let outcome = devices.dm.transact(transaction);
        let said = outcome.as_ref().map_err(|(stage, error)| (*stage, error.to_string())).copied();
        self.note(|| format!("{plan:?}: {said:?}"));
        let quiet = !devices.disks.is_off();
        let faulty = devices.disks.faults_hit() > 0;
        let committed = match &outcome {
            Ok(()) | Err((Stage::Resume | Stage::Clean, _)) => true,
            Err((Stage::Preload | Stage::Suspend | Stage::Commit, _)) => false,
        };
        if outcome.is_err() && quiet && !faulty {
            return Err(Failure::new("transact", format!("{plan:?} failed without a reason: {said:?}")));
        }
        if !quiet {
            return Err(unexpected("the transaction", "the power went"));
        }
        if let Err((Stage::Commit, DmError { kind: DmErrorKind::Undo { .. }, .. })) = &outcome {
            // The disk refused the header and what takes it back: which text holds is known when it is read again.
            return Err(unexpected("the transaction", "either text may hold"));
        }
        if committed {
            if let Some(after) = self.coming.take() {
                let excused = self.facts.excused;
                self.facts = after;
                self.facts.excused |= excused;
            }
        } else if !faulty {
            self.coming = None;
        }
        if let Err((Stage::Commit, DmError { kind: DmErrorKind::Undo { .. }, .. })) = &outcome {
            // The disks may say either: what is written from now on would belong to one of two VGs.
            return Err(unexpected("the transaction", "neither committed nor reverted"));
        }
        if outcome.is_ok() {
            scenes.saw(Scene::VgTransaction);
            scenes.saw_if(matches!(plan, Plan::Keep(_)), Scene::VgKept);
            scenes.saw_if(matches!(plan, Plan::Remove(_)), Scene::VgRemoved);
            devices.group = next_group;
            same_tables(&mut devices.dm, &devices.group)?;
        } else if !committed {
            scenes.saw(Scene::VgTakenBack);
            same_tables(&mut devices.dm, &devices.group)?;
        } else {
            // Some devices have not come back with their new tables: this life is over.
            return Err(unexpected("the transaction", "a device did not come back"));
        }
        self.answers(devices)
    }
}
