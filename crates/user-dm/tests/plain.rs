//! Goal: devices without snapshots behave as the kernel's: mapping, slots, suspension, refusals.
//! Method: simulated disks, one test per rule.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    dead_code
)]

mod rig;

use foldback_device::Memory;
use foldback_dm_table::{DeviceMapper, Verb};
use foldback_testkit::FaultKind;
use foldback_units::Bytes;
use foldback_user_dm::{DmErrorKind, Fault, IoError, RequestKind};
use rig::{
    activate, apply, blank, clear, create, fail, load, name, over, read, refusal, remove, request, resume,
    suspend, write,
};

#[test]
fn linear_and_striped_lie_where_their_tables_say() {
    let disks = blank(1);
    let mut dm = over(&disks);
    activate(&mut dm, "lv", "0 64 linear /pv0.img 2048\n64 64 linear /pv1.img 4096");
    activate(&mut dm, "st", "0 32 striped 2 8 /pv0.img 8000 /pv1.img 8000");
    activate(&mut dm, "raw0", "0 16384 linear /pv0.img 0");
    activate(&mut dm, "raw1", "0 16384 linear /pv1.img 0");
    write(&mut dm, "lv", 60, 8, 7);
    assert_eq!(read(&mut dm, "raw0", 2048 + 58, 6), [0, 0, 7, 7, 7, 7]);
    assert_eq!(read(&mut dm, "raw1", 4096, 5), [7, 7, 7, 7, 0]);
    for piece in 0..4 {
        write(&mut dm, "st", piece * 8, 8, 10 + piece as u8);
    }
    assert_eq!(read(&mut dm, "raw0", 8000, 16), [[10; 8], [12; 8]].concat());
    assert_eq!(read(&mut dm, "raw1", 8000, 16), [[11; 8], [13; 8]].concat());
    assert_eq!(read(&mut dm, "st", 4, 24), [vec![10; 4], vec![11; 8], vec![12; 8], vec![13; 4]].concat());
}

#[test]
fn error_fails_and_zero_reads_zeros() {
    let disks = blank(2);
    let mut dm = over(&disks);
    activate(&mut dm, "lv", "0 8 linear /pv0.img 0\n8 8 zero\n16 8 error");
    write(&mut dm, "lv", 0, 16, 9);
    assert_eq!(read(&mut dm, "lv", 4, 8), [9, 9, 9, 9, 0, 0, 0, 0]);
    let mut bytes = [0; 1024];
    let error = dm.read_at(&name("lv"), Bytes(15 * 512), &mut bytes).unwrap_err();
    assert!(matches!(error.kind, DmErrorKind::Request(IoError::Fault(Fault::Device))), "{error}");
}

#[test]
fn devices_stack_and_follow_a_lower_table_that_moves() {
    let disks = blank(3);
    let mut dm = over(&disks);
    activate(&mut dm, "low", "0 64 linear /pv0.img 1024");
    activate(&mut dm, "top", "0 32 linear /dev/mapper/low 16");
    write(&mut dm, "top", 0, 8, 3);
    assert_eq!(read(&mut dm, "low", 16, 8), [3; 8]);
    apply(&mut dm, &[load("low", "0 64 linear /pv1.img 1024"), suspend("low"), resume("low")]);
    assert_eq!(read(&mut dm, "top", 0, 8), [0; 8]);
}

#[test]
fn a_loaded_table_is_live_only_after_resume() {
    let disks = blank(4);
    let mut dm = over(&disks);
    activate(&mut dm, "lv", "0 8 zero");
    apply(&mut dm, &[load("lv", "0 16 zero")]);
    assert_eq!(dm.size(&name("lv")).unwrap().get(), 8);
    let info = &dm.list().unwrap()[0];
    assert!(info.live && info.inactive && !info.suspended);
    apply(&mut dm, &[clear("lv"), resume("lv")]);
    assert_eq!(dm.size(&name("lv")).unwrap().get(), 8);
    apply(&mut dm, &[load("lv", "0 16 zero"), resume("lv")]);
    assert_eq!(dm.table(&name("lv")).unwrap().unwrap().to_string(), "0 16 zero \n");
    assert_eq!(dm.status(&name("lv")).unwrap(), [""]);
}

