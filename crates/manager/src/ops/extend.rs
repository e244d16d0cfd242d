//! `lvextend`: more extents for an LV, an origin, or a snapshot's store. Pure.
//!
//! What must hold (lvm2.md 1.10, 3.3, trap 8; compared with 2.03.16):
//! - What was there stays where it is; the LV goes on behind its end, on extents that nothing used.
//! - A store is never larger than it can use: what is asked beyond that is cut, with LVM2's words.
//! - A snapshot keeps its length when its origin grows: the fictional LV is not touched.
//! - Percentages are rounded up to whole extents. What is added to a striped LV is whole stripes.
//! - Under LVM2's names an active origin is refused, in its words.

use crate::ops::allocation::Policy;
use crate::ops::merge_view;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use crate::ops::size::{PercentOf, SizeRequest, percent_of};
use crate::ops::snapshot_create::{largest_store, not_understood};
use crate::ops::space::{Layout, Space, in_extents};
use crate::report::Units;
use foldback_lvm2_format::vg::{Lv, LvStatus, PvKey, Segment, SegmentKind, SnapshotLinks, Vg};
use foldback_units::{LvName, Sectors};

/// By how much, or to what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// `+N`: so much more.
    By(SizeRequest),
    /// `N`: so much in all.
    To(SizeRequest),
}

/// What is to be extended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extension {
    /// The LV; a snapshot's name stands for its store.
    pub lv: LvName,
    /// By how much, or to what.
    pub amount: Amount,
    /// The PVs it may go on; empty for all.
    pub pvs: Vec<PvKey>,
    /// How extents are chosen this time; `None` for the LV's own policy.
    pub policy: Option<Policy>,
}

/// How the LV is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Situation {
    /// It is active.
    pub active: bool,
    /// The command was given under a name of LVM2's.
    pub as_lvm2: bool,
}

/// A planned extension.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extended {
    /// The VG as it will be; as it was, where the store has its largest size already.
    pub vg: Vg,
    /// Whether there is anything to write.
    pub changed: bool,
    /// What to say before it is done.
    pub notices: Vec<Notice>,
    /// What to say when it is done.
    pub done: Vec<Notice>,
}

/// Plans the extension.
///
/// # Errors
/// [`Refusal`]: no such LV, one that may not be extended, a size that is not larger, or no room.
pub fn plan(vg: &Vg, extension: &Extension, situation: Situation) -> Result<Extended, Refusal> {
    let links = vg.snapshots();
    let lv = extensible(vg, &links, &extension.lv, situation)?;
    let space = Space::of(vg, &extension.pvs)?;
    let mut notices = Vec::new();
    let old = lv.extent_count();
    let wanted = wanted_extents(vg, &links, lv, &space, extension.amount, &mut notices)?;
    if wanted == old {
        return Err(Refusal::SizeMatches { new: wanted, old });
    }
    if wanted < old {
        return Err(Refusal::NotLarger { new: wanted, old });
    }
    let new = limited(vg, &links, lv, wanted, &mut notices)?;
    let size = |extents| Units::in_words(vg.extent_size.of(extents));
    let full = format!("{}/{}", vg.name, lv.name);
    let resized = Notice::print(format!("Logical volume {full} successfully resized."));
    let Some(more) = new.checked_sub(old).filter(|more| *more > 0) else {
        let text = format!("Size of logical volume {full} unchanged from {} ({old} extents).", size(old));
        notices.push(Notice::print(text));
        return Ok(Extended { vg: vg.clone(), changed: false, notices, done: vec![resized] });
    };
    let segments = behind(vg, &space, (lv, extension.policy), more)?;
    let mut after = vg.clone();
    if let Some(grown) = after.lv_mut(&extension.lv) {
        for segment in segments {
            push_joined(&mut grown.segments, segment);
        }
    }
    merge_view::settle(&mut after);
    let text = format!(
        "Size of logical volume {full} changed from {} ({old} extents) to {} ({new} extents).",
        size(old),
        size(new)
    );
    Ok(Extended { vg: after, changed: true, notices, done: vec![Notice::print(text), resized] })
}

