//! R1 to R10, W2 to W7, I9, I10: merging.

use super::super::{Dice, ORIGIN_DOMAIN, Rig, Snapshot, config, range, stamp_of};
use crate::{Fault, Io, RequestKind, Space, StoreId, StoreStatus, Volume};
use foldback_dm_snapshot_format::{Header, Record};
use foldback_units::{Chunk, ChunkSize, Sectors};

pub(super) const WRITE: RequestKind = RequestKind::Write { fua: false };
pub(super) const COW1: Space = Space::Store(StoreId(1));
pub(super) const S1: Volume = Volume::Snapshot(StoreId(1));

pub(super) fn merge_read(io: &Io) -> bool {
    matches!(io, Io::Read { space: COW1, .. })
}

pub(super) fn origin_write(io: &Io) -> bool {
    matches!(io, Io::Write { space: Space::Origin, .. })
}

pub(super) fn boundary(io: &Io) -> bool {
    matches!(io, Io::WriteMetadata { space: COW1, .. })
}

pub(super) fn origin_flush(io: &Io) -> bool {
    matches!(io, Io::Flush { domain: ORIGIN_DOMAIN })
}

/// A store of chunks of 8 sectors whose snapshot wrote these chunks, in this order, and the merge about to begin.
pub(super) fn filled(chunks: &[u64], window: u64, others: &[Snapshot]) -> Rig {
    let snapshots = [&[Snapshot::new(1, 400, 8, 4000)], others].concat();
    let mut rig = Rig::new(config(400, 512, window), &snapshots);
    for &chunk in chunks {
        let data: Vec<u64> = (0..8).map(|sector| 10_000 + chunk * 8 + sector).collect();
        rig.write_now(S1, range(chunk * 8, 8), &data).unwrap();
    }
    rig.group.hold();
    rig.settle();
    rig.log.clear();
    rig
}

pub(super) fn start(rig: &mut Rig) {
    rig.group.start_merge(StoreId(1)).unwrap();
    rig.group.release();
    rig.collect();
}

pub(super) fn is_finished(rig: &Rig) -> bool {
    rig.group.merge_progress().unwrap().finished
}

pub(super) fn origin(rig: &Rig, sector: u64) -> u64 {
    stamp_of(&rig.disks[&Space::Origin].get(sector))
}

pub(super) fn check_merged(rig: &Rig, chunks: &[u64]) {
    for sector in 0..400 {
        let merged = if chunks.contains(&(sector / 8)) { 10_000 + sector } else { sector + 1 };
        assert_eq!(origin(rig, sector), merged, "sector {sector}");
    }
}

#[test]
fn a_merge_comes_to_its_end_whatever_the_order_of_the_fill() {
    let ascending: Vec<u64> = (3..40).collect();
    let descending: Vec<u64> = (3..40).rev().collect();
    let scattered: Vec<u64> = (0..50).map(|step| step * 17 % 50).collect();
    for chunks in [ascending, descending, scattered, vec![49], vec![]] {
        for window in [1, 8, 64, 100_000] {
            let mut rig = filled(&chunks, window, &[]);
            start(&mut rig);
            rig.settle();
            assert!(is_finished(&rig));
            check_merged(&rig, &chunks);
            rig.group.hold();
            let opened = rig.group.detach(StoreId(1)).unwrap();
            assert_eq!((opened.records(), opened.exceptions()), (0, 0));
        }
    }
}

/// Whichever of the I/Os that are under way ends next; and the store's own data is read without a flush of it.
#[test]
fn r4_copies_end_in_any_order_and_nothing_is_flushed_for_them() {
    let chunks: Vec<u64> = (0..50).map(|step| step * 17 % 50).collect();
    let newest = |handed: usize| handed - 1;
    let middle = |handed: usize| handed / 2;
    for next in [&newest as &dyn Fn(usize) -> usize, &middle] {
        let mut rig = filled(&chunks, 1000, &[]);
        start(&mut rig);
        let mut most = 0;
        while !rig.handed.is_empty() {
            most = most.max(rig.handed.len());
            rig.execute(next(rig.handed.len()));
        }
        assert!(most > 1, "one after the other is one order only");
        let last_read = rig.log.iter().rposition(merge_read).unwrap();
        assert!(!rig.log[..last_read].iter().any(|io| matches!(io, Io::Flush { .. })));
        assert!(is_finished(&rig));
        check_merged(&rig, &chunks);
    }
}

