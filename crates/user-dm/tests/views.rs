//! Goal: snapshots that are taken while a merge runs are of the merged view, through a merge's life and a restart.
//! Method: as in `groups.rs`; the store of each new snapshot lies on the second PV, blank.
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

use foldback_dm_table::{DeviceMapper, Transaction};
use foldback_testkit::{Sector, SimDisks, cow};
use foldback_user_dm::{DmErrorKind, MergeEnd, UserDm};
use rig::{activate, apply, clear, create, load, name, over, refusal, remove, resume, suspend, write};
use std::ops::ControlFlow;
use world::{
    Before, COW0, COW1, COWS, ERROR, LEN, MERGE, ORIGIN, ORIGIN_TABLE, REAL, SNAP1, activate_all, filled,
    on_disk, run_merge, sectors, start_merge,
};

const VIEW_COW: &str = "0 4096 linear /pv1.img 0";
const VIEW: &str = "0 4096 snapshot root view-cow P 16";
const AFTER: &str = "0 4096 snapshot root-real view-cow P 16";

/// Merging, not finished, with a part of the table left.
fn merging(seed: u64) -> (Before, UserDm<SimDisks>) {
    let before = filled(seed, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    dm.transact(&start_merge()).unwrap();
    run_until(&mut dm, 200);
    (before, dm)
}

fn run_until(dm: &mut UserDm<SimDisks>, left: u64) {
    let mut stop = |progress: &foldback_user_dm::Progress| {
        if progress.chunks_left < left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(dm.run_until_merged(&name("root"), &mut stop).unwrap(), MergeEnd::Stopped);
}

/// Takes the snapshot `view`: it joins before the origin is resumed.
fn take_view(dm: &mut UserDm<SimDisks>) {
    activate(dm, "view-cow", VIEW_COW);
    dm.transact(&Transaction {
        preload: vec![create("view"), load("view", VIEW)],
        suspend: vec![suspend("root")],
        headers: vec![],
        resume: ["view", "root"].map(resume).to_vec(),
        clean: vec![],
    })
    .unwrap();
}

/// The merge is over: both devices get their tables at one instant.
fn finish(first: &str, second: &str) -> Transaction {
    Transaction {
        preload: vec![load("root", ORIGIN_TABLE), load("view", AFTER), load("s0", COW0)],
        suspend: ["root", "s0", "s1", "view", "s0-cow", "root-real"].map(suspend).to_vec(),
        headers: vec![],
        resume: ["s0", "s0-cow", "root-real", "s1", first, second].map(resume).to_vec(),
        clean: vec![remove("s0"), remove("s0-cow")],
    }
}

fn scribble(dm: &mut UserDm<SimDisks>, expected: &mut [Sector], fill: u8) {
    for round in 0..25_u64 {
        let at = (u64::from(fill) * 13 + round * 197) % (LEN - 8);
        write(dm, "root", at, 5, fill);
        expected[at as usize..][..5].fill(Sector::from_bytes(&[fill; 512]));
    }
}

#[test]
fn a_snapshot_taken_in_mid_merge_is_frozen_for_good() {
    for (first, second) in [("view", "root"), ("root", "view")] {
        let (before, mut dm) = merging(31);
        let mut now = before.views[0].clone();
        scribble(&mut dm, &mut now, 0x11);
        let groups = dm.counters(&name("root")).unwrap().0.windows;
        take_view(&mut dm);
        let frozen = now.clone();
        assert!(dm.counters(&name("root")).unwrap().0.windows >= groups, "the group is the same");
        assert!(!dm.merge_progress(&name("root")).unwrap().finished);
        scribble(&mut dm, &mut now, 0x22);
        assert_eq!(sectors(&mut dm, "view", LEN), frozen);
        assert_eq!(sectors(&mut dm, "root", LEN), now);
        run_merge(&mut dm);
        scribble(&mut dm, &mut now, 0x33);
        assert_eq!(sectors(&mut dm, "view", LEN), frozen);
        let taken = before.disks.taken();
        dm.transact(&finish(first, second)).unwrap();
        assert!(before.disks.taken() - taken < 20, "its store is not read again");
        scribble(&mut dm, &mut now, 0x44);
        assert_eq!(sectors(&mut dm, "view", LEN), frozen);
        assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1], "the older snapshot is of the origin");
        assert_eq!(sectors(&mut dm, "root", LEN), now);
    }
}