/// The LV, where its size may be changed.
pub(crate) fn extensible<'v>(
    vg: &'v Vg,
    links: &SnapshotLinks<'v>,
    name: &LvName,
    situation: Situation,
) -> Result<&'v Lv, Refusal> {
    let (vg_name, lv_name) = (vg.name.clone(), name.clone());
    let lv =
        vg.lv(name).ok_or_else(|| Refusal::ResizeNotFound { vg: vg_name.clone(), lv: lv_name.clone() })?;
    if !links.is_visible(lv) {
        return Err(Refusal::ResizeInternal { vg: vg_name, lv: lv_name });
    }
    if lv.status.contains(&LvStatus::Locked) || lv.status.contains(&LvStatus::Pvmove) {
        return Err(Refusal::ResizeLocked { vg: vg_name, lv: lv_name });
    }
    if links.is_origin(name) && situation.active && situation.as_lvm2 {
        return Err(Refusal::ResizeActiveOrigin);
    }
    if let Some(type_text) = not_understood(lv) {
        return Err(Refusal::NotUnderstood { vg: vg_name, lv: lv_name, type_text });
    }
    let plain = |segment: &Segment| matches!(segment.kind, SegmentKind::Striped(_));
    if let Some(segment) = lv.segments.iter().find(|segment| !plain(segment)) {
        return Err(Refusal::NotUnderstood { vg: vg_name, lv: lv_name, type_text: segment.type_text() });
    }
    if vg.is_partial(lv) {
        return Err(Refusal::Partial { vg: vg_name, lv: lv_name });
    }
    // A merge writes whole chunks: behind an old end in the middle of one it would write what nobody ever wrote.
    if let Some(merging) = links.merging_into(name) {
        let end = vg.extent_size.of(lv.extent_count());
        if !merging.segment.chunk_size.offset_in_chunk(end).is_zero() {
            return Err(Refusal::ResizeMerging { vg: vg_name, lv: lv_name });
        }
    }
    Ok(lv)
}

/// How many extents the LV is to have, before a store is cut.
fn wanted_extents(
    vg: &Vg,
    links: &SnapshotLinks<'_>,
    lv: &Lv,
    space: &Space,
    amount: Amount,
    notices: &mut Vec<Notice>,
) -> Result<u32, Refusal> {
    let (request, base) = match amount {
        Amount::By(request) => (request, lv.extent_count()),
        Amount::To(request) => (request, 0),
    };
    let extents = extents_of(vg, links, lv, space, (request, true), notices)?;
    extents.checked_add(base).ok_or(Refusal::TooLarge)
}

/// How many extents a request means, a percentage rounded `up` or down.
pub(crate) fn extents_of(
    vg: &Vg,
    links: &SnapshotLinks<'_>,
    lv: &Lv,
    space: &Space,
    (request, up): (SizeRequest, bool),
    notices: &mut Vec<Notice>,
) -> Result<u32, Refusal> {
    let extents = match request {
        SizeRequest::Sectors(Sectors::ZERO) => return Err(Refusal::Zero("size")),
        SizeRequest::Extents(0) => return Err(Refusal::Zero("extents")),
        SizeRequest::Extents(extents) => u64::from(extents),
        SizeRequest::Sectors(sectors) => {
            let extents = in_extents(vg, sectors)?;
            let whole = vg.extent_size.of(extents);
            if whole != sectors {
                let text = format!(
                    "Rounding size to boundary between physical extents: {}.",
                    Units::in_words(whole)
                );
                notices.push(Notice::print(text));
            }
            u64::from(extents)
        }
        SizeRequest::Percent(percent, of) => {
            let whole = match of {
                PercentOf::Lv => lv.extent_count(),
                PercentOf::Origin => {
                    let snapshot = links.of_cow(&lv.name).ok_or(Refusal::NoOrigin)?;
                    links.lv(&snapshot.segment.origin).map_or(0, Lv::extent_count)
                }
                PercentOf::Vg => vg.pvs.iter().fold(0, |sum: u32, pv| sum.saturating_add(pv.pe_count)),
                PercentOf::Free => space.free,
                PercentOf::Pvs => space.of_pvs(),
            };
            percent_of(percent, whole, up)
        }
    };
    u32::try_from(extents).map_err(|_| Refusal::TooLarge)
}

