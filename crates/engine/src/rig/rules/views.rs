//! Snapshots of the merged view: C1, C2, I3, I6, R7 for them, W3 without them.

use super::super::cache::Disk;
use super::super::{Rig, Snapshot, range};
use super::merging::{
    COW1, WRITE, boundary, check_merged, filled, is_finished, merge_read, origin, origin_flush, origin_write,
    start,
};
use crate::{Buffer, ConfigError, Io, RequestKind, Space, StoreId, Volume};
use foldback_units::Sectors;

const COW2: Space = Space::Store(StoreId(2));
const S2: Volume = Volume::Snapshot(StoreId(2));

/// Attaches a new snapshot of the merged view.
fn attach_view(rig: &mut Rig, snapshot: &Snapshot) {
    rig.disks.insert(Space::Store(snapshot.id), Disk::new(snapshot.store));
    rig.attach_view(snapshot);
    rig.log.clear();
}

/// These chunks are merging, none of them is copied yet, and a snapshot is taken of the merged view.
fn viewed(chunks: &[u64], chunk: u32, others: &[Snapshot]) -> Rig {
    let mut rig = filled(chunks, 1000, others);
    rig.group.start_merge(StoreId(1)).unwrap();
    rig.group.pause_merge();
    attach_view(&mut rig, &Snapshot::new(2, 400, chunk, 4000));
    rig.group.release();
    rig.collect();
    rig
}

/// What the merged view was when the snapshot was taken.
fn frozen(chunks: &[u64]) -> Vec<u64> {
    (0..400).map(|sector| if chunks.contains(&(sector / 8)) { 10_000 + sector } else { sector + 1 }).collect()
}

fn is_frozen(rig: &mut Rig, chunks: &[u64]) -> bool {
    rig.read_now(S2, range(0, 400)).unwrap() == frozen(chunks)
}

fn writes_to(rig: &Rig, store: Space) -> usize {
    let is =
        |io: &&Io| matches!(io, Io::Write { space, .. } | Io::WriteMetadata { space, .. } if *space == store);
    rig.log.iter().filter(is).count()
}

#[test]
fn i3_it_shows_the_merged_view_before_during_and_after_the_merge() {
    let chunks = [3, 9, 5, 30];
    let mut rig = viewed(&chunks, 8, &[]);
    assert!(is_frozen(&mut rig, &chunks));
    rig.group.resume_merge();
    rig.collect();
    while !rig.handed.is_empty() {
        rig.execute(0);
        assert!(is_frozen(&mut rig, &chunks));
    }
    assert!(is_finished(&rig) && is_frozen(&mut rig, &chunks));
    check_merged(&rig, &chunks);
}

#[test]
fn w3_a_merge_copies_nothing_out_to_it_but_to_a_snapshot_of_the_origin() {
    let chunks = [3, 9, 5];
    let mut rig = viewed(&chunks, 8, &[Snapshot::new(3, 400, 8, 4000)]);
    rig.group.resume_merge();
    rig.settle();
    assert!(is_finished(&rig));
    assert_eq!((writes_to(&rig, COW2), writes_to(&rig, Space::Store(StoreId(3)))), (0, 4));
    assert!(is_frozen(&mut rig, &chunks));
    let old: Vec<u64> = (1..=400).collect();
    assert_eq!(rig.read_now(Volume::Snapshot(StoreId(3)), range(0, 400)).unwrap(), old);
}

#[test]
fn c1_a_write_to_the_store_copies_out_of_the_store_first() {
    let chunks = [3];
    let mut rig = viewed(&chunks, 8, &[]);
    let write = rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    let Io::Read { space: COW1, .. } = rig.handed[0].1 else { panic!("{:?}", rig.handed) };
    rig.settle();
    let record = rig.log.iter().position(|io| matches!(io, Io::WriteMetadata { space: COW2, .. })).unwrap();
    let over = rig.log.iter().position(|io| matches!(io, Io::Write { space: COW1, .. })).unwrap();
    assert!(record < over, "durable before what it keeps is overwritten");
    assert_eq!(rig.answers[&write], Ok(()));
    assert!(is_frozen(&mut rig, &chunks));
}

