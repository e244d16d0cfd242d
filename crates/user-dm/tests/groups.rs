//! Goal: origin groups follow the tables through a snapshot's life, as lvm2.md 2.5 to 2.9 order it.
//! Method: stores that the testkit built byte by byte, simulated disks, and the testkit's own reading of what is left.
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

use foldback_dm_table::{DeviceMapper, SnapshotStatus, Stage, Transaction};
use foldback_testkit::cow;
use foldback_testkit::{FaultKind, Sector, SimDisks};
use foldback_units::Bytes;
use foldback_user_dm::{DmErrorKind, Fault, IoError, MergeEnd, RequestKind, UserDm};
use rig::{
    activate, apply, clear, create, fail, load, name, over, read, refusal, remove, request, resume, suspend,
    write,
};
use std::ops::ControlFlow;
use world::{
    COW0, COW1, COWS, ERROR, LEN, MERGE, ORIGIN, ORIGIN_TABLE, REAL, SNAP1, activate_all, filled,
    finish_merge, on_disk, run_merge, sectors, snapshot_status, start_merge,
};

#[test]
fn snapshots_and_origin_read_as_they_should() {
    let before = filled(1, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    assert_eq!(sectors(&mut dm, "root", LEN), before.origin);
    assert_eq!(sectors(&mut dm, "s0", LEN), before.views[0]);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
    // 1.8: cs * (2 + n + n div EPA) of the store, cs * (2 + n div EPA) of metadata.
    let status = dm.status(&name("s0")).unwrap();
    assert_eq!(status, ["2424/4096 24"]);
    assert_eq!(dm.status(&name("root")).unwrap(), [""]);
}

#[test]
fn a_write_to_the_origin_leaves_the_snapshots_alone() {
    let before = filled(2, 100);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    for chunk in 0..64 {
        write(&mut dm, "root", chunk * 8 + 3, 2, 0xaa);
    }
    assert_eq!(read(&mut dm, "root", 3, 2), [0xaa; 2]);
    assert_eq!(sectors(&mut dm, "s0", LEN), before.views[0]);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
}

#[test]
fn a_merge_of_live_volumes_hands_the_store_over_and_ends_in_plain_tables() {
    let before = filled(3, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    let reads = before.disks.taken();
    dm.transact(&start_merge()).unwrap();
    assert!(before.disks.taken() - reads < 20, "handed over, not read again");
    assert_eq!(sectors(&mut dm, "root", LEN), before.views[0], "the merged view, from the start");
    let error = dm.read_at(&name("s0"), Bytes(0), &mut [0; 512]).unwrap_err();
    assert!(matches!(error.kind, DmErrorKind::Request(IoError::Fault(Fault::Device))), "{error}");
    run_merge(&mut dm);
    assert!(snapshot_status(&mut dm, "root").is_empty());
    dm.transact(&finish_merge()).unwrap();
    assert_eq!(sectors(&mut dm, "root", LEN), before.views[0]);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1], "the other snapshot is bit-exact");
    apply(&mut dm, &[remove("s1"), remove("root"), remove("s1-cow"), remove("root-real")]);
    assert!(dm.list().unwrap().is_empty());
    assert_eq!(on_disk(&before.disks, ORIGIN), before.views[0]);
    assert!(cow::load(&on_disk(&before.disks, COWS[0])).unwrap().records.is_empty());
}

