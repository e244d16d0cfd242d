//! Goal: a transaction is carried out whole or taken back (architecture.md, "One transaction, one owner").
//! Method: one transaction that switches a volume and commits two headers, with a fault at each of its steps.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    dead_code
)]

mod rig;

use foldback_device::{DiskId, read_exact, write_all};
use foldback_dm_table::{DeviceMapper, DeviceRef, HeaderWrite, Stage, Transaction};
use foldback_testkit::{FaultKind, InjectedFault, SimDisks};
use foldback_units::Bytes;
use foldback_user_dm::{DmErrorKind, UserDm};
use rig::{PVS, activate, apply, blank, create, load, name, over, read, remove, resume, suspend, write};

const OFFSET: Bytes = Bytes(4096);

fn header(pv: usize) -> HeaderWrite {
    HeaderWrite {
        pv: DeviceRef(PVS[pv].to_owned()),
        offset: OFFSET,
        commit: Box::new([0xcc; 512]),
        revert: Box::new([0x77; 512]),
    }
}

/// Switches `lv` from PV 0 to a new device on PV 1.
fn switch() -> Transaction {
    Transaction {
        preload: vec![
            create("lv-real"),
            load("lv-real", "0 64 linear /pv1.img 2048"),
            load("lv", "0 64 linear lv-real 0"),
        ],
        suspend: vec![suspend("lv")],
        headers: vec![header(0), header(1)],
        resume: vec![resume("lv-real"), resume("lv")],
        clean: vec![],
    }
}

fn set_up(seed: u64) -> (SimDisks, UserDm<SimDisks>) {
    let disks = blank(seed);
    let mut dm = over(&disks);
    activate(&mut dm, "lv", "0 64 linear /pv0.img 2048");
    write(&mut dm, "lv", 0, 8, 1);
    for pv in 0..2 {
        write_all(&mut dm.disks_mut(), DiskId(pv), OFFSET, &[0x55; 512], true).unwrap();
    }
    (disks, dm)
}

fn headers(dm: &mut UserDm<SimDisks>) -> [u8; 2] {
    [0, 1].map(|pv| {
        let mut bytes = [0; 512];
        read_exact(&mut dm.disks_mut(), DiskId(pv), OFFSET, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        bytes[0]
    })
}

fn is_as_before(dm: &mut UserDm<SimDisks>) {
    let devices = dm.list().unwrap();
    assert_eq!(devices.len(), 1, "what was created is removed: {devices:?}");
    assert!(!devices[0].suspended && !devices[0].inactive, "{devices:?}");
    assert_eq!(read(dm, "lv", 0, 8), [1; 8]);
}

#[test]
fn a_transaction_switches_devices_and_headers() {
    let (_, mut dm) = set_up(1);
    dm.transact(&switch()).unwrap();
    assert_eq!(headers(&mut dm), [0xcc, 0xcc]);
    assert_eq!(read(&mut dm, "lv", 0, 8), [0; 8]);
    assert_eq!(dm.list().unwrap().iter().filter(|info| info.suspended).count(), 0);
}

#[test]
fn a_refused_preload_changes_nothing() {
    let (_, mut dm) = set_up(2);
    let mut transaction = switch();
    transaction.preload.push(load("lv", "0 64 linear none 0"));
    let (stage, error) = dm.transact(&transaction).unwrap_err();
    assert_eq!(stage, Stage::Preload);
    assert!(matches!(error.kind, DmErrorKind::NoLower(_)), "{error}");
    assert_eq!(headers(&mut dm), [0x55, 0x55]);
    is_as_before(&mut dm);
}

#[test]
fn a_refused_suspend_resumes_the_old_tables() {
    let (_, mut dm) = set_up(3);
    let mut transaction = switch();
    transaction.suspend.push(suspend("none"));
    let (stage, error) = dm.transact(&transaction).unwrap_err();
    assert_eq!(stage, Stage::Suspend);
    assert!(matches!(error.kind, DmErrorKind::Missing), "{error}");
    assert_eq!(headers(&mut dm), [0x55, 0x55]);
    is_as_before(&mut dm);
}

#[test]
fn where_no_header_can_be_written_all_is_taken_back_and_the_headers_reverted() {
    let (disks, mut dm) = set_up(4);
    disks.inject(InjectedFault { kind: FaultKind::Write, disk: None, after: 0, times: 2 });
    let (stage, error) = dm.transact(&switch()).unwrap_err();
    assert_eq!(stage, Stage::Commit);
    assert!(error.to_string().contains("/pv0.img"), "the first header that failed is named: {error}");
    assert!(error.to_string().ends_with("; the VG is unchanged"), "{error}");
    assert_eq!(headers(&mut dm), [0x77, 0x77]);
    is_as_before(&mut dm);
}

#[test]
fn where_the_revert_fails_too_both_errors_are_kept() {
    let (disks, mut dm) = set_up(5);
    disks.inject(InjectedFault { kind: FaultKind::Write, disk: None, after: 0, times: 3 });
    let (stage, error) = dm.transact(&switch()).unwrap_err();
    assert_eq!(stage, Stage::Commit);
    assert!(matches!(error.kind, DmErrorKind::Unknown { .. }), "{error}");
    assert_eq!(error.to_string().matches("simulated EIO").count(), 2, "{error}");
    is_as_before(&mut dm);
}

#[test]
fn once_a_header_is_written_the_change_is_finished_forward() {
    for failing in [0, 1] {
        let (disks, mut dm) = set_up(6);
        disks.inject(InjectedFault { kind: FaultKind::Write, disk: Some(failing), after: 0, times: 1 });
        dm.transact(&switch()).unwrap();
        assert_eq!(headers(&mut dm)[1 - failing], 0xcc);
        assert_eq!(read(&mut dm, "lv", 0, 8), [0; 8]);
    }
}

#[test]
fn a_resume_that_fails_after_the_commit_leaves_old_tables_running_k8() {
    let (_, mut dm) = set_up(7);
    let mut transaction = switch();
    // The new lower device is not resumed, so the upper one cannot be.
    transaction.resume.remove(0);
    let (stage, error) = dm.transact(&transaction).unwrap_err();
    assert_eq!(stage, Stage::Resume);
    assert_eq!(error.device, "lv");
    assert_eq!(headers(&mut dm), [0xcc, 0xcc]);
    assert_eq!(read(&mut dm, "lv", 0, 8), [1; 8]);
}

#[test]
fn what_cannot_be_cleaned_up_is_told_and_the_rest_is_done() {
    let (_, mut dm) = set_up(8);
    activate(&mut dm, "stray", "0 8 zero");
    let mut transaction = switch();
    transaction.clean = vec![remove("none"), remove("stray")];
    let (stage, _) = dm.transact(&transaction).unwrap_err();
    assert_eq!(stage, Stage::Clean);
    assert!(dm.list().unwrap().iter().all(|info| info.name != name("stray")));
    assert_eq!(read(&mut dm, "lv", 0, 8), [0; 8]);
    apply(&mut dm, &[remove("lv"), remove("lv-real")]);
}
