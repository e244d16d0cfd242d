//! LVs that somebody works on without bringing them up: an engine in another process, which claims their lower devices in the
//! kernel.
//!
//! What must hold:
//! - A change of such an LV is refused like one of what is open, before anything is written: the engine reads and writes extents
//!   that the change may free. Others of its VG may change.
//! - Of an LV that has its own device, with a table, that one tells who uses it: what an activation has left that was cut off is
//!   no claim.

use crate::activation::group::Group;
use crate::activation::tables::{Device, Layer};
use crate::store::FoundVg;
use foldback_dm_table::{DmName, Info};
use foldback_lvm2_format::vg::{Lv, Segment, SnapshotSegment, Vg};
use foldback_units::{LvName, LvmUuid};

/// The first LV of which a lower device is open while it is not active, and which `after` does not have as it is; and that
/// device.
pub fn claimed_and_changed(found: &FoundVg, after: &Vg, there: &[Info]) -> Option<(LvName, DmName)> {
    let device = |lv: &Lv, layer| {
        let uuid = Device::of(found, lv, layer).uuid;
        there.iter().find(|info| info.uuid == uuid)
    };
    found.vg.lvs.iter().find_map(|lv| {
        if device(lv, Layer::Top).is_some_and(has_table)
            || known(&found.vg, &lv.name) == known(after, &lv.name)
        {
            return None;
        }
        let lower = [Layer::Real, Layer::Cow].into_iter().filter_map(|layer| device(lv, layer));
        let open = lower.into_iter().find(|info| info.open_count > 0)?;
        Some((lv.name.clone(), open.name.clone()))
    })
}

/// The lower device of a group that an engine in another process has open: none of what users would open has a table that could
/// be the reason.
pub fn claimed(group: &Group, there: &[Info]) -> Option<DmName> {
    let of = |device: &Device| there.iter().find(|info| info.uuid == device.uuid);
    let tops = group.snapshots.iter().map(|snapshot| &snapshot.top).chain([&group.origin.top]);
    if tops.filter_map(of).any(has_table) {
        return None;
    }
    let mut lower =
        group.snapshots.iter().map(|snapshot| &snapshot.cow).chain([&group.origin.real]).filter_map(of);
    lower.find(|info| info.open_count > 0).map(|info| info.name.clone())
}

/// Whether it stands on others, or will. A claim in the place of what users open has no table.
fn has_table(info: &Info) -> bool {
    info.live || info.inactive
}

/// What an engine goes by: which LV it is, where it lies, and the snapshots that it is in.
fn known<'v>(vg: &'v Vg, name: &LvName) -> (Option<(LvmUuid, &'v [Segment])>, Vec<&'v SnapshotSegment>) {
    let lv = vg.lv(name).map(|lv| (lv.id, lv.segments.as_slice()));
    let links: Vec<&SnapshotSegment> = vg.snapshots().all().iter().map(|link| link.segment).collect();
    (lv, links.into_iter().filter(|link| link.cow == *name || link.origin == *name).collect())
}

#[cfg(test)]
mod tests {
    use super::{claimed, claimed_and_changed};
    use crate::activation::{Device, Group, Layer};
    use crate::ops::merge::{Mark, check, mark};
    use crate::store::FoundVg;
    use crate::testing::{Bench, lv_name};
    use foldback_dm_table::Info;
    use foldback_lvm2_format::vg::{LvFlag, Vg};

    fn bench() -> Bench {
        let mut bench = Bench::with_vg(&[32], 2048);
        for name in ["root", "other"] {
            bench.lv(name, 4);
        }
        bench.snapshot("root", "snap", 2);
        bench
    }

    fn device(found: &FoundVg, lv: &str, layer: Layer, open_count: u32) -> Info {
        let Device { name, uuid, .. } = Device::of(found, found.vg.lv(&lv_name(lv)).unwrap(), layer);
        Info { name, uuid, suspended: false, live: true, inactive: false, open_count, event: 0 }
    }

    fn after(found: &FoundVg, change: impl FnOnce(&mut Vg)) -> Vg {
        let mut vg = found.vg.clone();
        change(&mut vg);
        vg
    }

    #[test]
    fn what_an_engine_works_on_does_not_change_and_all_else_does() {
        let found = bench().vg();
        let claims = [device(&found, "root", Layer::Real, 1), device(&found, "snap", Layer::Cow, 1)];
        let refused = |vg: &Vg| claimed_and_changed(&found, vg, &claims).map(|(lv, _)| lv.to_string());
        let gone = after(&found, |vg| vg.lvs.retain(|lv| lv.name.as_str() == "other"));
        assert_eq!(refused(&gone).as_deref(), Some("root"));
        let shorter = after(&found, |vg| vg.lv_mut(&lv_name("snap")).unwrap().segments[0].extent_count = 1);
        assert_eq!(refused(&shorter).as_deref(), Some("snap"));
        let renamed = after(&found, |vg| vg.lv_mut(&lv_name("root")).unwrap().name = lv_name("new"));
        assert_eq!(refused(&renamed).as_deref(), Some("root"));
        let merge = check(&found.vg, &lv_name("snap")).unwrap();
        let Mark::Marked(marked) = mark(&found.vg, &merge) else { panic!("not marked") };
        assert_eq!(refused(&marked).as_deref(), Some("root"));
        let harmless = after(&found, |vg| {
            vg.lvs.retain(|lv| lv.name.as_str() != "other");
            vg.lv_mut(&lv_name("root")).unwrap().flags.set(LvFlag::ActivationSkip, true);
        });
        assert_eq!(refused(&harmless), None);
        let top = Info { live: false, ..device(&found, "root", Layer::Top, 1) };
        let claims = [&claims[..], &[top]].concat();
        let refused = |vg: &Vg| claimed_and_changed(&found, vg, &claims).map(|(lv, _)| lv.to_string());
        assert_eq!(refused(&gone).as_deref(), Some("root"), "the engine keeps the name, too");
        let group = Group::of(&found, &lv_name("snap")).unwrap();
        assert!(claimed(&group, &claims).is_some());
        assert!(claimed(&Group::of(&found, &lv_name("other")).unwrap(), &claims).is_none());
    }

    /// Of what a killed engine has left nobody has anything open; of what is active the device that users open counts.
    #[test]
    fn what_nobody_has_open_and_what_is_active_is_no_claim() {
        let found = bench().vg();
        let gone = after(&found, |vg| vg.lvs.clear());
        let left = [device(&found, "root", Layer::Real, 0), device(&found, "snap", Layer::Cow, 0)];
        assert_eq!(claimed_and_changed(&found, &gone, &left), None);
        let mut active = Vec::new();
        for lv in ["root", "snap"] {
            active.push(device(&found, lv, Layer::Top, 0));
        }
        active.push(device(&found, "root", Layer::Real, 2));
        active.push(device(&found, "snap", Layer::Cow, 1));
        assert_eq!(claimed_and_changed(&found, &gone, &active), None);
        let group = Group::of(&found, &lv_name("root")).unwrap();
        assert_eq!((claimed(&group, &left), claimed(&group, &active)), (None, None));
        // The tables of devices that are not up yet have the lower ones open, too.
        let mut cut_off = active.clone();
        cut_off[0] = Info { live: false, inactive: true, ..cut_off[0].clone() };
        cut_off.remove(1);
        assert_eq!(claimed(&group, &cut_off), None);
    }
}