#[test]
fn a_suspended_device_holds_requests_also_those_that_come_through_others() {
    let disks = blank(5);
    let mut dm = over(&disks);
    activate(&mut dm, "low", "0 64 linear /pv0.img 0");
    activate(&mut dm, "top", "0 64 linear low 0");
    apply(&mut dm, &[suspend("low")]);
    let memory = Memory::new(512).unwrap();
    assert!(memory.whole().copy_from(&[5; 512]));
    let mut write = request(RequestKind::Write { fua: false }, 0, 1);
    write.buffer = Some(memory.whole());
    let tickets = [dm.submit(&name("top"), write.clone()), dm.submit(&name("low"), write)];
    while dm.step(true).unwrap() {}
    assert!(dm.poll_answer().is_none());
    assert_eq!(dm.unanswered(), 2);
    apply(&mut dm, &[resume("low")]);
    while dm.step(true).unwrap() {}
    let mut answered = [dm.poll_answer().unwrap(), dm.poll_answer().unwrap()];
    answered.sort_by_key(|(ticket, _)| *ticket);
    assert_eq!(answered, tickets.map(|ticket| (ticket, Ok(()))));
    assert_eq!(read(&mut dm, "top", 0, 1), [5]);
}

#[test]
fn suspend_waits_for_what_is_under_way() {
    let disks = blank(6);
    let mut dm = over(&disks);
    activate(&mut dm, "low", "0 64 linear /pv0.img 0");
    activate(&mut dm, "top", "0 64 linear low 0");
    for number in 0..8 {
        dm.submit(&name("top"), request(RequestKind::WriteZeroes { fua: true }, number, 1));
    }
    apply(&mut dm, &[suspend("low")]);
    assert_eq!(dm.unanswered(), 0, "all were answered before the suspend returned");
}

#[test]
fn what_cannot_be_is_refused_at_load() {
    let disks = blank(7);
    let mut dm = over(&disks);
    activate(&mut dm, "lv", "0 64 linear /pv0.img 0");
    apply(&mut dm, &[create("x")]);
    let kind = |dm: &mut _, table| refusal(dm, &load("x", table)).kind;
    assert!(matches!(kind(&mut dm, "0 8 linear /none.img 0"), DmErrorKind::NoLower(_)));
    assert!(matches!(kind(&mut dm, "0 8 linear lv 57"), DmErrorKind::TooShort { has: 64, needs: 65, .. }));
    assert!(matches!(kind(&mut dm, "0 16385 linear /pv1.img 0"), DmErrorKind::TooShort { .. }));
    assert!(matches!(
        kind(&mut dm, "0 16 striped 2 8 /pv0.img 0 /pv1.img 16377"),
        DmErrorKind::TooShort { .. }
    ));
    assert!(matches!(kind(&mut dm, "0 8 linear x 0"), DmErrorKind::Cycle(_)));
    assert!(matches!(kind(&mut dm, "0 8 thin 1:1 0"), DmErrorKind::Target(_)));
    assert!(matches!(kind(&mut dm, "0 8 zero\n8 8 snapshot-origin lv"), DmErrorKind::NotAlone(_)));
    apply(&mut dm, &[load("x", "0 64 linear lv 0")]);
    assert!(matches!(refusal(&mut dm, &load("lv", "0 64 linear x 0")).kind, DmErrorKind::Cycle(_)));
    let gap = foldback_dm_table::Table { lines: vec![] };
    let verb = Verb::Load { name: name("x"), table: gap, read_only: false };
    assert!(matches!(refusal(&mut dm, &verb).kind, DmErrorKind::Table(_)));
}