#[test]
fn c1_r10_a_chunk_that_is_merged_but_visible_is_copied_out_before_it_is_written_both_ways() {
    let chunks = [3, 9];
    let mut rig = viewed(&chunks, 8, &[]);
    rig.group.resume_merge();
    rig.collect();
    rig.execute_all(|io| !origin_flush(io));
    rig.log.clear();
    let write = rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    rig.execute_all(|io| !origin_flush(io));
    assert_eq!(rig.answers[&write], Ok(()));
    assert_eq!(rig.group.counters().written_both_ways, 1);
    let record = rig.log.iter().position(|io| matches!(io, Io::WriteMetadata { space: COW2, .. })).unwrap();
    assert!(record < rig.log.iter().position(|io| matches!(io, Io::Write { space: COW1, .. })).unwrap());
    assert!(record < rig.log.iter().position(origin_write).unwrap());
    rig.settle();
    assert!(is_finished(&rig) && is_frozen(&mut rig, &chunks));
    assert_eq!(origin(&rig, 26), 900);
}

#[test]
fn c1_chunks_of_any_size_are_filled_from_where_each_part_lies() {
    let chunks = [3, 5, 9, 49];
    for chunk in [1, 2, 8, 16, 32, 128] {
        for at in [24, 30, 39, 45, 80, 392, 399] {
            let mut rig = viewed(&chunks, chunk, &[]);
            rig.write_now(Volume::Origin, range(at, 1), &[900]).unwrap();
            assert!(is_frozen(&mut rig, &chunks), "chunk {chunk}, sector {at}");
            rig.group.resume_merge();
            rig.settle();
            assert!(is_finished(&rig) && is_frozen(&mut rig, &chunks), "chunk {chunk}, sector {at}");
            assert_eq!(origin(&rig, at), 900);
        }
    }
}

#[test]
fn a_chunk_that_it_writes_in_part_gets_the_rest_from_the_merged_view() {
    let chunks = [3, 5];
    let mut rig = viewed(&chunks, 32, &[]);
    rig.write_now(S2, range(33, 2), &[900, 901]).unwrap();
    let mut expected = frozen(&chunks);
    (expected[33], expected[34]) = (900, 901);
    assert_eq!(rig.read_now(S2, range(0, 400)).unwrap(), expected);
    assert_eq!(rig.read_now(Volume::Origin, range(0, 400)).unwrap(), frozen(&chunks));
}

#[test]
fn c2_a_write_to_the_store_waits_for_its_reads_and_the_merge_does_not() {
    let chunks = [3];
    let mut rig = viewed(&chunks, 8, &[]);
    let read = rig.submit(S2, RequestKind::Read, range(24, 8), &[]);
    let is_read = |io: &Io| matches!(io, Io::Read { into, .. } if into[0].buffer == Buffer::Request(read));
    rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    rig.execute_all(|io| !is_read(io));
    assert_eq!(rig.handed.len(), 1, "{:?}", rig.handed);
    rig.settle();
    assert_eq!(rig.stamps(read), frozen(&chunks)[24..32]);
    let read = rig.submit(S2, RequestKind::Read, range(32, 8), &[]);
    let is_read = |io: &Io| matches!(io, Io::Read { into, .. } if into[0].buffer == Buffer::Request(read));
    rig.group.resume_merge();
    rig.collect();
    rig.execute_all(|io| !is_read(io));
    assert!(is_finished(&rig));
}

#[test]
fn r7_a_read_of_the_store_outlives_the_mapping() {
    let chunks = [3];
    let mut rig = viewed(&chunks, 8, &[]);
    let read = rig.submit(S2, RequestKind::Read, range(24, 8), &[]);
    let is_read = |io: &Io| matches!(io, Io::Read { into, .. } if into[0].buffer == Buffer::Request(read));
    rig.group.resume_merge();
    rig.collect();
    rig.execute_all(|io| !is_read(io));
    assert!(is_finished(&rig));
    // The chunk is the origin's now, and so are its writes: they wait for the read all the same.
    let write = rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    rig.execute_all(|io| !is_read(io));
    assert!(!rig.answers.contains_key(&write));
    rig.settle();
    assert_eq!((rig.stamps(read), origin(&rig, 26)), (frozen(&chunks)[24..32].to_vec(), 900));
    assert!(is_frozen(&mut rig, &chunks));
}

