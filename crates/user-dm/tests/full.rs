//! Goal: a store that is full is held, grown in place or given up, with requests waiting and with a merge under way.
//! Method: as in `groups.rs`; the store of a new snapshot has room for two exceptions.
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

use foldback_dm_table::{DeviceMapper, SnapshotStatus, Transaction, Verb};
use foldback_testkit::{Sector, SimDisks};
use foldback_user_dm::{DmErrorKind, IoError, RequestKind, Ticket, UserDm, WhenFull};
use rig::{activate, apply, create, load, name, over, request, resume, suspend, write};
use world::{
    Before, LEN, ORIGIN_TABLE, REAL, activate_all, filled, run_merge, sectors, snapshot_status, start_merge,
};

const SMALL: &str = "0 32 linear /pv1.img 0";
const LONGER: &str = "0 4096 linear /pv1.img 0";
/// On another disk as well: the mapping is not one piece, the engine sees one more cache.
const SPREAD: [&str; 2] = ["0 32 linear /pv1.img 0", "32 2048 linear /pv0.img 14336"];
const NEW: &str = "0 4096 snapshot root-real new-cow P 8";

fn run(dm: &mut UserDm<SimDisks>) {
    while dm.step(true).unwrap() {}
}

fn zeros(dm: &mut UserDm<SimDisks>, device: &str, at: u64, len: u64) -> Ticket {
    let ticket = dm.submit(&name(device), request(RequestKind::WriteZeroes { fua: false }, at, len));
    run(dm);
    ticket
}

/// An origin with one small snapshot, held when it is full, and a write of three chunks that waits.
fn parked() -> (Before, UserDm<SimDisks>, Ticket) {
    let before = filled(51, 0);
    let mut dm = over(&before.disks);
    for (device, table) in [("root-real", REAL), ("new-cow", SMALL), ("new", NEW), ("root", ORIGIN_TABLE)] {
        activate(&mut dm, device, table);
    }
    dm.set_when_full(&name("new"), WhenFull::Hold).unwrap();
    assert_eq!(dm.full_store(&name("new")), None);
    let ticket = zeros(&mut dm, "root", 0, 24);
    let full = dm.full_store(&name("new")).unwrap();
    assert_eq!((full.first, full.waiting, dm.unanswered()), (Some(ticket), 1, 1));
    assert_eq!(dm.full_stores(), [name("new")]);
    (before, dm, ticket)
}

fn extend(suspended: &[&str], table: &str) -> Transaction {
    let resumed: Vec<&str> = suspended.iter().rev().copied().collect();
    Transaction {
        preload: vec![load("new-cow", table)],
        suspend: suspended.iter().map(|device| suspend(device)).collect(),
        headers: vec![],
        resume: resumed.into_iter().map(resume).collect(),
        clean: vec![],
    }
}

fn answer(dm: &mut UserDm<SimDisks>, ticket: Ticket) -> Result<(), IoError> {
    dm.wait_for_answer(ticket).unwrap()
}

#[test]
fn a_longer_table_lets_parked_writes_go_on_whatever_is_suspended_for_it() {
    for suspended in [&["new-cow"][..], &["new", "new-cow"], &["root", "new", "new-cow"]] {
        for table in [LONGER.to_owned(), SPREAD.join("\n")] {
            let (before, mut dm, ticket) = parked();
            let error = dm.wait_for_answer(ticket).unwrap_err();
            assert!(matches!(error.kind, DmErrorKind::Full), "{error}");
            let copied = dm.counters(&name("root")).unwrap().0.chunks_copied_out;
            dm.transact(&extend(suspended, &table)).unwrap();
            assert_eq!(dm.counters(&name("root")).unwrap().0.chunks_copied_out, copied, "the same group");
            assert_eq!(answer(&mut dm, ticket), Ok(()), "{suspended:?} {table}");
            assert_eq!(dm.full_store(&name("new")), None);
            write(&mut dm, "root", 100, 200, 0x77);
            assert_eq!(sectors(&mut dm, "new", LEN), before.origin);
            assert_eq!(sectors(&mut dm, "root", 24), vec![Sector::Zero; 24]);
        }
    }
}

#[test]
fn a_group_that_is_made_anew_parks_them_again() {
    let (before, mut dm, ticket) = parked();
    apply(
        &mut dm,
        &[load("root-real", "0 4100 linear /pv0.img 2048"), suspend("root"), suspend("root-real")],
    );
    apply(&mut dm, &[resume("root-real"), resume("root")]);
    run(&mut dm);
    assert_eq!(dm.full_store(&name("new")).unwrap().first, Some(ticket), "what was chosen holds");
    dm.transact(&extend(&["new-cow"], LONGER)).unwrap();
    assert_eq!(answer(&mut dm, ticket), Ok(()));
    assert_eq!(sectors(&mut dm, "new", LEN), before.origin);
}

#[test]
fn a_suspended_snapshot_keeps_its_parked_writes() {
    let (before, mut dm, origin) = parked();
    let own = zeros(&mut dm, "new", 800, 3);
    apply(&mut dm, &[suspend("new")]);
    apply(&mut dm, &[load("new-cow", LONGER), suspend("new-cow"), resume("new-cow")]);
    run(&mut dm);
    assert_eq!(dm.unanswered(), 2, "nothing passes through a suspended device");
    apply(&mut dm, &[resume("new")]);
    assert_eq!((answer(&mut dm, origin), answer(&mut dm, own)), (Ok(()), Ok(())));
    let mut expected = before.origin.clone();
    expected[800..803].fill(Sector::Zero);
    assert_eq!(sectors(&mut dm, "new", LEN), expected);
}

