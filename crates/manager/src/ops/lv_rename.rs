//! `lvrename`: another name for an LV, also for an origin or a snapshot. Pure.
//!
//! What must hold (lvm2.md 3.1, 3.3; compared with 2.03.16):
//! - Whatever names the LV names it by its new name afterwards: fictional LVs, and LVs that are made of it.
//! - Hidden LVs are not renamed; a snapshot that merges is one. Its origin may be renamed. The hidden origin of a sparse volume bears
//!   that one's name, and follows it.

use crate::ops::names;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use crate::ops::sparse::origin_name;
use foldback_lvm2_format::vg::{AreaOn, LvStatus, SegmentKind, Vg};
use foldback_units::LvName;

/// A planned renaming.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Renamed {
    /// The VG as it will be.
    pub vg: Vg,
    /// The new name.
    pub lv: LvName,
    /// What to say when it is done.
    pub done: Vec<Notice>,
}

/// Plans the renaming of `lv` to `new`, as a user wrote it.
///
/// # Errors
/// [`Refusal`]: the names, in the order of LVM2's checks; then an LV that may not be renamed.
pub fn plan(vg: &Vg, lv: &LvName, new: &str) -> Result<Renamed, Refusal> {
    let new = names::user_lv_name(new)?;
    if *lv == new {
        return Err(Refusal::SameName);
    }
    let links = vg.snapshots();
    let found = vg.lv(lv).ok_or_else(|| Refusal::RenameNotFound { vg: vg.name.clone(), lv: lv.clone() })?;
    names::check_free(vg, &new)?;
    if !links.is_visible(found) {
        return Err(Refusal::RenameInternal(lv.clone()));
    }
    if found.status.contains(&LvStatus::Locked) || found.status.contains(&LvStatus::Pvmove) {
        return Err(Refusal::RenameLocked(lv.clone()));
    }
    // Hidden LVs bear the names of those that they belong to, and what is not understood cannot be changed.
    for part in std::iter::once(found).chain(vg.users_of(lv)) {
        if let Some(type_text) = crate::ops::snapshot_create::not_understood(part) {
            return Err(Refusal::NotUnderstood { vg: vg.name.clone(), lv: part.name.clone(), type_text });
        }
    }
    let mut after = vg.clone();
    rename(&mut after, lv, &new);
    let hidden = origin_name(lv).filter(|hidden| {
        links.of_cow(lv).is_some_and(|snapshot| snapshot.segment.origin == *hidden)
            && vg.lv(hidden).is_some_and(|hidden| !hidden.status.contains(&LvStatus::Visible))
    });
    if let Some(hidden) = hidden {
        let too_long = || Refusal::DeviceNameTooLong { vg: vg.name.clone(), lv: new.clone() };
        let follows = origin_name(&new).ok_or_else(too_long)?;
        names::check_free(vg, &follows)?;
        rename(&mut after, &hidden, &follows);
    }
    let text = format!("Renamed \"{lv}\" to \"{new}\" in volume group \"{}\"", vg.name);
    Ok(Renamed { vg: after, lv: new, done: vec![Notice::print(text)] })
}

fn rename(vg: &mut Vg, old: &LvName, new: &LvName) {
    let put = |name: &mut LvName| {
        if *name == *old {
            name.clone_from(new);
        }
    };
    for lv in &mut vg.lvs {
        put(&mut lv.name);
        for segment in &mut lv.segments {
            match &mut segment.kind {
                SegmentKind::Snapshot(snapshot) => {
                    put(&mut snapshot.origin);
                    put(&mut snapshot.cow);
                }
                SegmentKind::Striped(striped) => {
                    for area in &mut striped.areas {
                        if let AreaOn::Lv(name) = &mut area.on {
                            put(name);
                        }
                    }
                }
                SegmentKind::Error | SegmentKind::Zero | SegmentKind::Unknown { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::ops::Refusal;
    use crate::testing::{lv_name, merging, with_snapshots};
    use foldback_lvm2_format::vg::LvStatus;

    #[test]
    fn whoever_names_the_lv_names_it_by_its_new_name() {
        let vg = with_snapshots(&["a", "b"]);
        let renamed = plan(&vg, &lv_name("root"), "new").unwrap();
        assert_eq!(renamed.done[0].text, "Renamed \"root\" to \"new\" in volume group \"vg\"");
        assert_eq!(foldback_lvm2_format::check::check(&renamed.vg), []);
        assert_eq!(renamed.vg.snapshots().of_origin(&lv_name("new")).count(), 2);
        let renamed = plan(&renamed.vg, &lv_name("a"), "c").unwrap();
        assert_eq!(foldback_lvm2_format::check::check(&renamed.vg), []);
        assert!(renamed.vg.snapshots().is_cow(&lv_name("c")));
    }

    #[test]
    fn the_hidden_origin_of_a_sparse_volume_follows_it() {
        let mut vg = with_snapshots(&["a"]);
        super::rename(&mut vg, &lv_name("root"), &lv_name("a_vorigin"));
        let visible = plan(&vg, &lv_name("a"), "b").unwrap().vg;
        assert!(visible.lv(&lv_name("a_vorigin")).is_some(), "one that users see is no such origin");
        vg.lv_mut(&lv_name("a_vorigin")).unwrap().set_status(LvStatus::Visible, false);
        let renamed = plan(&vg, &lv_name("a"), "b").unwrap().vg;
        assert_eq!(foldback_lvm2_format::check::check(&renamed), []);
        assert_eq!(renamed.snapshots().of_cow(&lv_name("b")).unwrap().segment.origin, lv_name("b_vorigin"));
        vg.lvs.push(foldback_lvm2_format::vg::Lv { name: lv_name("b_vorigin"), ..vg.lvs[0].clone() });
        assert!(matches!(plan(&vg, &lv_name("a"), "b"), Err(Refusal::LvExists { .. })));
    }

    /// Said by 2.03.16.
    #[test]
    fn names_are_refused_in_lvm2s_words() {
        let vg = merging(&["snap", "other"]);
        let refused = |from: &str, to: &str| plan(&vg, &lv_name(from), to).unwrap_err().to_string();
        assert_eq!(refused("snap", "x"), "Cannot rename internal LV \"snap\".");
        assert_eq!(refused("snapshot0", "x"), "Cannot rename internal LV \"snapshot0\".");
        assert_eq!(refused("root", "root"), "Old and new logical volume names must differ");
        assert_eq!(
            refused("root", "other"),
            "Logical Volume \"other\" already exists in volume group \"vg\""
        );
        assert_eq!(refused("nope", "x"), "Existing logical volume \"nope\" not found in volume group \"vg\"");
        assert_eq!(
            refused("root", "snapshot7"),
            "Names starting \"snapshot\" are reserved. Please choose a different LV name."
        );
        assert!(Refusal::SameName.is_usage());
        // The origin of a merge, and its other snapshots, may be renamed.
        assert!(plan(&vg, &lv_name("root"), "x").is_ok() && plan(&vg, &lv_name("other"), "x").is_ok());
    }
}