#[test]
fn a_copy_that_waited_while_a_window_passed_reads_what_was_there() {
    let chunks = [3, 5];
    let mut rig = viewed(&chunks, 8, &[]);
    let write = rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    let is_copy = |io: &Io| matches!(io, Io::Read { into, .. } if into[0].offset.0 < 256);
    assert!(rig.position(is_copy).is_some());
    rig.group.resume_merge();
    rig.collect();
    rig.execute_all(|io| !is_copy(io));
    assert!(is_finished(&rig), "the merge does not wait for the copy");
    assert!(!rig.answers.contains_key(&write));
    rig.settle();
    assert_eq!((rig.answers[&write], origin(&rig, 26)), (Ok(()), 900));
    assert!(is_frozen(&mut rig, &chunks));
}

#[test]
fn when_the_merge_has_left_it_is_an_ordinary_snapshot_and_its_store_is_untouched() {
    let chunks = [3, 9];
    let mut rig = viewed(&chunks, 8, &[]);
    rig.write_now(Volume::Origin, range(26, 1), &[900]).unwrap();
    rig.group.resume_merge();
    rig.settle();
    rig.group.hold();
    rig.settle();
    rig.log.clear();
    assert_eq!(rig.group.detach(StoreId(1)).unwrap().exceptions(), 0);
    rig.disks.remove(&COW1);
    rig.group.release();
    assert_eq!(rig.log, []);
    assert!(is_frozen(&mut rig, &chunks));
    rig.write_now(Volume::Origin, range(72, 8), &[901; 8]).unwrap();
    assert!(is_frozen(&mut rig, &chunks));
    // Now it can be merged itself.
    rig.group.hold();
    rig.settle();
    rig.group.start_merge(StoreId(2)).unwrap();
    rig.group.release();
    rig.settle();
    assert!((0..400).all(|sector| origin(&rig, sector) == frozen(&chunks)[sector as usize]));
}

#[test]
fn views_are_taken_of_a_quiet_merge_only_and_ordinary_snapshots_of_none() {
    let view = Snapshot::new(2, 400, 8, 4000);
    let mut rig = filled(&[3], 1000, &[]);
    rig.disks.insert(COW2, Disk::new(4000));
    let attach = |rig: &mut Rig, as_view: bool| {
        let opened = rig.open(&view).unwrap();
        let (size, geometry) = (Sectors(view.size), view.geometry());
        if as_view {
            rig.group.attach_view(view.id, size, geometry, opened)
        } else {
            rig.group.attach(view.id, size, geometry, opened)
        }
    };
    assert_eq!(attach(&mut rig, true), Err(ConfigError::NotMerging(StoreId(2))));
    rig.group.start_merge(StoreId(1)).unwrap();
    assert_eq!(attach(&mut rig, false), Err(ConfigError::Merging(StoreId(1))));
    rig.group.release();
    rig.collect();
    assert_eq!(attach(&mut rig, true), Err(ConfigError::Busy));
    rig.settle();
    rig.group.hold();
    assert_eq!(attach(&mut rig, true), Ok(()), "also when the merge is finished and still there");
    assert_eq!(attach(&mut rig, true), Err(ConfigError::StoreExists(StoreId(2))));
}

/// R10, after an error: a power cut would leave another content than what is read, so none can be frozen.
#[test]
fn no_view_is_taken_while_the_two_places_of_a_chunk_disagree() {
    let mut rig = filled(&[3], 1000, &[]);
    start(&mut rig);
    rig.execute_all(|io| !boundary(io));
    let write = rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    rig.execute_all(|io| matches!(io, Io::Write { space: COW1, .. }));
    let mut dice = super::super::Dice(7);
    let at = rig.position(origin_write).unwrap();
    rig.fail(at, &mut dice);
    assert!(rig.answers[&write].is_err());
    let at = rig.position(boundary).unwrap();
    rig.fail(at, &mut dice);
    rig.group.hold();
    rig.execute_all(|io| !merge_read(io));
    rig.disks.insert(COW2, Disk::new(4000));
    let view = Snapshot::new(2, 400, 8, 4000);
    let opened = rig.open(&view).unwrap();
    let attached = rig.group.attach_view(view.id, Sectors(400), view.geometry(), opened);
    assert_eq!(attached, Err(ConfigError::Disagrees(StoreId(1))));
}
