//! `lvconvert --splitsnapshot`: a snapshot's store becomes an LV of its own, with what is in it. Pure.
//!
//! What must hold (lvm2.md 3.1): only the tie goes; a merging snapshot, or one of the merged view, keeps it.

use crate::ops::lv_create::Planned;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use foldback_lvm2_format::vg::{LvStatus, Vg};
use foldback_units::LvName;

/// Plans the change.
///
/// # Errors
/// [`Refusal`]: no such LV, no snapshot, or one whose merge needs it.
pub fn plan(vg: &Vg, name: &LvName) -> Result<Planned, Refusal> {
    let named = || (vg.name.clone(), name.clone());
    let links = vg.snapshots();
    let lv = vg.lv(name).filter(|lv| lv.snapshot().is_none());
    let lv = lv.ok_or_else(|| Refusal::LvNotFound { vg: vg.name.clone(), lv: name.clone() })?;
    let Some(snapshot) = links.of_cow(name) else {
        let kind = lv.segments.first().map_or_else(String::new, |segment| match segment.areas().count() {
            1 => "linear".to_owned(),
            _ => segment.type_text(),
        });
        let (vg, lv) = named();
        return Err(Refusal::WrongKind { vg, lv, kind });
    };
    if snapshot.segment.merging {
        let (vg, lv) = named();
        return Err(Refusal::WrongProperty { vg, lv, property: "lv_is_merging_cow" });
    }
    if snapshot.merge_view {
        let (vg, lv) = named();
        return Err(Refusal::WrongProperty { vg, lv, property: "lv_is_cow_of_merging_origin" });
    }
    let fictional = snapshot.fictional.name.clone();
    let mut after = vg.clone();
    after.lvs.retain(|lv| lv.name != fictional);
    if let Some(store) = after.lv_mut(name) {
        store.set_status(LvStatus::Visible, true);
    }
    let done = vec![Notice::print(format!("Logical Volume {}/{name} split from its origin.", vg.name))];
    Ok(Planned { vg: after, lv: name.clone(), notices: Vec::new(), done })
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::ops::Refusal;
    use crate::testing::{lv_name, merging, with_snapshots};

    #[test]
    fn only_a_snapshot_at_rest_is_split() {
        let vg = with_snapshots(&["snap"]);
        let error = plan(&vg, &lv_name("root")).unwrap_err().to_string();
        assert!(error.starts_with("Command on LV vg/root does not accept LV type linear."), "{error}");
        assert!(matches!(plan(&vg, &lv_name("snapshot0")), Err(Refusal::LvNotFound { .. })));
        assert!(matches!(plan(&merging(&["snap"]), &lv_name("snap")), Err(Refusal::WrongProperty { .. })));
        assert_eq!(plan(&vg, &lv_name("snap")).unwrap().vg.lvs.len(), vg.lvs.len() - 1);
    }
}
