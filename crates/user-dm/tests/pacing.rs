//! Goal: a merge can be slowed down and stopped while its device is served, and stays so whatever happens to its group.
//! Method: as in `groups.rs`.
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
use foldback_units::Bytes;
use foldback_user_dm::{DmErrorKind, UserDm};
use rig::{apply, load, name, over, resume, suspend, write};
use world::{ERROR, LEN, activate_all, filled, finish_merge, run_merge, sectors, start_merge};

use foldback_dm_table::DeviceMapper;

fn left(dm: &UserDm<SimDisks>) -> u64 {
    dm.merge_progress(&name("root")).unwrap().chunks_left
}

fn run(dm: &mut UserDm<SimDisks>) {
    while dm.step(true).unwrap() {}
}

#[test]
fn a_paused_merge_closes_its_windows_while_the_device_is_served() {
    let before = filled(41, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    let error = dm.pause_merge(&name("root")).unwrap_err();
    assert!(matches!(error.kind, DmErrorKind::NotMerging), "{error}");
    dm.transact(&start_merge()).unwrap();
    dm.step(true).unwrap();
    dm.pause_merge(&name("root")).unwrap();
    assert!(!dm.merge_is_paused_and_idle(&name("root")));
    while !dm.merge_is_paused_and_idle(&name("root")) {
        write(&mut dm, "root", 4000, 3, 0x55);
    }
    let stands = left(&dm);
    assert!(stands > 0 && stands < 300, "{stands}");
    run(&mut dm);
    assert_eq!(left(&dm), stands);
    // Neither a suspend nor a group that is made anew ends the pause.
    apply(&mut dm, &[suspend("root"), resume("root")]);
    run(&mut dm);
    assert_eq!((left(&dm), dm.merge_is_paused_and_idle(&name("root"))), (stands, true));
    apply(&mut dm, &[load("s0-cow", "0 4088 linear /pv0.img 6144"), suspend("root"), suspend("s0-cow")]);
    apply(&mut dm, &[resume("s0-cow"), resume("root")]);
    run(&mut dm);
    assert_eq!((left(&dm), dm.merge_is_paused_and_idle(&name("root"))), (stands, true));
    dm.resume_merge(&name("root")).unwrap();
    assert!(!dm.merge_is_paused_and_idle(&name("root")));
    run_merge(&mut dm);
    assert_eq!(sectors(&mut dm, "root", 4000), before.views[0][..4000]);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
}

#[test]
fn a_paced_merge_moves_what_it_may() {
    let before = filled(42, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    dm.transact(&start_merge()).unwrap();
    // It may have begun a window or two of 16 chunks.
    dm.set_merge_pace(&name("root"), Some(Bytes(0))).unwrap();
    run(&mut dm);
    let mut stands = left(&dm);
    assert!(stands >= 300 - 32, "{stands}");
    for _ in 0..5 {
        dm.add_merge_budget(&name("root"), Bytes(3 * 4096)).unwrap();
        run(&mut dm);
        stands -= 3;
        assert_eq!(left(&dm), stands);
    }
    dm.set_merge_pace(&name("root"), None).unwrap();
    run_merge(&mut dm);
    assert_eq!(sectors(&mut dm, "root", LEN), before.views[0]);
}

#[test]
fn a_merge_can_be_paced_from_its_first_window_on() {
    let before = filled(44, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    dm.set_pace_of_new_merges(Some(Bytes(0)));
    dm.transact(&start_merge()).unwrap();
    run(&mut dm);
    assert_eq!(left(&dm), 300);
    dm.set_merge_pace(&name("root"), None).unwrap();
    run_merge(&mut dm);
    assert_eq!(sectors(&mut dm, "root", LEN), before.views[0]);
}

/// A pause that comes too late must not stop the origin's next merge.
#[test]
fn a_pause_ends_with_its_merge() {
    let before = filled(43, 50);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    dm.transact(&start_merge()).unwrap();
    run(&mut dm);
    assert!(dm.merge_progress(&name("root")).unwrap().finished);
    dm.pause_merge(&name("root")).unwrap();
    assert!(dm.merge_progress(&name("root")).unwrap().paused);
    dm.transact(&finish_merge()).unwrap();
    let merge = "0 4096 snapshot-merge root-real s1-cow P 8";
    apply(&mut dm, &[load("root", merge), load("s1", ERROR)]);
    apply(&mut dm, &["root", "s1", "root-real", "s1-cow"].map(suspend));
    apply(&mut dm, &["root-real", "s1-cow", "root", "s1"].map(resume));
    assert!(!dm.merge_progress(&name("root")).unwrap().paused);
    run(&mut dm);
    assert!(dm.merge_progress(&name("root")).unwrap().finished);
}
