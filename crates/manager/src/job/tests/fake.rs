//! A host whose mapper folds chunk by chunk, last record first, over simulated disks; and VGs for it.

use crate::activation::{Group, activate};
use crate::environment::Environment;
use crate::job::{
    Carried, InUse, MergeError, MergeHost, MergeOutcome, MergeRequest, Observer, Polled, Progress, merge,
    poll,
};
use crate::ops::Notice;
use crate::ops::merge_start::Mode;
use crate::store::DiskSet;
use crate::testing::{Bench, TestEnvironment, lv_name};
use foldback_device::Disks;
use foldback_dm_table::{
    DeviceMapper, DmName, Info, SnapshotParams, Stage, Table, Target, Transaction, Verb,
};
use foldback_lvm2_format::vg::Vg;
use foldback_testkit::{Image, Sector, SimDisks};
use foldback_units::{Bytes, ChunkSize, SectorRange, Sectors, VgName};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub(super) const CHUNK: usize = 4096;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(String);

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}

#[derive(Default)]
pub(super) struct Slots {
    uuid: String,
    live: Option<Table>,
    inactive: Option<Table>,
}

/// When a merge that has failed does not say so any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Until {
    /// Its device was resumed, as in user-dm.
    Resumed,
    /// It was made anew, as in the kernel.
    MadeAnew,
}

pub(super) struct FakeMapper {
    pub(super) disks: SimDisks,
    pub(super) paths: Vec<String>,
    pub(super) devices: BTreeMap<DmName, Slots>,
    pub(super) refuse: Option<&'static str>,
    /// How often that was done.
    pub(super) refused: u32,
    /// The same, from a transaction's commit on.
    pub(super) refuse_after_commit: Option<&'static str>,
    /// A snapshot that says it is invalid.
    pub(super) invalid: Option<DmName>,
    /// A merging origin that says it has failed; and until when.
    pub(super) failed: Option<(DmName, Until)>,
    /// Whether somebody uses every device.
    pub(super) used: bool,
}

pub(super) struct FakeHost {
    pub(super) mapper: FakeMapper,
    pub(super) locked: bool,
    pub(super) locks: u32,
}

impl FakeMapper {
    /// Where a linear device lies: a path and a sector.
    fn base(&self, name: &str) -> Result<(String, u64), Broken> {
        let slots = self.devices.get(&DmName(name.to_owned())).ok_or_else(|| broken(name))?;
        match &slots.live.as_ref().ok_or_else(|| broken(name))?.lines[0].target {
            Target::Linear(area) => Ok((area.device.0.clone(), area.offset.0)),
            other => Err(broken(format!("{other:?}"))),
        }
    }

    fn fold(
        &mut self,
        params: &SnapshotParams,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, Broken> {
        let (origin, cow) = (self.base(&params.origin.0)?, self.base(&params.cow.0)?);
        let mut set = DiskSet::new(&mut self.disks, &self.paths);
        let (from, to) = (set.find(&cow.0).unwrap(), set.find(&origin.0).unwrap());
        let at = |base: u64, chunk: u64| Bytes(base * 512 + chunk * CHUNK as u64);
        let area = at(cow.1, 1);
        let mut records = set.read("fold", from, area, CHUNK).map_err(broken)?;
        let word = |records: &[u8], at: usize| u64::from_le_bytes(records[at..at + 8].try_into().unwrap());
        let total = (0..256).take_while(|slot| word(&records, slot * 16 + 8) != 0).count();
        for left in (0..=total).rev() {
            let progress = Progress {
                chunks_total: total as u64,
                chunks_left: left as u64,
                chunk_size: ChunkSize::from_sectors(8).unwrap(),
            };
            let enough = look(&progress).is_break();
            if left == 0 {
                break;
            }
            if enough {
                return Ok(Carried::Stopped);
            }
            let slot = (left - 1) * 16;
            let data = set.read("fold", from, at(cow.1, word(&records, slot + 8)), CHUNK).map_err(broken)?;
            set.write("fold", to, at(origin.1, word(&records, slot)), &data, false).map_err(broken)?;
            set.flush("fold", to).map_err(broken)?;
            records[slot..slot + 16].fill(0);
            set.write("fold", from, area, &records, true).map_err(broken)?;
        }
        Ok(Carried::Finished)
    }
}

impl DeviceMapper for FakeMapper {
    type Error = Broken;

