//! Each finding, made from a VG that has none (lvm2.md 1.7, "Consistency", and 1.9).

use super::{Finding, check};
use crate::vg::{
    Area, AreaOn, Creation, ExtentSize, Flags, Lv, LvStatus, Pv, PvKey, PvStatus, Segment, SegmentKind,
    SnapshotSegment, Striped, Vg, VgStatus,
};
use foldback_units::{ChunkSize, LvName, LvmUuid, Sectors, VgName};
use std::collections::BTreeSet;

fn name(text: &str) -> LvName {
    LvName::new(text).unwrap()
}

fn key(number: u8) -> PvKey {
    PvKey::new(&format!("pv{number}")).unwrap()
}

fn id(number: u8) -> LvmUuid {
    LvmUuid::from_random([number; 32])
}

fn pv(number: u8) -> Pv {
    Pv {
        key: key(number),
        id: id(number),
        device: None,
        status: BTreeSet::from([PvStatus::Allocatable]),
        flags: Flags::default(),
        tags: Vec::new(),
        dev_size: Some(Sectors(1 << 20)),
        pe_start: Sectors(2048),
        pe_count: 100,
        other: Vec::new(),
    }
}

fn lv(text: &str, number: u8, visible: bool, segment: Segment) -> Lv {
    let mut lv = Lv::new(name(text), id(number), Creation { time: 0, host: "h".to_owned() });
    lv.set_status(LvStatus::Visible, visible);
    lv.segments.push(segment);
    lv
}

fn snapshot_of(origin: &str, cow: &str, extents: u32) -> Segment {
    Segment {
        start_extent: 0,
        extent_count: extents,
        tags: Vec::new(),
        kind: SegmentKind::Snapshot(SnapshotSegment {
            chunk_size: ChunkSize::from_sectors(8).unwrap(),
            origin: name(origin),
            cow: name(cow),
            merging: false,
        }),
        merge_view: false,
        other: Vec::new(),
    }
}

/// Two PVs; `root` with the snapshots `a` and `b`.
fn vg() -> Vg {
    Vg {
        name: VgName::new("vg").unwrap(),
        id: id(60),
        seqno: 1,
        status: BTreeSet::from([VgStatus::Resizeable, VgStatus::Read, VgStatus::Write]),
        flags: Flags::default(),
        tags: Vec::new(),
        system_id: None,
        lock_type: None,
        extent_size: ExtentSize::DEFAULT,
        max_lv: 0,
        max_pv: 0,
        allocation_policy: None,
        metadata_copies: 0,
        pvs: vec![pv(0), pv(1)],
        lvs: vec![
            lv("root", 10, true, Segment::linear(0, 40, key(0), 0)),
            lv("a", 11, false, Segment::linear(0, 10, key(0), 40)),
            lv("b", 12, false, Segment::linear(0, 10, key(1), 0)),
            lv("snapshot0", 13, true, snapshot_of("root", "a", 40)),
            lv("snapshot1", 14, true, snapshot_of("root", "b", 40)),
        ],
        historical: None,
        other: Vec::new(),
    }
}

#[track_caller]
fn finds(change: impl FnOnce(&mut Vg), expected: &[Finding]) {
    let mut vg = vg();
    change(&mut vg);
    assert_eq!(check(&vg), expected);
}

fn segment(vg: &mut Vg, lv: usize) -> &mut Segment {
    &mut vg.lvs[lv].segments[0]
}

