//! What this crate's tests share: an environment that repeats itself, and small VGs.

use crate::apply::{ApplyError, create_lv, create_snapshot};
use crate::environment::Environment;
use crate::ops::lv_create::{self, NewLv};
use crate::ops::merge::{self, Mark};
use crate::ops::pv_create::{self, NewPv};
use crate::ops::snapshot_create::{self, NewSnapshot};
use crate::ops::vg_create::{self, NewVg};
use crate::ops::{Layout, SizeRequest};
use crate::store::{Committed, Discovery, DiskSet, FoundVg, discover, make_pv};
use foldback_lvm2_format::vg::{Creation, ExtentSize, Flags, Lv, Pv, PvKey, PvStatus, Segment, Vg, VgStatus};
use foldback_testkit::{Image, Order, Sector, SimDisks};
use foldback_units::{LvName, LvmUuid, Sectors, VgName};
use std::collections::BTreeSet;

/// Counts instead of asking a clock or a source of randomness.
#[derive(Debug)]
pub(crate) struct TestEnvironment {
    count: u64,
    command: String,
    /// Whether every look at the clock shows another second.
    hurried: bool,
}

impl TestEnvironment {
    pub(crate) fn new() -> Self {
        Self::running("test command")
    }
}

impl TestEnvironment {
    /// With that command line.
    pub(crate) fn running(command: &str) -> Self {
        Self { count: 0, command: command.to_owned(), hurried: false }
    }

    pub(crate) fn hurried() -> Self {
        Self { hurried: true, ..Self::new() }
    }
}

impl Environment for TestEnvironment {
    fn now(&mut self) -> u64 {
        self.count += u64::from(self.hurried);
        if self.hurried { 1_700_000_000 + self.count } else { 1_700_000_000 }
    }

    fn random(&mut self) -> [u8; 32] {
        self.count += 1;
        let count = self.count.to_le_bytes();
        std::array::from_fn(|index| if index < 8 { count[index] } else { 0 })
    }

    fn host(&self) -> String {
        "testhost".to_owned()
    }

    fn system(&self) -> String {
        "Linux testhost".to_owned()
    }

    fn command(&self) -> String {
        self.command.clone()
    }

    fn writer(&self) -> String {
        "Foldback test".to_owned()
    }
}

pub(crate) fn uuid(number: u8) -> LvmUuid {
    LvmUuid::from_random([number; 32])
}

pub(crate) fn lv_name(name: &str) -> LvName {
    LvName::new(name).unwrap()
}

/// A VG of one PV of 100 extents of 4 MiB, with LVs of one extent each.
pub(crate) fn vg_of(lvs: &[&str]) -> Vg {
    let key = PvKey::new("pv0").unwrap();
    let lvs = (0_u32..).zip(lvs).map(|(extent, name)| {
        let creation = Creation { time: 1, host: "h".to_owned() };
        let mut lv = Lv::new(lv_name(name), uuid(10 + extent as u8), creation);
        lv.segments = vec![Segment::linear(0, 1, key.clone(), extent)];
        lv
    });
    let lvs = lvs.collect();
    let pv = Pv {
        key: key.clone(),
        id: uuid(1),
        device: Some("/dev/sdb".to_owned()),
        status: BTreeSet::from([PvStatus::Allocatable]),
        flags: Flags::default(),
        tags: Vec::new(),
        dev_size: Some(Sectors(2048 + 100 * 8192)),
        pe_start: Sectors(2048),
        pe_count: 100,
        other: Vec::new(),
    };
    Vg {
        name: VgName::new("vg").unwrap(),
        id: uuid(0),
        seqno: 1,
        status: BTreeSet::from([VgStatus::Resizeable, VgStatus::Read, VgStatus::Write]),
        flags: Flags::default(),
        tags: Vec::new(),
        system_id: None,
        lock_type: None,
        extent_size: ExtentSize::DEFAULT,
        max_lv: 0,
        max_pv: 0,
        allocation_policy: None,
        metadata_copies: 0,
        pvs: vec![pv],
        lvs,
        historical: None,
        other: Vec::new(),
    }
}

/// Simulated disks with paths `/dev/sim0`, `/dev/sim1` and so on.
pub(crate) struct Bench {
    pub(crate) disks: SimDisks,
    pub(crate) paths: Vec<String>,
    pub(crate) environment: TestEnvironment,
}

impl Bench {
    /// Blank disks of so many MiB.
    pub(crate) fn blank(mib: &[usize]) -> Self {
        Self::of(Image::new(mib.iter().map(|mib| vec![Sector::Zero; mib * 2048]).collect()), 1)
    }

    /// Disks with this content.
    pub(crate) fn of(image: Image, seed: u64) -> Self {
        let count = image.disks.len();
        let disks = SimDisks::new(image, &vec![1; count], Order::Any, seed);
        let paths = (0..count).map(|index| format!("/dev/sim{index}")).collect();
        Self { disks, paths, environment: TestEnvironment::new() }
    }