    fn apply(&mut self, verb: &Verb) -> Result<(), Broken> {
        let name = match verb {
            Verb::Create { name, uuid, .. } => {
                let slots = Slots { uuid: uuid.clone(), ..Slots::default() };
                drop(self.devices.insert(name.clone(), slots));
                return Ok(());
            }
            Verb::Load { name, .. }
            | Verb::Suspend { name, .. }
            | Verb::Resume { name }
            | Verb::Clear { name }
            | Verb::Remove { name }
            | Verb::Rename { name, .. } => name,
        };
        if self.refuse.is_some_and(|word| format!("{verb:?}").starts_with(word)) {
            self.refuse = None;
            self.refused += 1;
            return Err(broken(format!("refused {verb:?}")));
        }
        let slots = self.devices.get_mut(name).ok_or_else(|| broken(name))?;
        match verb {
            Verb::Load { table, .. } => slots.inactive = Some(table.clone()),
            Verb::Resume { .. } => {
                self.failed = self.failed.take().filter(|failed| *failed != (name.clone(), Until::Resumed));
                slots.live = slots.inactive.take().or(slots.live.take());
            }
            Verb::Remove { .. } => {
                let used = self
                    .devices
                    .values()
                    .any(|other| format!("{:?}", other.live).contains(&format!("DeviceRef(\"{name}\")")));
                if used {
                    return Err(broken(format!("{name} is in use")));
                }
                self.failed = self.failed.take().filter(|(failed, _)| failed != name);
                drop(self.devices.remove(name));
            }
            _ => {}
        }
        Ok(())
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, Broken)> {
        let Transaction { preload, suspend, headers, resume, clean } = transaction;
        for (stage, verbs) in [(Stage::Preload, preload), (Stage::Suspend, suspend)] {
            verbs.iter().try_for_each(|verb| self.apply(verb)).map_err(|error| (stage, error))?;
        }
        let mut set = DiskSet::new(&mut self.disks, &self.paths);
        for header in headers {
            let disk = set.find(&header.pv.0).unwrap();
            set.write("commit", disk, header.offset, &*header.commit, true)
                .map_err(|fault| (Stage::Commit, broken(fault)))?;
        }
        self.refuse = self.refuse.take().or_else(|| self.refuse_after_commit.take());
        let mut outcome = Ok(());
        for verb in resume {
            if outcome.is_ok() {
                outcome = self.apply(verb).map_err(|error| (Stage::Resume, error));
            }
            // As user-dm: from the first that fails on, old tables.
            if outcome.is_err()
                && let Verb::Resume { name } = verb
                && let Some(slots) = self.devices.get_mut(name)
            {
                slots.inactive = None;
            }
        }
        outcome?;
        clean.iter().try_for_each(|verb| self.apply(verb)).map_err(|error| (Stage::Clean, error))
    }

    fn list(&mut self) -> Result<Vec<Info>, Broken> {
        let info = |(name, slots): (&DmName, &Slots)| Info {
            name: name.clone(),
            uuid: slots.uuid.clone(),
            suspended: false,
            live: true,
            inactive: false,
            open_count: self.used.into(),
            event: 0,
        };
        Ok(self.devices.iter().map(info).collect())
    }

    fn table(&mut self, name: &DmName) -> Result<Option<Table>, Broken> {
        Ok(self.devices.get(name).and_then(|slots| slots.live.clone()))
    }

    fn status(&mut self, name: &DmName) -> Result<Vec<String>, Broken> {
        let says = |who: Option<&DmName>, word: &str| who.filter(|who| *who == name).map(|_| word.to_owned());
        let failed = self.failed.as_ref().map(|(device, _)| device);
        let invalid = says(self.invalid.as_ref(), "Invalid");
        Ok(invalid.or_else(|| says(failed, "Merge failed")).into_iter().collect())
    }
}

impl MergeHost for FakeHost {
    type Error = Broken;
    type Mapper = FakeMapper;

    fn mapper(&mut self) -> &mut FakeMapper {
        &mut self.mapper
    }

    fn disks(&mut self) -> Box<dyn Disks + '_> {
        Box::new(self.mapper.disks.clone())
    }

    fn lock(&mut self, _: &VgName) -> Result<(), Broken> {
        self.locked = true;
        self.locks += 1;
        Ok(())
    }

    fn unlock(&mut self) {
        self.locked = false;
    }

    /// Nobody but this process can have its devices open.
    fn start_live(
        &mut self,
        transaction: &Transaction,
        _: &[DmName],
    ) -> Result<Option<InUse>, (Stage, Broken)> {
        self.mapper.transact(transaction).map(|()| None)
    }

    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, Broken> {
        assert!(!self.locked, "the VG is not locked while chunks are merged");
        let table = self.mapper.table(device)?.ok_or_else(|| broken("no table"))?;
        if self.mapper.failed.as_ref().is_some_and(|(failed, _)| failed == device) {
            return Err(broken("Merge failed"));
        }
        let Target::SnapshotMerge(params) = &table.lines[0].target else { return Err(broken("not merging")) };
        self.mapper.fold(params, look)
    }
}

#[derive(Default)]
pub(super) struct Ear {
    pub(super) said: Vec<String>,
    pub(super) commits: u32,
    pub(super) stop_after: Option<u32>,
}

impl Observer for Ear {
    fn notice(&mut self, notice: Notice) {
        self.said.push(notice.text);
    }

