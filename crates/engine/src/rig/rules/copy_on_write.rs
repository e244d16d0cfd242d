//! C1 to C8, I6, K2, K7, K9: copy-on-write for snapshots that are not merging.

use super::super::{Dice, ORIGIN_DOMAIN, Rig, Snapshot, config, range};
use crate::{Fault, Io, RequestKind, Space, StoreId, StoreStatus, Volume};
use foldback_units::Sectors;

const WRITE: RequestKind = RequestKind::Write { fua: false };
const S1: Volume = Volume::Snapshot(StoreId(1));
const COW1: Space = Space::Store(StoreId(1));
const COW2: Space = Space::Store(StoreId(2));

fn writes_to(space: Space) -> impl Fn(&Io) -> bool {
    move |io| match io {
        Io::Write { space: to, .. } | Io::WriteMetadata { space: to, .. } => *to == space,
        _ => false,
    }
}

fn data_to(space: Space) -> impl Fn(&Io) -> bool {
    move |io| matches!(io, Io::Write { space: to, .. } if *to == space)
}

fn records_to(space: Space) -> impl Fn(&Io) -> bool {
    move |io| matches!(io, Io::WriteMetadata { space: to, .. } if *to == space)
}

fn is_flush(io: &Io) -> bool {
    matches!(io, Io::Flush { .. })
}

/// Which of these was done when, by its place in the log.
fn place(rig: &Rig, is: impl Fn(&Io) -> bool) -> usize {
    rig.log.iter().position(is).unwrap()
}

fn one_store(chunk: u32) -> Rig {
    let mut rig = Rig::new(config(200, 256, 64), &[Snapshot::new(1, 200, chunk, 2000)]);
    rig.log.clear();
    rig
}

#[test]
fn c1_data_then_flush_then_record_then_origin() {
    let mut rig = one_store(8);
    rig.write_now(Volume::Origin, range(17, 2), &[900, 901]).unwrap();
    let (data, flush) = (place(&rig, data_to(COW1)), place(&rig, is_flush));
    let (record, origin) = (place(&rig, records_to(COW1)), place(&rig, writes_to(Space::Origin)));
    assert!(data < flush && flush < record && record < origin, "{:?}", rig.log);
    assert!(rig.log.iter().any(|io| matches!(io, Io::WriteMetadata { fua: true, .. })));
    assert_eq!(rig.read_now(S1, range(16, 4)).unwrap(), [17, 18, 19, 20]);
    assert_eq!(rig.read_now(Volume::Origin, range(16, 4)).unwrap(), [17, 900, 901, 20]);
}

/// Wherever the power goes, what the origin has lost the store has.
#[test]
fn i6_after_a_power_cut_at_any_step_the_snapshot_reads_as_it_was_frozen() {
    let frozen: Vec<u64> = (1..=200).collect();
    let mut changed = 0;
    for steps in 0.. {
        let mut over = false;
        for cut in 1..20 {
            let mut rig = one_store(8);
            rig.submit(Volume::Origin, WRITE, range(17, 2), &[900, 901]);
            rig.submit(Volume::Origin, WRITE, range(99, 1), &[902]);
            for _ in 0..steps {
                if !rig.handed.is_empty() {
                    rig.execute(0);
                }
            }
            over = rig.handed.is_empty();
            let mut again = Rig::over(config(200, 256, 64), rig.power_cut(&mut Dice(cut)));
            again.attach(&Snapshot::new(1, 200, 8, 2000));
            changed += usize::from(again.read_now(Volume::Origin, range(0, 200)).unwrap() != frozen);
            assert_eq!(again.read_now(S1, range(0, 200)).unwrap(), frozen, "cut {cut} after {steps} steps");
        }
        if over {
            break;
        }
    }
    assert!(changed > 10, "some of the cuts came after the origin was overwritten: {changed}");
}

#[test]
fn c1_an_origin_write_waits_for_an_exception_that_is_being_made() {
    let mut rig = one_store(8);
    let first = rig.submit(Volume::Origin, WRITE, range(16, 1), &[900]);
    let second = rig.submit(Volume::Origin, WRITE, range(20, 1), &[901]);
    assert_eq!(rig.handed.len(), 1, "one copy for both");
    rig.settle();
    assert_eq!((rig.answers[&first], rig.answers[&second]), (Ok(()), Ok(())));
    assert_eq!(rig.log.iter().filter(|io| records_to(COW1)(io)).count(), 1);
    assert_eq!(rig.group.counters().chunks_copied_out, 1);
}

