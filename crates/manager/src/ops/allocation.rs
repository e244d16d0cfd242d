//! Which free extents a new LV gets: LVM2's choice, so that both lay out the same VG the same way.
//!
//! What must hold:
//! - An extent is given out once; what is given out was free.
//! - LVM2's preferences, compared with 2.03.16 (`docs/decisions/0004-manager.md`):
//!   each PV offers its smallest free area that holds all that is still wanted, else its largest; the PV that offers
//!   most wins, the first in the VG's order among equals; what does not fit goes on, on PVs already used if they have
//!   any. A candidate counts as spoken for while smaller ones are looked at, which is why "smallest" stops early,
//!   and goes behind its equals afterwards.
//! - Policy `contiguous`: one run of extents on each device, or nothing. Policy `cling`: each stripe stays on the PV on
//!   which it begins.
//! - With stripes, each stripe is on a PV of its own and all are equally long.

use foldback_lvm2_format::vg::AllocationPolicy;

/// A run of free extents of one PV.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeRun {
    /// The first extent.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// A PV that may be allocated from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreePv {
    /// Its index in the VG.
    pub pv: usize,
    /// Its free runs, ascending.
    pub runs: Vec<FreeRun>,
    /// Extents of it were given to this LV already: others of it go before those of other PVs.
    pub clings: bool,
}

/// A run that was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// The index of the PV in the VG.
    pub pv: usize,
    /// The first extent.
    pub start: u32,
}

/// One segment to be: `count` extents of each of its stripes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewSegment {
    /// Extents of each stripe.
    pub count: u32,
    /// One for each stripe.
    pub stripes: Vec<Chosen>,
}

/// How an LV may lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// In as many pieces as it takes.
    Normal,
    /// In one piece.
    Contiguous,
    /// In pieces on the PVs on which it begins.
    Cling,
}

impl Policy {
    /// What a policy that stands in the metadata means. `anywhere` would let two stripes share a PV, which is not done here.
    pub fn of(stated: &AllocationPolicy) -> Self {
        match stated {
            AllocationPolicy::Contiguous => Self::Contiguous,
            AllocationPolicy::Cling => Self::Cling,
            AllocationPolicy::Normal | AllocationPolicy::Anywhere | AllocationPolicy::Unknown(_) => {
                Self::Normal
            }
        }
    }

    /// What LVM2 says of it before `allocatable extents`.
    pub(crate) fn word(self) -> &'static str {
        if self == Self::Contiguous { "contiguous " } else { "" }
    }
}

#[derive(Clone, Copy, Debug)]
struct Area {
    start: u32,
    count: u32,
    /// What is not spoken for in this round.
    unreserved: u32,
}

#[derive(Debug)]
struct PvAreas {
    pv: usize,
    areas: Vec<Area>,
    used: bool,
}

impl PvAreas {
    fn new(pv: &FreePv) -> Self {
        let mut areas = Self { pv: pv.pv, areas: Vec::new(), used: pv.clings };
        for run in pv.runs.iter().filter(|run| run.count > 0) {
            areas.insert(Area { start: run.start, count: run.count, unreserved: run.count });
        }
        areas
    }

    /// Largest first; behind its equals. Returns where it went.
    fn insert(&mut self, area: Area) -> usize {
        let at = self.areas.partition_point(|other| other.count >= area.unreserved);
        self.areas.insert(at, area);
        at
    }

    /// The area this PV offers towards `wanted` extents, by its start; all reservations are taken back.
    fn offer(&mut self, wanted: u32) -> Option<Area> {
        let mut found: Option<Area> = None;
        let mut index = 0_usize;
        while let Some(area) = self.areas.get(index).copied() {
            if area.unreserved < wanted && found.is_some() {
                break;
            }
            found = Some(area);
            self.areas.remove(index);
            let left = Area { unreserved: area.unreserved.saturating_sub(wanted), ..area };
            if left.unreserved > 0 {
                index = self.insert(left);
            } else {
                self.areas.insert(index, left);
            }
            index = index.saturating_add(1);
        }
        let looked_at: Vec<Area> = self.areas.extract_if(.., |area| area.unreserved != area.count).collect();
        for area in looked_at {
            self.insert(Area { unreserved: area.count, ..area });
        }
        found
    }

    fn largest(&self) -> Option<Area> {
        self.areas.first().copied()
    }

    fn take(&mut self, start: u32, count: u32) {
        self.used = true;
        let Some(index) = self.areas.iter().position(|area| area.start == start) else { return };
        let area = self.areas.remove(index);
        let left = area.count.saturating_sub(count);
        if left > 0 {
            self.insert(Area { start: start.saturating_add(count), count: left, unreserved: left });
        }
    }
}

