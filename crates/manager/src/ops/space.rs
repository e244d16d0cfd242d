//! Free extents of a VG, and new LVs made of them.
//!
//! What must hold:
//! - Extents are taken only of PVs that are there and ALLOCATABLE, and of those that were named, where some were.
//! - An LV made here lies on extents that nothing used, one after the other from its extent 0.

use crate::ops::allocation::{self, Chosen, FreePv, FreeRun, NewSegment, Policy};
use crate::ops::refusal::Refusal;
use crate::ops::size::{OfOrigin, PercentOf, SizeRequest, percent_of};
use crate::report::Units;
use foldback_lvm2_format::extents::ExtentMap;
use foldback_lvm2_format::vg::{Area, AreaOn, Lv, PvKey, Segment, SegmentKind, Striped, Vg};
use foldback_units::{LvName, Sectors};

/// What may be allocated from.
#[derive(Debug)]
pub(crate) struct Space {
    pvs: Vec<FreePv>,
    keys: Vec<PvKey>,
    /// Free extents on them.
    pub(crate) free: u32,
    /// All extents on them.
    total: u32,
    named: bool,
}

/// How the LV is to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// How many stripes; 1 is linear.
    pub stripes: u32,
    /// Of one stripe, where there are several.
    pub stripe_size: Sectors,
    /// How extents are chosen; `None` as the VG has it.
    pub policy: Option<Policy>,
}

impl Layout {
    /// LVM2's default stripe size: 64 KiB.
    pub const DEFAULT_STRIPE_SIZE: Sectors = Sectors(128);
    /// Linear, as the VG has it.
    pub const LINEAR: Self = Self { stripes: 1, stripe_size: Self::DEFAULT_STRIPE_SIZE, policy: None };

    /// Without a policy of its own an LV inherits the VG's.
    fn policy_in(self, vg: &Vg) -> Policy {
        self.policy.unwrap_or_else(|| vg.allocation_policy.as_ref().map_or(Policy::Normal, Policy::of))
    }
}

/// The PVs that a segment lies on.
fn pvs_of(segment: &Segment) -> Vec<&PvKey> {
    segment.areas().filter_map(pv_of).collect()
}

fn pv_of(area: &Area) -> Option<&PvKey> {
    if let AreaOn::Pv(key) = &area.on { Some(key) } else { None }
}

/// As many extents as hold that.
pub(crate) fn in_extents(vg: &Vg, size: Sectors) -> Result<u32, Refusal> {
    vg.extent_size.to_hold(size).ok_or_else(|| Refusal::BeyondExtents {
        size: Units::in_words(size),
        extent_size: Units::in_words(vg.extent_size.of(1)),
        limit: Units::in_words(vg.extent_size.of(u32::MAX)),
    })
}

impl Space {
    /// The free space of `named` PVs; of all where none is named.
    pub(crate) fn of(vg: &Vg, named: &[PvKey]) -> Result<Self, Refusal> {
        let map = ExtentMap::of(vg);
        let mut space =
            Self { pvs: Vec::new(), keys: Vec::new(), free: 0, total: 0, named: !named.is_empty() };
        for (index, pv) in vg.pvs.iter().enumerate() {
            space.keys.push(pv.key.clone());
            let usable = pv.is_allocatable() && !pv.is_missing();
            if !usable || (space.named && !named.contains(&pv.key)) {
                continue;
            }
            let runs: Vec<FreeRun> = map
                .free_on(&pv.key)
                .iter()
                .map(|run| FreeRun { start: run.start, count: run.count })
                .collect();
            space.free = runs.iter().fold(space.free, |sum, run| sum.saturating_add(run.count));
            space.total = space.total.saturating_add(pv.pe_count);
            space.pvs.push(FreePv { pv: index, runs, clings: false });
        }
        if space.named && space.free == 0 {
            return Err(Refusal::NoSpaceOnPvs);
        }
        Ok(space)
    }