/// Cuts a store to what it can use, and rounds to whole stripes.
fn limited(
    vg: &Vg,
    links: &SnapshotLinks<'_>,
    lv: &Lv,
    wanted: u32,
    notices: &mut Vec<Notice>,
) -> Result<u32, Refusal> {
    let old = lv.extent_count();
    let layout = last_layout(lv);
    // A stripe's piece may be longer than an extent, since the VG got smaller ones: then no device may end inside a piece.
    let long = vg.extent_size.to_hold(layout.stripe_size).filter(|&each| layout.stripes > 1 && each > 1);
    let width = layout.stripes.checked_mul(long.unwrap_or(1)).ok_or(Refusal::TooLarge)?;
    let whole_stripes = |extents: u32| {
        let more = extents.checked_sub(old)?.checked_next_multiple_of(width)?;
        old.checked_add(more)
    };
    if long.is_some() {
        let size = Units::in_words(layout.stripe_size);
        notices.push(Notice::print(format!("Using stripesize of last segment {size}")));
    }
    if let Some(snapshot) = links.of_cow(&lv.name) {
        let origin = links.lv(&snapshot.segment.origin).map_or(0, Lv::extent_count);
        // The snapshot is as long as the origin was; LVM2 counts with what it is now, and so allows no less.
        let length = vg.extent_size.of(origin);
        let largest = largest_store(length, snapshot.segment.chunk_size)
            .and_then(|largest| vg.extent_size.to_hold(largest))
            .and_then(|largest| whole_stripes(largest.max(old)))
            .ok_or(Refusal::TooLarge)?;
        if wanted > largest {
            let size = Units::in_words(vg.extent_size.of(largest));
            notices.push(Notice::print(format!("Reached maximum COW size {size} ({largest} extents).")));
            return Ok(largest);
        }
    }
    let rounded = whole_stripes(wanted).ok_or(Refusal::TooLarge)?;
    if rounded != wanted {
        notices.push(Notice::print(format!(
            "Rounding size ({wanted} extents) up to stripe boundary size for segment ({rounded} extents)."
        )));
    }
    Ok(rounded)
}

/// An LV goes on as its last segment is.
fn last_layout(lv: &Lv) -> Layout {
    let policy = lv.allocation_policy.as_ref().map(Policy::of);
    match lv.segments.last().map(|segment| &segment.kind) {
        Some(SegmentKind::Striped(striped)) => Layout {
            stripes: u32::try_from(striped.areas.len()).unwrap_or(1).max(1),
            stripe_size: striped.stripe_size.unwrap_or(Layout::DEFAULT_STRIPE_SIZE),
            policy,
        },
        _ => Layout { policy, ..Layout::LINEAR },
    }
}

/// Segments behind the LV's end, of `more` extents.
fn behind(
    vg: &Vg,
    space: &Space,
    (lv, policy): (&Lv, Option<Policy>),
    more: u32,
) -> Result<Vec<Segment>, Refusal> {
    if more > space.free {
        return Err(Refusal::NoSpaceToExtend { needed: more, free: space.free });
    }
    let own = last_layout(lv);
    let layout = Layout { policy: policy.or(own.policy), ..own };
    let segments = space.allocate_behind(vg, lv, more, layout)?;
    let mut start = lv.extent_count();
    let mut placed = Vec::new();
    for mut segment in segments {
        segment.start_extent = start;
        start = segment.end_extent().ok_or(Refusal::TooLarge)?;
        placed.push(segment);
    }
    Ok(placed)
}

/// A segment that goes on where the last one ends, on every stripe, is one with it, as in LVM2.
fn push_joined(segments: &mut Vec<Segment>, next: Segment) {
    if let Some(last) = segments.last_mut()
        && goes_on(last, &next)
        && let Some(extents) = last.extent_count.checked_add(next.extent_count)
    {
        last.extent_count = extents;
        return;
    }
    segments.push(next);
}

fn goes_on(last: &Segment, next: &Segment) -> bool {
    let (SegmentKind::Striped(before), SegmentKind::Striped(after)) = (&last.kind, &next.kind) else {
        return false;
    };
    let plain = last.tags == next.tags && last.other.is_empty() && next.other.is_empty();
    let Some(length) = last.area_extents().filter(|_| plain) else { return false };
    before.stripe_size == after.stripe_size
        && before.areas.len() == after.areas.len()
        && before.areas.iter().zip(&after.areas).all(|(before, after)| {
            before.on == after.on && before.start_extent.checked_add(length) == Some(after.start_extent)
        })
}

#[cfg(test)]
mod tests {
    use super::{Amount, Extended, Extension, Situation, plan};
    use crate::ops::{PercentOf, Refusal, SizeRequest};
    use crate::testing::{lv_name, vg_of, with_snapshots};
    use foldback_lvm2_format::vg::{Area, AreaOn, PvKey, Segment, SegmentKind, Striped, Vg};
    use foldback_units::Sectors;

    fn extend(vg: &Vg, lv: &str, amount: Amount) -> Result<Extended, Refusal> {
        let extension = Extension { lv: lv_name(lv), amount, pvs: Vec::new(), policy: None };
        let planned = plan(vg, &extension, Situation::default())?;
        assert_eq!(foldback_lvm2_format::check::check(&planned.vg), []);
        Ok(planned)
    }