#[test]
fn c2_an_origin_write_waits_for_snapshot_reads_of_its_sectors() {
    let mut rig = one_store(8);
    let read = rig.submit(S1, RequestKind::Read, range(18, 2), &[]);
    let write = rig.submit(Volume::Origin, WRITE, range(16, 4), &[900, 901, 902, 903]);
    // Everything but the snapshot's read.
    while rig.handed.len() > 1 {
        rig.execute(1);
    }
    assert!(!rig.answers.contains_key(&write));
    assert!(rig.position(writes_to(Space::Origin)).is_none());
    rig.settle();
    assert_eq!((rig.stamps(read), rig.answers[&write]), (vec![19, 20], Ok(())));
}

#[test]
fn c3_the_next_area_is_durably_zero_before_an_area_becomes_full() {
    let mut rig = one_store(1);
    // 32 records fill an area of one sector; the next area is at sector 34.
    let data: Vec<u64> = (900..932).collect();
    rig.write_now(Volume::Origin, range(0, 32), &data).unwrap();
    let zero = |io: &Io| matches!(io, Io::Write { space: COW1, at: Sectors(34), fua: true, .. });
    let full = |io: &Io| matches!(io, Io::WriteMetadata { space: COW1, at: Sectors(1), .. });
    assert!(place(&rig, zero) < place(&rig, full), "{:?}", rig.log);
}

#[test]
fn c4_blocks_of_a_commit_are_written_one_after_the_other() {
    let mut rig = one_store(2);
    // Areas of two sectors: 40 records reach the second one.
    let data: Vec<u64> = (900..980).collect();
    let write = rig.submit(Volume::Origin, WRITE, range(0, 80), &data);
    rig.execute_all(|io| !records_to(COW1)(io));
    let waiting: Vec<&Io> = rig.handed.iter().map(|(_, io)| io).collect();
    assert!(matches!(waiting[..], [Io::WriteMetadata { at: Sectors(2), fua: true, .. }]), "{waiting:?}");
    rig.settle();
    assert!(rig.answers.contains_key(&write));
    let blocks: Vec<u64> = rig
        .log
        .iter()
        .filter_map(|io| match io {
            Io::WriteMetadata { at, .. } => Some(at.0),
            _ => None,
        })
        .collect();
    assert_eq!(blocks, [2, 3]);
}

#[test]
fn c4_a_commit_takes_exceptions_in_the_order_of_allocation() {
    let mut rig = one_store(8);
    let first = rig.submit(Volume::Origin, WRITE, range(0, 1), &[900]);
    let second = rig.submit(Volume::Origin, WRITE, range(80, 1), &[901]);
    // The second copy is done first.
    rig.execute(1);
    let at = rig.position(data_to(COW1)).unwrap();
    rig.execute(at);
    assert!(rig.position(is_flush).is_none(), "the second alone is not committed");
    rig.settle();
    assert_eq!((rig.answers[&first], rig.answers[&second]), (Ok(()), Ok(())));
    assert_eq!(rig.group.counters().commits, 1);
}

#[test]
fn c5_k2_a_full_store_is_durably_invalid_before_the_origin_is_overwritten() {
    // Header, area and two chunks.
    let mut rig = Rig::new(config(200, 256, 64), &[Snapshot::new(1, 200, 8, 32)]);
    for chunk in 0..2 {
        rig.write_now(Volume::Origin, range(chunk * 8, 1), &[900]).unwrap();
    }
    let third = rig.submit(Volume::Origin, WRITE, range(160, 1), &[902]);
    let header = |io: &Io| matches!(io, Io::WriteMetadata { at: Sectors(0), fua: true, .. });
    rig.execute_all(|io| !header(io));
    assert!(!rig.answers.contains_key(&third));
    rig.settle();
    assert_eq!(rig.answers[&third], Ok(()));
    assert_eq!(rig.group.store_status(StoreId(1)), Some(StoreStatus::Invalid));
    assert_eq!(rig.read_now(S1, range(0, 1)), Err(Fault::Invalid));
    assert_eq!(rig.flush_now(S1), Err(Fault::Invalid));
    let reopened = rig.open(&Snapshot::new(1, 200, 8, 32)).unwrap();
    assert!(!reopened.is_valid());
}

#[test]
fn c5_where_the_header_cannot_be_written_origin_writes_fail_and_a_later_one_tries_again() {
    let mut rig = Rig::new(config(200, 256, 64), &[Snapshot::new(1, 200, 8, 24)]);
    rig.write_now(Volume::Origin, range(0, 1), &[900]).unwrap();
    let mut dice = super::super::Dice(1);
    let write = rig.submit(Volume::Origin, WRITE, range(160, 1), &[901]);
    rig.fail(0, &mut dice);
    assert_eq!(rig.answers[&write], Err(Fault::Device));
    assert_eq!(rig.read_now(Volume::Origin, range(160, 1)).unwrap(), [161]);
    // What has a durable exception can go out.
    rig.write_now(Volume::Origin, range(1, 1), &[902]).unwrap();
    rig.write_now(Volume::Origin, range(160, 1), &[903]).unwrap();
    assert!(!rig.open(&Snapshot::new(1, 200, 8, 24)).unwrap().is_valid());
}