    /// How many extents `request` comes to, before rounding to stripes. `origin` is what %ORIGIN is of.
    pub(crate) fn extents(
        &self,
        vg: &Vg,
        request: SizeRequest,
        origin: Option<OfOrigin>,
    ) -> Result<(u32, Option<u64>), Refusal> {
        let too_large = |_| Refusal::TooLarge;
        let of = match request {
            SizeRequest::Sectors(Sectors::ZERO) => return Err(Refusal::Zero("size")),
            SizeRequest::Extents(0) => return Err(Refusal::Zero("extents")),
            SizeRequest::Sectors(sectors) => {
                return Ok((in_extents(vg, sectors)?, None));
            }
            SizeRequest::Extents(extents) => return Ok((extents, None)),
            SizeRequest::Percent(_, of) => of,
        };
        let SizeRequest::Percent(percent, _) = request else { return Err(Refusal::TooLarge) };
        let whole_vg = vg.pvs.iter().fold(0_u32, |sum, pv| sum.saturating_add(pv.pe_count));
        let wanted = match of {
            PercentOf::Vg => percent_of(percent, whole_vg, false),
            PercentOf::Free => percent_of(percent, self.free, false),
            PercentOf::Pvs => percent_of(percent, self.of_pvs(), false),
            PercentOf::Origin => {
                let origin = origin.ok_or(Refusal::PercentOf("%FREE, %PVS or %VG"))?;
                percent_of(percent, origin.extents, true).saturating_add(origin.tables.into())
            }
            PercentOf::Lv => {
                let without_origin = "%FREE, %PVS or %VG";
                let with_origin = "%FREE, %ORIGIN, %PVS or %VG";
                return Err(Refusal::PercentOf(if origin.is_some() { with_origin } else { without_origin }));
            }
        };
        let limited = if of == PercentOf::Origin { wanted } else { wanted.min(u64::from(self.free)) };
        let extents = u32::try_from(limited).map_err(too_large)?;
        if extents == 0 {
            return Err(Refusal::CalculatedZero);
        }
        Ok((extents, (limited < wanted).then_some(wanted)))
    }

    /// What 100%PVS is: of PVs that were named LVM2 takes what is free, of all of them what there is.
    pub(crate) fn of_pvs(&self) -> u32 {
        if self.named { self.free } else { self.total }
    }

    /// Segments for `extents` more extents of an LV that goes on as its last segment is; where they
    /// start is for the caller to say. LVM2's order: what is right behind its end, then what the PVs have on which it begins,
    /// then the others.
    pub(crate) fn allocate_behind(
        &self,
        vg: &Vg,
        lv: &Lv,
        extents: u32,
        layout: Layout,
    ) -> Result<Vec<Segment>, Refusal> {
        let stripes = layout.stripes.max(1);
        let each = extents.checked_div(stripes).ok_or(Refusal::TooLarge)?;
        let behind = self.behind(lv, each);
        let here = behind.as_ref().map_or(0, |piece| piece.count);
        let policy = layout.policy_in(vg);
        if here < each && policy == Policy::Contiguous {
            return Err(Refusal::NoSuitable { policy: policy.word(), lv: lv.name.clone(), more: extents });
        }
        let mut segments = Vec::new();
        if let Some(piece) = &behind {
            segments.push(self.segment(0, piece, layout).ok_or(Refusal::TooLarge)?);
        }
        let rest = each.saturating_sub(here).checked_mul(stripes).ok_or(Refusal::TooLarge)?;
        if rest > 0 {
            segments.extend(self.without(behind.as_ref()).allocate_near(vg, lv, rest, layout)?);
        }
        Ok(segments)
    }

    /// Extents on the PVs on which the LV begins, then on the others.
    fn allocate_near(&self, vg: &Vg, lv: &Lv, extents: u32, layout: Layout) -> Result<Vec<Segment>, Refusal> {
        let first: Vec<&PvKey> = lv.segments.first().map(pvs_of).unwrap_or_default();
        let mut near = self.part(|key| first.contains(&key));
        let clings = layout.policy_in(vg) == Policy::Cling;
        if layout.stripes > 1 {
            let here = near.allocate(vg, &lv.name, extents, layout);
            return if clings {
                here
            } else {
                here.or_else(|_| self.allocate(vg, &lv.name, extents, layout))
            };
        }
        // The largest areas first, whatever would fit.
        near.pvs.iter_mut().for_each(|pv| pv.clings = true);
        let here = extents.min(near.free);
        let mut segments = if here > 0 { near.allocate(vg, &lv.name, here, layout)? } else { Vec::new() };
        let there = extents.saturating_sub(here);
        if there > 0 {
            if clings {
                let policy = Policy::Cling.word();
                return Err(Refusal::NoSuitable { policy, lv: lv.name.clone(), more: there });
            }
            let far = self.part(|key| !first.contains(&key));
            segments.extend(far.allocate(vg, &lv.name, there, layout)?);
        }
        Ok(segments)
    }

