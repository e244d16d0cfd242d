//! The contract of a group: answers, ranges, holding, and what passes through untouched.

use super::super::{Rig, Snapshot, config, range};
use crate::{ConfigError, Fault, Group, Io, MergeRefused, RequestKind, Space, StoreId, StoreStatus, Volume};
use foldback_units::Sectors;

const WRITE: RequestKind = RequestKind::Write { fua: false };
const S1: Volume = Volume::Snapshot(StoreId(1));

fn snapshot() -> Snapshot {
    Snapshot::new(1, 200, 8, 2000)
}

#[test]
fn a_large_read_without_exceptions_is_one_io() {
    let mut rig = Rig::new(config(20_000, 256, 64), &[Snapshot::new(1, 20_000, 8, 20_000)]);
    for volume in [Volume::Origin, S1] {
        rig.submit(volume, RequestKind::Read, range(3, 10_000), &[]);
        assert_eq!(rig.handed.len(), 1);
        rig.settle();
    }
    rig.write_now(Volume::Origin, range(5000, 1), &[900]).unwrap();
    rig.submit(S1, RequestKind::Read, range(3, 10_000), &[]);
    assert_eq!(rig.handed.len(), 3, "around one exception");
}

#[test]
fn without_snapshots_everything_passes() {
    let mut rig = Rig::new(config(200, 32, 64), &[]);
    rig.submit(Volume::Origin, RequestKind::Write { fua: true }, range(3, 2), &[1, 2]);
    rig.submit(Volume::Origin, RequestKind::WriteZeroes { fua: false }, range(9, 100), &[]);
    rig.submit(Volume::Origin, RequestKind::Discard, range(9, 100), &[]);
    let ios: Vec<&Io> = rig.handed.iter().map(|(_, io)| io).collect();
    assert!(matches!(ios[0], Io::Write { fua: true, space: Space::Origin, .. }));
    assert!(matches!(ios[1], Io::Write { fua: false, space: Space::Origin, .. }));
    assert!(matches!(ios[2], Io::Discard { .. }));
}

#[test]
fn k10_discards_do_nothing_where_there_are_snapshots_and_zeroes_are_copied_out_like_writes() {
    let mut rig = Rig::new(config(200, 256, 64), &[snapshot()]);
    rig.log.clear();
    for volume in [Volume::Origin, S1] {
        let discard = rig.submit(volume, RequestKind::Discard, range(0, 100), &[]);
        assert_eq!((rig.answers[&discard], rig.handed.len()), (Ok(()), 0));
    }
    rig.submit(Volume::Origin, RequestKind::WriteZeroes { fua: false }, range(16, 8), &[]);
    rig.settle();
    assert_eq!(rig.read_now(Volume::Origin, range(16, 8)).unwrap(), [0; 8]);
    assert_eq!(rig.read_now(S1, range(16, 8)).unwrap(), [17, 18, 19, 20, 21, 22, 23, 24]);
}

#[test]
fn what_is_out_of_range_is_refused() {
    let mut rig = Rig::new(config(200, 256, 64), &[Snapshot::new(1, 100, 8, 2000)]);
    for (volume, start, len) in [(Volume::Origin, 200, 1), (Volume::Origin, 0, 201), (S1, 99, 2)] {
        assert_eq!(rig.read_now(volume, range(start, len)), Err(Fault::Range));
    }
    assert_eq!(rig.read_now(Volume::Snapshot(StoreId(9)), range(0, 1)), Err(Fault::Range));
    assert_eq!(rig.read_now(Volume::Origin, range(200, 0)), Ok(vec![]));
}

#[test]
fn a_held_group_begins_nothing_and_becomes_quiet_with_everything_committed() {
    let mut rig = Rig::new(config(200, 256, 64), &[snapshot()]);
    rig.write_now(S1, range(0, 8), &[900; 8]).unwrap();
    assert!(!rig.group.is_quiet(), "an exception without a record");
    assert_eq!(rig.group.detach(StoreId(1)).unwrap_err(), ConfigError::Busy);
    rig.group.hold();
    rig.settle();
    assert!(rig.group.is_quiet());
    let write = rig.submit(Volume::Origin, WRITE, range(0, 1), &[901]);
    assert!(rig.handed.is_empty() && !rig.answers.contains_key(&write));
    let opened = rig.group.detach(StoreId(1)).unwrap();
    assert_eq!((opened.records(), opened.exceptions()), (1, 1));
    rig.group.attach(StoreId(1), Sectors(200), snapshot().geometry(), opened).unwrap();
    rig.group.release();
    rig.settle();
    assert_eq!(rig.answers[&write], Ok(()));
    assert_eq!(rig.read_now(S1, range(0, 1)).unwrap(), [900]);
}

#[test]
fn wrong_settings_are_refused() {
    assert_eq!(Group::new(config(200, 31, 64)).unwrap_err(), ConfigError::Scratch(31));
    assert_eq!(Group::new(config(1 << 62, 64, 64)).unwrap_err(), ConfigError::OriginSize(1 << 62));
    let mut rig = Rig::new(config(200, 256, 64), &[snapshot()]);
    let attach = |rig: &mut Rig, id, size, geometry| {
        let opened = rig.open(&snapshot()).unwrap();
        rig.group.attach(StoreId(id), Sectors(size), geometry, opened)
    };
    let geometry = snapshot().geometry();
    assert_eq!(attach(&mut rig, 1, 200, geometry.clone()), Err(ConfigError::StoreExists(StoreId(1))));
    assert_eq!(attach(&mut rig, 2, 100, geometry.clone()), Err(ConfigError::NotOpenedSo(StoreId(2))));
    let size = ConfigError::SnapshotSize { store: StoreId(2), size: 201, origin: 200 };
    assert_eq!(attach(&mut rig, 2, 201, geometry), Err(size));
    assert_eq!(rig.group.detach(StoreId(7)).unwrap_err(), ConfigError::NoSuchStore(StoreId(7)));
    assert_eq!(rig.group.start_merge(StoreId(7)), Err(MergeRefused::NoSuchStore(StoreId(7))));
}

#[test]
fn the_status_line_is_the_kernels() {
    let mut rig = Rig::new(config(200, 256, 64), &[snapshot()]);
    let status = |rig: &Rig| match rig.group.store_status(StoreId(1)) {
        Some(StoreStatus::Valid { allocated, metadata, total }) => (allocated.0, metadata.0, total.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(&rig), (16, 16, 2000));
    for chunk in 0..3 {
        rig.write_now(Volume::Origin, range(chunk * 16, 1), &[900]).unwrap();
    }
    assert_eq!(status(&rig), (40, 16, 2000));
    assert_eq!(rig.group.store_status(StoreId(9)), None);
}