#[test]
fn names_and_users_are_respected() {
    let disks = blank(8);
    let mut dm = over(&disks);
    activate(&mut dm, "low", "0 64 zero");
    activate(&mut dm, "top", "0 64 linear low 0");
    assert!(matches!(refusal(&mut dm, &create("low")).kind, DmErrorKind::Exists));
    let same_uuid = Verb::Create { name: name("other"), uuid: "LVM-low".to_owned(), minor: None };
    assert!(matches!(refusal(&mut dm, &same_uuid).kind, DmErrorKind::Exists));
    for verb in [load("none", "0 8 zero"), suspend("none"), resume("none"), clear("none"), remove("none")] {
        assert!(matches!(refusal(&mut dm, &verb).kind, DmErrorKind::Missing));
    }
    assert!(matches!(refusal(&mut dm, &remove("low")).kind, DmErrorKind::Used(user) if user == name("top")));
    let top = dm.number(&name("top")).unwrap();
    dm.open(top).unwrap();
    assert!(matches!(refusal(&mut dm, &remove("top")).kind, DmErrorKind::Open));
    assert_eq!(dm.list().unwrap().iter().map(|info| info.open_count).collect::<Vec<_>>(), [1, 1]);
    dm.close(top);
    apply(&mut dm, &[remove("top"), remove("low")]);
    assert!(dm.list().unwrap().is_empty());
}

#[test]
fn what_a_removed_device_held_is_answered() {
    let disks = blank(9);
    let mut dm = over(&disks);
    activate(&mut dm, "lv", "0 8 zero");
    apply(&mut dm, &[suspend("lv")]);
    let ticket = dm.submit(&name("lv"), request(RequestKind::Flush, 0, 0));
    apply(&mut dm, &[remove("lv")]);
    assert_eq!(dm.poll_answer(), Some((ticket, Err(IoError::NoDevice))));
}

#[test]
fn refused_requests_are_answered_and_reach_no_disk() {
    let disks = blank(10);
    let mut dm = over(&disks);
    let table = foldback_dm_table::Table::parse("0 64 linear /pv0.img 0").unwrap();
    apply(&mut dm, &[create("ro"), Verb::Load { name: name("ro"), table, read_only: true }, resume("ro")]);
    let taken = disks.taken();
    let fua = false;
    for (device, request, error) in [
        ("none", request(RequestKind::Flush, 0, 0), IoError::NoDevice),
        ("ro", request(RequestKind::Write { fua }, 0, 1), IoError::ReadOnly),
        ("ro", request(RequestKind::WriteZeroes { fua }, 0, 1), IoError::ReadOnly),
        ("ro", request(RequestKind::Read, 64, 1), IoError::Range),
        ("ro", request(RequestKind::Read, 0, 1), IoError::Range),
    ] {
        let ticket = dm.submit(&name(device), request);
        assert_eq!(dm.wait_for_answer(ticket).unwrap(), Err(error));
    }
    assert_eq!(disks.taken(), taken);
    assert_eq!(read(&mut dm, "ro", 0, 1), [0]);
}

#[test]
fn an_error_of_one_piece_fails_its_request_and_nothing_else() {
    let disks = blank(11);
    let mut dm = over(&disks);
    activate(&mut dm, "lv", "0 64 linear /pv0.img 2048\n64 64 linear /pv1.img 4096");
    fail(&disks, FaultKind::Write, 1, 1);
    let error = dm.write_at(&name("lv"), Bytes(60 * 512), &[1; 8 * 512], false).unwrap_err();
    assert!(matches!(error.kind, DmErrorKind::Disk(_)), "{error}");
    let said = error.to_string();
    let [first, second] = [("/pv0.img", 2108 * 512), ("/pv1.img", 4096 * 512)]
        .map(|(pv, at)| said.starts_with(&format!("writing lv: writing 2048 bytes at byte {at} of {pv}: ")));
    assert!(first != second, "{said}");
    assert!(dm.take_disk_failure().is_none(), "told once");
    write(&mut dm, "lv", 60, 8, 2);
    assert_eq!(read(&mut dm, "lv", 60, 8), [2; 8]);
    dm.flush(&name("lv")).unwrap();
}

