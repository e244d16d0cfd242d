//! I3, I10, K4, W2: merges in which something fails.

use super::super::{Dice, ORIGIN_DOMAIN, Rig, Snapshot, config, range, stamp_of};
use super::merging::{COW1, WRITE, boundary, check_merged, filled, is_finished, origin, origin_write, start};
use crate::{Fault, Io, RequestKind, Space, StoreId, StoreStatus, Volume};
use foldback_dm_snapshot_format::Record;
use foldback_units::{Chunk, Sectors};

/// I3: at W3 nothing of the window is overwritten yet, so an error is the merge's and costs no snapshot.
#[test]
fn i3_an_error_while_other_snapshots_get_their_copies_fails_the_merge_and_no_snapshot() {
    let other = Space::Store(StoreId(2));
    let data = |io: &Io| matches!(io, Io::Write { space, .. } if *space == other);
    let record = |io: &Io| matches!(io, Io::WriteMetadata { space, .. } if *space == other);
    for failing in [&data as &dyn Fn(&Io) -> bool, &record] {
        let snapshot = Snapshot::new(2, 400, 32, 4000);
        let mut rig = filled(&[3, 9, 30], 1000, std::slice::from_ref(&snapshot));
        start(&mut rig);
        let at = loop {
            if let Some(at) = rig.position(failing) {
                break at;
            }
            rig.execute(0);
        };
        rig.fail(at, &mut Dice(1));
        rig.settle();
        assert!(rig.group.merge_progress().unwrap().failed);
        assert!(!rig.log.iter().any(origin_write), "the origin is as it was");
        // Whoever opens the store next finds it valid, and the snapshot whole.
        rig.group.hold();
        rig.settle();
        let mut again = Rig::over(config(400, 512, 1000), rig.power_cut(&mut Dice(7)));
        again.attach(&Snapshot::new(1, 400, 8, 4000));
        again.attach(&snapshot);
        assert!(matches!(again.group.store_status(StoreId(2)), Some(StoreStatus::Valid { .. })));
        start(&mut again);
        again.settle();
        assert!(is_finished(&again));
        check_merged(&again, &[3, 9, 30]);
        let frozen: Vec<u64> = (1..=400).collect();
        assert_eq!(again.read_now(Volume::Snapshot(StoreId(2)), range(0, 400)).unwrap(), frozen);
    }
}

#[test]
fn k4_i10_a_failed_truncation_keeps_writes_going_both_ways_until_a_later_one_succeeds() {
    let mut rig = filled(&[3, 9], 1000, &[]);
    let mut dice = Dice(1);
    start(&mut rig);
    rig.execute_all(|io| !boundary(io));
    rig.fail(0, &mut dice);
    assert_eq!(rig.group.store_status(StoreId(1)), Some(StoreStatus::MergeFailed));
    assert!(rig.group.merge_progress().unwrap().failed && rig.group.is_quiet());
    rig.write_now(Volume::Origin, range(26, 1), &[900]).unwrap();
    assert_eq!((origin(&rig, 26), stamp_of(&rig.disks[&COW1].get(18))), (900, 900));
    assert_eq!(rig.read_now(Volume::Origin, range(24, 4)).unwrap(), [10_024, 10_025, 900, 10_027]);
    rig.group.resume_merge();
    rig.settle();
    assert!(is_finished(&rig));
    assert_eq!(origin(&rig, 26), 900);
}

#[test]
fn i10_a_merge_that_failed_anywhere_is_served_right_and_can_be_resumed() {
    for step in 0..20 {
        let others = [Snapshot::new(2, 400, 16, 4000)];
        let mut rig = filled(&[3, 9, 12], 8, &others);
        let mut dice = Dice(step);
        start(&mut rig);
        for _ in 0..step {
            if !rig.handed.is_empty() {
                rig.execute(0);
            }
        }
        let Some(at) = rig.position(|io| !matches!(io, Io::Flush { .. })) else { continue };
        rig.fail(at, &mut dice);
        rig.settle();
        assert_eq!(rig.read_now(Volume::Origin, range(72, 8)).unwrap()[..2], [10_072, 10_073]);
        rig.group.resume_merge();
        rig.settle();
        assert!(is_finished(&rig), "step {step}: {:?}", rig.group.merge_progress());
        check_merged(&rig, &[3, 9, 12]);
    }
}