    /// The same, of some PVs.
    fn part(&self, of: impl Fn(&PvKey) -> bool) -> Self {
        let belongs = |pv: &&FreePv| self.keys.get(pv.pv).is_some_and(&of);
        self.of_these(self.pvs.iter().filter(belongs).cloned().collect())
    }

    fn of_these(&self, pvs: Vec<FreePv>) -> Self {
        let free = pvs.iter().flat_map(|pv| &pv.runs).fold(0_u32, |sum, run| sum.saturating_add(run.count));
        Self { pvs, keys: self.keys.clone(), free, total: self.total, named: self.named }
    }

    /// What is left when that is taken: it begins runs.
    fn without(&self, taken: Option<&NewSegment>) -> Self {
        let mut pvs = self.pvs.clone();
        for chosen in taken.iter().flat_map(|taken| &taken.stripes) {
            let count = taken.map_or(0, |taken| taken.count);
            for pv in pvs.iter_mut().filter(|pv| pv.pv == chosen.pv) {
                pv.clings = true;
                for run in pv.runs.iter_mut().filter(|run| run.start == chosen.start) {
                    run.start = run.start.saturating_add(count);
                    run.count = run.count.saturating_sub(count);
                }
            }
        }
        self.of_these(pvs)
    }

    /// What is right behind the LV's end, on each of its stripes, at most `each` extents.
    fn behind(&self, lv: &Lv, each: u32) -> Option<NewSegment> {
        let last = lv.segments.last()?;
        let length = last.area_extents()?;
        let mut piece = NewSegment { count: each, stripes: Vec::new() };
        for area in last.areas() {
            let key = pv_of(area)?;
            let pv = self.pvs.iter().find(|pv| self.keys.get(pv.pv) == Some(key))?;
            let start = area.start_extent.checked_add(length)?;
            let run = pv.runs.iter().find(|run| run.start == start)?;
            piece.stripes.push(Chosen { pv: pv.pv, start });
            piece.count = piece.count.min(run.count);
        }
        (piece.count > 0).then_some(piece)
    }

    /// Segments for a new LV of `extents` extents, a multiple of the stripes.
    pub(crate) fn allocate(
        &self,
        vg: &Vg,
        name: &LvName,
        extents: u32,
        layout: Layout,
    ) -> Result<Vec<Segment>, Refusal> {
        if extents > self.free {
            let (free, required) = (u64::from(self.free), u64::from(extents));
            return Err(Refusal::NoSpace { vg: vg.name.clone(), free, required });
        }
        let stripes = layout.stripes.max(1);
        let count = usize::try_from(stripes).map_err(|_| Refusal::TooLarge)?;
        if count > self.pvs.len() {
            return Err(Refusal::TooManyStripes { stripes, pvs: self.pvs.len() });
        }
        let each = extents.checked_div(stripes).ok_or(Refusal::TooLarge)?;
        let policy = layout.policy_in(vg);
        let pieces = allocation::allocate(&self.pvs, each, count, policy).map_err(|left| {
            let more = left.saturating_mul(stripes);
            Refusal::NoSuitable { policy: policy.word(), lv: name.clone(), more }
        })?;
        let mut segments = Vec::new();
        let mut start = 0_u32;
        for piece in pieces {
            let segment = self.segment(start, &piece, layout).ok_or(Refusal::TooLarge)?;
            start = segment.end_extent().ok_or(Refusal::TooLarge)?;
            segments.push(segment);
        }
        Ok(segments)
    }

    fn segment(&self, start: u32, piece: &NewSegment, layout: Layout) -> Option<Segment> {
        let stripes = u32::try_from(piece.stripes.len()).ok()?;
        let mut areas = Vec::new();
        for chosen in &piece.stripes {
            let key = self.keys.get(chosen.pv)?.clone();
            areas.push(Area { on: AreaOn::Pv(key), start_extent: chosen.start });
        }
        let stripe_size = (stripes > 1).then_some(layout.stripe_size);
        Some(Segment {
            start_extent: start,
            extent_count: piece.count.checked_mul(stripes)?,
            tags: Vec::new(),
            kind: SegmentKind::Striped(Striped { stripe_size, areas }),
            merge_view: false,
            other: Vec::new(),
        })
    }
}
