//! A VG on simulated disks whose LVs are served by a real `UserDm`, and a model of what every volume must show.

use foldback_dm_table::{DeviceMapper, DmName, HeaderWrite, Stage, Transaction, Verb};
use foldback_lvm2_format::vg::{ExtentSize, Vg};
use foldback_manager::activation::{self, Group};
use foldback_manager::environment::Environment;
use foldback_manager::ops::lv_create::{self, NewLv};
use foldback_manager::ops::pv_create::{self, NewPv};
use foldback_manager::ops::snapshot_create::{self, NewSnapshot, WhileMerging};
use foldback_manager::ops::vg_create::{self, NewVg};
use foldback_manager::ops::{Layout, SizeRequest};
use foldback_manager::store::{DiskSet, FoundVg, discover, make_pv, stage};
use foldback_manager::{apply, ops};
use foldback_testkit::{Image, Order, Rng, Sector, SimDisks};
use foldback_units::{Bytes, LvName, VgName, dm_name};
use foldback_user_dm::{DmError, Settings, UserDm};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// One extent: 1 MiB.
pub(crate) const EXTENT: usize = 1 << 20;

/// Counts instead of asking a clock or a source of randomness.
struct Counting(u64);

impl Environment for Counting {
    fn now(&mut self) -> u64 {
        1_700_000_000
    }

    fn random(&mut self) -> [u8; 32] {
        self.0 += 1;
        let count = self.0.to_le_bytes();
        std::array::from_fn(|index| if index < 8 { count[index] } else { 0 })
    }

    fn host(&self) -> String {
        "testhost".to_owned()
    }

    fn system(&self) -> String {
        "Linux testhost".to_owned()
    }

    fn command(&self) -> String {
        "test command".to_owned()
    }

    fn writer(&self) -> String {
        "Foldback test".to_owned()
    }
}

pub(crate) fn lv(name: &str) -> LvName {
    LvName::new(name).unwrap()
}

/// The device that users open.
pub(crate) fn device(name: &str) -> DmName {
    DmName(dm_name(&VgName::new("vg").unwrap(), &lv(name), None))
}

pub(crate) struct World {
    pub(crate) dm: UserDm<SimDisks>,
    paths: Vec<String>,
    environment: Counting,
    rng: Rng,
    /// What each volume must show.
    pub(crate) shown: BTreeMap<String, Vec<u8>>,
}

impl World {
    /// Two PVs of 32 MiB in the VG `vg`, without an LV.
    pub(crate) fn new(seed: u64) -> Self {
        let image = Image::new(vec![vec![Sector::Zero; 32 * 2048]; 2]);
        let disks = SimDisks::new(image, &[8, 8], Order::Any, seed);
        let paths: Vec<String> = (0..2).map(|index| format!("/dev/sim{index}")).collect();
        // Small windows: a merge lasts long enough for other things to happen beside it.
        let settings = Settings { scratch: Bytes(256 << 10), window: Bytes(4 << 10), depth: 2 };
        let dm = UserDm::new(disks, &paths, settings).unwrap();
        let mut world =
            Self { dm, paths, environment: Counting(0), rng: Rng::new(seed), shown: BTreeMap::new() };
        world.make_vg();
        world
    }

    fn make_vg(&mut self) {
        let mut disks = self.dm.disks_mut();
        let mut set = DiskSet::new(&mut disks, &self.paths);
        for disk in set.ids() {
            let size = set.size(disk).unwrap();
            let new = NewPv::default();
            let label = pv_create::plan(set.path(disk), size, &new, &mut self.environment).unwrap();
            make_pv(&mut set, disk, &label).unwrap();
        }
        let found = discover(&mut set, None);
        let mut new = NewVg::named(VgName::new("vg").unwrap());
        new.extent_size = ExtentSize::from_sectors((EXTENT / 512) as u32).unwrap();
        let planned = vg_create::plan(&found, &new, &self.paths, &mut self.environment).unwrap();
        let vg = planned.vg.clone();
        apply::commit(&mut set, &planned, vg, &mut self.environment).unwrap();
    }

