//! Goal: a store that moves to another device over the same sectors, as at the start of a `--namesnapshot` merge, moves unread,
//! and only from a device that is suspended.
//! Method: the store's header is overwritten behind everybody's back; whoever reads it refuses it.
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

use foldback_testkit::SimDisks;
use foldback_user_dm::{DmErrorKind, MergeEnd, UserDm};
use rig::{activate, apply, create, load, name, over, refusal, remove, resume, suspend, write};
use std::ops::ControlFlow;
use world::{COW0, COWS, LEN, ORIGIN, REAL, activate_all, filled, on_disk, sectors};

/// `s0` is to take the origin over: its store gets the name `root-cow`, the origin's extents `s0-real`.
const MERGE_INTO_S0: &str = "0 4096 snapshot-merge s0-real root-cow P 8";

fn new_names(dm: &mut UserDm<SimDisks>) {
    for (device, table) in [("s0-real", REAL), ("root-cow", COW0)] {
        activate(dm, device, table);
    }
}

fn damage_header(dm: &mut UserDm<SimDisks>) {
    activate(dm, "raw", "0 16384 linear /pv0.img 0");
    write(dm, "raw", COWS[0], 1, 0x99);
}

fn suspend_all(dm: &mut UserDm<SimDisks>) {
    apply(dm, &["root", "s0", "s1", "root-real", "s0-cow", "s1-cow"].map(suspend));
}

#[test]
fn a_store_moves_to_another_device_unread() {
    let before = filled(21, 250);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    // An exception that the table in memory has since a moment ago.
    write(&mut dm, "s0", 64, 8, 0x77);
    let expected = sectors(&mut dm, "s0", LEN);
    apply(&mut dm, &["s1", "s1-cow"].map(remove));
    apply(&mut dm, &["root", "s0", "root-real", "s0-cow"].map(suspend));
    damage_header(&mut dm);
    new_names(&mut dm);
    apply(&mut dm, &[load("s0", MERGE_INTO_S0), load("root", COW0)]);
    apply(&mut dm, &["s0-real", "root-cow", "s0", "root"].map(resume));
    assert_eq!(sectors(&mut dm, "s0", LEN), expected);
    let end = dm.run_until_merged(&name("s0"), &mut |_| ControlFlow::Continue(()));
    assert_eq!(end.unwrap(), MergeEnd::Finished);
    assert_eq!(on_disk(&before.disks, ORIGIN), expected);
}

#[test]
fn a_store_that_nobody_took_over_at_once_is_read_again() {
    let before = filled(22, 250);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    suspend_all(&mut dm);
    apply(&mut dm, &["s0", "s1", "root"].map(remove));
    damage_header(&mut dm);
    new_names(&mut dm);
    apply(&mut dm, &[create("new")]);
    let error = refusal(&mut dm, &load("new", MERGE_INTO_S0));
    assert!(matches!(error.kind, DmErrorKind::Store(_)), "{error}");
}

#[test]
fn k8_a_store_of_a_running_snapshot_is_not_taken_by_another_device_over_its_sectors() {
    let before = filled(23, 250);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    new_names(&mut dm);
    apply(&mut dm, &[create("new"), load("new", MERGE_INTO_S0)]);
    let error = refusal(&mut dm, &resume("new"));
    assert!(matches!(error.kind, DmErrorKind::Handover(ref source) if *source == name("s0")), "{error}");
    write(&mut dm, "root", 0, 64, 0x33);
    assert_eq!(sectors(&mut dm, "s0", LEN), before.views[0]);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
}