#[test]
fn an_interrupted_merge_goes_on_at_activation() {
    let before = filled(4, 300);
    let activate_merging = |dm: &mut UserDm<SimDisks>| {
        for (device, table) in [
            ("root-real", REAL),
            ("s0-cow", COW0),
            ("s1-cow", COW1),
            ("s1", SNAP1),
            ("s0", ERROR),
            ("root", MERGE),
        ] {
            activate(dm, device, table);
        }
    };
    let mut dm = over(&before.disks);
    activate_merging(&mut dm);
    let stop = |progress: &foldback_user_dm::Progress| {
        if progress.chunks_left < 200 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut stop = stop;
    assert_eq!(dm.run_until_merged(&name("root"), &mut stop).unwrap(), MergeEnd::Stopped);
    apply(&mut dm, &[suspend("root")]);
    let left = dm.merge_progress(&name("root")).unwrap().chunks_left;
    drop(dm);
    let records = cow::load(&on_disk(&before.disks, COWS[0])).unwrap().records.len() as u64;
    assert!(records == left && left > 0 && left < 200, "{records} {left}");
    let mut dm = over(&before.disks);
    activate_merging(&mut dm);
    assert_eq!(sectors(&mut dm, "root", LEN), before.views[0]);
    run_merge(&mut dm);
    assert_eq!(on_disk(&before.disks, ORIGIN), before.views[0]);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
}

#[test]
fn taking_the_first_snapshot_of_a_live_volume_freezes_it() {
    let before = filled(5, 0);
    let mut dm = over(&before.disks);
    activate(&mut dm, "root", REAL);
    // A new store is blank; the manager has zeroed its beginning (1.3).
    activate(&mut dm, "new-cow", "0 4096 linear /pv1.img 0");
    dm.transact(&Transaction {
        preload: vec![
            create("root-real"),
            load("root-real", REAL),
            load("root", ORIGIN_TABLE),
            create("new"),
            load("new", "0 4096 snapshot root-real new-cow P 8"),
        ],
        suspend: vec![suspend("root")],
        headers: vec![],
        resume: ["root-real", "new-cow", "new", "root"].map(resume).to_vec(),
        clean: vec![],
    })
    .unwrap();
    write(&mut dm, "root", 0, 64, 0x33);
    write(&mut dm, "new", 128, 8, 0x44);
    assert_eq!(sectors(&mut dm, "new", LEN)[..128], before.origin[..128]);
    assert_eq!(read(&mut dm, "root", 0, 64), [0x33; 64]);
    assert_eq!(read(&mut dm, "new", 128, 8), [0x44; 8]);
    assert_eq!(sectors(&mut dm, "root", LEN)[128..], before.origin[128..]);
    assert_eq!(dm.status(&name("new")).unwrap(), ["88/4096 16"]);
}

#[test]
fn k8_a_handover_from_a_running_snapshot_is_refused_and_the_old_table_runs() {
    let before = filled(6, 50);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    apply(&mut dm, &[load("root", MERGE), suspend("root")]);
    let error = refusal(&mut dm, &resume("root"));
    assert!(matches!(error.kind, DmErrorKind::Handover(ref source) if *source == name("s0")), "{error}");
    let info = dm.list().unwrap().into_iter().find(|info| info.name == name("root")).unwrap();
    assert!(!info.suspended && !info.inactive, "{info:?}");
    assert_eq!(sectors(&mut dm, "root", LEN), before.origin);
    assert_eq!(sectors(&mut dm, "s0", LEN), before.views[0]);
}

#[test]
fn a_refused_transaction_leaves_the_snapshots_running() {
    let before = filled(7, 50);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    let mut transaction = start_merge();
    transaction.suspend.push(suspend("none"));
    assert_eq!(dm.transact(&transaction).unwrap_err().0, Stage::Suspend);
    write(&mut dm, "root", 0, 64, 0x33);
    assert_eq!(sectors(&mut dm, "s0", LEN), before.views[0]);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
    assert!(dm.merge_progress(&name("root")).is_none());
}

#[test]
fn a_damaged_store_is_refused_at_load_and_nothing_is_written() {
    let before = filled(8, 50);
    let mut dm = over(&before.disks);
    activate(&mut dm, "raw", "0 16384 linear /pv0.img 0");
    write(&mut dm, "raw", COWS[0], 1, 0x99);
    for (device, table) in [("root-real", REAL), ("s0-cow", COW0)] {
        activate(&mut dm, device, table);
    }
    let disk = before.disks.visible();
    apply(&mut dm, &[create("root")]);
    let error = refusal(&mut dm, &load("root", MERGE));
    assert!(matches!(error.kind, DmErrorKind::Store(_)), "{error}");
    assert_eq!(before.disks.visible(), disk);
}

#[test]
fn a_suspended_origin_stops_its_merge_and_a_resume_goes_on() {
    let before = filled(9, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    dm.transact(&start_merge()).unwrap();
    for _ in 0..50 {
        dm.step(true).unwrap();
    }
    apply(&mut dm, &[suspend("root")]);
    let held = dm.merge_progress(&name("root")).unwrap();
    assert!(!held.finished && held.chunks_left > 0);
    while dm.step(true).unwrap() {}
    assert_eq!(dm.merge_progress(&name("root")).unwrap(), held);
    let error = dm.run_until_merged(&name("root"), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error.kind, DmErrorKind::Suspended), "{error}");
    apply(&mut dm, &[resume("root")]);
    run_merge(&mut dm);
    assert_eq!(on_disk(&before.disks, ORIGIN), before.views[0]);
}

#[test]
fn writes_during_the_merge_and_held_ones_are_kept() {
    let before = filled(10, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    dm.transact(&start_merge()).unwrap();
    let mut expected = before.views[0].clone();
    for round in 0..40_u64 {
        let at = round * 97 % (LEN - 8);
        write(&mut dm, "root", at, 5, 0x60);
        expected[at as usize..][..5].fill(Sector::from_bytes(&[0x60; 512]));
    }
    apply(&mut dm, &[suspend("root")]);
    let ticket = dm.submit(&name("root"), request(RequestKind::WriteZeroes { fua: true }, 1000, 24));
    expected[1000..1024].fill(Sector::Zero);
    while dm.step(true).unwrap() {}
    assert_eq!(dm.unanswered(), 1);
    apply(&mut dm, &[resume("root")]);
    assert_eq!(dm.wait_for_answer(ticket).unwrap(), Ok(()));
    run_merge(&mut dm);
    assert_eq!(sectors(&mut dm, "root", LEN), expected);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
    dm.transact(&finish_merge()).unwrap();
    assert_eq!(on_disk(&before.disks, ORIGIN), expected);
}

#[test]
fn a_snapshot_is_removed_while_the_others_stay() {
    let before = filled(11, 100);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    apply(&mut dm, &[suspend("root"), remove("s0"), remove("s0-cow"), resume("root")]);
    write(&mut dm, "root", 0, 64, 0x33);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
    // Its store was let go before the write: it has not grown.
    assert_eq!(cow::load(&on_disk(&before.disks, COWS[0])).unwrap().records.len(), 100);
}

/// K11: in the kernel nobody is woken.
#[test]
fn k11_an_invalid_store_is_told_by_its_status_and_by_an_event() {
    let before = filled(12, 10);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    fail(&before.disks, FaultKind::Read, 0, 1);
    // The copy out fails, so one snapshot is lost; the origin's write goes on.
    dm.submit(&name("root"), request(RequestKind::WriteZeroes { fua: false }, 0, 4096));
    while dm.step(true).unwrap() {}
    let lost: Vec<bool> =
        ["s0", "s1"].iter().map(|snap| snapshot_status(&mut dm, snap) == SnapshotStatus::Invalid).collect();
    assert!(lost.contains(&true));
    let events: u32 = dm.list().unwrap().iter().map(|info| info.event).sum();
    assert_eq!(events as usize, lost.iter().filter(|lost| **lost).count());
}

#[test]
fn two_merges_into_one_origin_are_refused() {
    let before = filled(13, 10);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    dm.transact(&start_merge()).unwrap();
    apply(
        &mut dm,
        &[create("second"), load("second", "0 4096 snapshot-merge root-real s1-cow P 8"), suspend("s1")],
    );
    let error = refusal(&mut dm, &resume("second"));
    assert!(matches!(error.kind, DmErrorKind::Merging), "{error}");
    apply(&mut dm, &[clear("second"), remove("second"), resume("s1")]);
    run_merge(&mut dm);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
}

#[test]
fn an_error_on_any_io_of_a_merge_is_told_and_a_resume_finishes_it() {
    let mut failed = 0;
    for kind in [FaultKind::Read, FaultKind::Write] {
        for after in (0..400).step_by(7) {
            let before = filled(after, 60);
            let mut dm = over(&before.disks);
            activate_all(&mut dm);
            dm.transact(&start_merge()).unwrap();
            fail(&before.disks, kind, after, 1);
            if let Err(error) = dm.run_until_merged(&name("root"), &mut |_| ControlFlow::Continue(())) {
                assert!(matches!(error.kind, DmErrorKind::MergeStopped(_)), "{kind:?} {after}: {error}");
                let said = error.to_string();
                let work = if kind == FaultKind::Read { "reading " } else { "writing " };
                assert!(said.starts_with(&format!("merging into root: {work}")), "{said}");
                assert!(said.contains(" of /pv0.img: "), "{said}");
                assert!(said.ends_with("; the merge stopped where it can go on"), "{said}");
                assert_eq!(dm.status(&name("root")).unwrap(), ["Merge failed"]);
                assert_eq!(sectors(&mut dm, "root", LEN), before.views[0], "{kind:?} {after}");
                apply(&mut dm, &[suspend("root"), resume("root")]);
                run_merge(&mut dm);
                failed += 1;
            }
            assert_eq!(on_disk(&before.disks, ORIGIN), before.views[0], "{kind:?} {after}");
            if before.disks.faults_hit() == 0 {
                break;
            }
            if snapshot_status(&mut dm, "s1") != SnapshotStatus::Invalid {
                assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1], "{kind:?} {after}");
            }
        }
    }
    assert!(failed > 10, "{failed}");
}