#[test]
fn c6_k3_the_first_area_is_durably_zero_before_the_header_is_there() {
    let snapshot = Snapshot::new(1, 200, 8, 2000);
    let rig = Rig::new(config(200, 256, 64), std::slice::from_ref(&snapshot));
    let kinds: Vec<&str> = rig
        .log
        .iter()
        .map(|io| match io {
            Io::ReadMetadata { .. } => "read",
            Io::Write { .. } => "zero",
            Io::WriteMetadata { at: Sectors(0), .. } => "header",
            Io::Flush { .. } => "flush",
            _ => "?",
        })
        .collect();
    assert_eq!(kinds, ["read", "zero", "flush", "header", "flush"]);
}

#[test]
fn c7_a_snapshot_write_is_answered_without_its_record_and_a_flush_commits_it() {
    let mut rig = one_store(8);
    rig.write_now(S1, range(18, 2), &[900, 901]).unwrap();
    assert!(!rig.log.iter().any(|io| is_flush(io) || records_to(COW1)(io)));
    let reads = rig.log.iter().filter(|io| matches!(io, Io::Read { .. })).count();
    let writes = rig.log.iter().filter(|io| writes_to(COW1)(io)).count();
    assert_eq!((reads, writes), (1, 1), "the chunk is read once and written once");
    assert_eq!(rig.read_now(S1, range(16, 8)).unwrap(), [17, 18, 900, 901, 21, 22, 23, 24]);
    rig.log.clear();
    rig.flush_now(S1).unwrap();
    assert_eq!(rig.log.iter().filter(|io| is_flush(io)).count(), 1, "{:?}", rig.log);
    assert_eq!(rig.log.iter().filter(|io| records_to(COW1)(io)).count(), 1);
}

#[test]
fn c7_a_write_of_whole_chunks_copies_nothing() {
    let mut rig = one_store(8);
    let data: Vec<u64> = (900..924).collect();
    rig.write_now(S1, range(16, 24), &data).unwrap();
    assert!(!rig.log.iter().any(|io| matches!(io, Io::Read { .. })));
    assert_eq!(rig.log.len(), 1, "{:?}", rig.log);
    assert_eq!(rig.read_now(Volume::Origin, range(16, 1)).unwrap(), [17]);
}

#[test]
fn c7_fua_on_a_snapshot_means_data_and_record() {
    let mut rig = one_store(8);
    let write = rig.submit(S1, RequestKind::Write { fua: true }, range(16, 8), &[900; 8]);
    rig.execute_all(|io| !records_to(COW1)(io));
    assert!(!rig.answers.contains_key(&write));
    rig.settle();
    assert_eq!(rig.answers[&write], Ok(()));
    let mut dice = super::super::Dice(3);
    let disks = rig.power_cut(&mut dice);
    let mut rig = Rig::over(config(200, 256, 64), disks);
    rig.attach(&Snapshot::new(1, 200, 8, 2000));
    assert_eq!(rig.read_now(S1, range(16, 8)).unwrap(), [900; 8]);
}

#[test]
fn c8_the_origin_is_read_once_for_all_stores_and_one_flush_serves_those_on_one_device() {
    let mut small = Snapshot::new(1, 200, 4, 2000);
    let mut large = Snapshot::new(2, 200, 16, 2000);
    (small.domain, large.domain) = (7, 7);
    let mut rig = Rig::new(config(200, 512, 64), &[small, large]);
    rig.log.clear();
    rig.submit(Volume::Origin, WRITE, range(33, 1), &[900]);
    rig.execute(0);
    rig.execute_together();
    rig.settle();
    let reads: Vec<u64> = rig
        .log
        .iter()
        .filter_map(|io| match io {
            Io::Read { space: Space::Origin, into, .. } => Some(into[0].len.0),
            _ => None,
        })
        .collect();
    assert_eq!(reads, [16]);
    assert!(rig.log.iter().any(data_to(COW1)) && rig.log.iter().any(data_to(COW2)));
    assert_eq!(rig.log.iter().filter(|io| is_flush(io)).count(), 1, "{:?}", rig.log);
}

#[test]
fn a_write_waits_for_every_snapshot_whatever_its_chunk_size() {
    let snapshots = [Snapshot::new(1, 200, 4, 2000), Snapshot::new(2, 200, 32, 2000)];
    let mut rig = Rig::new(config(200, 512, 64), &snapshots);
    let write = rig.submit(Volume::Origin, WRITE, range(33, 1), &[900]);
    // The small one is durable, the large one is not yet written.
    rig.execute_all(|io| !data_to(COW2)(io));
    assert!(!rig.answers.contains_key(&write));
    assert_eq!(rig.read_now(Volume::Snapshot(StoreId(2)), range(33, 1)).unwrap(), [34]);
    assert_eq!(rig.answers[&write], Ok(()));
}