#[test]
fn w2_records_that_disagree_with_the_table_fail_the_merge_before_anything_is_copied() {
    let mut rig = filled(&[3, 9], 1000, &[]);
    let forged = Record::new(Chunk(4), Chunk(2)).unwrap().encode();
    let mut sector = rig.disks[&COW1].get(8);
    sector[..16].copy_from_slice(&forged);
    rig.disks.get_mut(&COW1).unwrap().write(8, &sector, true);
    start(&mut rig);
    rig.settle();
    assert!(rig.group.merge_progress().unwrap().failed);
    assert!(!rig.log.iter().any(|io| origin_write(io) || boundary(io)));
}

#[test]
fn i10_what_no_flush_could_cover_any_more_is_not_written_to_the_merged_view() {
    let mut rig = filled(&[3], 1000, &[]);
    rig.group.start_merge(StoreId(1)).unwrap();
    rig.group.pause_merge();
    rig.group.release();
    let flush = rig.submit(Volume::Origin, RequestKind::Flush, range(0, 0), &[]);
    let at = rig.position(|io| matches!(io, Io::Flush { domain } if *domain != ORIGIN_DOMAIN)).unwrap();
    rig.fail(at, &mut Dice(1));
    rig.settle();
    assert_eq!(rig.answers[&flush], Err(Fault::Device));
    for sector in [26, 0] {
        assert_eq!(rig.write_now(Volume::Origin, range(sector, 1), &[900]), Err(Fault::Device));
    }
    assert_eq!(rig.read_now(Volume::Origin, range(24, 1)).unwrap(), [10_024]);
}

#[test]
fn i10_a_read_from_the_store_that_outlives_its_window_and_a_failed_flush_is_not_believed() {
    let mut rig = filled(&[3, 9], 8, &[]);
    start(&mut rig);
    let read = rig.submit(Volume::Origin, RequestKind::Read, range(72, 8), &[]);
    let is_read =
        |io: &Io| matches!(io, Io::Read { into, .. } if into[0].buffer == crate::Buffer::Request(read));
    rig.execute_all(|io| !is_read(io));
    assert!(rig.group.counters().windows > 0);
    rig.group.core.flushes.handed_out(crate::FlushDomain(1));
    rig.group.core.flushed(crate::FlushDomain(1), Err(Fault::Device));
    rig.settle();
    assert_eq!(rig.answers[&read], Err(Fault::Device));
}

/// The write failed on its way to the store, after the record was hidden: reads see the store, which may hold some of it,
/// a power cut would leave the origin, which holds none.
#[test]
fn r10_a_flush_waits_until_the_store_and_the_origin_agree_again() {
    let mut rig = filled(&[3], 1000, &[]);
    start(&mut rig);
    rig.execute_all(|io| !boundary(io));
    let write = rig.submit(Volume::Origin, WRITE, range(26, 1), &[900]);
    let leg = rig.position(|io| matches!(io, Io::Write { space: COW1, at: Sectors(18), .. })).unwrap();
    let (id, _) = rig.handed.remove(leg);
    rig.group.complete_io(id, crate::Outcome::Failed(Fault::Device));
    rig.collect();
    assert!(rig.position(origin_write).is_none(), "nothing goes to the origin");
    assert_eq!(rig.answers[&write], Err(Fault::Device));
    rig.execute_all(boundary);
    let flush = rig.submit(Volume::Origin, RequestKind::Flush, range(0, 0), &[]);
    rig.execute_all(|io| matches!(io, Io::Flush { .. }));
    assert!(!rig.answers.contains_key(&flush));
    assert_eq!(rig.read_now(Volume::Origin, range(26, 1)).unwrap(), [10_026]);
    assert_eq!((rig.answers[&flush], origin(&rig, 26), is_finished(&rig)), (Ok(()), 10_026, true));
}
