//! A whole merge as the program makes it: look, mark, merge, end. Cut short, failed and stopped again and again.
//!
//! What must hold:
//! - The VG reads as before the mark, as marked, or as after the end, to the byte; never back.
//! - Unmarked: origin and snapshots are as they were. Marked: store over origin reads as the snapshot did. Ended: the
//!   origin reads as the snapshot did. The other snapshots stay bit-exact throughout, or say that they are invalid
//!   where they had no room or met an error.
//! - The same command, run again, goes on and comes to the end; what was reported as finished is durable.

use super::change::Change;
use super::host::{Host, Listener};
use super::meddler::{DiskBug, Meddler};
use super::reader::Text;
use super::vg_world::{
    Repeatable, VG, found_on, lv_content, make_vg, paths, put_lv, read_text, unexpected, used_disks,
};
use crate::report::{Failure, Scene, Scenes};
use foldback_dm_table::DeviceMapper;
use foldback_manager::job::{MergeOutcome, MergeRequest, merge};
use foldback_manager::ops::merge_start::Mode;
use foldback_manager::store::FoundVg;
use foldback_testkit::cow::{Builder, State, load};
use foldback_testkit::{Cut, FaultKind, Image, InjectedFault, Order, Rng, Sector, SimDisks};
use foldback_units::{Bytes, LvName, VgName};
use foldback_user_dm::{Settings, UserDm};
use std::collections::BTreeMap;

/// After so many attempts the merge must have come to its end.
const MAX_ATTEMPTS: u64 = 14;

pub(crate) struct Merges {
    image: Image,
    physical: Vec<u64>,
    settings: Settings,
    bug: Option<DiskBug>,
    /// Another snapshot may have no room for its copies: the merge has to be forced.
    tight: bool,
    seed: u64,
    pub(crate) steps: u64,
    pub(crate) trace: Option<Vec<String>>,
}

/// What the VG was made to hold.
struct World {
    found: FoundVg,
    origin: LvName,
    before: Vec<Sector>,
    /// What each snapshot reads as; the first is merged.
    snapshots: BTreeMap<LvName, Vec<Sector>>,
    merged: LvName,
    /// Snapshots that may have become invalid.
    excused: bool,
    /// Before the mark, marked, after the end.
    texts: [Text; 3],
    operations: u64,
    /// Records of the merging store may only become fewer.
    ceiling: usize,
}

fn lv_name(name: &str) -> Result<LvName, Failure> {
    LvName::new(name).map_err(|error| unexpected("a name", error))
}

