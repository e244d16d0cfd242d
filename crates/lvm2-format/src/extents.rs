//! Which extents of each PV are used, by whom, and which are free.
//!
//! What must hold:
//! - An extent that a segment *may* use is not free: segments that are not understood count with every area that one
//!   can see in them, as far as they can reach.
//! - Free runs are ascending, do not touch, and lie inside the PV; used and free together are the PV.

use crate::vg::{AreaOn, Lv, PvKey, Segment, SegmentKind, Vg, opaque};
use foldback_units::LvName;
use std::collections::HashMap;

/// Neighbouring extents of one PV.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExtentRun {
    /// The first one.
    pub start: u32,
    /// How many, at least one.
    pub count: u32,
}

impl ExtentRun {
    /// The extent behind the last one, in 64 bits so that a crafted run cannot wrap.
    pub fn end(self) -> u64 {
        u64::from(self.start).saturating_add(u64::from(self.count))
    }
}

/// A run and who uses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedRun<'a> {
    /// The extents.
    pub run: ExtentRun,
    /// The LV.
    pub lv: &'a LvName,
    /// Where in the LV the segment starts, in the LV's extents.
    pub segment_start: u32,
    /// The segment is of a kind that is not understood: it may use less.
    pub presumed: bool,
}

/// The use of every PV's extents.
#[derive(Clone, Debug)]
pub struct ExtentMap<'a> {
    used: HashMap<&'a str, Vec<UsedRun<'a>>>,
    pe_counts: HashMap<&'a str, u32>,
}

impl<'a> ExtentMap<'a> {
    /// Collects the use of all PVs of `vg`.
    pub fn of(vg: &'a Vg) -> Self {
        let mut map = Self {
            used: vg.pvs.iter().map(|pv| (pv.key.as_str(), Vec::new())).collect(),
            pe_counts: vg.pvs.iter().map(|pv| (pv.key.as_str(), pv.pe_count)).collect(),
        };
        for lv in &vg.lvs {
            for segment in &lv.segments {
                map.add(lv, segment);
            }
        }
        for runs in map.used.values_mut() {
            runs.sort_by_key(|used| (used.run, used.segment_start));
        }
        map
    }

    fn add(&mut self, lv: &'a Lv, segment: &'a Segment) {
        let presumed = matches!(segment.kind, SegmentKind::Unknown { .. });
        for (key, run) in self.runs_of(segment) {
            if let Some(runs) = self.used.get_mut(key) {
                runs.push(UsedRun { run, lv: &lv.name, segment_start: segment.start_extent, presumed });
            }
        }
    }

    /// What is used of a PV, ascending.
    pub fn used_on(&self, pv: &PvKey) -> &[UsedRun<'a>] {
        self.used.get(pv.as_str()).map(Vec::as_slice).unwrap_or_default()
    }

    /// What is free of a PV, ascending.
    pub fn free_on(&self, pv: &PvKey) -> Vec<ExtentRun> {
        let pe_count = self.pe_counts.get(pv.as_str()).copied().unwrap_or(0);
        let mut free = Vec::new();
        let mut next = 0_u32;
        for used in self.used_on(pv) {
            let start = used.run.start.min(pe_count);
            if let Some(count) = start.checked_sub(next).filter(|&count| count > 0) {
                free.push(ExtentRun { start: next, count });
            }
            // Never above pe_count, which fits.
            let end = u32::try_from(used.run.end()).unwrap_or(pe_count).min(pe_count);
            next = next.max(end);
        }
        if let Some(count) = pe_count.checked_sub(next).filter(|&count| count > 0) {
            free.push(ExtentRun { start: next, count });
        }
        free
    }

    /// How many extents of a PV are free.
    pub fn free_count(&self, pv: &PvKey) -> u32 {
        self.free_on(pv).iter().fold(0_u32, |sum, run| sum.saturating_add(run.count))
    }

    /// The runs that one segment uses, with the PVs they lie on.
    fn runs_of(&self, segment: &'a Segment) -> Vec<(&'a str, ExtentRun)> {
        match &segment.kind {
            SegmentKind::Striped(striped) => {
                let count = segment.area_extents().unwrap_or(segment.extent_count);
                let areas = striped.areas.iter().filter(|_| count > 0);
                areas
                    .filter_map(|area| match &area.on {
                        AreaOn::Pv(key) => {
                            Some((key.as_str(), ExtentRun { start: area.start_extent, count }))
                        }
                        AreaOn::Lv(_) => None,
                    })
                    .collect()
            }
            SegmentKind::Unknown { type_text } => self.presumed_runs(segment, type_text),
            SegmentKind::Snapshot(_) | SegmentKind::Error | SegmentKind::Zero => Vec::new(),
        }
    }

    /// Every pair of a PV and a number is taken for an area. Only of stripes we know that they share the length.
    fn presumed_runs(&self, segment: &'a Segment, type_text: &str) -> Vec<(&'a str, ExtentRun)> {
        let pairs = opaque::pairs(&segment.other);
        let count = u32::try_from(pairs.len()).unwrap_or(u32::MAX);
        let shared = type_text.split('+').next() == Some("striped");
        let length = match segment.extent_count.checked_rem(count) {
            Some(0) if shared => segment.extent_count.checked_div(count).unwrap_or(segment.extent_count),
            _ => segment.extent_count,
        };
        let mut runs = Vec::new();
        for (name, start) in pairs {
            let Some(pe_count) = self.pe_counts.get(name) else { continue };
            let count = pe_count.saturating_sub(start).min(length);
            if count > 0 {
                runs.push((name, ExtentRun { start, count }));
            }
        }
        runs
    }
}
