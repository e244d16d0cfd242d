//! Goal: what is told of a device's content without reading it is never zero where data may be, and holes of an image file
//! are told.
//! Method: devices over a sparse image file, written at random places; every sector that is told to be zero is read.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use foldback_device::{Access, Backend, Disks, open_disks, open_files};
use foldback_dm_table::{DeviceMapper, DmName, Table, Verb};
use foldback_testkit::Rng;
use foldback_units::{Bytes, SectorRange, Sectors};
use foldback_user_dm::{Content, Settings, UserDm};
use std::fs::File;

/// Sectors of the image.
const LEN: u64 = 65_536;

fn name(device: &str) -> DmName {
    DmName(device.to_owned())
}

struct World {
    dm: UserDm<Box<dyn Disks>>,
    pv: String,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(backend: Backend) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pv.img");
        File::create(&path).unwrap().set_len(LEN * 512).unwrap();
        let files = open_files(&[&path], Access::Write).unwrap();
        let pv = path.to_str().unwrap().to_owned();
        let settings = Settings { scratch: Bytes(1 << 20), window: Bytes(128 << 10), depth: 16 };
        let disks = open_disks(&files, backend).unwrap();
        let dm = UserDm::new(disks, std::slice::from_ref(&pv), settings).unwrap();
        Self { dm, pv, _dir: dir }
    }

    fn activate(&mut self, device: &str, table: &str) {
        let table = Table::parse(&table.replace("PV", &self.pv)).unwrap();
        let name = name(device);
        self.dm.apply(&Verb::Create { name: name.clone(), uuid: String::new(), minor: None }).unwrap();
        self.dm.apply(&Verb::Load { name: name.clone(), table, read_only: false }).unwrap();
        self.dm.apply(&Verb::Resume { name }).unwrap();
    }

    fn told(&self, device: &str, start: u64, len: u64) -> Vec<(u64, Content)> {
        let range = SectorRange::new(Sectors(start), Sectors(len)).unwrap();
        let told = self.dm.contents(&name(device), range);
        told.into_iter().map(|(len, content)| (len.get(), content)).collect()
    }

    /// All of the device, asked for piece by piece; zeros are read.
    fn zeros(&mut self, device: &str, len: u64) -> u64 {
        let (mut at, mut zeros) = (0, 0);
        while at < len {
            let told = self.told(device, at, len - at);
            assert!(!told.is_empty());
            for (len, content) in told {
                assert!(len > 0);
                if content == Content::Zeros {
                    let mut bytes = vec![1; (len * 512) as usize];
                    self.dm.read_at(&name(device), Bytes(at * 512), &mut bytes).unwrap();
                    assert!(bytes.iter().all(|byte| *byte == 0), "{len} sectors at {at} are not zeros");
                    zeros += len;
                }
                at += len;
            }
        }
        zeros
    }
}

#[test]
fn what_is_told_to_be_zero_reads_as_zero() {
    for (seed, backend) in [(1, Backend::Auto), (2, Backend::Blocking)] {
        let mut world = World::new(backend);
        world.activate(
            "whole",
            "0 8192 striped 2 8 PV 40000 PV 10000\n8192 1024 zero\n9216 20000 linear PV 16000",
        );
        assert!(world.zeros("whole", 29_216) > 20_000, "an image without data is all holes");
        let mut rng = Rng::new(seed);
        for _ in 0..100 {
            let (at, len) = (rng.below(28_000), 1 + rng.below(100));
            world
                .dm
                .write_at(&name("whole"), Bytes(at * 512), &vec![7; (len * 512) as usize], false)
                .unwrap();
            if rng.below(20) == 0 {
                world.zeros("whole", 29_216);
            }
        }
        assert!(world.zeros("whole", 29_216) > 1000, "there are holes still");
    }
}

#[test]
fn what_can_only_fail_is_not_zero() {
    let mut world = World::new(Backend::Auto);
    world.activate("broken", "0 64 error\n64 64 zero");
    assert_eq!(world.told("broken", 0, 128), [(64, Content::Data), (64, Content::Zeros)]);
    assert_eq!(world.told("broken", 60, 10), [(4, Content::Data), (6, Content::Zeros)]);
    assert_eq!(world.told("nobody", 0, 128), []);
}

/// An origin's sectors lie where they always lay; those of a snapshot, and of an origin that is merged into, may come from
/// the store.
#[test]
fn what_may_come_from_a_store_is_not_told() {
    let mut world = World::new(Backend::Auto);
    world.activate("real", "0 8192 linear PV 0");
    world.activate("cow", "0 8192 linear PV 8192");
    world.activate("root", "0 8192 snapshot-origin real");
    world.activate("snap", "0 8192 snapshot real cow P 8");
    assert_eq!(world.told("root", 0, 8192), [(8192, Content::Zeros)]);
    assert_eq!(world.told("snap", 0, 8192), []);
    world.dm.write_at(&name("snap"), Bytes(4096), &[7; 4096], false).unwrap();
    assert_eq!(world.zeros("root", 8192), 8192);
    world.dm.apply(&Verb::Suspend { name: name("root"), lockfs: false }).unwrap();
    assert_eq!(world.told("root", 0, 8192), []);
    world.dm.apply(&Verb::Suspend { name: name("snap"), lockfs: false }).unwrap();
    let table = Table::parse("0 8192 snapshot-merge real cow P 8").unwrap();
    world.dm.apply(&Verb::Load { name: name("root"), table, read_only: false }).unwrap();
    world.dm.apply(&Verb::Resume { name: name("root") }).unwrap();
    assert_eq!(world.told("root", 0, 8192), []);
}