/// D_min: with 34 sectors the 32nd exception of one-sector chunks does not fit, with 35 it does.
#[test]
fn k7_the_last_slot_of_an_area_needs_the_next_area() {
    for (store, valid) in [(34, false), (35, true)] {
        let mut rig = Rig::new(config(200, 256, 64), &[Snapshot::new(1, 200, 1, store)]);
        for sector in 0..32 {
            rig.write_now(Volume::Origin, range(sector, 1), &[900]).unwrap();
        }
        let status = rig.group.store_status(StoreId(1)).unwrap();
        assert_eq!(status != StoreStatus::Invalid, valid, "{store} sectors");
        let reopened = rig.open(&Snapshot::new(1, 200, 1, store)).unwrap();
        assert_eq!(reopened.is_valid(), valid);
    }
}

#[test]
fn k9_metadata_is_written_in_blocks_of_the_device() {
    let mut snapshot = Snapshot::new(1, 2000, 128, 200_000);
    snapshot.block = 8;
    let mut rig = Rig::new(config(2000, 1024, 64), &[snapshot]);
    rig.log.clear();
    rig.write_now(Volume::Origin, range(0, 1), &[900]).unwrap();
    let blocks: Vec<usize> = rig
        .log
        .iter()
        .filter_map(|io| match io {
            Io::WriteMetadata { bytes, .. } => Some(bytes.len()),
            _ => None,
        })
        .collect();
    assert_eq!(blocks, [4096]);
}

#[test]
fn the_tail_of_a_short_snapshot_is_not_copied_and_needs_nothing() {
    let mut rig = Rig::new(config(200, 256, 64), &[Snapshot::new(1, 100, 16, 2000)]);
    rig.log.clear();
    rig.write_now(Volume::Origin, range(100, 100), &[900; 100]).unwrap();
    assert_eq!(rig.log.len(), 1, "behind its end nothing is copied: {:?}", rig.log);
    rig.write_now(Volume::Origin, range(99, 1), &[901]).unwrap();
    assert!(rig.log.iter().any(|io| matches!(io, Io::Read { into, .. } if into[0].len == Sectors(4))));
    assert_eq!(rig.read_now(S1, range(96, 4)).unwrap(), [97, 98, 99, 100]);
}

#[test]
fn a_failed_read_of_the_origin_fails_that_request_only() {
    let mut rig = one_store(8);
    let mut dice = super::super::Dice(1);
    let write = rig.submit(Volume::Origin, WRITE, range(16, 1), &[900]);
    rig.fail(0, &mut dice);
    assert_eq!(rig.answers[&write], Err(Fault::Device));
    rig.write_now(Volume::Origin, range(16, 1), &[901]).unwrap();
    assert_eq!(rig.read_now(S1, range(16, 1)).unwrap(), [17]);
    // The chunk that was allocated for the failed copy is a hole.
    let reopened = rig.open(&Snapshot::new(1, 200, 8, 2000)).unwrap();
    assert_eq!((reopened.records(), reopened.next_free().0), (1, 4));
}

#[test]
fn i10_after_a_failed_flush_nothing_on_that_cache_is_said_to_be_durable() {
    let mut rig = one_store(8);
    let mut dice = super::super::Dice(1);
    let flush = rig.submit(Volume::Origin, RequestKind::Flush, range(0, 0), &[]);
    rig.fail(0, &mut dice);
    assert_eq!(rig.answers[&flush], Err(Fault::Device));
    assert_eq!(rig.flush_now(Volume::Origin), Err(Fault::Device));
    assert_eq!(rig.write_now(Volume::Origin, range(0, 1), &[900]), Err(Fault::Device));
    assert_eq!(rig.read_now(Volume::Origin, range(0, 1)).unwrap(), [1]);
    assert!(!rig.log.iter().any(|io| matches!(io, Io::Flush { domain } if *domain == ORIGIN_DOMAIN)));
}

/// Whoever wrote the header may have been killed before its flush, with the header still in a cache.
#[test]
fn c5_a_store_that_is_found_invalid_is_made_durably_so_before_it_is_used() {
    let snapshot = Snapshot::new(1, 200, 8, 24);
    let mut rig = Rig::new(config(200, 256, 64), std::slice::from_ref(&snapshot));
    let mut sector = rig.disks[&COW1].get(0);
    sector[4] = 0;
    rig.disks.get_mut(&COW1).unwrap().write(0, &sector, false);
    rig.log.clear();
    assert!(!rig.open(&snapshot).unwrap().is_valid());
    assert!(matches!(rig.log.last(), Some(Io::Flush { .. })), "{:?}", rig.log);
}
