//! `lvconvert --merge --namesnapshot`: a merge whose result is the snapshot, by name, UUID and all else
//! (architecture.md, "Merging"). Pure.
//!
//! What must hold:
//! - One change: the two LVs swap all that is theirs as LVs (name, UUID, tags, permissions, number and what we do not know),
//!   but not their extents and not VISIBLE; and an ordinary merge is marked. From then on LVM2 sees a merge that it knows.
//! - Only for the origin's only snapshot, of the origin's size: what else there is of the origin would be of another LV.
//! - The way back is the same swap: [`take_back`] gives the VG as it was.

use crate::ops::merge::{self, Merge};
use crate::ops::merge_view;
use crate::ops::refusal::Refusal;
use foldback_lvm2_format::vg::{LvStatus, SegmentKind, Vg};
use foldback_units::LvName;

/// What was found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keep {
    /// It may be merged so.
    Fresh(Merge),
    /// The LV is the origin of a merge already: the same command goes on with it.
    GoesOn(Merge),
}

/// Whether the snapshot `name` may be merged under its own name.
///
/// # Errors
/// [`Refusal`]: all of [`merge::check`], and what this mode adds. Whether the origin is in use is asked by
/// [`crate::ops::merge_start::decide`].
pub fn check(vg: &Vg, name: &LvName) -> Result<Keep, Refusal> {
    let links = vg.snapshots();
    if let Some(merging) = links.merging_into(name) {
        return merge::check(vg, &merging.segment.cow).map(Keep::GoesOn);
    }
    let merge = merge::check(vg, name)?;
    let (vg_name, lv, origin) = (vg.name.clone(), merge.snapshot.clone(), merge.origin.clone());
    let Some(snapshot) = links.of_cow(name) else { return Err(Refusal::NotMergeable { vg: vg_name, lv }) };
    if snapshot.segment.merging {
        return Err(Refusal::MergesOtherwise { vg: vg_name, lv });
    }
    let other = links.of_origin(&origin).find(|other| other.segment.cow != *name);
    if let Some(other) = other.map(|other| other.segment.cow.clone()) {
        return Err(Refusal::OtherSnapshots { vg: vg_name, lv, origin, other });
    }
    if links.lv(&origin).map(foldback_lvm2_format::vg::Lv::extent_count) != Some(snapshot.extent_count) {
        return Err(Refusal::OtherSize { vg: vg_name, lv, origin });
    }
    if links.lv(name).is_none_or(|store| !store.is_writable()) {
        return Err(Refusal::ReadOnlySnapshot { vg: vg_name, lv });
    }
    // A name that stands elsewhere would name the other LV after the swap.
    let mut users = vg.users_of(name).chain(vg.users_of(&origin));
    if let Some(user) = users.find(|user| user.snapshot().is_none()) {
        return Err(Refusal::KeptIsUsed { vg: vg_name, lv, user: user.name.clone() });
    }
    Ok(Keep::Fresh(merge))
}

/// The VG with names swapped and the merge marked, and the merge as it is called from then on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The VG as it will be.
    pub vg: Box<Vg>,
    /// `origin` bears the snapshot's name and UUID, `snapshot` (the store, which goes when the merge ends) the origin's.
    pub merge: Merge,
}

/// Swaps and marks.
pub fn swap_and_mark(vg: &Vg, merge: &Merge) -> Kept {
    let mut after = vg.clone();
    swap(&mut after, &merge.snapshot, &merge.origin);
    let merge = Merge {
        snapshot: merge.origin.clone(),
        snapshot_id: merge.origin_id,
        origin: merge.snapshot.clone(),
        origin_id: merge.snapshot_id,
    };
    merge_view::set_merging(&mut after, &merge.snapshot, true);
    Kept { vg: Box::new(after), merge }
}

/// The reverse: for a merge started by [`swap_and_mark`] whose devices did not come up. Nothing may have been merged.
/// `merge` is the one in [`Kept`].
pub fn take_back(vg: &Vg, merge: &Merge) -> Box<Vg> {
    let mut after = vg.clone();
    merge_view::set_merging(&mut after, &merge.snapshot, false);
    swap(&mut after, &merge.snapshot, &merge.origin);
    Box::new(after)
}