    fn by(extents: u32) -> Amount {
        Amount::By(SizeRequest::Extents(extents))
    }

    fn len(planned: &Extended, lv: &str) -> u32 {
        planned.vg.lv(&lv_name(lv)).unwrap().extent_count()
    }

    fn words(planned: &Extended) -> Vec<&str> {
        planned.notices.iter().chain(&planned.done).map(|notice| notice.text.as_str()).collect()
    }

    /// Two PVs of 63 extents; `root` has the first four extents of one, `other` the next.
    fn two_pvs() -> Vg {
        let mut vg = vg_of(&["root", "other"]);
        vg.pvs[0].pe_count = 63;
        let mut second = vg.pvs[0].clone();
        second.key = PvKey::new("pv1").unwrap();
        second.id = crate::testing::uuid(2);
        vg.pvs.push(second);
        for (lv, start) in [(0, 0), (1, 4)] {
            vg.lvs[lv].segments = vec![Segment::linear(0, 4, vg.pvs[0].key.clone(), start)];
        }
        vg
    }

    fn runs(planned: &Extended, lv: &str) -> Vec<(String, u32, u32)> {
        let lv = planned.vg.lv(&lv_name(lv)).unwrap();
        let run = |segment: &Segment| {
            let SegmentKind::Striped(striped) = &segment.kind else { panic!() };
            let AreaOn::Pv(key) = &striped.areas[0].on else { panic!() };
            (key.to_string(), striped.areas[0].start_extent, segment.extent_count)
        };
        lv.segments.iter().map(run).collect()
    }

    /// The very commands given to LVM2 2.03.16 one after the other, with its words and its layout.
    #[test]
    fn a_linear_lv_grows_as_with_lvm2() {
        let mut vg = two_pvs();
        let percent = |percent, of| Amount::By(SizeRequest::Percent(percent, of));
        let steps = [
            (by(3), "4.00 MiB (4 extents) to 7.00 MiB (7 extents)"),
            (Amount::By(SizeRequest::Sectors(Sectors(3000))), "7.00 MiB (7 extents) to 9.00 MiB (9 extents)"),
            (percent(50, PercentOf::Lv), "9.00 MiB (9 extents) to 14.00 MiB (14 extents)"),
            (percent(10, PercentOf::Free), "14.00 MiB (14 extents) to 25.00 MiB (25 extents)"),
            (percent(10, PercentOf::Vg), "25.00 MiB (25 extents) to 38.00 MiB (38 extents)"),
            (
                Amount::To(SizeRequest::Percent(100, PercentOf::Free)),
                "38.00 MiB (38 extents) to 84.00 MiB (84 extents)",
            ),
        ];
        vg.extent_size = foldback_lvm2_format::vg::ExtentSize::from_sectors(2048).unwrap();
        for (amount, said) in steps {
            let planned = extend(&vg, "root", amount).unwrap();
            let [.., changed, resized] = words(&planned)[..] else { panic!() };
            assert_eq!(changed, format!("Size of logical volume vg/root changed from {said}."));
            assert_eq!(resized, "Logical volume vg/root successfully resized.");
            if let Amount::By(SizeRequest::Sectors(_)) = amount {
                assert_eq!(
                    words(&planned)[0],
                    "Rounding size to boundary between physical extents: 2.00 MiB."
                );
            }
            vg = planned.vg;
        }
        let planned = extend(&vg, "root", by(1)).unwrap();
        let expected = [("pv0", 0, 4), ("pv0", 8, 55), ("pv1", 0, 26)];
        assert_eq!(runs(&planned, "root"), expected.map(|(pv, at, count)| (pv.to_owned(), at, count)));
        let refused = |amount| extend(&vg, "root", amount).unwrap_err().to_string();
        assert_eq!(refused(by(500)), "Insufficient free space: 500 extents needed, but only 38 available");
        assert_eq!(
            refused(Amount::To(SizeRequest::Extents(84))),
            "New size (84 extents) matches existing size (84 extents)."
        );
        assert_eq!(
            refused(Amount::To(SizeRequest::Extents(5))),
            "New size given (5 extents) not larger than existing size (84 extents)"
        );
        assert_eq!(refused(percent(10, PercentOf::Origin)), "Specified LV does not have an origin LV.");
        assert_eq!(extend(&vg, "root", by(0)), Err(Refusal::Zero("extents")));
        assert_eq!(
            extend(&vg, "nope", by(1)).unwrap_err().to_string(),
            "Logical volume nope not found in volume group vg."
        );
    }