#[test]
fn a_snapshot_that_is_given_up_lets_the_origin_go_on() {
    let (_, mut dm, origin) = parked();
    let own = zeros(&mut dm, "new", 800, 3);
    let error = dm.give_up(&name("root")).unwrap_err();
    assert!(matches!(error.kind, DmErrorKind::NoSnapshot), "{error}");
    dm.give_up(&name("new")).unwrap();
    assert_eq!(answer(&mut dm, origin), Ok(()));
    assert!(answer(&mut dm, own).is_err());
    assert_eq!(snapshot_status(&mut dm, "new"), SnapshotStatus::Invalid);
    assert_eq!(dm.full_store(&name("new")), None);
}

#[test]
fn what_holds_for_all_stores_holds_for_one_that_is_made_later() {
    let before = filled(53, 0);
    let mut dm = over(&before.disks);
    dm.otherwise_when_full(WhenFull::Hold);
    for (device, table) in [("root-real", REAL), ("new-cow", SMALL), ("new", NEW), ("root", ORIGIN_TABLE)] {
        activate(&mut dm, device, table);
    }
    let ticket = zeros(&mut dm, "root", 0, 24);
    assert_eq!(dm.full_stores(), [name("new")]);
    dm.transact(&extend(&["new-cow"], LONGER)).unwrap();
    assert_eq!(answer(&mut dm, ticket), Ok(()));
    assert_eq!(dm.full_stores(), []);
    assert_eq!(sectors(&mut dm, "new", LEN), before.origin);
}

/// `lvremove` of the snapshot while it holds: nobody waits for its devices, and the origin goes on without it.
#[test]
fn a_snapshot_that_is_removed_lets_the_origin_go_on() {
    let (_, mut dm, origin) = parked();
    let removal = Transaction {
        preload: vec![load("root", "0 4096 linear root-real 0")],
        suspend: vec![suspend("root"), suspend("new")],
        headers: vec![],
        resume: vec![resume("root")],
        clean: ["new", "new-cow"].map(|device| Verb::Remove { name: name(device) }).to_vec(),
    };
    dm.transact(&removal).unwrap();
    assert_eq!(answer(&mut dm, origin), Ok(()));
    assert_eq!(dm.full_stores(), []);
    assert_eq!(sectors(&mut dm, "root", 24), vec![Sector::Zero; 24]);
}

#[test]
fn reads_and_writes_that_need_no_exception_go_on_beside_it() {
    let (before, mut dm, ticket) = parked();
    write(&mut dm, "root", 3, 2, 0x55);
    write(&mut dm, "new", 3, 2, 0x66);
    assert_eq!(sectors(&mut dm, "new", LEN)[16..], before.origin[16..]);
    dm.flush(&name("root")).unwrap();
    dm.flush(&name("new")).unwrap();
    dm.set_when_full(&name("new"), WhenFull::Invalidate).unwrap();
    assert_eq!(answer(&mut dm, ticket), Ok(()));
}

#[test]
fn a_store_grows_in_place_while_a_merge_is_under_way() {
    let before = filled(52, 300);
    let mut dm = over(&before.disks);
    activate_all(&mut dm);
    activate(&mut dm, "new-cow", SMALL);
    apply(&mut dm, &[create("new"), load("new", NEW), suspend("root"), resume("new"), resume("root")]);
    dm.set_when_full(&name("new"), WhenFull::Hold).unwrap();
    dm.transact(&start_merge()).unwrap();
    run(&mut dm);
    // W3 finds no room, and the merge stands.
    assert_eq!(dm.full_store(&name("new")).unwrap().first, None);
    let error = dm.run_until_merged(&name("root"), &mut |_| std::ops::ControlFlow::Continue(()));
    assert!(matches!(error.unwrap_err().kind, DmErrorKind::Full));
    assert_eq!(sectors(&mut dm, "root", LEN), before.views[0]);
    let total = dm.merge_progress(&name("root")).unwrap().chunks_total;
    dm.transact(&extend(&["new", "new-cow"], LONGER)).unwrap();
    assert_eq!(dm.merge_progress(&name("root")).unwrap().chunks_total, total, "the same merge");
    run_merge(&mut dm);
    assert_eq!(sectors(&mut dm, "new", LEN), before.origin);
    assert_eq!(sectors(&mut dm, "s1", LEN), before.views[1]);
    assert_eq!(sectors(&mut dm, "root", LEN), before.views[0]);
}

/// A store without an exception merges without any I/O: what moves then is the answer alone.
#[test]
fn a_write_that_waits_for_room_in_a_store_that_merges_is_answered() {
    let before = filled(53, 0);
    let mut dm = over(&before.disks);
    let none = "0 16 linear /pv1.img 0";
    for (device, table) in [("root-real", REAL), ("new-cow", none), ("new", NEW), ("root", ORIGIN_TABLE)] {
        activate(&mut dm, device, table);
    }
    dm.set_when_full(&name("new"), WhenFull::Hold).unwrap();
    let ticket = zeros(&mut dm, "new", 0, 8);
    assert_eq!(dm.full_store(&name("new")).unwrap().first, Some(ticket));
    let all = ["root", "new", "root-real", "new-cow"];
    dm.transact(&Transaction {
        preload: vec![
            load("root", "0 4096 snapshot-merge root-real new-cow P 8"),
            load("new", "0 4096 error"),
        ],
        suspend: all.iter().map(|device| suspend(device)).collect(),
        headers: vec![],
        resume: ["root-real", "new-cow", "root", "new"].iter().map(|device| resume(device)).collect(),
        clean: vec![],
    })
    .unwrap();
    assert!(answer(&mut dm, ticket).is_err());
    assert_eq!(sectors(&mut dm, "root", LEN), before.origin);
}
