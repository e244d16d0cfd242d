//! Snapshots that are taken while another one merges: the flag that keeps LVM2 and the kernel away
//! (architecture.md, "Merging"). Pure.
//!
//! What must hold:
//! - The flag is on the fictional LV of each such snapshot, and on every segment of their origin, as long as the merge lasts
//!   and one of them is there; the change that ends either takes it away.
//! - Without the merge such a snapshot is one of the origin: the merged view and the origin are the same then.

use foldback_lvm2_format::vg::{LvStatus, SegmentKind, Vg};
use foldback_units::LvName;
use std::collections::BTreeSet;

/// Puts the flag where it has to be, and takes it away everywhere else: to be called at the end of every change.
pub(crate) fn settle(vg: &mut Vg) {
    let links = vg.snapshots();
    let views = links.all().iter().filter(|snapshot| snapshot.merge_view);
    let lasting = views.filter(|view| links.merging_into(&view.segment.origin).is_some());
    let mut flagged: BTreeSet<LvName> = BTreeSet::new();
    for view in lasting {
        flagged.insert(view.fictional.name.clone());
        flagged.insert(view.segment.origin.clone());
    }
    for lv in &mut vg.lvs {
        let on = flagged.contains(&lv.name);
        lv.segments.iter_mut().for_each(|segment| segment.merge_view = on);
    }
}

/// Snapshots of the merged view of `origin`, by the names that users see.
pub(crate) fn views_of(vg: &Vg, origin: &LvName) -> Vec<LvName> {
    let links = vg.snapshots();
    let views = links.of_origin(origin).filter(|snapshot| snapshot.merge_view);
    views.map(|view| view.segment.cow.clone()).collect()
}

/// Turns `merging_store` into `cow_store` and back, with VISIBLE where lvm2.md 1.9 wants it. Whether anything changed.
pub(crate) fn set_merging(vg: &mut Vg, store: &LvName, merging: bool) -> bool {
    let mut changed = false;
    for lv in &mut vg.lvs {
        let mut here = false;
        for segment in &mut lv.segments {
            if let SegmentKind::Snapshot(snapshot) = &mut segment.kind
                && snapshot.cow == *store
                && snapshot.merging != merging
            {
                snapshot.merging = merging;
                here = true;
            }
        }
        if here {
            lv.set_status(LvStatus::Visible, !merging);
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use crate::ops::extend::{self, Amount, Extension, Situation};
    use crate::ops::merge::{self, Begun, Finish};
    use crate::ops::snapshot_create::{self, WhileMerging};
    use crate::ops::{Refusal, SizeRequest, lv_remove};
    use crate::testing::{TestEnvironment, lv_name, merging, new_snapshot};
    use foldback_lvm2_format::check::check;
    use foldback_lvm2_format::vg::Vg;

    fn taken(vg: &Vg, names: &[&str], merging: WhileMerging) -> Vg {
        let new: Vec<_> = names.iter().map(|name| new_snapshot("root", name, 1)).collect();
        let mut environment = TestEnvironment::new();
        let mut vg = snapshot_create::plan_several(vg, &new, merging, &mut environment).unwrap().vg;
        vg.lvs.iter_mut().enumerate().for_each(|(index, lv)| lv.id = crate::testing::uuid(index as u8));
        assert_eq!(check(&vg), []);
        vg
    }

    fn flagged(vg: &Vg) -> Vec<&str> {
        vg.lvs.iter().filter(|lv| lv.has_merge_view()).map(|lv| lv.name.as_str()).collect()
    }

    fn views() -> Vg {
        taken(&merging(&["m", "old"]), &["v", "w"], WhileMerging::Running)
    }

    /// architecture.md, "Merging".
    #[test]
    fn the_flag_is_on_snapshots_taken_while_a_merge_runs_and_on_their_origin() {
        assert_eq!(flagged(&views()), ["root", "snapshot2", "snapshot3"]);
        // A merge that has not begun copies out to a snapshot as to any other.
        assert!(flagged(&taken(&merging(&["m"]), &["v"], WhileMerging::Pending)).is_empty());
        // With a view there it has begun.
        assert_eq!(flagged(&taken(&views(), &["x"], WhileMerging::Pending)).len(), 4);
        let refused =
            snapshot_create::plan(&views(), &new_snapshot("root", "x", 1), &mut TestEnvironment::new());
        assert!(matches!(refused, Err(Refusal::SnapshotOf(_))));
        assert!(matches!(
            merge::cancel(&views(), &lv_name("m"), Begun::No),
            Err(Refusal::MayHaveBegun { .. })
        ));
    }

    #[test]
    fn the_end_of_the_merge_takes_the_flag_away_in_the_same_change() {
        let vg = views();
        let id = vg.lv(&lv_name("m")).unwrap().id;
        let Finish::Finished(after) = merge::finish(&vg, &id) else { panic!() };
        assert!(flagged(&after).is_empty());
        assert_eq!(check(&after), []);
    }

    #[test]
    fn the_last_such_snapshot_takes_the_flag_along() {
        let vg = lv_remove::plan(&views(), &lv_name("v")).unwrap().vg;
        assert_eq!(flagged(&vg), ["root", "snapshot3"]);
        let vg = lv_remove::plan(&vg, &lv_name("w")).unwrap().vg;
        assert!(flagged(&vg).is_empty());
        assert_eq!(check(&vg), []);
    }

    #[test]
    fn what_such_a_snapshot_is_of_is_not_taken_from_under_it() {
        let refused = lv_remove::plan(&views(), &lv_name("m")).unwrap_err();
        assert!(matches!(refused, Refusal::NeededByView { .. }), "{refused}");
        let all = [lv_name("v"), lv_name("w"), lv_name("m")];
        assert!(lv_remove::plan_several(&views(), &all, &|_| false).is_ok());
        assert!(lv_remove::plan(&views(), &lv_name("root")).unwrap().vg.lvs.is_empty());
        let is_active = |lv: &foldback_units::LvName| *lv == lv_name("root");
        // lvm2.md 3.3: one that cannot end goes beside its active origin.
        let uses = lv_remove::Uses { is_active: &is_active, cannot_merge: &|lv| *lv == lv_name("m") };
        let lost = lv_remove::plan_beside(&merging(&["m"]), &[lv_name("m")], uses).unwrap();
        assert_eq!(lost.removed, [lv_name("m")]);
        let active = lv_remove::plan_several(&merging(&["m"]), &[lv_name("m")], &is_active);
        assert_eq!(active.unwrap_err().to_string(), "Can't remove merging snapshot logical volume vg/m.");
    }

    #[test]
    fn new_extents_of_the_origin_carry_it_too() {
        let amount = Amount::By(SizeRequest::Extents(3));
        let wish = Extension { lv: lv_name("root"), amount, pvs: Vec::new(), policy: None };
        let after = extend::plan(&views(), &wish, Situation::default()).unwrap().vg;
        assert!(after.lvs[0].segments.len() > 1);
        assert_eq!(check(&after), []);
    }
}