    #[test]
    fn what_is_behind_the_end_is_taken_first_and_joined() {
        let vg = two_pvs();
        let planned = extend(&vg, "other", by(10)).unwrap();
        assert_eq!(runs(&planned, "other"), [("pv0".to_owned(), 4, 14)]);
        let planned = extend(&vg, "root", by(10)).unwrap();
        assert_eq!(runs(&planned, "root"), [("pv0".to_owned(), 0, 4), ("pv0".to_owned(), 8, 10)]);
        let extension =
            Extension { lv: lv_name("other"), amount: by(3), pvs: vec![vg.pvs[1].key.clone()], policy: None };
        let planned = plan(&vg, &extension, Situation::default()).unwrap();
        assert_eq!(runs(&planned, "other"), [("pv0".to_owned(), 4, 4), ("pv1".to_owned(), 0, 3)]);
    }

    #[test]
    fn a_striped_lv_grows_by_whole_stripes() {
        let mut vg = two_pvs();
        let area = |pv: usize, start_extent| Area { on: AreaOn::Pv(vg.pvs[pv].key.clone()), start_extent };
        let areas = vec![area(0, 10), area(1, 0)];
        vg.lvs[0].segments[0].kind = SegmentKind::Striped(Striped { stripe_size: Some(Sectors(128)), areas });
        let planned = extend(&vg, "root", by(3)).unwrap();
        assert_eq!(
            words(&planned)[0],
            "Rounding size (7 extents) up to stripe boundary size for segment (8 extents)."
        );
        assert_eq!(len(&planned, "root"), 8);
        assert_eq!(planned.vg.lvs[0].segments.len(), 1, "it goes on on both stripes");
    }

    /// lvm2.md 1.10 and 2.03.16: 4 MiB of origin with chunks of 4 KiB use 1030 chunks: two extents.
    #[test]
    fn a_store_is_cut_to_the_largest_useful_size() {
        let vg = with_snapshots(&["snap"]);
        let planned = extend(&vg, "snap", by(7)).unwrap();
        assert_eq!(
            words(&planned),
            [
                "Reached maximum COW size 8.00 MiB (2 extents).",
                "Size of logical volume vg/snap changed from 4.00 MiB (1 extents) to 8.00 MiB (2 extents).",
                "Logical volume vg/snap successfully resized."
            ]
        );
        // Neither the snapshot's length nor the origin's changes.
        assert_eq!((len(&planned, "snapshot0"), len(&planned, "root")), (1, 1));
        let again = extend(&planned.vg, "snap", by(1)).unwrap();
        assert!(!again.changed);
        assert_eq!(again.vg, planned.vg);
        assert_eq!(words(&again)[1], "Size of logical volume vg/snap unchanged from 8.00 MiB (2 extents).");
        // 100%ORIGIN is the origin's length here, not what a store for all of it needs.
        let whole = Amount::To(SizeRequest::Percent(100, PercentOf::Origin));
        let refused = extend(&planned.vg, "snap", whole).unwrap_err();
        assert_eq!(refused, Refusal::NotLarger { new: 1, old: 2 });
    }

    /// Trap 8, and lvm2.md 3.3.
    #[test]
    fn an_origin_grows_without_its_snapshots_and_under_lvm2s_names_only_inactive() {
        let vg = with_snapshots(&["snap"]);
        let planned = extend(&vg, "root", by(2)).unwrap();
        assert_eq!((len(&planned, "root"), len(&planned, "snapshot0")), (3, 1));
        let extension = Extension { lv: lv_name("root"), amount: by(2), pvs: Vec::new(), policy: None };
        let active = |as_lvm2| plan(&vg, &extension, Situation { active: true, as_lvm2 });
        assert!(active(false).is_ok());
        assert_eq!(
            active(true).unwrap_err().to_string(),
            "Snapshot origin volumes can be resized only while inactive: try lvchange -an."
        );
        let snap = Extension { lv: lv_name("snap"), ..extension };
        assert!(plan(&vg, &snap, Situation { active: true, as_lvm2: true }).is_ok());
    }

    #[test]
    fn what_merges_is_internal_and_its_origin_grows_only_from_a_whole_chunk() {
        let mut vg = crate::testing::merging(&["snap"]);
        assert_eq!(
            extend(&vg, "snap", by(1)).unwrap_err().to_string(),
            "Can't resize internal logical volume vg/snap."
        );
        assert!(extend(&vg, "root", by(1)).is_ok());
        vg.extent_size = foldback_lvm2_format::vg::ExtentSize::from_sectors(4).unwrap();
        assert!(matches!(extend(&vg, "root", by(1)), Err(Refusal::ResizeMerging { .. })));
    }
}