    /// The VG as it is on the disks.
    pub(crate) fn found(&mut self) -> FoundVg {
        let mut disks = self.dm.disks_mut();
        let mut found = discover(&mut DiskSet::new(&mut disks, &self.paths), None);
        assert_eq!(found.vgs.len(), 1, "{:?}", found.unreadable);
        let found = found.vgs.remove(0);
        assert_eq!(found.findings, []);
        found
    }

    pub(crate) fn group(&mut self, name: &str) -> Group {
        Group::of(&self.found(), &lv(name)).unwrap()
    }

    /// A new LV, active, with something in it.
    pub(crate) fn create(&mut self, name: &str, extents: u32) {
        let found = self.found();
        let new = NewLv {
            name: Some(lv(name)),
            size: SizeRequest::Extents(extents),
            layout: Layout::LINEAR,
            pvs: Vec::new(),
            read_only: false,
            tags: Vec::new(),
        };
        let planned = lv_create::plan(&found.vg, &new, &mut self.environment).unwrap();
        let mut disks = self.dm.disks_mut();
        let mut set = DiskSet::new(&mut disks, &self.paths);
        apply::create_lv(&mut set, &found, &planned, true, &mut self.environment).unwrap();
        self.activate(name);
        self.shown.insert(name.to_owned(), vec![0; extents as usize * EXTENT]);
        self.scribble(name, 12);
    }

    pub(crate) fn activate(&mut self, name: &str) {
        let verbs = activation::activate(&self.group(name));
        self.apply(&verbs);
    }

    pub(crate) fn deactivate(&mut self, name: &str) {
        let verbs = activation::deactivate(&self.group(name));
        self.apply(&verbs);
    }

    pub(crate) fn apply(&mut self, verbs: &[Verb]) {
        for verb in verbs {
            self.dm.apply(verb).unwrap_or_else(|error| panic!("{verb:?}: {error}"));
        }
    }

    /// The VG with snapshots (origin, name, extents of the store), whose stores are made.
    pub(crate) fn planned(&mut self, wishes: &[(&str, &str, u32)], merging: WhileMerging) -> Vg {
        let found = self.found();
        let new = |(origin, name, extents): &(&str, &str, u32)| NewSnapshot {
            origin: lv(origin),
            name: Some(lv(name)),
            size: SizeRequest::Extents(*extents),
            chunk_sectors: 8,
            layout: Layout::LINEAR,
            pvs: Vec::new(),
            read_only: false,
            tags: Vec::new(),
        };
        let new: Vec<NewSnapshot> = wishes.iter().map(new).collect();
        let environment = &mut self.environment;
        let planned = snapshot_create::plan_several(&found.vg, &new, merging, environment).unwrap();
        {
            let mut disks = self.dm.disks_mut();
            let mut set = DiskSet::new(&mut disks, &self.paths);
            let chunk = snapshot_create::chunk_size(8).unwrap();
            apply::prepare_stores(&mut set, &found, &planned.vg, &planned.lvs, chunk).unwrap();
        }
        planned.vg
    }

    /// The snapshots at one instant.
    pub(crate) fn take(&mut self, wishes: &[(&str, &str, u32)]) {
        self.take_while(wishes, WhileMerging::Refused);
    }

    pub(crate) fn take_while(&mut self, wishes: &[(&str, &str, u32)], merging: WhileMerging) {
        let vg = self.planned(wishes, merging);
        let origins: Vec<LvName> = wishes.iter().map(|(origin, ..)| lv(origin)).collect();
        self.change(vg, |before, after, headers| {
            let changes = activation::Change::all(before, after, &origins).unwrap();
            activation::take_snapshots(&changes, headers)
        });
        for (origin, name, _) in wishes {
            let view = self.shown[*origin].clone();
            self.shown.insert((*name).to_owned(), view);
        }
    }

    /// Commits `vg` in the transaction that `plan` makes of the VG before and after.
    pub(crate) fn change(
        &mut self,
        vg: Vg,
        plan: impl FnOnce(&FoundVg, &FoundVg, Vec<HeaderWrite>) -> Transaction,
    ) {
        self.try_change(vg, plan).unwrap_or_else(|(stage, error)| panic!("{stage:?}: {error}"));
        let seqno = self.found().vg.seqno;
        assert!(self.dm.list().unwrap().iter().all(|info| !info.suspended && !info.inactive), "{seqno}");
    }