    /// Every disk a PV, all of them in VG `vg` with extents of so many sectors.
    pub(crate) fn with_vg(mib: &[usize], extent: u32) -> Self {
        let mut bench = Self::blank(mib);
        let (mut set, environment) = (DiskSet::new(&mut bench.disks, &bench.paths), &mut bench.environment);
        for disk in set.ids() {
            let size = set.size(disk).unwrap();
            let label = pv_create::plan(set.path(disk), size, &NewPv::default(), environment).unwrap();
            make_pv(&mut set, disk, &label).unwrap();
        }
        let found = discover(&mut set, None);
        let mut new = NewVg::named(VgName::new("vg").unwrap());
        new.extent_size = ExtentSize::from_sectors(extent).unwrap();
        let planned = vg_create::plan(&found, &new, &bench.paths, environment).unwrap();
        let vg = planned.vg.clone();
        let committed = crate::apply::commit(&mut set, &planned, vg, environment).unwrap();
        assert_eq!(committed.warnings, Vec::<String>::new());
        bench
    }

    pub(crate) fn set(&mut self) -> DiskSet<'_> {
        DiskSet::new(&mut self.disks, &self.paths)
    }

    pub(crate) fn discover(&mut self) -> Discovery {
        discover(&mut DiskSet::new(&mut self.disks, &self.paths), None)
    }

    /// The only VG, which must be sound.
    pub(crate) fn vg(&mut self) -> FoundVg {
        let mut found = self.discover();
        assert_eq!(found.vgs.len(), 1, "{:?}", found.unreadable);
        found.vgs.remove(0)
    }

    /// Commits what `change` makes of the VG.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Vg)) -> Result<Committed, ApplyError> {
        let found = self.vg();
        let mut vg = found.vg.clone();
        change(&mut vg);
        let mut set = DiskSet::new(&mut self.disks, &self.paths);
        crate::apply::commit(&mut set, &found, vg, &mut self.environment)
    }

    /// A linear LV of so many extents.
    pub(crate) fn lv(&mut self, name: &str, extents: u32) {
        let found = self.vg();
        let new = NewLv {
            name: Some(lv_name(name)),
            size: SizeRequest::Extents(extents),
            layout: Layout::LINEAR,
            pvs: Vec::new(),
            read_only: false,
            tags: Vec::new(),
        };
        let planned = lv_create::plan(&found.vg, &new, &mut self.environment).unwrap();
        let mut set = DiskSet::new(&mut self.disks, &self.paths);
        create_lv(&mut set, &found, &planned, true, &mut self.environment).unwrap();
    }

    /// A snapshot of so many extents with chunks of 4 KiB.
    pub(crate) fn snapshot(&mut self, origin: &str, name: &str, extents: u32) {
        let found = self.vg();
        let new = new_snapshot(origin, name, extents);
        let planned = snapshot_create::plan(&found.vg, &new, &mut self.environment).unwrap();
        let mut set = DiskSet::new(&mut self.disks, &self.paths);
        let chunk = snapshot_create::chunk_size(8).unwrap();
        create_snapshot(&mut set, &found, &planned, chunk, &mut self.environment).unwrap();
    }
}

pub(crate) fn new_snapshot(origin: &str, name: &str, extents: u32) -> NewSnapshot {
    NewSnapshot {
        origin: lv_name(origin),
        name: Some(lv_name(name)),
        size: SizeRequest::Extents(extents),
        chunk_sectors: 8,
        layout: Layout::LINEAR,
        pvs: Vec::new(),
        read_only: false,
        tags: Vec::new(),
    }
}

/// `root` of one extent with such snapshots.
pub(crate) fn with_snapshots(names: &[&str]) -> Vg {
    let mut vg = vg_of(&["root"]);
    for name in names {
        let new = new_snapshot("root", name, 1);
        vg = snapshot_create::plan(&vg, &new, &mut TestEnvironment::new()).unwrap().vg;
        vg.lvs.iter_mut().enumerate().for_each(|(index, lv)| lv.id = uuid(index as u8));
    }
    vg
}

/// The same, with an LV `other` beside them.
pub(crate) fn with_other(names: &[&str]) -> Vg {
    let mut vg = with_snapshots(names);
    let mut other = vg_of(&["other"]).lvs.remove(0);
    other.id = uuid(99);
    other.segments = vec![Segment::linear(0, 1, vg.pvs[0].key.clone(), 90)];
    vg.lvs.push(other);
    vg
}

/// The same, the first of them marked.
pub(crate) fn merging(names: &[&str]) -> Vg {
    let vg = with_snapshots(names);
    let checked = merge::check(&vg, &lv_name(names[0])).unwrap();
    let Mark::Marked(vg) = merge::mark(&vg, &checked) else { panic!("not marked") };
    *vg
}