#[test]
fn w4_a_sequential_or_descending_window_is_read_and_written_in_large_pieces() {
    for chunks in [(3..27).collect::<Vec<_>>(), (3..27).rev().collect()] {
        let mut rig = filled(&chunks, 1000, &[]);
        start(&mut rig);
        rig.settle();
        let reads = rig.log.iter().filter(|io| merge_read(io)).count();
        let writes = rig.log.iter().filter(|io| origin_write(io)).count();
        // 24 chunks in slots of 8: three each.
        assert!(reads <= 3 && writes <= 3, "{reads} reads, {writes} writes");
        check_merged(&rig, &chunks);
    }
}

#[test]
fn r5_flush_before_truncate() {
    let mut rig = filled(&[3, 9, 5], 1000, &[]);
    start(&mut rig);
    rig.execute_all(|io| !origin_flush(io));
    assert!(rig.position(boundary).is_none());
    assert_eq!(rig.handed.len(), 1, "{:?}", rig.handed);
    let last_copy = rig.log.iter().rposition(origin_write).unwrap();
    rig.settle();
    let flush = rig.log.iter().position(origin_flush).unwrap();
    let hidden = rig.log.iter().position(boundary).unwrap();
    assert!(last_copy < flush && flush < hidden);
    assert!(is_finished(&rig));
}

#[test]
fn r5_a_window_without_other_snapshots_takes_one_flush_and_one_durable_write() {
    let chunks: Vec<u64> = (0..48).map(|step| step * 7 % 48).collect();
    let mut rig = filled(&chunks, 128, &[]);
    start(&mut rig);
    rig.settle();
    let flushes = rig.log.iter().filter(|io| matches!(io, Io::Flush { .. })).count();
    let durable = rig.log.iter().filter(|io| boundary(io)).count();
    assert_eq!((rig.group.counters().windows, flushes, durable), (3, 3, 3));
}

#[test]
fn r3_every_other_snapshot_has_a_durable_exception_before_the_origin_is_overwritten() {
    let others = [Snapshot::new(2, 400, 32, 4000), Snapshot::new(3, 200, 4, 4000)];
    let mut rig = filled(&[3, 9, 30], 1000, &others);
    start(&mut rig);
    rig.settle();
    let first_copy = rig.log.iter().position(origin_write).unwrap();
    for id in [2, 3] {
        let store = Space::Store(StoreId(id));
        let last =
            rig.log.iter().rposition(|io| matches!(io, Io::WriteMetadata { space, .. } if *space == store));
        assert!(last.unwrap() < first_copy, "store {id}");
    }
    for (id, size) in [(2, 400), (3, 200)] {
        let frozen: Vec<u64> = (1..=size).collect();
        assert_eq!(rig.read_now(Volume::Snapshot(StoreId(id)), range(0, size)).unwrap(), frozen);
    }
    check_merged(&rig, &[3, 9, 30]);
    let commits = rig.group.counters().commits;
    assert!(commits <= 3, "in bulk: {commits}");
}

#[test]
fn r3_reads_of_other_snapshots_are_over_before_the_origin_is_overwritten() {
    let mut rig = filled(&[3], 1000, &[Snapshot::new(2, 400, 8, 4000)]);
    rig.group.release();
    let read = rig.submit(Volume::Snapshot(StoreId(2)), RequestKind::Read, range(24, 8), &[]);
    let (id, io) = rig.handed.pop().unwrap();
    assert!(rig.group.start_merge(StoreId(1)).is_err(), "not quiet");
    rig.handed.push((id, io));
    rig.settle();
    assert_eq!(rig.stamps(read), [25, 26, 27, 28, 29, 30, 31, 32]);
    start(&mut rig);
    // Its records are read; now a snapshot read begins, before its exception is made.
    let late = rig.submit(Volume::Snapshot(StoreId(2)), RequestKind::Read, range(24, 8), &[]);
    let is_late = |io: &Io| matches!(io, Io::Read { space: Space::Origin, into, .. } if into[0].buffer == crate::Buffer::Request(late));
    rig.execute_all(|io| !is_late(io));
    assert_eq!(origin(&rig, 24), 25);
    rig.settle();
    assert_eq!((rig.stamps(late)[0], origin(&rig, 24)), (25, 10_024));
}