/// Chooses `wanted` extents for each of `stripes` stripes.
///
/// # Errors
/// How many extents each stripe would need beyond what can be given: there are not enough, or none that suit.
pub fn allocate(pvs: &[FreePv], wanted: u32, stripes: usize, policy: Policy) -> Result<Vec<NewSegment>, u32> {
    let mut pvs: Vec<PvAreas> = pvs.iter().map(PvAreas::new).collect();
    let mut segments: Vec<NewSegment> = Vec::new();
    let mut left = wanted;
    // Bounded: every turn takes at least one extent or gives up.
    while left > 0 {
        let clinging = if stripes == 1 { cling(&pvs) } else { None };
        let bound = policy == Policy::Cling && pvs.iter().any(|pv| pv.used);
        let chosen = match (clinging, segments.last()) {
            (Some((index, area)), _) => Some(vec![(index, area)]),
            (None, Some(last)) if bound && stripes > 1 => same(&mut pvs, last, left),
            (None, _) if bound && stripes == 1 => None,
            (None, _) => best(&mut pvs, left, stripes),
        };
        let chosen = chosen.ok_or(left)?;
        let count = chosen.iter().map(|(_, area)| area.count).min().ok_or(left)?.min(left);
        if policy == Policy::Contiguous && count < left {
            return Err(left);
        }
        let mut segment = NewSegment { count, stripes: Vec::new() };
        for (index, area) in chosen {
            let pv = pvs.get_mut(index).ok_or(left)?;
            pv.take(area.start, count);
            segment.stripes.push(Chosen { pv: pv.pv, start: area.start });
        }
        left = left.saturating_sub(count);
        push_joined(&mut segments, segment);
    }
    Ok(segments)
}

/// What each stripe's PV offers it to go on.
fn same(pvs: &mut [PvAreas], last: &NewSegment, wanted: u32) -> Option<Vec<(usize, Area)>> {
    let on = |chosen: &Chosen| {
        let index = pvs.iter().position(|pv| pv.pv == chosen.pv)?;
        Some((index, pvs.get_mut(index)?.offer(wanted)?))
    };
    last.stripes.iter().map(on).collect()
}

/// The largest area of the first PV that is already used by this LV.
fn cling(pvs: &[PvAreas]) -> Option<(usize, Area)> {
    pvs.iter().enumerate().filter(|(_, pv)| pv.used).find_map(|(index, pv)| Some((index, pv.largest()?)))
}

/// The best offers, one from each of `stripes` PVs.
fn best(pvs: &mut [PvAreas], wanted: u32, stripes: usize) -> Option<Vec<(usize, Area)>> {
    let mut offers: Vec<(usize, Area)> = Vec::new();
    for (index, pv) in pvs.iter_mut().enumerate() {
        offers.extend(pv.offer(wanted).map(|area| (index, area)));
    }
    offers.sort_by_key(|(_, area)| std::cmp::Reverse(area.count.min(wanted)));
    offers.truncate(stripes);
    (offers.len() == stripes && stripes > 0).then_some(offers)
}

/// Two segments that go on from each other on every stripe are one.
fn push_joined(segments: &mut Vec<NewSegment>, next: NewSegment) {
    if let Some(last) = segments.last_mut()
        && last.stripes.len() == next.stripes.len()
        // Striped ones are cut where they are: joining would move data between stripes.
        && last.stripes.len() == 1
        && last.stripes.iter().zip(&next.stripes).all(|(a, b)| {
            a.pv == b.pv && a.start.checked_add(last.count) == Some(b.start)
        })
    {
        last.count = last.count.saturating_add(next.count);
        return;
    }
    segments.push(next);
}

#[cfg(test)]
mod tests {
    use super::{Chosen, FreePv, FreeRun, NewSegment, Policy, allocate};

    fn pv(pv: usize, runs: &[(u32, u32)]) -> FreePv {
        let runs = runs.iter().map(|&(start, count)| FreeRun { start, count }).collect();
        FreePv { pv, runs, clings: false }
    }

    fn linear(pvs: &[FreePv], wanted: u32) -> Vec<(usize, u32, u32)> {
        allocate(pvs, wanted, 1, Policy::Normal)
            .unwrap()
            .iter()
            .map(|segment| (segment.stripes[0].pv, segment.stripes[0].start, segment.count))
            .collect()
    }

