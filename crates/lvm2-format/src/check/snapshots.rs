//! Snapshots: three LVs that fit together, one merge at a time, and VISIBLE on the right one (lvm2.md 1.9); and the flag of
//! snapshots that were taken during a merge, on all of the segments that must have it and on no others.

use super::Finding;
use crate::vg::{Lv, LvStatus, Snapshot, SnapshotLinks, Vg};
use foldback_units::LvName;
use std::collections::{HashMap, HashSet};

pub(super) fn check(vg: &Vg, findings: &mut Vec<Finding>) {
    let links = SnapshotLinks::of(vg);
    let (mut stores, mut merging) = (HashSet::new(), HashSet::new());
    // Each length once: a crafted VG has many snapshots of one origin of many segments.
    let mut lengths = HashMap::new();
    for snapshot in links.all() {
        let segment = snapshot.segment;
        if snapshot.fictional.segments.len() != 1 {
            findings.push(Finding::SnapshotSegments(snapshot.fictional.name.clone()));
        }
        let origin = &segment.origin;
        let length = *lengths.entry(origin).or_insert_with(|| links.lv(origin).map_or(0, Lv::extent_count));
        check_parts(&links, snapshot, length, findings);
        if !stores.insert(&segment.cow) {
            findings.push(Finding::StoreTwice(segment.cow.clone()));
        }
        if segment.merging && !merging.insert(&segment.origin) {
            findings.push(Finding::MergingTwice(segment.origin.clone()));
        }
        check_visible(snapshot.fictional, !segment.merging, findings);
        if let Some(store) = links.lv(&segment.cow) {
            check_visible(store, false, findings);
        }
    }
    check_merge_view(vg, &links, findings);
}

fn check_parts(
    links: &SnapshotLinks<'_>,
    snapshot: &Snapshot<'_>,
    origin_length: u32,
    findings: &mut Vec<Finding>,
) {
    let segment = snapshot.segment;
    let mut wrong = |lv: &LvName, part| {
        findings.push(Finding::SnapshotOf {
            snapshot: snapshot.fictional.name.clone(),
            lv: lv.clone(),
            part,
        });
    };
    let fictional = |lv: &Lv| links.is_fictional(&lv.name);
    match links.lv(&segment.cow) {
        // A store is an ordinary LV, no other's origin, and not its own.
        Some(store) if !fictional(store) && !links.is_origin(&segment.cow) => {}
        _ => wrong(&segment.cow, "store"),
    }
    match links.lv(&segment.origin) {
        Some(origin) if !fictional(origin) && !links.is_cow(&segment.origin) => {
            if snapshot.extent_count > origin_length {
                findings.push(Finding::SnapshotLonger {
                    snapshot: snapshot.fictional.name.clone(),
                    extents: snapshot.extent_count,
                    origin: origin_length,
                });
            }
        }
        _ => wrong(&segment.origin, "origin"),
    }
}

/// On a snapshot beside one that merges, perhaps; then on the whole origin; and nowhere else.
fn check_merge_view(vg: &Vg, links: &SnapshotLinks<'_>, findings: &mut Vec<Finding>) {
    let merging = links.all().iter().filter(|snapshot| snapshot.segment.merging);
    let merged: HashSet<&LvName> = merging.map(|snapshot| &snapshot.segment.origin).collect();
    let flagged = links.all().iter().filter(|snapshot| snapshot.merge_view);
    let origins: HashSet<&LvName> = flagged.clone().map(|snapshot| &snapshot.segment.origin).collect();
    for snapshot in flagged {
        if snapshot.segment.merging || !merged.contains(&snapshot.segment.origin) {
            findings.push(Finding::MergeView { lv: snapshot.fictional.name.clone(), should: false });
        }
    }
    for lv in vg.lvs.iter().filter(|lv| !links.is_fictional(&lv.name)) {
        let should = origins.contains(&lv.name);
        if lv.segments.iter().any(|segment| segment.merge_view != should) {
            findings.push(Finding::MergeView { lv: lv.name.clone(), should });
        }
    }
}

fn check_visible(lv: &Lv, should: bool, findings: &mut Vec<Finding>) {
    if lv.status.contains(&LvStatus::Visible) != should {
        findings.push(Finding::Visible { lv: lv.name.clone(), should });
    }
}
