//! `lvreduce`: fewer extents for an LV, or for a snapshot's store. Pure.
//!
//! What must hold (lvm2.md 3.3, complaint 4; compared with 2.03.16):
//! - What is left lies where it lay; what is given up is the end.
//! - A store is never made smaller than what it holds, nor one of which that is not known. (2.03.16 loses the snapshot.)
//! - An origin is not reduced: its snapshots are as long as it was.

use crate::ops::extend::{Amount, Extended, Situation, extensible, extents_of};
use crate::ops::merge_view;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use crate::ops::size::SizeRequest;
use crate::ops::space::Space;
use crate::report::Units;
use foldback_lvm2_format::vg::{ExtentSize, Lv, Segment, SegmentKind, Vg};
use foldback_units::{LvName, Sectors};

/// What is to be reduced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reduction {
    /// The LV; a snapshot's name stands for its store.
    pub lv: LvName,
    /// By how much, or to what.
    pub amount: Amount,
    /// Of a store: how much of it is in use; `None` where that is not known.
    pub used: Option<Sectors>,
    /// Who carries it.
    pub active: Active,
}

/// Who carries an LV that is to be smaller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Active {
    /// Nobody.
    No,
    /// Somebody whose devices can become shorter while they are there.
    Shrinks,
    /// Somebody whose devices cannot.
    Stays,
}

/// Plans the reduction.
///
/// # Errors
/// [`Refusal`]: no such LV, one that may not be reduced, a size that is not smaller, or a store that holds more.
pub fn plan(vg: &Vg, reduction: &Reduction) -> Result<Extended, Refusal> {
    let links = vg.snapshots();
    let lv = extensible(vg, &links, &reduction.lv, Situation::default())?;
    let named = || (vg.name.clone(), lv.name.clone());
    if links.is_origin(&lv.name) {
        return Err(Refusal::ReduceOrigin);
    }
    let old = lv.extent_count();
    let mut notices = Vec::new();
    let asked = wanted(vg, reduction.amount, lv, &mut notices)?;
    if asked == old {
        return Err(Refusal::SizeMatches { new: asked, old });
    }
    if asked > old {
        return Err(Refusal::NotSmaller { new: asked, old });
    }
    // What a store holds may be more before it is switched.
    let refused = match reduction.active {
        Active::No => false,
        Active::Shrinks => links.is_cow(&lv.name),
        Active::Stays => true,
    };
    if refused {
        let (vg, lv) = named();
        return Err(Refusal::ReduceActive { vg, lv });
    }
    let segments = cut(&lv.segments, asked, vg.extent_size).ok_or(Refusal::TooLarge)?;
    let new = segments.iter().filter_map(Segment::end_extent).max().unwrap_or(0);
    let size = |extents| Units::in_words(vg.extent_size.of(extents));
    if let Some(snapshot) = links.of_cow(&lv.name) {
        let (vg_name, lv_name) = named();
        let Some(used) = reduction.used else {
            return Err(Refusal::ReduceUnknown { vg: vg_name, lv: lv_name });
        };
        if vg.extent_size.of(new) < used {
            let (to, used) = (size(new), Units::in_words(used));
            return Err(Refusal::ReduceBelowUse { vg: vg_name, lv: lv_name, to, used });
        }
        let least = snapshot.segment.chunk_size.len().checked_mul(3).ok_or(Refusal::TooLarge)?;
        if vg.extent_size.of(new) < least {
            return Err(Refusal::FewerThanThreeChunks(least.get()));
        }
    }
    if reduction.active == Active::Shrinks {
        notices.push(Notice::warning(format!("Reducing active logical volume to {}.", size(new))));
    }
    let mut after = vg.clone();
    if let Some(lv) = after.lv_mut(&reduction.lv) {
        lv.segments = segments;
    }
    merge_view::settle(&mut after);
    let full = format!("{}/{}", vg.name, lv.name);
    let done = vec![
        Notice::print(format!(
            "Size of logical volume {full} changed from {} ({old} extents) to {} ({new} extents).",
            size(old),
            size(new)
        )),
        Notice::print(format!("Logical volume {full} successfully resized.")),
    ];
    Ok(Extended { vg: after, changed: new != old, notices, done })
}

/// Whether that size is less than the LV has.
///
/// # Errors
/// [`Refusal`]: no such LV, one whose size cannot be changed, or no size.
pub fn is_smaller(vg: &Vg, name: &LvName, to: SizeRequest) -> Result<bool, Refusal> {
    let lv = extensible(vg, &vg.snapshots(), name, Situation::default())?;
    Ok(wanted(vg, Amount::To(to), lv, &mut Vec::new())? < lv.extent_count())
}

