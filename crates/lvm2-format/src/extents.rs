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

#[cfg(test)]
mod tests {
    use super::{ExtentMap, ExtentRun};
    use crate::text::{Item, Scalar};
    use crate::vg::{PvKey, Segment, SegmentKind, Vg};
    use proptest::prelude::*;

    fn vg(pe_count: u32, segments: Vec<Segment>) -> Vg {
        let text = format!(
            "id = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' seqno = 1 status = [] extent_size = 8 max_lv = 0 max_pv = 0
             physical_volumes {{ pv0 {{ id = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0' status = []
                                        pe_start = 8 pe_count = {pe_count} }} }}
             logical_volumes {{ lv {{ id = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1' status = [] segment_count = 0 }} }}"
        );
        let section = crate::text::parse(text.as_bytes()).unwrap().root;
        let mut vg = Vg::from_section("vg", section).unwrap();
        vg.lvs[0].segments = segments;
        vg
    }

    fn pv0() -> PvKey {
        PvKey::new("pv0").unwrap()
    }

    fn unknown(type_text: &str, extents: u32, areas: &[(&str, u32)]) -> Segment {
        let mut segment = Segment::linear(0, extents, pv0(), 0);
        segment.kind = SegmentKind::Unknown { type_text: type_text.to_owned() };
        let scalars = areas.iter().flat_map(|(name, at)| [Scalar::from(*name), Scalar::from(*at)]);
        segment.other = vec![Item::array("anything", scalars.collect())];
        segment
    }

    #[test]
    fn what_is_not_understood_counts_as_far_as_it_can_reach() {
        let free = |segment| ExtentMap::of(&vg(100, vec![segment])).free_on(&pv0());
        let run = |start, count| ExtentRun { start, count };
        assert_eq!(free(unknown("raid9", 10, &[("pv0", 5), ("other", 50)])), [run(0, 5), run(15, 85)]);
        // Stripes share the length; of any other type that cannot be known.
        let areas = [("pv0", 0), ("pv0", 50)];
        assert_eq!(free(unknown("striped+NEW", 20, &areas)), [run(10, 40), run(60, 40)]);
        assert_eq!(free(unknown("newtype", 20, &areas)), [run(20, 30), run(70, 30)]);
        assert_eq!(free(unknown("newtype", u32::MAX, &[("pv0", 90)])), [run(0, 90)]);
        assert_eq!(free(unknown("newtype", 5, &[("pv0", 200)])), [run(0, 100)]);
    }

    proptest! {
        /// The slow twin: one mark for each extent.
        #[test]
        fn free_runs_are_the_unmarked_extents(
            pe_count in 0_u32..120,
            runs in proptest::collection::vec((0_u32..140, 0_u32..40), 0..12),
        ) {
            let segments =
                runs.iter().map(|&(start, count)| Segment::linear(0, count, pv0(), start)).collect();
            let vg = vg(pe_count, segments);
            let mut marks = [false; 200];
            for &(start, count) in &runs {
                marks[start as usize..(start + count) as usize].fill(true);
            }
            let map = ExtentMap::of(&vg);
            let free = map.free_on(&pv0());
            let listed: Vec<u32> =
                free.iter().flat_map(|run| run.start..run.start + run.count).collect();
            let unmarked: Vec<u32> = (0..pe_count).filter(|&extent| !marks[extent as usize]).collect();
            prop_assert_eq!(&listed, &unmarked);
            prop_assert_eq!(map.free_count(&pv0()) as usize, unmarked.len());
            prop_assert!(free.windows(2).all(|pair| pair[0].end() < u64::from(pair[1].start)));
        }
    }
}
