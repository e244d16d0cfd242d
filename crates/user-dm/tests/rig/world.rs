//! A PV with an origin and two filled stores, and the transactions of a merge.

use super::rig::{PV_SECTORS, activate, load, name, remove, resume, suspend};
use foldback_dm_table::{DeviceMapper, SnapshotStatus, Transaction};
use foldback_testkit::cow::{self, Builder};
use foldback_testkit::{Image, Order, Rng, Sector, SimDisks};
use foldback_units::Bytes;
use foldback_user_dm::{MergeEnd, UserDm};
use std::ops::ControlFlow;

/// Sectors of the origin and of each store, and where they begin on PV 0.
pub(crate) const LEN: u64 = 4096;
pub(crate) const ORIGIN: u64 = 2048;
pub(crate) const COWS: [u64; 2] = [6144, 10240];

/// What the disks held at first.
pub(crate) struct Before {
    pub(crate) disks: SimDisks,
    pub(crate) origin: Vec<Sector>,
    /// What each snapshot read as.
    pub(crate) views: Vec<Vec<Sector>>,
}

/// PV 0 with an origin and two filled stores of 8-sector chunks.
pub(crate) fn filled(seed: u64, exceptions: u64) -> Before {
    let mut rng = Rng::new(seed);
    let mut disk = vec![Sector::Zero; PV_SECTORS as usize];
    let origin: Vec<Sector> = (0..LEN).map(Sector::Stamp).collect();
    disk[ORIGIN as usize..][..LEN as usize].clone_from_slice(&origin);
    let mut views = Vec::new();
    for (number, start) in COWS.into_iter().enumerate() {
        let mut store = Builder::new(LEN, 8, &mut rng);
        let mut chunks: Vec<u64> = (0..LEN / 8).collect();
        rng.shuffle(&mut chunks);
        for chunk in chunks.into_iter().take(exceptions as usize) {
            let base = (number as u64 + 1) * 0x10_0000 + chunk * 8;
            let data: Vec<Sector> = (0..8).map(|sector| Sector::Stamp(base + sector)).collect();
            assert!(store.push(chunk, &data));
        }
        let bytes = store.finish(true, false);
        views.push(cow::load(&bytes).unwrap().view(&bytes, &origin));
        disk[start as usize..][..LEN as usize].clone_from_slice(&bytes);
    }
    let other = vec![Sector::Zero; PV_SECTORS as usize];
    let disks = SimDisks::new(Image::new(vec![disk, other]), &[8, 8], Order::Any, seed);
    Before { disks, origin, views }
}

pub(crate) const REAL: &str = "0 4096 linear /pv0.img 2048";
pub(crate) const COW0: &str = "0 4096 linear /pv0.img 6144";
pub(crate) const COW1: &str = "0 4096 linear /pv0.img 10240";
pub(crate) const ORIGIN_TABLE: &str = "0 4096 snapshot-origin root-real";
pub(crate) const SNAP0: &str = "0 4096 snapshot root-real s0-cow P 8";
pub(crate) const SNAP1: &str = "0 4096 snapshot root-real s1-cow P 8";
pub(crate) const MERGE: &str = "0 4096 snapshot-merge root-real s0-cow P 8";
pub(crate) const ERROR: &str = "0 4096 error";

/// Activates a VG with both snapshots, as `vgchange -ay` does.
pub(crate) fn activate_all(dm: &mut UserDm<SimDisks>) {
    for (device, table) in [
        ("root-real", REAL),
        ("s0-cow", COW0),
        ("s1-cow", COW1),
        ("s0", SNAP0),
        ("s1", SNAP1),
        ("root", ORIGIN_TABLE),
    ] {
        activate(dm, device, table);
    }
}

/// lvm2.md 2.6.
pub(crate) fn start_merge() -> Transaction {
    let members = ["root", "s0", "s1", "root-real", "s0-cow", "s1-cow"];
    let resumed = ["root-real", "s0-cow", "s1-cow", "s1", "root", "s0"];
    Transaction {
        preload: vec![load("root", MERGE), load("s0", ERROR)],
        suspend: members.map(suspend).to_vec(),
        headers: vec![],
        resume: resumed.map(resume).to_vec(),
        clean: vec![],
    }
}

/// lvm2.md 2.8, with the other snapshot left.
pub(crate) fn finish_merge() -> Transaction {
    Transaction {
        preload: vec![load("root", ORIGIN_TABLE), load("s0", COW0)],
        suspend: ["root", "s0", "s1", "s0-cow", "root-real"].map(suspend).to_vec(),
        headers: vec![],
        resume: ["s0", "s0-cow", "root-real", "s1", "root"].map(resume).to_vec(),
        clean: vec![remove("s0"), remove("s0-cow")],
    }
}

pub(crate) fn sectors(dm: &mut UserDm<SimDisks>, device: &str, len: u64) -> Vec<Sector> {
    let mut bytes = vec![0; (len * 512) as usize];
    dm.read_at(&name(device), Bytes(0), &mut bytes).unwrap();
    Sector::split(&bytes)
}

pub(crate) fn on_disk(disks: &SimDisks, start: u64) -> Vec<Sector> {
    disks.visible().disks[0][start as usize..][..LEN as usize].to_vec()
}

pub(crate) fn snapshot_status(dm: &mut UserDm<SimDisks>, device: &str) -> SnapshotStatus {
    SnapshotStatus::parse(&dm.status(&name(device)).unwrap()[0]).unwrap()
}

pub(crate) fn run_merge(dm: &mut UserDm<SimDisks>) {
    let mut left = u64::MAX;
    let end = dm.run_until_merged(&name("root"), &mut |progress| {
        assert!(progress.chunks_left <= left, "I9: the table never grows during a merge");
        left = progress.chunks_left;
        ControlFlow::Continue(())
    });
    assert_eq!(end.unwrap(), MergeEnd::Finished);
    assert_eq!(left, 0);
}
