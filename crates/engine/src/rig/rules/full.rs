//! Stores that are full and held: who waits, what ends it, C5, R3.

use super::super::{Dice, Rig, Snapshot, config, range};
use super::merging::{S1, WRITE, filled, is_finished, origin, origin_write, start};
use crate::{
    ConfigError, Fault, FlushDomain, Io, RequestKind, Space, StoreId, StoreStatus, Volume, WhenFull,
};
use foldback_units::Sectors;

const FULL: StoreId = StoreId(2);
const S2: Volume = Volume::Snapshot(FULL);
const COW2: Space = Space::Store(FULL);

/// A store of header, area and one chunk of 8 sectors: the second exception does not fit.
fn small() -> Snapshot {
    Snapshot::new(2, 400, 8, 24)
}

fn held_store() -> Rig {
    let mut rig = Rig::new(config(400, 512, 64), &[small()]);
    rig.group.set_when_full(FULL, WhenFull::Hold).unwrap();
    rig.write_now(Volume::Origin, range(0, 1), &[900]).unwrap();
    rig
}

fn grow(rig: &mut Rig, chunks: u64) {
    let mut longer = small();
    longer.store += chunks * 8;
    rig.disks.get_mut(&COW2).unwrap().grow(longer.store);
    rig.group.grow_store(FULL, longer.geometry()).unwrap();
    rig.collect();
}

fn status(rig: &Rig) -> StoreStatus {
    rig.group.store_status(FULL).unwrap()
}

#[test]
fn a_write_that_finds_no_room_waits_and_goes_on_when_the_store_has_grown() {
    let mut rig = held_store();
    let write = rig.submit(Volume::Origin, WRITE, range(80, 1), &[901]);
    let other = rig.submit(S2, WRITE, range(161, 1), &[902]);
    rig.settle();
    assert!(!rig.answers.contains_key(&write) && !rig.answers.contains_key(&other));
    let full = rig.group.full_store(FULL).unwrap();
    assert_eq!((full.first, full.waiting), (Some(write), 2));
    assert!(rig.group.is_parked(write) && rig.group.is_parked(other));
    assert!(matches!(status(&rig), StoreStatus::Valid { .. }));
    // One of them finds room, then the next.
    grow(&mut rig, 1);
    rig.settle();
    assert_eq!((rig.answers.get(&write), rig.answers.get(&other)), (Some(&Ok(())), None));
    assert_eq!(rig.group.full_store(FULL).unwrap().first, Some(other));
    grow(&mut rig, 2);
    rig.settle();
    assert_eq!((rig.answers[&other], rig.group.full_store(FULL)), (Ok(()), None));
    assert_eq!(rig.read_now(S2, range(80, 2)).unwrap(), [81, 82]);
    assert_eq!(rig.read_now(S2, range(160, 3)).unwrap(), [161, 902, 163]);
    assert_eq!(origin(&rig, 80), 901);
}

#[test]
fn reads_flushes_and_writes_that_need_no_new_exception_do_not_wait() {
    let mut rig = held_store();
    let parked = rig.submit(Volume::Origin, WRITE, range(80, 1), &[901]);
    rig.settle();
    assert_eq!(rig.read_now(Volume::Origin, range(80, 1)).unwrap(), [81]);
    assert_eq!(rig.read_now(S2, range(0, 1)).unwrap(), [1]);
    rig.write_now(Volume::Origin, range(3, 4), &[1, 2, 3, 4]).unwrap();
    rig.write_now(S2, range(3, 4), &[5, 6, 7, 8]).unwrap();
    rig.flush_now(Volume::Origin).unwrap();
    rig.flush_now(S2).unwrap();
    assert!(!rig.answers.contains_key(&parked));
}

#[test]
fn c5_a_store_that_is_given_up_says_so_durably_before_a_parked_write_goes_out() {
    let mut rig = held_store();
    let write = rig.submit(Volume::Origin, WRITE, range(80, 1), &[901]);
    let lost = rig.submit(S2, WRITE, range(161, 1), &[902]);
    rig.settle();
    rig.group.give_up(FULL).unwrap();
    rig.collect();
    assert!(matches!(rig.handed.as_slice(), [(_, Io::WriteMetadata { space: COW2, fua: true, .. })]));
    rig.settle();
    assert_eq!((rig.answers[&write], rig.answers[&lost]), (Ok(()), Err(Fault::Invalid)));
    assert_eq!((status(&rig), origin(&rig, 80)), (StoreStatus::Invalid, 901));
    assert_eq!(rig.group.full_store(FULL), None);
}

#[test]
fn c5_where_the_header_cannot_be_written_a_parked_write_fails() {
    let mut rig = held_store();
    let write = rig.submit(Volume::Origin, WRITE, range(80, 1), &[901]);
    rig.settle();
    rig.group.set_when_full(FULL, WhenFull::Invalidate).unwrap();
    rig.collect();
    rig.fail(0, &mut Dice(1));
    rig.settle();
    assert_eq!((rig.answers[&write], origin(&rig, 80)), (Err(Fault::Device), 81));
}