    pub(crate) fn try_change(
        &mut self,
        vg: Vg,
        plan: impl FnOnce(&FoundVg, &FoundVg, Vec<HeaderWrite>) -> Transaction,
    ) -> Result<(), (Stage, DmError)> {
        let before = self.found();
        let handover = {
            let mut disks = self.dm.disks_mut();
            let mut set = DiskSet::new(&mut disks, &self.paths);
            stage(&mut set, &before, vg, &mut self.environment).unwrap().hand_over()
        };
        let transaction = plan(&before, &handover.next, handover.headers);
        self.dm.transact(&transaction)
    }

    /// Commits `vg` without touching a device.
    pub(crate) fn commit(&mut self, vg: Vg) {
        self.change(vg, |_, _, headers| Transaction { headers, ..Transaction::default() });
    }

    /// Writes here and there.
    pub(crate) fn scribble(&mut self, name: &str, times: usize) {
        let len = self.shown[name].len();
        for _ in 0..times {
            let sectors = self.rng.between(1, 40) as usize;
            let at = self.rng.index(len / 512 - sectors) * 512;
            let bytes: Vec<u8> = (0..sectors * 512).map(|_| self.rng.below(256) as u8).collect();
            self.dm.write_at(&device(name), Bytes(at as u64), &bytes, self.rng.one_in(4)).unwrap();
            self.shown.get_mut(name).unwrap()[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// Every volume shows what it must.
    #[track_caller]
    pub(crate) fn verify(&mut self) {
        for (name, expected) in &self.shown {
            let mut bytes = vec![0; expected.len()];
            self.dm.read_at(&device(name), Bytes(0), &mut bytes).unwrap();
            let differs = bytes.iter().zip(expected).position(|(a, b)| a != b);
            assert_eq!(differs, None, "{name} differs");
        }
    }

    /// Everything is taken down, and comes up from what is on the disks.
    pub(crate) fn reactivate(&mut self) {
        let groups = activation::to_deactivate(&self.found()).groups;
        for group in &groups {
            self.apply(&activation::deactivate(group));
        }
        assert_eq!(self.devices(), Vec::<String>::new());
        let set = activation::to_activate(&self.found(), activation::Wish::default());
        for group in &set.groups {
            self.apply(&activation::activate(group));
        }
    }

    /// Runs the merge into the volume to its end, and ends it in the VG.
    pub(crate) fn merge_to_the_end(&mut self, origin: &str) {
        self.dm.run_until_merged(&device(origin), &mut |_| ControlFlow::Continue(())).unwrap();
        let found = self.found();
        let links = found.vg.snapshots();
        let store = links.merging_into(&lv(origin)).unwrap().segment.cow.clone();
        let id = found.vg.lv(&store).unwrap().id;
        let ops::merge::Finish::Finished(after) = ops::merge::finish(&found.vg, &id) else { panic!() };
        self.change(*after, |before, after, headers| {
            let group = |found| Group::of(found, &lv(origin)).unwrap();
            activation::finish_merge(&group(before), &group(after), headers)
        });
    }

    pub(crate) fn devices(&mut self) -> Vec<String> {
        let mut names: Vec<String> = self.dm.list().unwrap().into_iter().map(|info| info.name.0).collect();
        names.sort();
        names
    }

    pub(crate) fn table(&mut self, name: &str) -> String {
        let table = self.dm.table(&DmName(name.to_owned())).unwrap().unwrap();
        table.to_string().trim_end().to_owned()
    }

    pub(crate) fn uuid(&mut self, name: &str) -> String {
        let list = self.dm.list().unwrap();
        list.into_iter().find(|info| info.name.0 == name).unwrap().uuid
    }

    pub(crate) fn is_served(&mut self, name: &str) -> bool {
        let mut sector = [0; 512];
        self.dm.read_at(&device(name), Bytes(0), &mut sector).is_ok()
    }
}