    /// Every row was seen on LVM2 2.03.16: free runs of two PVs, extents wanted, segments given.
    #[test]
    fn lvm2s_choice() {
        type Runs = &'static [(u32, u32)];
        type Given = &'static [(usize, u32, u32)];
        let rows: &[(Runs, Runs, u32, Given)] = &[
            (&[(3, 12)], &[(0, 15)], 27, &[(1, 0, 15), (0, 3, 12)]),
            (&[(3, 12)], &[(0, 15)], 1, &[(0, 3, 1)]),
            (&[(0, 3), (48, 15)], &[(20, 43)], 1, &[(0, 0, 1)]),
            (&[(1, 2), (61, 2)], &[(20, 43)], 2, &[(0, 61, 2)]),
            (&[(0, 31), (44, 19)], &[(60, 3)], 13, &[(0, 0, 13)]),
            (&[(0, 8), (10, 9), (42, 21)], &[(0, 63)], 8, &[(0, 10, 8)]),
            (&[(0, 10), (18, 1), (34, 8), (55, 8)], &[(20, 43)], 8, &[(0, 0, 8)]),
            (&[(8, 2), (18, 1), (34, 8), (55, 8)], &[(0, 63)], 3, &[(0, 34, 3)]),
            (&[(5, 5), (18, 16), (39, 3), (55, 8)], &[(0, 63)], 5, &[(0, 55, 5)]),
            (&[(0, 1), (41, 2), (46, 10), (61, 2)], &[], 13, &[(0, 46, 10), (0, 41, 2), (0, 61, 1)]),
            (&[(0, 1), (26, 37)], &[(20, 8), (36, 27)], 60, &[(0, 26, 37), (0, 0, 1), (1, 36, 22)]),
            (
                &[(2, 8), (13, 1), (21, 2)],
                &[(0, 5), (18, 5)],
                13,
                &[(0, 2, 8), (0, 21, 2), (0, 13, 1), (1, 18, 2)],
            ),
        ];
        for (first, second, wanted, expected) in rows {
            let got = linear(&[pv(0, first), pv(1, second)], *wanted);
            assert_eq!(&got, expected, "{first:?} {second:?} {wanted}");
        }
    }

    #[test]
    fn contiguous_is_one_run_or_nothing() {
        let pvs = [pv(0, &[(0, 3), (5, 4)]), pv(1, &[(0, 5)])];
        assert_eq!(allocate(&pvs, 6, 1, Policy::Contiguous), Err(6));
        let one = allocate(&pvs, 5, 1, Policy::Contiguous).unwrap();
        assert_eq!(one, [NewSegment { count: 5, stripes: vec![Chosen { pv: 1, start: 0 }] }]);
    }

    #[test]
    fn stripes_lie_on_different_pvs_and_are_equally_long() {
        let pvs = [pv(0, &[(0, 4)]), pv(1, &[(2, 9)])];
        let got = allocate(&pvs, 4, 2, Policy::Normal).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].count, 4);
        assert_eq!(got[0].stripes.len(), 2);
        assert_eq!(allocate(&pvs, 5, 2, Policy::Normal), Err(1));
        assert_eq!(allocate(&pvs, 1, 3, Policy::Normal), Err(1));
    }

    #[test]
    fn what_clings_stays_on_the_pvs_on_which_it_begins() {
        let pvs = [pv(0, &[(0, 3), (5, 4)]), pv(1, &[(0, 5)]), pv(2, &[(1, 1)])];
        assert_eq!(allocate(&pvs, 6, 1, Policy::Cling), Err(1));
        let places = |segments: &[NewSegment]| -> Vec<(usize, u32)> {
            segments.iter().flat_map(|segment| &segment.stripes).map(|at| (at.pv, at.start)).collect()
        };
        let one = allocate(&pvs[..1], 7, 1, Policy::Cling).unwrap();
        assert_eq!(places(&one), [(0, 5), (0, 0)]);
        let two = allocate(&pvs, 5, 2, Policy::Cling).unwrap();
        assert_eq!(places(&two), [(1, 0), (0, 5), (1, 4), (0, 0)]);
        assert_eq!(allocate(&pvs, 6, 2, Policy::Cling), Err(1));
    }

    /// The slow twin: a map of single extents, which must never be given out twice or beyond what was free.
    #[test]
    fn what_is_given_out_was_free_and_is_given_once() {
        let mut state = 7_u64;
        let mut next = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        for _ in 0..2000 {
            let mut free = std::collections::BTreeSet::new();
            let mut pvs = Vec::new();
            for index in 0..=next(4) as usize {
                let mut runs = Vec::new();
                let mut at = next(4) as u32;
                for _ in 0..next(5) {
                    let count = 1 + next(9) as u32;
                    runs.push((at, count));
                    free.extend((at..at + count).map(|extent| (index, extent)));
                    at += count + 1 + next(4) as u32;
                }
                pvs.push(pv(index, &runs));
            }
            let wanted = 1 + next(40) as u32;
            let total = free.len();
            let Ok(got) = allocate(&pvs, wanted, 1, Policy::Normal) else {
                assert!(total < wanted as usize, "refused {wanted} of {total}");
                continue;
            };
            for segment in &got {
                for extent in 0..segment.count {
                    let chosen = segment.stripes[0];
                    assert!(free.remove(&(chosen.pv, chosen.start + extent)), "{got:?} of {pvs:?}");
                }
            }
            assert_eq!(total - free.len(), wanted as usize);
        }
    }
}