/// How many extents are to be left.
fn wanted(vg: &Vg, amount: Amount, lv: &Lv, notices: &mut Vec<Notice>) -> Result<u32, Refusal> {
    let links = vg.snapshots();
    let space = Space::of(vg, &[])?;
    match amount {
        Amount::To(request) => extents_of(vg, &links, lv, &space, (request, true), notices),
        Amount::By(request) => {
            // What is given up is rounded down: rather too little than too much.
            let less = extents_of(vg, &links, lv, &space, (request, false), notices)?;
            let left = lv.extent_count().checked_sub(less).filter(|left| *left > 0);
            left.ok_or_else(|| Refusal::BelowOneExtent { vg: vg.name.clone(), lv: lv.name.clone() })
        }
    }
}

/// The segments up to `extents`, of a striped one whole stripes.
fn cut(segments: &[Segment], extents: u32, size: ExtentSize) -> Option<Vec<Segment>> {
    let mut kept = Vec::new();
    for segment in segments.iter().filter(|segment| segment.start_extent < extents) {
        let mut segment = segment.clone();
        let SegmentKind::Striped(striped) = &segment.kind else { return None };
        // A stripe's piece may be longer than an extent.
        let each = size.to_hold(striped.stripe_size.unwrap_or(Sectors::ZERO))?.max(1);
        let width = u32::try_from(striped.areas.len()).ok()?.checked_mul(each)?;
        let room = extents.checked_sub(segment.start_extent)?.checked_next_multiple_of(width)?;
        segment.extent_count = segment.extent_count.min(room);
        kept.push(segment);
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::{Active, Reduction, plan};
    use crate::ops::extend::Amount;
    use crate::ops::{Refusal, SizeRequest};
    use crate::testing::{lv_name, with_other};
    use foldback_lvm2_format::vg::{Segment, Vg};
    use foldback_units::Sectors;

    fn grown(vg: &mut Vg, lv: &str, extents: u32) {
        let lv = vg.lv_mut(&lv_name(lv)).unwrap();
        lv.segments[0].extent_count = 1;
        let key = match &lv.segments[0].kind {
            foldback_lvm2_format::vg::SegmentKind::Striped(striped) => striped.areas[0].on.clone(),
            _ => panic!(),
        };
        let foldback_lvm2_format::vg::AreaOn::Pv(key) = key else { panic!() };
        lv.segments.push(Segment::linear(1, extents - 1, key, 40));
    }

    fn reduce(vg: &Vg, lv: &str, amount: Amount, used: Option<u64>) -> Result<u32, Refusal> {
        let reduction = Reduction { lv: lv_name(lv), amount, used: used.map(Sectors), active: Active::No };
        Ok(plan(vg, &reduction)?.vg.lv(&lv_name(lv)).unwrap().extent_count())
    }

    fn to(extents: u32) -> Amount {
        Amount::To(SizeRequest::Extents(extents))
    }

    /// Complaint 4 of lvm2.md 5.
    #[test]
    fn a_store_keeps_what_it_holds() {
        let mut vg = with_other(&["snap"]);
        grown(&mut vg, "snap", 5);
        assert_eq!(reduce(&vg, "snap", to(2), Some(2 * 8192)), Ok(2));
        let below = reduce(&vg, "snap", to(2), Some(2 * 8192 + 8)).unwrap_err();
        assert!(matches!(below, Refusal::ReduceBelowUse { .. }), "{below}");
        assert!(matches!(reduce(&vg, "snap", to(2), None), Err(Refusal::ReduceUnknown { .. })));
        assert_eq!(reduce(&vg, "root", to(1), None), Err(Refusal::ReduceOrigin));
    }

    #[test]
    fn the_end_goes_and_the_rest_stays_where_it_lay() {
        let mut vg = with_other(&["snap"]);
        grown(&mut vg, "other", 6);
        grown(&mut vg, "snap", 5);
        let by = Amount::By(SizeRequest::Extents(2));
        assert_eq!(reduce(&vg, "other", by, None), Ok(4));
        assert_eq!(reduce(&vg, "other", to(6), None), Err(Refusal::SizeMatches { new: 6, old: 6 }));
        assert_eq!(reduce(&vg, "other", to(7), None), Err(Refusal::NotSmaller { new: 7, old: 6 }));
        let all = Amount::By(SizeRequest::Extents(6));
        assert!(matches!(reduce(&vg, "other", all, None), Err(Refusal::BelowOneExtent { .. })));
        let live = |name, active| {
            let reduction = Reduction { lv: lv_name(name), amount: to(1), used: Some(Sectors(8)), active };
            plan(&vg, &reduction).map(|planned| planned.notices.len())
        };
        assert!(matches!(live("other", Active::Stays), Err(Refusal::ReduceActive { .. })));
        assert!(matches!(live("snap", Active::Shrinks), Err(Refusal::ReduceActive { .. })));
        assert_eq!(live("other", Active::Shrinks), Ok(1));
    }
}