#[test]
fn a_held_group_is_quiet_beside_parked_requests_and_releases_them_at_its_end() {
    let mut rig = held_store();
    // A part of it finds its exception, and is written.
    let write = rig.submit(Volume::Origin, WRITE, range(6, 4), &[900, 901, 902, 903]);
    rig.settle();
    rig.group.hold();
    rig.settle();
    assert!(rig.group.is_quiet());
    grow(&mut rig, 4);
    assert!(rig.group.is_quiet() && rig.handed.is_empty(), "nobody is released while it is held");
    assert_eq!(rig.group.full_store(FULL), None);
    let third = Snapshot::new(3, 400, 4, 4000);
    rig.disks.insert(Space::Store(StoreId(3)), super::super::cache::Disk::new(4000));
    rig.attach(&third);
    rig.group.release();
    rig.settle();
    assert_eq!(rig.answers[&write], Ok(()));
    // The snapshot that came meanwhile is asked, too.
    assert_eq!(rig.read_now(Volume::Snapshot(StoreId(3)), range(8, 2)).unwrap(), [9, 10]);
    assert_eq!(rig.read_now(S2, range(0, 12)).unwrap(), (1..=12).collect::<Vec<u64>>());
    assert_eq!([6, 7, 8, 9].map(|sector| origin(&rig, sector)), [900, 901, 902, 903]);
}

#[test]
fn a_store_that_leaves_releases_whoever_is_parked_for_it() {
    let mut rig = held_store();
    let write = rig.submit(Volume::Origin, WRITE, range(80, 1), &[901]);
    let lost = rig.submit(S2, WRITE, range(161, 1), &[902]);
    rig.settle();
    rig.group.hold();
    rig.settle();
    rig.group.detach(FULL).unwrap();
    rig.group.release();
    rig.settle();
    assert_eq!((rig.answers[&write], rig.answers[&lost]), (Ok(()), Err(Fault::Invalid)));
    // A snapshot that begins to merge takes no exceptions any more.
    let mut rig = held_store();
    let write = rig.submit(Volume::Origin, WRITE, range(80, 1), &[901]);
    let lost = rig.submit(S2, WRITE, range(161, 1), &[902]);
    rig.settle();
    rig.group.hold();
    rig.settle();
    rig.group.start_merge(FULL).unwrap();
    rig.group.release();
    rig.settle();
    assert_eq!((rig.answers[&write], rig.answers[&lost]), (Ok(()), Err(Fault::Range)));
    assert_eq!((is_finished(&rig), origin(&rig, 80), origin(&rig, 161)), (true, 901, 162));
    assert_eq!(origin(&rig, 0), 1, "the merged view");
}

/// C1: what one snapshot lost is told at once, whatever another one waits for.
#[test]
fn a_write_that_has_failed_does_not_wait_for_room() {
    let mut rig = Rig::new(config(400, 512, 64), &[small(), Snapshot::new(3, 400, 8, 4000)]);
    rig.group.set_when_full(FULL, WhenFull::Hold).unwrap();
    rig.write_now(Volume::Origin, range(0, 1), &[900]).unwrap();
    let write = rig.submit(Volume::Origin, WRITE, range(80, 1), &[901]);
    let at = rig.position(|io| matches!(io, Io::Read { space: Space::Origin, .. })).unwrap();
    rig.fail(at, &mut Dice(1));
    rig.settle();
    assert_eq!((rig.answers.get(&write), rig.group.full_store(FULL)), (Some(&Err(Fault::Device)), None));
}

#[test]
fn r3_a_merge_waits_for_room_and_asks_again_from_the_beginning() {
    let chunks = [3, 9, 5, 30];
    let mut rig = filled(&chunks, 1000, &[small()]);
    rig.group.set_when_full(FULL, WhenFull::Hold).unwrap();
    start(&mut rig);
    rig.settle();
    assert_eq!(rig.group.full_store(FULL).unwrap().first, None, "a merge found it full");
    assert!(!is_finished(&rig) && !rig.log.iter().any(origin_write));
    // What needs no room goes on.
    rig.write_now(Volume::Origin, range(26, 1), &[700]).unwrap();
    // Neither a hold nor a pause waits for room.
    rig.group.pause_merge();
    rig.group.hold();
    rig.settle();
    assert!(rig.group.is_quiet() && rig.group.full_store(FULL).is_none());
    rig.group.resume_merge();
    rig.group.release();
    rig.settle();
    assert!(rig.group.full_store(FULL).is_some());
    for _ in 0..3 {
        grow(&mut rig, 6);
        rig.settle();
    }
    assert!(is_finished(&rig));
    let frozen: Vec<u64> = (1..=400).collect();
    assert_eq!(rig.read_now(S2, range(0, 400)).unwrap(), frozen);
    assert_eq!([24, 26, 72].map(|sector| origin(&rig, sector)), [10_024, 700, 10_072]);
}

#[test]
fn a_store_grows_where_it_is_and_the_merging_one_is_not_given_up() {
    let mut rig = held_store();
    let now = small().geometry();
    let other = |size, domains: &[u32], block| crate::SpaceGeometry {
        size: Sectors(size),
        domains: domains.iter().map(|domain| FlushDomain(*domain)).collect(),
        physical_block: Sectors(block),
    };
    for refused in [other(16, &[2], 1), other(400, &[3], 1), other(400, &[2], 8)] {
        assert_eq!(rig.group.grow_store(FULL, refused), Err(ConfigError::NotGrown(FULL)));
    }
    assert_eq!(rig.group.grow_store(FULL, now), Ok(()));
    assert_eq!(rig.group.grow_store(FULL, other(400, &[2, 3], 1)), Ok(()));
    assert_eq!(rig.group.give_up(StoreId(9)), Err(ConfigError::NoSuchStore(StoreId(9))));
    let mut rig = filled(&[3], 1000, &[]);
    start(&mut rig);
    assert_eq!(rig.group.give_up(StoreId(1)), Err(ConfigError::Merging(StoreId(1))));
    rig.settle();
    assert_eq!(rig.read_now(S1, range(0, 1)), Err(Fault::Range));
    let flush = rig.submit(Volume::Origin, RequestKind::Flush, range(0, 0), &[]);
    assert!(!rig.group.is_parked(flush));
}