impl Merges {
    pub(crate) fn new(seed: u64, rng: &mut Rng, traced: bool, bug: Option<DiskBug>) -> Self {
        let disks = rng.between(1, 2);
        let settings = Settings {
            scratch: Bytes(512 * 32 * rng.between(1, 8)),
            window: Bytes(512 * *rng.pick(&[8, 32, 64, 256])),
            depth: rng.between(1, 8) as u32,
        };
        Self {
            image: used_disks(disks, 150),
            physical: (0..disks).map(|_| *rng.pick(&[1, 8])).collect(),
            settings,
            bug,
            tight: false,
            seed,
            steps: 0,
            trace: traced.then(Vec::new),
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn disks(&mut self, order: Order) -> SimDisks {
        self.steps += 1;
        SimDisks::new(self.image.clone(), &self.physical, order, self.seed ^ self.steps << 32)
    }

    /// A VG with an origin and snapshots that have a history.
    fn make_world(&mut self, rng: &mut Rng) -> Result<World, Failure> {
        let disks = self.disks(Order::Any);
        let mut environment = Repeatable::new(self.seed);
        let mut meddler = Meddler::new(disks.clone(), None);
        make_vg(&mut meddler, &mut environment)?;
        let origin = lv_name("origin")?;
        let extents = rng.between(3, 16) as u32;
        let mut changes = vec![Change::Create { name: origin.clone(), extents }];
        for index in 0..=rng.below(5).min(rng.below(6)) {
            let is_tight = index > 0 && rng.one_in(5);
            self.tight |= is_tight;
            let (name, chunk) = (lv_name(&format!("snap{index}"))?, 8 << rng.below(2));
            let extents = if is_tight { 4 } else { 40 };
            changes.push(Change::Snapshot { name, origin: origin.clone(), extents, chunk });
        }
        for change in &changes {
            let made = change.make(&mut meddler, &mut environment);
            made.map_err(|error| unexpected("making the VG", format!("{change:?}: {error:?}")))?;
        }
        self.image = disks.power_off(Some(Cut::LoseAll));
        let found = found_on(&self.image)?;
        let len = lv_content(&found, &origin, &self.image)?.len() as u64;
        let before: Vec<Sector> = (0..len).map(|at| Sector::Stamp(0x0100_0000_0000 | at)).collect();
        put_lv(&found, &origin, &before, &mut self.image)?;
        let mut snapshots = BTreeMap::new();
        for change in &changes {
            if let Change::Snapshot { name, chunk, .. } = change {
                let view = self.fill(&found, name, u64::from(*chunk), &before, rng)?;
                snapshots.insert(name.clone(), view);
            }
        }
        let before_text = read_text(&self.image)?;
        let texts = [before_text.clone(), before_text.clone(), before_text];
        let merged = lv_name("snap0")?;
        let ceiling = usize::MAX;
        Ok(World {
            found,
            origin,
            before,
            snapshots,
            merged,
            excused: self.tight,
            texts,
            operations: 0,
            ceiling,
        })
    }

    /// Gives a snapshot a history; what it reads as.
    fn fill(
        &mut self,
        found: &FoundVg,
        name: &LvName,
        chunk: u64,
        origin: &[Sector],
        rng: &mut Rng,
    ) -> Result<Vec<Sector>, Failure> {
        let device = lv_content(found, name, &self.image)?;
        let mut builder = Builder::new(device.len() as u64, chunk, rng);
        let mut view = origin.to_vec();
        let mut olds: Vec<u64> = (0..(origin.len() as u64).div_ceil(chunk)).collect();
        if rng.one_in(2) {
            rng.shuffle(&mut olds);
        }
        olds.truncate(rng.below(olds.len() as u64 + 1) as usize);
        for old in olds {
            let range = (old * chunk) as usize..((old + 1) * chunk).min(origin.len() as u64) as usize;
            let data: Vec<Sector> =
                range.clone().map(|_| Sector::Stamp(0x0200_0000_0000 | rng.below(1 << 32))).collect();
            if !builder.push(old, &data) {
                break;
            }
            view[range].clone_from_slice(&data);
        }
        if rng.one_in(3) {
            builder.leave_stale(&[(0, 3), (1, 4), (0, 0), (2, 5)]);
        }
        put_lv(found, name, &builder.finish(true, false), &mut self.image)?;
        Ok(view)
    }

    /// One run of the program; its listener, and whether it finished.
    fn attempt(
        &self,
        disks: &SimDisks,
        bug: Option<DiskBug>,
        looks_left: Option<u64>,
    ) -> Result<(Listener, Result<MergeOutcome, String>, usize), Failure> {
        let paths = paths(self.image.disks.len());
        let mut listener =
            Listener { disks: disks.clone(), looks_left, texts: Vec::new(), notices: Vec::new() };
        let meddler = Meddler::new(disks.clone(), bug);
        let dm = UserDm::new(meddler, &paths, self.settings).map_err(|error| unexpected("user-dm", error))?;
        let mut host = Host { dm };
        let vg = VgName::new(VG).map_err(|error| unexpected("a name", error))?;
        let lv = lv_name("snap0")?;
        let request = MergeRequest {
            paths: &paths,
            system_id: None,
            vg,
            lv,
            force: self.tight,
            mode: Mode::NameOrigin,
            undo: None,
            leave: false,
            told: false,
        };
        let ended = merge(&mut host, &request, &mut Repeatable::new(self.seed), &mut listener);
        let left = host.dm.list().map_or(0, |devices| devices.len());
        Ok((listener, ended.map_err(|error| error.to_string()), left))
    }

    pub(crate) fn run(&mut self, rng: &mut Rng, scenes: &mut Scenes) -> Result<(), Failure> {
        let mut world = self.make_world(rng)?;
        scenes.saw_if(world.snapshots.len() == 5, Scene::VgFourOthers);
        let disks = self.disks(Order::Any);
        let (listener, ended, left) = self.attempt(&disks, None, None)?;
        let [marked, after] = listener.texts.as_slice() else {
            let what = format!("a merge without trouble: {ended:?}, {} commits", listener.texts.len());
            return Err(Failure::new("merge", what));
        };
        if ended != Ok(MergeOutcome::Finished) || left > 0 {
            return Err(Failure::new(
                "merge",
                format!("a merge without trouble: {ended:?}, {left} devices left"),
            ));
        }
        world.texts[1] = marked.clone();
        world.texts[2] = after.clone();
        world.operations = disks.taken();
        self.judge(&mut world, &disks.power_off(Some(Cut::LoseAll)), true)?;
        world.ceiling = usize::MAX;
        for attempt in 0..MAX_ATTEMPTS {
            if self.try_once(&mut world, attempt, rng, scenes)? {
                scenes.saw(Scene::VgMergeDone);
                return Ok(());
            }
        }
        Err(Failure::new("merge", format!("no end after {MAX_ATTEMPTS} attempts")))
    }

    /// One attempt, perhaps with trouble; whether the merge is over.
    fn try_once(
        &mut self,
        world: &mut World,
        attempt: u64,
        rng: &mut Rng,
        scenes: &mut Scenes,
    ) -> Result<bool, Failure> {
        let order = *rng.pick(&[Order::Any, Order::Any, Order::Newest, Order::LateFlushes, Order::LateReads]);
        let disks = self.disks(order);
        let trouble = if attempt + 2 >= MAX_ATTEMPTS { 0 } else { rng.below(12) };
        let mut looks_left = None;
        match trouble {
            6..=11 => disks.power_off_after(rng.below(world.operations + 2)),
            3..=5 => disks.inject(InjectedFault {
                kind: *rng.pick(&[FaultKind::Any, FaultKind::Read, FaultKind::Write, FaultKind::Flush]),
                disk: None,
                after: rng.below(world.operations),
                times: rng.between(1, 2),
            }),
            2 => looks_left = Some(rng.below(30)),
            _ => {}
        }
        // What is forced may cost a snapshot that has no room left; an error by itself may not.
        world.excused |= self.tight;
        let (listener, ended, left) = self.attempt(&disks, self.bug, looks_left)?;
        let was_off = disks.is_off();
        let faulty = disks.faults_hit() > 0;
        self.note(|| {
            format!("attempt {attempt}: {ended:?}, off {was_off}, faulty {faulty}, {:?}", listener.notices)
        });
        scenes.saw_if(was_off, Scene::VgMergeCut);
        // A copy that failed may have wasted chunks of a store that has none to spare.
        self.tight |= faulty;
        let finished = ended == Ok(MergeOutcome::Finished);
        if !was_off && !faulty {
            if let Err(why) = &ended {
                return Err(Failure::new("merge", format!("it failed without a reason: {why}")));
            }
            if left > 0 {
                return Err(Failure::new("merge", format!("{left} devices are left over")));
            }
        }
        let image = disks.power_off(None);
        let over = self.judge(world, &image, finished)?;
        self.image = image;
        Ok(over)
    }

    /// Judges what is left; whether the merge is over.
    fn judge(&self, world: &mut World, image: &Image, finished: bool) -> Result<bool, Failure> {
        let text = read_text(image)?;
        let Some(stage) = world.texts.iter().position(|known| *known == text) else {
            return Err(Failure::new(
                "commit",
                format!("seqno {} with a text that is none of the three", text.seqno),
            ));
        };
        let then = read_text(&self.image)?;
        if text.seqno < then.seqno {
            return Err(Failure::new("commit", format!("seqno {} after {}", text.seqno, then.seqno)));
        }
        if finished && stage < 2 {
            return Err(Failure::new("merge", "it was reported as finished, and is not"));
        }
        let origin = lv_content(&world.found, &world.origin, image)?;
        match stage {
            0 => compare("I1", "the origin before the mark", &origin, &world.before)?,
            2 => compare("I1", "the origin after the end", &origin, &world.snapshots[&world.merged])?,
            _ => {}
        }
        for (name, expected) in &world.snapshots {
            let is_merged = *name == world.merged;
            if is_merged && stage == 2 {
                continue;
            }
            let device = lv_content(&world.found, name, image)?;
            let loaded = load(&device)
                .map_err(|refusal| Failure::new("I5", format!("the store of {name}: {refusal:?}")))?;
            if loaded.state == State::Invalid && world.excused && !is_merged {
                continue;
            }
            if loaded.state != State::Valid {
                return Err(Failure::new("I3", format!("the store of {name} is {:?}", loaded.state)));
            }
            if let Some(fault) = loaded.structural_faults(device.len() as u64, origin.len() as u64).first() {
                return Err(Failure::new("I5", format!("the store of {name}: {fault}")));
            }
            if is_merged && loaded.records.len() > world.ceiling {
                let what = format!("{} records after {}", loaded.records.len(), world.ceiling);
                return Err(Failure::new("I9", what));
            }
            let invariant = if is_merged { "I1" } else { "I3" };
            compare(invariant, name.as_str(), &loaded.view(&device, &origin), expected)?;
            if is_merged {
                world.ceiling = loaded.records.len();
            }
        }
        found_on(image)?;
        Ok(stage == 2)
    }
}

fn compare(invariant: &'static str, what: &str, seen: &[Sector], expected: &[Sector]) -> Result<(), Failure> {
    match seen.iter().zip(expected).position(|(seen, expected)| seen != expected) {
        None if seen.len() == expected.len() => Ok(()),
        None => Err(Failure::new(invariant, format!("{what} has {} sectors", seen.len()))),
        Some(at) => {
            let what = format!("sector {at} of {what} is {:?}, not {:?}", seen[at], expected[at]);
            Err(Failure::new(invariant, what))
        }
    }
}
