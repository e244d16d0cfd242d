//! The merge job over simulated disks and a mapper that folds chunk by chunk, last record first: what the job itself must
//! hold. That an engine merges right is judged elsewhere.

use crate::environment::Environment;
use crate::job::{Carried, MergeError, MergeHost, MergeOutcome, MergeRequest, Observer, Progress, merge};
use crate::ops::Notice;
use crate::store::DiskSet;
use crate::testing::{Bench, TestEnvironment, lv_name};
use foldback_device::Disks;
use foldback_dm_table::{
    DeviceMapper, DmName, Info, SnapshotParams, Stage, Table, Target, Transaction, Verb,
};
use foldback_lvm2_format::vg::{LvStatus, SegmentKind, Vg, VgStatus};
use foldback_testkit::{Cut, Image, Rng, Sector, SimDisks};
use foldback_units::{Bytes, ChunkSize, SectorRange, Sectors, VgName};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const CHUNK: usize = 4096;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}

#[derive(Default)]
struct Slots {
    live: Option<Table>,
    inactive: Option<Table>,
}

struct FakeMapper {
    disks: SimDisks,
    paths: Vec<String>,
    devices: BTreeMap<DmName, Slots>,
    refuse: Option<&'static str>,
}

struct FakeHost {
    mapper: FakeMapper,
    locked: bool,
    locks: u32,
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
            Verb::Create { name, .. } => {
                drop(self.devices.insert(name.clone(), Slots::default()));
                return Ok(());
            }
            Verb::Load { name, .. }
            | Verb::Suspend { name, .. }
            | Verb::Resume { name }
            | Verb::Clear { name }
            | Verb::Remove { name } => name,
        };
        if self.refuse.is_some_and(|word| format!("{verb:?}").starts_with(word)) {
            self.refuse = None;
            return Err(broken(format!("refused {verb:?}")));
        }
        let slots = self.devices.get_mut(name).ok_or_else(|| broken(name))?;
        match verb {
            Verb::Load { table, .. } => slots.inactive = Some(table.clone()),
            Verb::Resume { .. } => slots.live = slots.inactive.take().or(slots.live.take()),
            Verb::Remove { .. } => {
                let used = self
                    .devices
                    .values()
                    .any(|other| format!("{:?}", other.live).contains(&format!("DeviceRef(\"{name}\")")));
                if used {
                    return Err(broken(format!("{name} is in use")));
                }
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
        for (stage, verbs) in [(Stage::Resume, resume), (Stage::Clean, clean)] {
            verbs.iter().try_for_each(|verb| self.apply(verb)).map_err(|error| (stage, error))?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Info>, Broken> {
        let info = |name: &DmName| Info {
            name: name.clone(),
            uuid: String::new(),
            suspended: false,
            live: true,
            inactive: false,
            open_count: 0,
            event: 0,
        };
        Ok(self.devices.keys().map(info).collect())
    }

    fn table(&mut self, name: &DmName) -> Result<Option<Table>, Broken> {
        Ok(self.devices.get(name).and_then(|slots| slots.live.clone()))
    }

    fn status(&mut self, _: &DmName) -> Result<Vec<String>, Broken> {
        Ok(Vec::new())
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

    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, Broken> {
        assert!(!self.locked, "the VG is not locked while chunks are merged");
        let table = self.mapper.table(device)?.ok_or_else(|| broken("no table"))?;
        let Target::SnapshotMerge(params) = &table.lines[0].target else { return Err(broken("not merging")) };
        self.mapper.fold(params, look)
    }
}

#[derive(Default)]
struct Ear {
    said: Vec<String>,
    commits: u32,
    stop_after: Option<u32>,
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

/// An origin with a snapshot of ten exceptions; in the origin and the store lie stamps.
fn filled() -> (Image, Vec<Sector>) {
    let mut bench = Bench::with_vg(&[16, 8], 2048);
    bench.lv("root", 4);
    bench.snapshot("root", "snap", 3);
    let found = bench.vg();
    let mut image = bench.disks.visible();
    let place = |name: &str| {
        let lv = found.vg.lv(&lv_name(name)).unwrap();
        let range = SectorRange::new(Sectors(0), found.vg.extent_size.of(lv.extent_count())).unwrap();
        let pieces = crate::store::pieces(&found, lv, range).unwrap();
        assert_eq!(pieces.len(), 1);
        (pieces[0].disk.0 as usize, pieces[0].range.start().0 as usize)
    };
    let ((root_disk, root), (cow_disk, cow)) = (place("root"), place("snap"));
    let mut area = Vec::new();
    let mut expected = Vec::new();
    for sector in 0..8192 {
        image.disks[root_disk][root + sector] = Sector::Stamp(sector as u64 + 1);
        expected.push(Sector::Stamp(sector as u64 + 1));
    }
    for index in 0..10_usize {
        let (old, new) = (7 * index, 2 + index);
        area.extend((old as u64).to_le_bytes());
        area.extend((new as u64).to_le_bytes());
        for sector in 0..8 {
            let stamp = Sector::Stamp(1_000_000 + (index * 8 + sector) as u64);
            image.disks[cow_disk][cow + new * 8 + sector] = stamp.clone();
            expected[old * 8 + sector] = stamp;
        }
    }
    area.resize(CHUNK, 0);
    for (index, sector) in Sector::split(&area).into_iter().enumerate() {
        image.disks[cow_disk][cow + 8 + index] = sector;
    }
    (image, expected)
}

fn host(image: Image, seed: u64) -> FakeHost {
    let bench = Bench::of(image, seed);
    let mapper =
        FakeMapper { disks: bench.disks, paths: bench.paths, devices: BTreeMap::new(), refuse: None };
    FakeHost { mapper, locked: false, locks: 0 }
}

fn run(host: &mut FakeHost, ear: &mut Ear) -> Result<MergeOutcome, MergeError<Broken>> {
    let paths = host.mapper.paths.clone();
    let request = MergeRequest {
        paths: &paths,
        system_id: None,
        vg: VgName::new("vg").unwrap(),
        lv: lv_name("snap"),
        force: false,
    };
    let environment: &mut dyn Environment = &mut TestEnvironment::new();
    let outcome = merge(host, &request, environment, ear);
    assert!(!host.locked, "the lock is given back");
    outcome
}

fn origin(image: &Image) -> Vec<Sector> {
    let mut bench = Bench::of(image.clone(), 1);
    let found = bench.vg();
    let lv = found.vg.lv(&lv_name("root")).unwrap().clone();
    let range = SectorRange::new(Sectors(0), Sectors(8192)).unwrap();
    Sector::split(&crate::store::read_lv(&mut bench.set(), &found, &lv, range).unwrap())
}

fn names(image: &Image) -> Vec<String> {
    Bench::of(image.clone(), 1).vg().vg.lvs.iter().map(|lv| lv.name.to_string()).collect()
}

#[test]
fn a_merge_marks_folds_and_ends_in_one_commit_each() {
    let (image, expected) = filled();
    let mut host = host(image, 1);
    let mut ear = Ear::default();
    assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Finished);
    assert_eq!(
        ear.said,
        [
            "Merging of volume vg/snap started.",
            "Merge of snapshot into logical volume vg/root has finished.",
            "Logical volume \"snap\" successfully removed."
        ]
    );
    assert_eq!((ear.commits, host.locks), (2, 2));
    assert!(host.mapper.devices.is_empty(), "all devices are down");
    let after = host.mapper.disks.visible();
    assert!(origin(&after) == expected);
    assert_eq!(names(&after), ["root"]);
    assert_eq!(Bench::of(after, 1).vg().vg.seqno, 5);
}

#[test]
fn a_merge_that_was_stopped_goes_on() {
    let (image, expected) = filled();
    let mut host = host(image, 2);
    let mut ear = Ear { stop_after: Some(3), ..Ear::default() };
    assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Stopped);
    assert!(host.mapper.devices.is_empty());
    assert_eq!(names(&host.mapper.disks.visible()), ["root", "snap", "snapshot0"]);
    let mut ear = Ear::default();
    assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Finished);
    assert_eq!(ear.said[0], "Merging of volume vg/snap goes on.");
    assert!(origin(&host.mapper.disks.visible()) == expected);
}

/// A power cut after any operation of the job: repeating the command ends where an undisturbed one ends.
#[test]
fn after_a_power_cut_anywhere_the_same_command_goes_on() {
    let (image, expected) = filled();
    let mut rng = Rng::new(11);
    let mut cuts = 0;
    for step in 0.. {
        let mut first = host(image.clone(), step);
        first.mapper.disks.power_off_after(step);
        let finished = run(&mut first, &mut Ear::default()).is_ok();
        let cut = first.mapper.disks.is_off();
        let left = first.mapper.disks.power_off(Some(Cut::any(&mut rng)));
        if names(&left) == ["root"] {
            assert!(origin(&left) == expected, "step {step}");
        } else {
            assert!(!finished, "step {step}: finished, but not durably");
            let mut second = host(left, step);
            assert_eq!(run(&mut second, &mut Ear::default()).unwrap(), MergeOutcome::Finished);
            let after = second.mapper.disks.visible();
            assert!(origin(&after) == expected && names(&after) == ["root"], "step {step}");
        }
        if !cut {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 60, "{cuts}");
}

#[test]
fn a_store_that_cannot_be_trusted_is_refused_before_anything_is_written() {
    let refused = |spoil: &dyn Fn(&mut [Sector])| {
        let (mut image, _) = filled();
        let cow = image.disks[0].iter().position(|sector| *sector == Sector::Stamp(1_000_000)).unwrap() - 16;
        spoil(&mut image.disks[0][cow..cow + 24]);
        let mut host = host(image.clone(), 3);
        let error = run(&mut host, &mut Ear::default()).unwrap_err();
        assert!(host.mapper.disks.visible() == image, "nothing is written");
        assert!(host.mapper.devices.is_empty());
        error.to_string()
    };
    let word = |sector: &mut Sector, at: usize, value: u64| {
        let mut bytes = sector.to_bytes();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        *sector = Sector::from_bytes(&bytes);
    };
    // The header's valid flag, in its second word of 32 bits.
    let invalid = refused(&|store| word(&mut store[0], 0, 0x7041_6e53));
    assert_eq!(invalid, "Unable to merge invalidated snapshot LV vg/snap.");
    // A record that points behind the store.
    let beyond = refused(&|store| word(&mut store[8], 8, 1 << 40));
    assert!(beyond.contains("the exception store of vg/snap is damaged: area 0 slot 0"), "{beyond}");
    assert!(beyond.contains("Nothing was changed"), "{beyond}");
}

#[test]
fn a_vg_with_a_finding_is_refused_before_anything_is_written() {
    let (image, _) = filled();
    let mut bench = Bench::of(image, 4);
    bench
        .change(|vg| {
            vg.status.insert(VgStatus::Exported);
        })
        .unwrap();
    let image = bench.disks.visible();
    let mut host = host(image.clone(), 4);
    let error = run(&mut host, &mut Ear::default()).unwrap_err();
    assert_eq!(error.to_string(), "Volume group vg is exported");
    assert!(host.mapper.disks.visible() == image);
}

#[test]
fn a_device_that_fails_leaves_no_device_and_the_command_goes_on() {
    for word in ["Resume", "Load", "Suspend"] {
        let (image, expected) = filled();
        let mut host = host(image, 5);
        host.mapper.refuse = Some(word);
        let error = run(&mut host, &mut Ear::default()).unwrap_err();
        assert!(matches!(error, MergeError::Host { .. } | MergeError::Finish { .. }), "{error}");
        assert!(host.mapper.devices.is_empty(), "{word}");
        assert_eq!(run(&mut host, &mut Ear::default()).unwrap(), MergeOutcome::Finished);
        assert!(origin(&host.mapper.disks.visible()) == expected);
    }
}

/// A merge into which somebody meddles when half is done; the job looks at the VG at the end, or after every chunk.
fn meddled(
    environment: &mut TestEnvironment,
    change: fn(&mut Vg),
) -> (Result<MergeOutcome, MergeError<Broken>>, Image, Image) {
    struct Meddler<'a>(&'a SimDisks, &'a [String], fn(&mut Vg), Option<Image>);
    impl Observer for Meddler<'_> {
        fn notice(&mut self, _: Notice) {}
        fn committed(&mut self, _: &Vg) {}
        fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
            if progress.chunks_left == 5 && self.3.is_none() {
                let (disks, paths) = (self.0.clone(), self.1.to_vec());
                let mut bench = Bench { disks, paths, environment: TestEnvironment::new() };
                bench.change(self.2).unwrap();
                self.3 = Some(bench.disks.visible());
            }
            ControlFlow::Continue(())
        }
    }
    let (image, _) = filled();
    let mut host = host(image, 6);
    let (disks, paths) = (host.mapper.disks.clone(), host.mapper.paths.clone());
    let request = MergeRequest {
        paths: &paths,
        system_id: None,
        vg: VgName::new("vg").unwrap(),
        lv: lv_name("snap"),
        force: false,
    };
    let mut meddler = Meddler(&disks, &paths, change, None);
    let outcome = merge(&mut host, &request, environment, &mut meddler);
    assert!(!host.locked);
    assert!(outcome.is_err() || host.mapper.devices.is_empty());
    (outcome, meddler.3.unwrap(), disks.visible())
}