#[test]
fn waiting_for_a_suspended_device_is_an_error_and_no_hang() {
    let disks = blank(12);
    let mut dm = over(&disks);
    activate(&mut dm, "lv", "0 64 linear /pv0.img 0");
    apply(&mut dm, &[suspend("lv")]);
    let error = dm.flush(&name("lv")).unwrap_err();
    assert!(matches!(error.kind, DmErrorKind::Suspended), "{error}");
}

#[test]
fn an_open_device_is_renamed_and_tables_follow_it() {
    let disks = blank(20);
    let mut dm = over(&disks);
    activate(&mut dm, "low", "0 64 linear /pv0.img 2048");
    activate(&mut dm, "lv", "0 32 linear low 0\n32 32 linear /dev/mapper/low 32");
    apply(&mut dm, &[load("lv", "0 64 linear low 0")]);
    let low = dm.number(&name("low")).unwrap();
    dm.open(low).unwrap();
    write(&mut dm, "lv", 0, 8, 3);
    let rename = |from: &str, to: &str| Verb::Rename { name: name(from), new: name(to) };
    apply(&mut dm, &[rename("low", "lower")]);
    let table = dm.table(&name("lv")).unwrap().unwrap().to_string();
    assert_eq!(table, "0 32 linear lower 0\n32 32 linear lower 32\n");
    assert_eq!(dm.list().unwrap()[0].uuid, "LVM-low", "the UUID stays");
    assert_eq!(read(&mut dm, "lv", 0, 9), [3, 3, 3, 3, 3, 3, 3, 3, 0]);
    // The table that waits follows as well.
    apply(&mut dm, &[resume("lv")]);
    write(&mut dm, "lv", 40, 8, 4);
    assert_eq!(read(&mut dm, "lower", 40, 8), [4; 8]);
    assert!(matches!(refusal(&mut dm, &rename("low", "x")).kind, DmErrorKind::Missing));
    assert!(matches!(refusal(&mut dm, &rename("lv", "lower")).kind, DmErrorKind::Exists));
    dm.close(low);
    apply(&mut dm, &[remove("lv"), remove("lower")]);
}

/// Who has a device open knows it by its number: between a renaming and the word of it are requests, and an end.
#[test]
fn a_number_means_one_device_whatever_is_called_so() {
    let disks = blank(24);
    let mut dm = over(&disks);
    activate(&mut dm, "a", "0 64 linear /pv0.img 2048");
    activate(&mut dm, "b", "0 32 linear /pv0.img 4096");
    let a = dm.number(&name("a")).unwrap();
    dm.open(a).unwrap();
    let rename = |from: &str, to: &str| Verb::Rename { name: name(from), new: name(to) };
    apply(&mut dm, &[rename("a", "c"), rename("b", "a")]);
    assert_eq!(dm.size(a).unwrap().get(), 64, "and not of what is called a by now");
    let ticket = dm.submit(a, request(RequestKind::WriteZeroes { fua: true }, 40, 8));
    while dm.step(true).unwrap() {}
    assert_eq!(dm.poll_answer(), Some((ticket, Ok(()))));
    assert!(matches!(refusal(&mut dm, &remove("c")).kind, DmErrorKind::Open));
    dm.close(a);
    apply(&mut dm, &[remove("c")]);
    // Another device of that name is another device.
    activate(&mut dm, "c", "0 64 linear /pv0.img 2048");
    let ticket = dm.submit(a, request(RequestKind::Flush, 0, 0));
    assert_eq!(dm.poll_answer(), Some((ticket, Err(IoError::NoDevice))));
    assert!(dm.open(a).is_err() && dm.size(a).is_none());
    dm.close(a);
}