#[test]
fn r2_a_write_before_the_copy_goes_to_the_store_only_and_is_merged() {
    let mut rig = filled(&[3, 9], 8, &[]);
    rig.group.start_merge(StoreId(1)).unwrap();
    rig.group.pause_merge();
    rig.group.release();
    rig.write_now(Volume::Origin, range(26, 1), &[900]).unwrap();
    assert_eq!((origin(&rig, 26), rig.group.counters().written_both_ways), (27, 0));
    rig.group.resume_merge();
    rig.settle();
    assert_eq!((origin(&rig, 26), is_finished(&rig)), (900, true));
}

#[test]
fn r1_a_write_during_the_copy_is_answered_at_once_and_copied_again() {
    let mut rig = filled(&[3], 1000, &[]);
    start(&mut rig);
    rig.execute_all(|io| !merge_read(io));
    rig.execute_all(merge_read);
    let write = rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    let at = rig.position(|io| matches!(io, Io::Write { space: COW1, .. })).unwrap();
    rig.execute(at);
    assert_eq!(rig.answers[&write], Ok(()));
    rig.settle();
    assert_eq!((origin(&rig, 26), rig.group.counters().chunks_recopied), (900, 1));
}

#[test]
fn r2_a_write_after_the_copy_goes_both_ways_and_is_answered_after_both() {
    let mut rig = filled(&[3], 1000, &[]);
    start(&mut rig);
    rig.execute_all(|io| !origin_flush(io));
    let write = rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    rig.execute_all(|io| matches!(io, Io::Write { space: COW1, .. }));
    assert!(!rig.answers.contains_key(&write));
    rig.execute_all(origin_write);
    assert_eq!(rig.answers[&write], Ok(()));
    assert_eq!((origin(&rig, 26), stamp_of(&rig.disks[&COW1].get(18))), (900, 900));
    rig.settle();
    assert!(is_finished(&rig));
}

#[test]
fn r10_overlapping_writes_that_go_both_ways_are_one_after_the_other() {
    let mut rig = filled(&[3], 1000, &[]);
    start(&mut rig);
    rig.execute_all(|io| !origin_flush(io));
    rig.submit(Volume::Origin, WRITE, range(26, 2), &[900, 901]);
    let legs = rig.handed.len();
    let second = rig.submit(Volume::Origin, WRITE, range(27, 1), &[902]);
    assert_eq!(rig.handed.len(), legs, "the second waits");
    let apart = rig.submit(Volume::Origin, WRITE, range(30, 1), &[903]);
    assert_eq!(rig.handed.len(), legs + 1, "what does not overlap does not");
    rig.settle();
    assert_eq!((rig.answers[&second], rig.answers[&apart]), (Ok(()), Ok(())));
    assert_eq!([origin(&rig, 26), origin(&rig, 27), origin(&rig, 30)], [900, 902, 903]);
}

#[test]
fn r7_r10_mappings_are_dropped_only_after_the_truncation_and_the_last_leg() {
    let mut rig = filled(&[3], 1000, &[]);
    start(&mut rig);
    rig.execute_all(|io| !origin_flush(io));
    rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    rig.execute_all(|io| !origin_write(io));
    assert!(!is_finished(&rig), "hidden, but a leg is under way");
    let read = rig.submit(Volume::Origin, RequestKind::Read, range(26, 1), &[]);
    assert!(rig.position(merge_read).is_some(), "reads come from the store until then");
    let held = rig.submit(Volume::Origin, WRITE, range(25, 1), &[901]);
    assert!(!rig.handed.iter().any(|(_, io)| matches!(io, Io::Write { at: Sectors(25), .. })));
    rig.settle();
    assert_eq!((rig.stamps(read), rig.answers[&held]), (vec![900], Ok(())));
    assert_eq!((origin(&rig, 25), origin(&rig, 26), is_finished(&rig)), (901, 900, true));
}