#[test]
fn a_restart_in_mid_merge_finds_the_view_again() {
    let (before, mut dm) = merging(32);
    take_view(&mut dm);
    let mut now = before.views[0].clone();
    for at in [5, 1000, 3000] {
        write(&mut dm, "root", at, 3, 0x22);
        now[at as usize..][..3].fill(Sector::from_bytes(&[0x22; 512]));
    }
    apply(&mut dm, &[suspend("root"), suspend("view")]);
    assert!(!dm.merge_progress(&name("root")).unwrap().finished);
    drop(dm);
    let mut dm = over(&before.disks);
    for (device, table) in [
        ("root-real", REAL),
        ("s0-cow", COW0),
        ("s1-cow", COW1),
        ("view-cow", VIEW_COW),
        ("s1", SNAP1),
        ("s0", ERROR),
    ] {
        activate(&mut dm, device, table);
    }
    // All tables are loaded before the first of these is resumed.
    apply(&mut dm, &[create("root"), create("view"), load("root", MERGE), load("view", VIEW)]);
    apply(&mut dm, &[resume("root"), resume("view")]);
    scribble(&mut dm, &mut now, 0x33);
    assert_eq!(sectors(&mut dm, "view", LEN), before.views[0]);
    run_merge(&mut dm);
    dm.transact(&finish("root", "view")).unwrap();
    assert_eq!(sectors(&mut dm, "view", LEN), before.views[0]);
    assert_eq!(on_disk(&before.disks, ORIGIN), now);
    assert!(cow::load(&on_disk(&before.disks, COWS[0])).unwrap().records.is_empty());
}

#[test]
fn two_views_differ_and_one_is_removed_in_mid_merge() {
    let (before, mut dm) = merging(33);
    take_view(&mut dm);
    let mut now = before.views[0].clone();
    scribble(&mut dm, &mut now, 0x22);
    activate(&mut dm, "later-cow", "0 4096 linear /pv1.img 8192");
    apply(&mut dm, &[create("later"), load("later", "0 4096 snapshot root later-cow P 4")]);
    apply(&mut dm, &[suspend("root"), resume("later"), resume("root")]);
    let frozen = now.clone();
    scribble(&mut dm, &mut now, 0x33);
    assert_eq!(sectors(&mut dm, "view", LEN), before.views[0]);
    assert_eq!(sectors(&mut dm, "later", LEN), frozen);
    apply(&mut dm, &[suspend("root"), remove("view"), remove("view-cow"), resume("root")]);
    scribble(&mut dm, &mut now, 0x44);
    run_merge(&mut dm);
    assert_eq!(sectors(&mut dm, "later", LEN), frozen);
    assert_eq!(sectors(&mut dm, "root", LEN), now);
}

#[test]
fn no_table_turns_a_view_into_another_snapshot_before_the_merge_is_over() {
    let (before, mut dm) = merging(34);
    take_view(&mut dm);
    let is_refused = |dm: &mut UserDm<SimDisks>, device: &str, table: &str| {
        apply(dm, &[load(device, table)]);
        let error = refusal(dm, &resume(device));
        assert!(matches!(error.kind, DmErrorKind::MergedView), "{error}");
    };
    is_refused(&mut dm, "view", AFTER);
    is_refused(&mut dm, "root", ORIGIN_TABLE);
    is_refused(&mut dm, "root", REAL);
    is_refused(&mut dm, "s1", "0 4096 snapshot root s1-cow P 8");
    assert_eq!(sectors(&mut dm, "view", LEN), before.views[0]);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
    run_merge(&mut dm);
    is_refused(&mut dm, "root", REAL);
    apply(&mut dm, &[load("view", AFTER), resume("view")]);
    assert_eq!(sectors(&mut dm, "view", LEN), before.views[0]);
}

#[test]
fn a_snapshot_of_an_origin_or_of_a_snapshot_is_refused_still() {
    let before = filled(35, 10);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    activate(&mut dm, "view-cow", VIEW_COW);
    apply(&mut dm, &[create("view")]);
    let error = refusal(&mut dm, &load("view", VIEW));
    assert!(matches!(error.kind, DmErrorKind::Stacked(_)), "{error}");
    let error = refusal(&mut dm, &load("view", "0 4096 snapshot s1 view-cow P 8"));
    assert!(matches!(error.kind, DmErrorKind::Stacked(_)), "{error}");
    apply(&mut dm, &[clear("view"), remove("view")]);
}