    fn progress(&mut self, _: &Progress) -> ControlFlow<()> {
        match self.stop_after.as_mut() {
            Some(0) => ControlFlow::Break(()),
            Some(left) => {
                *left -= 1;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn committed(&mut self, _: &Vg) {
        self.commits += 1;
    }
}

/// Disk and sector at which an LV begins.
pub(super) fn place(bench: &mut Bench, name: &str) -> (usize, usize) {
    let found = bench.vg();
    let lv = found.vg.lv(&lv_name(name)).unwrap();
    let range = SectorRange::new(Sectors(0), found.vg.extent_size.of(lv.extent_count())).unwrap();
    let pieces = crate::store::pieces(&found, lv, range).unwrap();
    assert_eq!(pieces.len(), 1);
    (pieces[0].disk.0 as usize, pieces[0].range.start().0 as usize)
}

/// Records for chunks of the origin in the store's first area, with stamps as data; what the origin will hold there.
pub(super) fn fill_store(disk: &mut [Sector], cow: usize, chunks: &[usize]) -> Vec<(usize, Sector)> {
    let mut area = Vec::new();
    let mut expected = Vec::new();
    for (index, &old) in chunks.iter().enumerate() {
        let new = 2 + index;
        area.extend((old as u64).to_le_bytes());
        area.extend((new as u64).to_le_bytes());
        for sector in 0..8 {
            let stamp = Sector::Stamp(1_000_000 + (index * 8 + sector) as u64);
            disk[cow + new * 8 + sector] = stamp.clone();
            expected.push((old * 8 + sector, stamp));
        }
    }
    area.resize(CHUNK, 0);
    for (index, sector) in Sector::split(&area).into_iter().enumerate() {
        disk[cow + 8 + index] = sector;
    }
    expected
}

/// An origin with a snapshot of ten exceptions; in the origin and the store lie stamps.
pub(super) fn filled() -> (Image, Vec<Sector>) {
    let mut bench = Bench::with_vg(&[16, 8], 2048);
    bench.lv("root", 4);
    bench.snapshot("root", "snap", 3);
    let ((root_disk, root), (cow_disk, cow)) = (place(&mut bench, "root"), place(&mut bench, "snap"));
    let mut image = bench.disks.visible();
    let mut expected = Vec::new();
    for sector in 0..8192 {
        image.disks[root_disk][root + sector] = Sector::Stamp(sector as u64 + 1);
        expected.push(Sector::Stamp(sector as u64 + 1));
    }
    let chunks: Vec<usize> = (0..10).map(|index| 7 * index).collect();
    for (sector, stamp) in fill_store(&mut image.disks[cow_disk], cow, &chunks) {
        expected[sector] = stamp;
    }
    (image, expected)
}

pub(super) fn host(image: Image, seed: u64) -> FakeHost {
    let bench = Bench::of(image, seed);
    let mapper = FakeMapper {
        disks: bench.disks,
        paths: bench.paths,
        devices: BTreeMap::new(),
        refuse: None,
        refused: 0,
        refuse_after_commit: None,
        invalid: None,
        failed: None,
        used: false,
    };
    FakeHost { mapper, locked: false, locks: 0 }
}

pub(super) fn run(host: &mut FakeHost, ear: &mut Ear) -> Result<MergeOutcome, MergeError<Broken>> {
    let paths = host.mapper.paths.clone();
    let environment: &mut dyn Environment = &mut TestEnvironment::new();
    let outcome = merge(host, &request(&paths), environment, ear);
    assert!(!host.locked, "the lock is given back");
    outcome
}

pub(super) fn run_poll(host: &mut FakeHost, ear: &mut dyn Observer) -> Result<Polled, MergeError<Broken>> {
    let paths = host.mapper.paths.clone();
    let environment: &mut dyn Environment = &mut TestEnvironment::new();
    let outcome = poll(host, &request(&paths), environment, ear);
    assert!(!host.locked, "the lock is given back");
    outcome
}

/// Brings the devices up that the VG has on the disks; `change` makes of the group what is live.
pub(super) fn bring_up(host: &mut FakeHost, change: impl FnOnce(Group) -> Group) {
    let found = Bench::of(host.mapper.disks.visible(), 1).vg();
    let group = change(Group::of(&found, &lv_name("snap")).unwrap());
    for verb in activate(&group) {
        host.mapper.apply(&verb).unwrap();
    }
}

fn request(paths: &[String]) -> MergeRequest<'_> {
    MergeRequest {
        paths,
        system_id: None,
        vg: VgName::new("vg").unwrap(),
        lv: lv_name("snap"),
        force: false,
        mode: Mode::NameOrigin,
        undo: None,
        leave: false,
        told: false,
    }
}

pub(super) fn origin(image: &Image) -> Vec<Sector> {
    let mut bench = Bench::of(image.clone(), 1);
    let found = bench.vg();
    let lv = found.vg.lv(&lv_name("root")).unwrap().clone();
    let range = SectorRange::new(Sectors(0), Sectors(8192)).unwrap();
    Sector::split(&crate::store::read_lv(&mut bench.set(), &found, &lv, range).unwrap())
}

pub(super) fn names(image: &Image) -> Vec<String> {
    Bench::of(image.clone(), 1).vg().vg.lvs.iter().map(|lv| lv.name.to_string()).collect()
}