#[test]
fn r8_a_flush_of_the_merged_view_covers_the_store_until_it_is_empty() {
    let mut rig = filled(&[3], 1000, &[]);
    rig.group.start_merge(StoreId(1)).unwrap();
    rig.group.pause_merge();
    rig.group.release();
    rig.log.clear();
    rig.flush_now(Volume::Origin).unwrap();
    assert_eq!(rig.log.iter().filter(|io| matches!(io, Io::Flush { .. })).count(), 2);
    rig.group.resume_merge();
    rig.settle();
    rig.log.clear();
    rig.flush_now(Volume::Origin).unwrap();
    assert_eq!(rig.log.len(), 1, "{:?}", rig.log);
}

#[test]
fn r9_a_merging_store_cannot_leave_before_its_end() {
    let mut rig = filled(&[3], 1000, &[]);
    rig.group.pause_merge();
    rig.group.start_merge(StoreId(1)).unwrap();
    assert!(rig.group.start_merge(StoreId(1)).is_err());
    assert!(rig.group.detach(StoreId(1)).is_err());
    rig.group.release();
    assert_eq!(rig.read_now(S1, range(0, 1)), Err(Fault::Range));
    rig.group.hold();
    assert!(rig.group.detach(StoreId(1)).is_ok());
}

/// Once a chunk was written after its merge, no power cut brings its exception back: the store holds what is left to merge.
#[test]
fn i4_a_chunk_that_was_written_after_its_merge_never_comes_back() {
    for cut in 1..40 {
        let mut rig = filled(&[3, 20, 30, 40, 9], 8, &[]);
        start(&mut rig);
        rig.group.pause_merge();
        rig.settle();
        let left = rig.group.merge_progress().unwrap().chunks_left;
        assert!((1..5).contains(&left), "{left} left: some windows were over, and not all");
        rig.write_now(Volume::Origin, range(74, 1), &[900]).unwrap();
        assert_eq!(
            origin(&rig, 74),
            900,
            "the last chunk of the table is merged first, and written to the origin"
        );
        let mut again = Rig::over(config(400, 512, 8), rig.power_cut(&mut Dice(cut)));
        let snapshot = Snapshot::new(1, 400, 8, 4000);
        let opened = again.open(&snapshot).unwrap();
        assert_eq!((opened.records(), opened.exceptions()), (left, left), "cut {cut}");
        again.attach(&snapshot);
        start(&mut again);
        again.settle();
        assert!(matches!(origin(&again, 74), 900 | 10_074), "cut {cut}");
    }
}

#[test]
fn i9_the_status_counts_down_to_finished() {
    let mut rig = filled(&(0..48).collect::<Vec<_>>(), 64, &[]);
    start(&mut rig);
    let mut last = u64::MAX;
    loop {
        let Some(StoreStatus::Valid { allocated, metadata, .. }) = rig.group.store_status(StoreId(1)) else {
            panic!()
        };
        assert!(allocated.0 <= last);
        last = allocated.0;
        assert_eq!(allocated == metadata, is_finished(&rig));
        if rig.handed.is_empty() {
            break;
        }
        rig.execute(0);
    }
    assert!(is_finished(&rig));
}

/// A store as another program may leave it: holes, and identical records that stand twice (a slot move).
#[test]
fn holes_and_identical_repetitions_merge_like_any_other() {
    let snapshot = Snapshot::new(1, 400, 8, 4000);
    for window in [8, 16, 24, 1000] {
        let mut rig = Rig::unopened(config(400, 512, window), std::slice::from_ref(&snapshot), None);
        let records = [(3, 2), (9, 5), (12, 4), (3, 2), (20, 9), (9, 5), (9, 5)];
        let mut area = [0; 512];
        for (slot, (old, new)) in area.chunks_exact_mut(16).zip(records) {
            slot.copy_from_slice(&Record::new(Chunk(old), Chunk(new)).unwrap().encode());
        }
        let mut header = [0; 512];
        header[..16].copy_from_slice(&Header::new(ChunkSize::from_sectors(8).unwrap()).encode());
        let disk = rig.disks.get_mut(&COW1).unwrap();
        disk.set(0, &header);
        disk.set(8, &area);
        for (old, new) in records {
            for sector in 0..8 {
                disk.set(new * 8 + sector, &super::super::stamped(10_000 + old * 8 + sector));
            }
        }
        rig.attach(&snapshot);
        rig.group.start_merge(StoreId(1)).unwrap();
        rig.collect();
        // A chunk that is repeated below is written while its upper record is hidden.
        rig.write_now(Volume::Origin, range(72, 1), &[10_072]).unwrap();
        rig.settle();
        assert!(is_finished(&rig), "{:?}", rig.group.merge_progress());
        check_merged(&rig, &[3, 9, 12, 20]);
        rig.group.hold();
        assert_eq!(rig.group.detach(StoreId(1)).unwrap().exceptions(), 0);
    }
}

