//! Goal: what a discard takes away, nobody can miss. Method: devices over simulated disks on which a discarded sector may become
//! anything, with a discard before, in and after every moment at which a volume gets and loses its snapshots.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    dead_code
)]

mod rig;

use foldback_dm_table::DeviceMapper;
use foldback_testkit::SimDisks;
use foldback_units::Bytes;
use foldback_user_dm::{RequestKind, Ticket, UserDm};
use rig::{
    activate, apply, blank, create, fail, load, name, over, read, remove, request, resume, suspend, write,
};
use std::collections::BTreeSet;

const PLAIN: &str = "0 1024 linear /pv0.img 512";
const ORIGIN: &str = "0 1024 snapshot-origin root-real";
const COW: &str = "0 1280 linear /pv1.img 0";
const SNAP: &str = "0 1024 snapshot root-real s0-cow P 8";

/// A volume without snapshots, all of it 7.
fn plain(seed: u64) -> (SimDisks, UserDm<SimDisks>) {
    let disks = blank(seed);
    let mut dm = over(&disks);
    activate(&mut dm, "root", PLAIN);
    write(&mut dm, "root", 0, 1024, 7);
    (disks, dm)
}

/// The change of a first `lvcreate -s` up to the moment when nothing is suspended any more.
fn prepare_snapshot(dm: &mut UserDm<SimDisks>) {
    activate(dm, "root-real", PLAIN);
    activate(dm, "s0-cow", COW);
    dm.write_at(&name("s0-cow"), Bytes(0), &[0; 4096], true).unwrap();
    apply(dm, &[load("root", ORIGIN), create("s0"), load("s0", SNAP)]);
}

fn discard(dm: &mut UserDm<SimDisks>, device: &str, at: u64, len: u64) -> Ticket {
    dm.submit(&name(device), request(RequestKind::Discard, at, len))
}

#[test]
fn it_reaches_the_disks_split_by_the_map_and_nothing_beside_it() {
    let mut changed = BTreeSet::new();
    for seed in 0..20 {
        let disks = blank(seed);
        let mut dm = over(&disks);
        activate(
            &mut dm,
            "root",
            "0 512 striped 2 16 /pv0.img 512 /pv1.img 1024\n512 512 linear /pv1.img 8192",
        );
        write(&mut dm, "root", 0, 1024, 7);
        let before = disks.visible();
        let ticket = discard(&mut dm, "root", 24, 600);
        assert_eq!(dm.wait_for_answer(ticket).unwrap(), Ok(()));
        let found = read(&mut dm, "root", 0, 1024);
        assert!((0..1024).all(|at| found[at] == 7 || (24..624).contains(&at)), "seed {seed}");
        let after = disks.visible();
        for (disk, (was, is)) in before.disks.iter().zip(&after.disks).enumerate() {
            changed.extend((0..was.len()).filter(|at| was[*at] != is[*at]).map(|at| (disk, at)));
        }
    }
    // Piece 1 of the stripes from its middle on, and all others; then the linear part.
    let on_0 = (528..768).map(|at| (0, at));
    let on_1 = (1032..1280).chain(8192..8304).map(|at| (1, at));
    assert_eq!(changed, on_0.chain(on_1).collect());
}

#[test]
fn one_that_is_under_way_is_waited_for_by_the_suspend() {
    for seed in 0..20 {
        let (disks, mut dm) = plain(seed);
        prepare_snapshot(&mut dm);
        let ticket = discard(&mut dm, "root", 0, 1024);
        apply(&mut dm, &[suspend("root")]);
        assert_eq!(dm.poll_answer(), Some((ticket, Ok(()))), "suspended means that nothing is under way");
        let taken = disks.taken();
        apply(&mut dm, &[resume("s0"), resume("root")]);
        let at_first = read(&mut dm, "s0", 0, 1024);
        assert!(disks.taken() > taken);
        assert_eq!(read(&mut dm, "root", 0, 1024), at_first, "the snapshot is of what the discard has left");
        assert_eq!(read(&mut dm, "s0", 0, 1024), at_first);
    }
}

#[test]
fn one_that_waits_for_a_snapshot_to_be_made_does_nothing() {
    for seed in 0..20 {
        let (_, mut dm) = plain(seed);
        prepare_snapshot(&mut dm);
        apply(&mut dm, &[suspend("root")]);
        let ticket = discard(&mut dm, "root", 0, 1024);
        assert!(dm.poll_answer().is_none(), "it is held");
        apply(&mut dm, &[resume("s0"), resume("root")]);
        assert_eq!(dm.wait_for_answer(ticket).unwrap(), Ok(()));
        for device in ["root", "s0"] {
            assert_eq!(read(&mut dm, device, 0, 1024), [7; 1024], "{device}, seed {seed}");
        }
    }
}

#[test]
fn nothing_of_an_origin_a_snapshot_or_a_store_is_discarded_and_nothing_is_copied_out() {
    for seed in 0..20 {
        let (disks, mut dm) = plain(seed);
        prepare_snapshot(&mut dm);
        apply(&mut dm, &[suspend("root"), resume("s0"), resume("root")]);
        write(&mut dm, "root", 0, 8, 9);
        let (content, status) = (disks.visible(), dm.status(&name("s0")).unwrap());
        for device in ["root", "s0", "root-real", "s0-cow"] {
            let ticket = discard(&mut dm, device, 0, 1024);
            assert_eq!(dm.wait_for_answer(ticket).unwrap(), Ok(()));
        }
        assert_eq!(disks.visible(), content, "seed {seed}");
        assert_eq!(dm.status(&name("s0")).unwrap(), status);
    }
}

#[test]
fn it_works_again_when_the_last_snapshot_is_gone() {
    let mut gone = false;
    for seed in 0..20 {
        let (_, mut dm) = plain(seed);
        prepare_snapshot(&mut dm);
        apply(&mut dm, &[suspend("root"), resume("s0"), resume("root")]);
        apply(
            &mut dm,
            &[load("root", PLAIN), suspend("root"), remove("s0"), remove("s0-cow"), resume("root")],
        );
        apply(&mut dm, &[remove("root-real")]);
        let ticket = discard(&mut dm, "root", 0, 1024);
        assert_eq!(dm.wait_for_answer(ticket).unwrap(), Ok(()));
        gone |= read(&mut dm, "root", 0, 1024) != [7; 1024];
    }
    assert!(gone, "a simulated disk forgets more often than not");
}

#[test]
fn a_disk_that_fails_it_is_told_of() {
    let (disks, mut dm) = plain(1);
    fail(&disks, foldback_testkit::FaultKind::Any, 0, 1);
    let ticket = discard(&mut dm, "root", 0, 8);
    assert!(dm.wait_for_answer(ticket).unwrap().is_err());
    let ticket = discard(&mut dm, "root", 1020, 8);
    assert!(dm.wait_for_answer(ticket).unwrap().is_err(), "behind the end");
}