/// Swaps extents and VISIBLE, which is the same as swapping all the rest; then whatever names one of the two names the
/// other.
fn swap(vg: &mut Vg, one: &LvName, other: &LvName) {
    let find = |name: &LvName| vg.lvs.iter().position(|lv| lv.name == *name);
    let (Some(first), Some(second)) = (find(one), find(other)) else { return };
    let (first, second) = (first.min(second), first.max(second));
    let Some((head, tail)) = vg.lvs.split_at_mut_checked(second) else { return };
    let (Some(a), Some(b)) = (head.get_mut(first), tail.first_mut()) else { return };
    std::mem::swap(&mut a.segments, &mut b.segments);
    let visible = |status: &std::collections::BTreeSet<LvStatus>| status.contains(&LvStatus::Visible);
    let (of_a, of_b) = (visible(&a.status), visible(&b.status));
    a.set_status(LvStatus::Visible, of_b);
    b.set_status(LvStatus::Visible, of_a);
    // The extents keep their place in the VG's order: so the reverse swap gives the very same text.
    std::mem::swap(a, b);
    let exchange = |name: &mut LvName| {
        if *name == *one {
            name.clone_from(other);
        } else if *name == *other {
            name.clone_from(one);
        }
    };
    for segment in vg.lvs.iter_mut().flat_map(|lv| &mut lv.segments) {
        if let SegmentKind::Snapshot(snapshot) = &mut segment.kind {
            exchange(&mut snapshot.origin);
            exchange(&mut snapshot.cow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Keep, check, swap_and_mark, take_back};
    use crate::ops::merge::{self, Finish};
    use crate::ops::{Refusal, lv_create};
    use crate::testing::{TestEnvironment, lv_name, merging, with_snapshots};
    use foldback_lvm2_format::vg::{LvFlag, LvStatus, Vg};
    use foldback_units::TagName;

    fn told_apart() -> Vg {
        let mut vg = with_snapshots(&["snap"]);
        let snap = vg.lv_mut(&lv_name("snap")).unwrap();
        snap.tags = vec![TagName::new("mine").unwrap()];
        snap.set_status(LvStatus::FixedMinor, true);
        (snap.major, snap.minor) = (Some(253), Some(77));
        snap.flags.set(LvFlag::ActivationSkip, true);
        snap.other = vec![foldback_lvm2_format::text::Item::scalar("unknown", "kept")];
        vg
    }

    fn fresh(vg: &Vg) -> merge::Merge {
        let Keep::Fresh(merge) = check(vg, &lv_name("snap")).unwrap() else { panic!() };
        merge
    }

    /// architecture.md: "all LV-level keys are swapped except VISIBLE".
    #[test]
    fn all_that_is_the_lvs_is_swapped_and_no_extent() {
        let vg = told_apart();
        let kept = swap_and_mark(&vg, &fresh(&vg));
        assert_eq!(foldback_lvm2_format::check::check(&kept.vg), []);
        let (old, new) = (|name| vg.lv(&lv_name(name)).unwrap(), |name| kept.vg.lv(&lv_name(name)).unwrap());
        for (name, other) in [("snap", "root"), ("root", "snap")] {
            let mut expected = old(name).clone();
            expected.segments.clone_from(&old(other).segments);
            expected.set_status(LvStatus::Visible, old(other).status.contains(&LvStatus::Visible));
            assert_eq!(*new(name), expected);
        }
        let tie = kept.vg.snapshots();
        let snapshot = tie.merging_into(&lv_name("snap")).unwrap();
        assert_eq!(snapshot.segment.cow, lv_name("root"));
        assert!(!snapshot.fictional.status.contains(&LvStatus::Visible));
        assert_eq!(kept.merge.origin_id, old("snap").id);
        // What is left in the end is the snapshot, with the origin's extents.
        let Finish::Finished(after) = merge::finish(&kept.vg, &kept.merge.snapshot_id) else { panic!() };
        let names: Vec<&str> = after.lvs.iter().map(|lv| lv.name.as_str()).collect();
        assert_eq!(names, ["snap"]);
    }

    #[test]
    fn the_reverse_swap_gives_the_vg_back() {
        let vg = told_apart();
        let kept = swap_and_mark(&vg, &fresh(&vg));
        assert_eq!(*take_back(&kept.vg, &kept.merge), vg);
        assert_eq!(check(&kept.vg, &lv_name("snap")), Ok(Keep::GoesOn(kept.merge)));
    }

    #[test]
    fn only_the_only_snapshot_of_an_origin_of_its_size() {
        let refused = |vg: &Vg| check(vg, &lv_name("snap")).unwrap_err();
        assert!(matches!(refused(&with_snapshots(&["snap", "b"])), Refusal::OtherSnapshots { .. }));
        assert!(matches!(refused(&merging(&["snap"])), Refusal::MergesOtherwise { .. }));
        let mut grown = with_snapshots(&["snap"]);
        grown.lvs[0].segments[0].extent_count = 2;
        assert!(matches!(refused(&grown), Refusal::OtherSize { .. }));
        let mut read_only = with_snapshots(&["snap"]);
        read_only.lv_mut(&lv_name("snap")).unwrap().set_status(LvStatus::Write, false);
        assert!(matches!(refused(&read_only), Refusal::ReadOnlySnapshot { .. }));
        let vg = with_snapshots(&[]);
        assert!(matches!(check(&vg, &lv_name("root")), Err(Refusal::NotMergeable { .. })));
        let new = lv_create::NewLv {
            name: Some(lv_name("top")),
            size: crate::ops::SizeRequest::Extents(1),
            layout: crate::ops::Layout::LINEAR,
            pvs: Vec::new(),
            read_only: false,
            tags: Vec::new(),
        };
        let mut used =
            lv_create::plan(&with_snapshots(&["snap"]), &new, &mut TestEnvironment::new()).unwrap().vg;
        let top = used.lv_mut(&lv_name("top")).unwrap();
        let foldback_lvm2_format::vg::SegmentKind::Striped(striped) = &mut top.segments[0].kind else {
            panic!()
        };
        striped.areas[0].on = foldback_lvm2_format::vg::AreaOn::Lv(lv_name("root"));
        assert!(matches!(refused(&used), Refusal::KeptIsUsed { .. }));
    }
}