fn remove_snapshot(vg: &mut Vg) {
    vg.lvs.retain(|lv| lv.name.as_str() == "root");
}

fn rename_origin(vg: &mut Vg) {
    vg.lvs[0].name = lv_name("renamed");
    for segment in vg.lvs.iter_mut().flat_map(|lv| &mut lv.segments) {
        if let SegmentKind::Snapshot(snapshot) = &mut segment.kind {
            snapshot.origin = lv_name("renamed");
        }
    }
}

fn rename_vg(vg: &mut Vg) {
    vg.name = VgName::new("other").unwrap();
}

fn unmark(vg: &mut Vg) {
    for lv in &mut vg.lvs {
        if let SegmentKind::Snapshot(snapshot) = &mut lv.segments[0].kind {
            snapshot.merging = false;
            lv.set_status(LvStatus::Visible, true);
        }
    }
}

/// lvm2.md 2.10: the snapshot is looked up by UUID, and may be gone or changed at the end.
#[test]
fn what_others_did_to_the_vg_meanwhile_is_noticed_at_the_end() {
    let meddled = |change| meddled(&mut TestEnvironment::new(), change);
    let (outcome, _, after) = meddled(remove_snapshot);
    assert!(matches!(outcome, Ok(MergeOutcome::Finished)));
    assert_eq!(names(&after), ["root"]);
    let (outcome, _, after) = meddled(rename_origin);
    assert!(matches!(outcome, Ok(MergeOutcome::Finished)), "{outcome:?}");
    assert_eq!(names(&after), ["renamed"]);
    let (outcome, ..) = meddled(unmark);
    assert!(matches!(outcome, Err(MergeError::NotMerging { .. })), "{outcome:?}");
}

/// lvremove takes a merging snapshot of an inactive origin without a word (lvm2.md 1.9), and its extents may be given to
/// another LV the moment after.
#[test]
fn extents_that_somebody_took_away_are_not_written_any_more() {
    for change in [remove_snapshot, rename_vg, unmark] {
        let (outcome, then, after) = meddled(&mut TestEnvironment::hurried(), change);
        assert!(matches!(outcome, Err(MergeError::Changed { .. })), "{outcome:?}");
        // One step may be under way when it is noticed: the chunk that was being folded, and its record.
        let differ =
            |disk: usize| then.disks[disk].iter().zip(&after.disks[disk]).filter(|(a, b)| a != b).count();
        let written: usize = (0..then.disks.len()).map(differ).sum();
        assert!(written <= 9, "{written} sectors");
    }
    let (outcome, _, after) = meddled(&mut TestEnvironment::hurried(), rename_origin);
    assert!(matches!(outcome, Ok(MergeOutcome::Finished)), "{outcome:?}");
    assert_eq!(names(&after), ["renamed"]);
}
