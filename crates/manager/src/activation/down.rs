//! A group that is only to be taken down: what the kernel has of it, whatever the disks still give.
//!
//! What must hold (lvm2.md 2.1, 2.7):
//! - Removing devices needs no table, so that a group whose PV is gone goes down like any other.
//! - Devices are found by UUID: whoever renames an LV whose devices cannot follow leaves them their names.
//! - What stands on devices that we do not know (thin, raid, an LV over LVs) is not taken apart.

use crate::activation::group::Group;
use crate::activation::tables::{ActivationError, Device};
use crate::store::FoundVg;
use foldback_dm_table::{Info, Table};
use foldback_lvm2_format::vg::{AreaOn, Lv, SegmentKind};
use foldback_units::LvName;

/// The group of the LV `name`, with the names that its devices have among those that are there, and without tables: good for
/// [`super::deactivate`] alone.
///
/// # Errors
/// One of its LVs is of a kind that we do not carry; or there is no such LV.
pub fn to_take_down(found: &FoundVg, name: &LvName, there: &[Info]) -> Result<Group, ActivationError> {
    let mut group = Group::with_tables(found, name, &|lv| is_carried(lv).map(|()| Table::default()))?;
    let rename = |device: &mut Device| {
        if let Some(info) = there.iter().find(|info| info.uuid == device.uuid) {
            device.name = info.name.clone();
        }
    };
    rename(&mut group.origin.top);
    rename(&mut group.origin.real);
    for snapshot in &mut group.snapshots {
        rename(&mut snapshot.top);
        rename(&mut snapshot.cow);
    }
    Ok(group)
}

/// Whether all that an LV stands on are PVs.
fn is_carried(lv: &Lv) -> Result<(), ActivationError> {
    let refuse =
        |type_text: &str| Err(ActivationError::Kind { lv: lv.name.clone(), type_text: type_text.to_owned() });
    for segment in &lv.segments {
        match &segment.kind {
            SegmentKind::Striped(striped) => {
                if !striped.areas.iter().all(|area| matches!(area.on, AreaOn::Pv(_))) {
                    return refuse("striped over logical volumes");
                }
            }
            SegmentKind::Error | SegmentKind::Zero => {}
            SegmentKind::Snapshot(_) | SegmentKind::Unknown { .. } => {
                return refuse(segment.kind.type_text());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::to_take_down;
    use crate::activation::{Group, activate, deactivate};
    use crate::testing::{Bench, lv_name};
    use foldback_dm_table::{DmName, Info, Verb};
    use foldback_lvm2_format::vg::SegmentKind;

    fn bench() -> Bench {
        let mut bench = Bench::with_vg(&[32], 2048);
        bench.lv("root", 4);
        bench.snapshot("root", "snap", 2);
        bench
    }

    /// The devices of a group that is up, the store's under a name that it had before.
    fn there(group: &Group) -> Vec<Info> {
        let made = activate(group).into_iter().filter_map(|verb| match verb {
            Verb::Create { name, uuid, .. } => Some((name, uuid)),
            _ => None,
        });
        let named =
            |name: DmName| if name.0 == "vg-snap-cow" { DmName("vg-old-cow".to_owned()) } else { name };
        let info = |(name, uuid)| Info {
            name: named(name),
            uuid,
            suspended: false,
            live: true,
            inactive: false,
            open_count: 0,
            event: 0,
        };
        made.map(info).collect()
    }

    #[test]
    fn a_group_goes_down_by_the_devices_that_are_there_though_a_pv_is_gone() {
        let mut found = bench().vg();
        let there = there(&Group::of(&found, &lv_name("root")).unwrap());
        found.places.iter_mut().for_each(|place| *place = None);
        assert!(Group::of(&found, &lv_name("snap")).is_err());
        for name in ["root", "snap"] {
            let group = to_take_down(&found, &lv_name(name), &there).unwrap();
            let names: Vec<String> = deactivate(&group).iter().map(|verb| verb.name().0.clone()).collect();
            assert_eq!(names, ["vg-root", "vg-snap", "vg-old-cow", "vg-root-real"]);
        }
    }

    #[test]
    fn what_stands_on_devices_that_we_do_not_know_is_left() {
        let mut found = bench().vg();
        let kind = SegmentKind::Unknown { type_text: "thin".to_owned() };
        found.vg.lv_mut(&lv_name("root")).unwrap().segments[0].kind = kind;
        let told = to_take_down(&found, &lv_name("snap"), &[]).unwrap_err().to_string();
        assert!(told.contains("\"thin\""), "{told}");
    }
}