#[test]
fn chunks_larger_than_all_memory_are_merged_in_pieces() {
    let snapshot = Snapshot::new(1, 5000, 2048, 12_000);
    let mut rig = Rig::new(config(5000, 64, 1), &[snapshot, Snapshot::new(2, 5000, 1024, 9000)]);
    rig.write_now(S1, range(4100, 3), &[900, 901, 902]).unwrap();
    rig.write_now(S1, range(7, 3000), &vec![903; 3000]).unwrap();
    rig.group.hold();
    rig.settle();
    start(&mut rig);
    rig.settle();
    assert!(is_finished(&rig));
    assert_eq!(
        [4099, 4100, 4102, 4103, 6, 7, 3006, 3007].map(|sector| origin(&rig, sector)),
        [4100, 900, 902, 4104, 7, 903, 903, 3008]
    );
    let frozen: Vec<u64> = (1..=5000).collect();
    assert_eq!(rig.read_now(Volume::Snapshot(StoreId(2)), range(0, 5000)).unwrap(), frozen);
}

#[test]
fn an_invalid_snapshot_is_not_merged_and_a_held_merge_stops_at_a_windows_end() {
    let mut rig = filled(&(0..48).collect::<Vec<_>>(), 64, &[]);
    start(&mut rig);
    rig.execute(0);
    rig.group.hold();
    rig.settle();
    assert!(rig.group.is_quiet() && !is_finished(&rig));
    let left = rig.group.merge_progress().unwrap().chunks_left;
    assert!(left > 0 && left < 48);
    rig.group.release();
    rig.settle();
    assert!(is_finished(&rig));
    // Header, area, one chunk: the second exception does not fit.
    let mut rig = Rig::new(config(400, 512, 64), &[Snapshot::new(1, 400, 8, 24)]);
    rig.write_now(Volume::Origin, range(0, 1), &[900]).unwrap();
    rig.write_now(Volume::Origin, range(80, 1), &[900]).unwrap();
    assert!(rig.group.start_merge(StoreId(1)).is_err());
}

#[test]
fn foreground_copies_find_their_place_between_those_of_a_merge() {
    let chunks: Vec<u64> = (0..48).map(|step| step * 7 % 48).collect();
    let mut rig = filled(&chunks, 1000, &[Snapshot::new(2, 400, 8, 4000)]);
    start(&mut rig);
    rig.execute(0);
    let write = rig.submit(Volume::Origin, WRITE, range(392, 1), &[900]);
    let newest = |io: &Io| matches!(io, Io::Read { space: Space::Origin, at: Sectors(392), .. });
    assert!(rig.position(newest).is_some(), "its copy is not queued behind the window's");
    rig.settle();
    assert_eq!((rig.answers[&write], is_finished(&rig)), (Ok(()), true));
}

#[test]
fn i9_a_merge_of_nothing_is_finished_also_by_its_status() {
    let mut rig = Rig::new(config(400, 512, 64), &[Snapshot::new(1, 400, 8, 4000)]);
    rig.submit(Volume::Origin, WRITE, range(16, 1), &[900]);
    rig.fail(0, &mut Dice(1));
    start(&mut rig);
    assert!(is_finished(&rig));
    let Some(StoreStatus::Valid { allocated, metadata, .. }) = rig.group.store_status(StoreId(1)) else {
        panic!()
    };
    assert_eq!(allocated, metadata, "the chunk of the failed copy is not counted");
}
