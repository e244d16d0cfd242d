//! Segments and extents: contiguous, on something that is there, inside it, and on nothing twice.

use super::Finding;
use crate::extents::ExtentMap;
use crate::vg::{Area, AreaOn, Lv, Segment, SegmentKind, Striped, Vg};
use foldback_units::{LvName, Sectors};
use std::collections::HashMap;

/// What the text can hold: it counts with a sign.
const SECTORS_MAX: u64 = 1 << 62;

pub(super) fn check(vg: &Vg, findings: &mut Vec<Finding>) {
    for pv in &vg.pvs {
        let end = pv.pe_start.checked_add(vg.extent_size.of(pv.pe_count));
        let fits = |sectors: Option<Sectors>| sectors.is_some_and(|sectors| sectors.get() <= SECTORS_MAX);
        if !fits(end) || !fits(Some(pv.dev_size.unwrap_or_default())) {
            findings.push(Finding::PvTooLarge(pv.key.as_str().to_owned()));
        }
    }
    let names = Known::of(vg);
    for lv in &vg.lvs {
        check_contiguous(lv, findings);
        for segment in &lv.segments {
            if let SegmentKind::Striped(striped) = &segment.kind {
                check_stripes(lv, segment, striped, &names, findings);
            }
        }
    }
    check_used_twice(vg, findings);
    check_circles(vg, &names, findings);
}

/// Lengths by name, each computed once: a crafted VG has many areas on one LV of many segments.
struct Known<'a> {
    pvs: HashMap<&'a str, u32>,
    lvs: HashMap<&'a LvName, (&'a Lv, u32)>,
}

impl<'a> Known<'a> {
    fn of(vg: &'a Vg) -> Self {
        Self {
            pvs: vg.pvs.iter().map(|pv| (pv.key.as_str(), pv.pe_count)).collect(),
            lvs: vg.lvs.iter().map(|lv| (&lv.name, (lv, lv.extent_count()))).collect(),
        }
    }
}

fn check_contiguous(lv: &Lv, findings: &mut Vec<Finding>) {
    let mut expected = 0_u64;
    for segment in &lv.segments {
        let found = segment.start_extent;
        if segment.extent_count == 0 {
            findings.push(Finding::EmptySegment { lv: lv.name.clone(), at: found });
        }
        if u64::from(found) != expected || segment.end_extent().is_none() {
            findings.push(Finding::NotContiguous { lv: lv.name.clone(), expected, found });
        }
        expected = u64::from(found).saturating_add(u64::from(segment.extent_count));
    }
}

fn check_stripes(
    lv: &Lv,
    segment: &Segment,
    striped: &Striped,
    names: &Known<'_>,
    findings: &mut Vec<Finding>,
) {
    let sized = striped.stripe_size.is_some_and(|size| !size.is_zero() && u32::try_from(size.get()).is_ok());
    let adds_up = match striped.areas.len() {
        0 => false,
        1 => true,
        _ => sized,
    };
    let Some(length) = segment.area_extents().filter(|_| adds_up) else {
        findings.push(Finding::Stripes { lv: lv.name.clone(), at: segment.start_extent });
        return;
    };
    for area in &striped.areas {
        check_area(lv, area, length, names, findings);
    }
}

fn check_area(lv: &Lv, area: &Area, length: u32, names: &Known<'_>, findings: &mut Vec<Finding>) {
    let (on, count) = match &area.on {
        AreaOn::Pv(key) => (key.as_str(), names.pvs.get(key.as_str()).copied()),
        AreaOn::Lv(name) => (name.as_str(), names.lvs.get(name).map(|(_, length)| *length)),
    };
    let end = u64::from(area.start_extent).saturating_add(u64::from(length));
    match count {
        None => findings.push(Finding::NotThere { lv: lv.name.clone(), on: on.to_owned() }),
        Some(count) if end > u64::from(count) => {
            findings.push(Finding::PastEnd { lv: lv.name.clone(), on: on.to_owned(), end, count });
        }
        Some(_) => {}
    }
}

/// Runs that are only presumed are no proof of a conflict.
fn check_used_twice(vg: &Vg, findings: &mut Vec<Finding>) {
    let map = ExtentMap::of(vg);
    for pv in &vg.pvs {
        let mut reached = 0_u64;
        let mut owner: Option<&LvName> = None;
        for used in map.used_on(&pv.key).iter().filter(|used| !used.presumed) {
            if let Some(first) = owner.filter(|_| u64::from(used.run.start) < reached) {
                findings.push(Finding::UsedTwice {
                    pv: pv.key.as_str().to_owned(),
                    extent: used.run.start,
                    first: first.clone(),
                    second: used.lv.clone(),
                });
            }
            if used.run.end() > reached {
                reached = used.run.end();
                owner = Some(used.lv);
            }
        }
    }
}

/// Takes away, again and again, LVs that lie on nothing that is left; what remains lies on itself.
fn check_circles(vg: &Vg, names: &Known<'_>, findings: &mut Vec<Finding>) {
    let mut below: HashMap<&LvName, usize> = HashMap::new();
    let mut above: HashMap<&LvName, Vec<&LvName>> = HashMap::new();
    for (lv, _) in names.lvs.values() {
        let count = below.entry(&lv.name).or_default();
        for area in lv.segments.iter().flat_map(Segment::areas) {
            if let AreaOn::Lv(name) = &area.on
                && names.lvs.contains_key(name)
            {
                *count = count.saturating_add(1);
                above.entry(name).or_default().push(&lv.name);
            }
        }
    }
    let mut free: Vec<&LvName> =
        below.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    while let Some(name) = free.pop() {
        for user in above.remove(name).unwrap_or_default() {
            if let Some(count) = below.get_mut(user) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    free.push(user);
                }
            }
        }
    }
    for lv in vg.lvs.iter().filter(|lv| below.get(&lv.name).is_some_and(|&count| count > 0)) {
        findings.push(Finding::Circle(lv.name.clone()));
    }
}