fn tie(vg: &mut Vg, lv: usize) -> &mut SnapshotSegment {
    match &mut segment(vg, lv).kind {
        SegmentKind::Snapshot(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_vg_has_no_findings() {
    finds(|_| {}, &[]);
}

#[test]
fn names_and_ids_are_unique() {
    finds(|vg| vg.pvs[1].id = id(0), &[Finding::PvIdTwice(id(0))]);
    finds(
        |vg| {
            vg.pvs.push(pv(2));
            vg.pvs[2].key = key(1);
        },
        &[Finding::PvKeyTwice("pv1".to_owned())],
    );
    finds(|vg| vg.lvs[2].id = id(10), &[Finding::LvIdTwice(id(10))]);
    finds(
        |vg| vg.lvs.push(lv("root", 20, true, Segment::linear(0, 1, key(1), 50))),
        // The later `root` is the one that is looked up, and is shorter than the snapshots.
        &[
            Finding::LvNameTwice(name("root")),
            Finding::SnapshotLonger { snapshot: name("snapshot0"), extents: 40, origin: 1 },
            Finding::SnapshotLonger { snapshot: name("snapshot1"), extents: 40, origin: 1 },
        ],
    );
}

#[test]
fn an_lv_below_others_must_not_be_named_like_a_pv() {
    let on_lv = |on: &str| {
        let mut segment = Segment::linear(0, 1, key(0), 0);
        segment.kind = SegmentKind::Striped(Striped {
            stripe_size: None,
            areas: vec![Area { on: AreaOn::Lv(name(on)), start_extent: 0 }],
        });
        segment
    };
    let below = |vg: &mut Vg| vg.lvs.push(lv("pv1", 20, true, Segment::linear(0, 1, key(1), 50)));
    finds(below, &[]);
    finds(
        |vg| {
            below(vg);
            vg.lvs.push(lv("top", 21, true, on_lv("pv1")));
        },
        &[Finding::Shadowed(name("pv1"))],
    );
    finds(|vg| vg.lvs.push(lv("top", 21, true, on_lv("top"))), &[Finding::Circle(name("top"))]);
    finds(
        |vg| vg.lvs.extend([lv("x", 21, true, on_lv("y")), lv("y", 22, true, on_lv("x"))]),
        &[Finding::Circle(name("x")), Finding::Circle(name("y"))],
    );
}

/// `vgexport` marks both: one mark alone is somebody's half-done work.
#[test]
fn an_exported_pv_is_one_of_an_exported_vg() {
    let export = |vg: &mut Vg| vg.pvs[1].status.extend([PvStatus::Exported]);
    finds(export, &[Finding::PvExported("pv1".to_owned())]);
    finds(
        |vg| {
            export(vg);
            vg.status.insert(VgStatus::Exported);
        },
        &[],
    );
}

#[test]
fn limits() {
    finds(|vg| vg.max_pv = 1, &[Finding::TooManyPvs { found: 2, max: 1 }]);
    finds(|vg| vg.max_pv = 2, &[]);
    // What users see counts: the origin and its two snapshots.
    finds(|vg| vg.max_lv = 2, &[Finding::TooManyLvs { found: 3, max: 2 }]);
    finds(|vg| vg.max_lv = 3, &[]);
    let long = |length: usize| "x".repeat(length);
    let add = |vg: &mut Vg, length| {
        vg.lvs.push(lv(&long(length), 20, true, Segment::linear(0, 1, key(1), 50)));
    };
    finds(|vg| add(vg, 122), &[]);
    finds(|vg| add(vg, 123), &[Finding::NamesTooLong(name(&long(123)))]);
    finds(|vg| vg.pvs[0].pe_start = Sectors(u64::MAX), &[Finding::PvTooLarge("pv0".to_owned())]);
    finds(|vg| vg.pvs[0].dev_size = Some(Sectors(1 << 63)), &[Finding::PvTooLarge("pv0".to_owned())]);
}

#[test]
fn segments_are_contiguous_from_extent_0() {
    let root = || name("root");
    finds(
        |vg| vg.lvs[0].segments[0].start_extent = 1,
        &[Finding::NotContiguous { lv: root(), expected: 0, found: 1 }],
    );
    finds(|vg| vg.lvs[0].segments.push(Segment::linear(40, 5, key(1), 50)), &[]);
    for found in [39, 41] {
        finds(
            |vg| vg.lvs[0].segments.push(Segment::linear(found, 5, key(1), 50)),
            &[Finding::NotContiguous { lv: root(), expected: 40, found }],
        );
    }
    finds(
        |vg| vg.lvs[0].segments.push(Segment::linear(40, 0, key(1), 50)),
        &[Finding::EmptySegment { lv: root(), at: 40 }],
    );
    let mut far = Segment::linear(40, u32::MAX, key(1), 50);
    far.kind = SegmentKind::Error;
    finds(
        |vg| vg.lvs[0].segments.push(far),
        &[Finding::NotContiguous { lv: root(), expected: 40, found: 40 }],
    );
}

#[test]
fn areas_lie_inside_what_is_there() {
    let root = || name("root");
    let set = |vg: &mut Vg, areas: Vec<Area>, stripe_size: Option<u64>| {
        let stripe_size = stripe_size.map(Sectors);
        segment(vg, 0).kind = SegmentKind::Striped(Striped { stripe_size, areas });
    };
    let on = |pv: u8, start_extent| Area { on: AreaOn::Pv(key(pv)), start_extent };
    finds(|vg| set(vg, vec![on(0, 0), on(1, 50)], Some(8)), &[]);
    let wrong = [Finding::Stripes { lv: root(), at: 0 }];
    finds(|vg| set(vg, vec![on(0, 0), on(1, 50)], None), &wrong);
    finds(|vg| set(vg, vec![on(0, 0), on(1, 50)], Some(0)), &wrong);
    finds(|vg| set(vg, vec![on(0, 0), on(1, 20), on(1, 60)], Some(8)), &wrong);
    finds(|vg| set(vg, Vec::new(), None), &wrong);
    finds(|vg| set(vg, vec![on(7, 0)], None), &[Finding::NotThere { lv: root(), on: "pv7".to_owned() }]);
    finds(
        |vg| set(vg, vec![on(1, 61)], None),
        &[Finding::PastEnd { lv: root(), on: "pv1".to_owned(), end: 101, count: 100 }],
    );
    finds(
        |vg| set(vg, vec![on(1, u32::MAX)], None),
        &[Finding::PastEnd { lv: root(), on: "pv1".to_owned(), end: u64::from(u32::MAX) + 40, count: 100 }],
    );
}

#[test]
fn no_extent_has_two_owners() {
    let twice = |extent, first: &str, second: &str| Finding::UsedTwice {
        pv: "pv0".to_owned(),
        extent,
        first: name(first),
        second: name(second),
    };
    let add = |vg: &mut Vg, start, count| {
        vg.lvs.push(lv("new", 20, true, Segment::linear(0, count, key(0), start)));
    };
    finds(|vg| add(vg, 50, 50), &[]);
    finds(|vg| add(vg, 49, 50), &[twice(49, "a", "new")]);
    finds(|vg| add(vg, 5, 1), &[twice(5, "root", "new")]);
    // Inside `root` and over the border to `a`: both are named.
    finds(|vg| add(vg, 39, 2), &[twice(39, "root", "new"), twice(40, "new", "a")]);
    // A short run inside a long one does not hide the rest of the long one.
    finds(
        |vg| {
            add(vg, 5, 1);
            vg.lvs.push(lv("more", 21, true, Segment::linear(0, 1, key(0), 20)));
        },
        &[twice(5, "root", "new"), twice(20, "root", "more")],
    );
    // Its own extents twice.
    finds(|vg| vg.lvs[0].segments.push(Segment::linear(40, 2, key(0), 7)), &[twice(7, "root", "root")]);
    // What is not understood is no proof.
    finds(
        |vg| {
            add(vg, 5, 1);
            segment(vg, 5).kind = SegmentKind::Unknown { type_text: "striped+NEW".to_owned() };
        },
        &[],
    );
}

#[test]
fn a_snapshot_is_one_segment_between_two_ordinary_lvs() {
    let wrong = |lv: &str, part| Finding::SnapshotOf { snapshot: name("snapshot0"), lv: name(lv), part };
    let mut rest = snapshot_of("root", "a", 1);
    rest.start_extent = 40;
    rest.kind = SegmentKind::Error;
    finds(|vg| vg.lvs[3].segments.push(rest), &[Finding::SnapshotSegments(name("snapshot0"))]);
    let hidden = Finding::Visible { lv: name("root"), should: false };
    finds(
        |vg| tie(vg, 3).cow = name("root"),
        &[
            wrong("root", "store"),
            wrong("root", "origin"),
            hidden.clone(),
            Finding::SnapshotOf { snapshot: name("snapshot1"), lv: name("root"), part: "origin" },
        ],
    );
    finds(
        |vg| tie(vg, 3).origin = name("b"),
        &[
            wrong("b", "origin"),
            Finding::SnapshotOf { snapshot: name("snapshot1"), lv: name("b"), part: "store" },
        ],
    );
    finds(|vg| tie(vg, 3).origin = name("snapshot1"), &[wrong("snapshot1", "origin")]);
    finds(|vg| tie(vg, 3).cow = name("b"), &[Finding::StoreTwice(name("b"))]);
    // Trap 8: an origin may have grown since, but not shrunk.
    finds(|vg| segment(vg, 3).extent_count = 39, &[]);
    finds(
        |vg| segment(vg, 3).extent_count = 41,
        &[Finding::SnapshotLonger { snapshot: name("snapshot0"), extents: 41, origin: 40 }],
    );
}

/// lvm2.md 1.9, the table of VISIBLE.
#[test]
fn visible_is_on_the_fictional_lv_and_while_merging_on_neither() {
    let visible = |lv: &str, should| Finding::Visible { lv: name(lv), should };
    finds(|vg| vg.lvs[1].set_status(LvStatus::Visible, true), &[visible("a", false)]);
    finds(|vg| vg.lvs[3].set_status(LvStatus::Visible, false), &[visible("snapshot0", true)]);
    finds(|vg| tie(vg, 3).merging = true, &[visible("snapshot0", false)]);
    let merge = |vg: &mut Vg, lv: usize| {
        tie(vg, lv).merging = true;
        vg.lvs[lv].set_status(LvStatus::Visible, false);
    };
    finds(|vg| merge(vg, 3), &[]);
    finds(
        |vg| {
            merge(vg, 3);
            merge(vg, 4);
        },
        &[Finding::MergingTwice(name("root"))],
    );
}

/// architecture.md, "Merging": the fictional LV of each snapshot taken during the merge, every segment of the origin, and
/// nothing else, while the merge lasts.
#[test]
fn merge_view_is_on_the_snapshot_and_its_whole_origin_while_another_merges() {
    let wrong = |lv: &str, should| Finding::MergeView { lv: name(lv), should };
    let merge = |vg: &mut Vg| {
        tie(vg, 3).merging = true;
        vg.lvs[3].set_status(LvStatus::Visible, false);
        segment(vg, 0).merge_view = true;
        segment(vg, 4).merge_view = true;
    };
    finds(merge, &[]);
    finds(
        |vg| {
            merge(vg);
            segment(vg, 4).merge_view = false;
        },
        &[wrong("root", false)],
    );
    finds(
        |vg| {
            merge(vg);
            vg.lvs[0].segments.push(Segment::linear(40, 5, key(1), 50));
        },
        &[wrong("root", true)],
    );
    finds(
        |vg| {
            segment(vg, 0).merge_view = true;
            segment(vg, 4).merge_view = true;
        },
        &[wrong("snapshot1", false)],
    );
    finds(
        |vg| {
            merge(vg);
            segment(vg, 3).merge_view = true;
        },
        &[wrong("snapshot0", false)],
    );
    finds(|vg| segment(vg, 1).merge_view = true, &[wrong("a", false)]);
}
