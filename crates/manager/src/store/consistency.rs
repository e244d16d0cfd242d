//! Whether a VG contradicts itself, as sentences: asked when it is read and before it is written.
//!
//! What must hold (lvm2.md 1.7, "Consistency LVM2 enforces"):
//! - Names and UUIDs are unique, and no extent of a PV is used twice or lies outside the PV.
//! - A snapshot's fictional LV has one segment, and its store is not its origin.

use foldback_lvm2_format::vg::{AreaOn, Segment, Vg};
use std::collections::BTreeMap;
use std::ops::Range;

/// What contradicts, empty where nothing does.
pub(crate) fn contradictions(vg: &Vg) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(repeated(vg.lvs.iter().map(|lv| &lv.name)).map(|name| format!("two LVs are called {name}")));
    found.extend(repeated(vg.lvs.iter().map(|lv| &lv.id)).map(|id| format!("two LVs have the UUID {id}")));
    found.extend(repeated(vg.pvs.iter().map(|pv| &pv.id)).map(|id| format!("two PVs have the UUID {id}")));
    for lv in &vg.lvs {
        let mut expected = 0_u32;
        for segment in &lv.segments {
            if segment.start_extent != expected || segment.extent_count == 0 {
                found.push(format!("the segments of {} do not follow each other", lv.name));
                break;
            }
            expected = segment.end_extent().unwrap_or(u32::MAX);
        }
        if let Some(snapshot) = lv.snapshot()
            && (lv.segments.len() != 1 || snapshot.cow == snapshot.origin)
        {
            found.push(format!("{} is not a snapshot's segment and nothing else", lv.name));
        }
    }
    found.extend(overlaps(vg));
    found
}

fn repeated<T: Ord>(all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let mut counts = BTreeMap::new();
    for one in all {
        let count = counts.entry(one).or_insert(0_u32);
        *count = count.saturating_add(1);
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(one, _)| one)
}

/// The extents that a piece takes of PVs.
pub(crate) fn pv_extents<'a>(vg: &'a Vg, segment: &'a Segment) -> Vec<(&'a str, Range<u32>)> {
    let len = segment.area_extents().unwrap_or(0);
    segment
        .areas()
        .filter_map(|area| match &area.on {
            AreaOn::Pv(key) if vg.pv(key).is_some() => {
                Some((key.as_str(), area.start_extent..area.start_extent.saturating_add(len)))
            }
            _ => None,
        })
        .collect()
}

fn overlaps(vg: &Vg) -> Vec<String> {
    let mut found = Vec::new();
    let mut taken: BTreeMap<&str, Vec<Range<u32>>> = BTreeMap::new();
    for segment in vg.lvs.iter().flat_map(|lv| &lv.segments) {
        for (key, range) in pv_extents(vg, segment) {
            taken.entry(key).or_default().push(range);
        }
    }
    for pv in &vg.pvs {
        let Some(ranges) = taken.get_mut(pv.key.as_str()) else { continue };
        ranges.sort_by_key(|range| range.start);
        let twice = ranges.iter().zip(ranges.iter().skip(1)).find(|(one, next)| next.start < one.end);
        if let Some((_, next)) = twice {
            found.push(format!("extent {} of {} is used twice", next.start, pv.key));
        }
        if ranges.iter().any(|range| range.end > pv.pe_count) {
            found.push(format!("an extent behind the end of {} is used", pv.key));
        }
    }
    found
}
