//! Goal: devices whose extents are somebody else's by now are cut off and removed without one write, whatever waits for them,
//! merges into them or is built on them. Method: as in `groups.rs`; every disk is compared sector by sector.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    dead_code
)]

mod rig;
#[path = "rig/world.rs"]
mod world;

use foldback_device::Memory;
use foldback_dm_table::{DeviceMapper, Target};
use foldback_testkit::SimDisks;
use foldback_units::{SectorRange, Sectors};
use foldback_user_dm::{Fault, IoError, RequestKind, Ticket, UserDm, VolumeRequest, WhenFull};
use rig::{activate, apply, name, over, read, remove, request, suspend, write};
use world::{Before, COW1, ORIGIN_TABLE, REAL, activate_all, filled, start_merge};

const LOWER: [&str; 3] = ["s0-cow", "s1-cow", "root-real"];

fn submit(dm: &mut UserDm<SimDisks>, device: &str, kind: RequestKind) -> Ticket {
    let buffer = matches!(kind, RequestKind::Read | RequestKind::Write { .. })
        .then(|| Memory::new(4096).unwrap().whole());
    let range = SectorRange::new(Sectors(8), Sectors(8)).unwrap();
    dm.submit(&name(device), VolumeRequest { kind, range, buffer })
}

/// A request of every kind to each of these.
fn requests(dm: &mut UserDm<SimDisks>, devices: &[&str]) -> Vec<Ticket> {
    let kinds = [
        RequestKind::Read,
        RequestKind::Write { fua: true },
        RequestKind::WriteZeroes { fua: false },
        RequestKind::Flush,
        RequestKind::Discard,
    ];
    devices.iter().flat_map(|device| kinds.map(|kind| submit(dm, device, kind))).collect()
}

#[track_caller]
fn all_failed(dm: &mut UserDm<SimDisks>, tickets: &[Ticket]) {
    for ticket in tickets {
        assert_eq!(dm.wait_for_answer(*ticket).unwrap(), Err(IoError::Fault(Fault::Device)), "{ticket:?}");
    }
    assert_eq!(dm.unanswered(), 0);
}

/// Cuts the group of `device` off and removes it, with requests of every kind waiting for these devices.
fn give_up(before: &Before, dm: &mut UserDm<SimDisks>, device: &str, tops: &[&str], lower: &[&str]) {
    let waiting = requests(dm, tops);
    while dm.step(true).unwrap() {}
    let disks = before.disks.visible();
    dm.cut_off(&[name(device)]).unwrap();
    all_failed(dm, &waiting);
    let later = requests(dm, tops);
    all_failed(dm, &later);
    for top in tops {
        let table = dm.table(&name(top)).unwrap().unwrap();
        assert!(dm.is_cut_off(&name(top)) && table.lines.iter().all(|line| line.target == Target::Error));
    }
    for gone in tops.iter().chain(lower) {
        apply(dm, &[remove(gone)]);
    }
    while dm.step(true).unwrap() {}
    assert!(before.disks.visible().disks == disks.disks, "something was written");
}

#[test]
fn an_origin_group_is_given_up_whole_and_without_a_write() {
    let before = filled(71, 20);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    apply(&mut dm, &["root", "s0", "s1"].map(suspend));
    give_up(&before, &mut dm, "s1", &["root", "s0", "s1"], &LOWER);
    assert_eq!(dm.list().unwrap().len(), 0);
}

/// A group that loses its merge is made anew otherwise, and its stores are opened and written for it.
#[test]
fn a_group_that_merges_is_given_up_without_a_write() {
    let before = filled(72, 400);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    dm.transact(&start_merge()).unwrap();
    for _ in 0..40 {
        dm.step(true).unwrap();
    }
    let left = dm.merge_progress(&name("root")).unwrap();
    assert!(!left.finished && left.chunks_left > 0);
    apply(&mut dm, &["root", "s1"].map(suspend));
    give_up(&before, &mut dm, "root", &["root", "s1"], &["s0", "s0-cow", "s1-cow", "root-real"]);
}

/// What the engine was given before the suspend and has not begun.
#[test]
fn writes_that_wait_for_room_in_a_store_fail() {
    let before = filled(73, 0);
    let mut dm = over(&before.disks);
    let small = "0 32 linear /pv1.img 0";
    let table = "0 4096 snapshot root-real new-cow P 8";
    for (device, table) in [("root-real", REAL), ("new-cow", small), ("new", table), ("root", ORIGIN_TABLE)] {
        activate(&mut dm, device, table);
    }
    dm.set_when_full(&name("new"), WhenFull::Hold).unwrap();
    let parked = dm.submit(&name("root"), request(RequestKind::WriteZeroes { fua: false }, 0, 32));
    while dm.step(true).unwrap() {}
    assert!(dm.full_store(&name("new")).is_some());
    apply(&mut dm, &["root", "new"].map(suspend));
    let disks = before.disks.visible();
    dm.cut_off(&[name("root")]).unwrap();
    all_failed(&mut dm, &[parked]);
    assert!(before.disks.visible().disks == disks.disks, "something was written");
}

#[test]
fn others_are_not_touched() {
    let before = filled(74, 20);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    activate(&mut dm, "alone", "0 64 linear /pv1.img 64");
    activate(&mut dm, "goes", COW1.replace("pv0", "pv1").as_str());
    write(&mut dm, "alone", 0, 8, 7);
    apply(&mut dm, &[suspend("goes")]);
    give_up(&before, &mut dm, "goes", &["goes"], &[]);
    assert_eq!(read(&mut dm, "alone", 0, 8), [7; 8]);
    write(&mut dm, "root", 0, 8, 9);
    assert_eq!(read(&mut dm, "root", 0, 8), [9; 8]);
    assert!(!dm.is_cut_off(&name("root")) && dm.cut_off(&[name("none")]).is_err());
}
