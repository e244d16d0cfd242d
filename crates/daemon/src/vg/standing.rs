//! Whether live volumes still stand on what the metadata says.
//!
//! What must hold:
//! - One that does not takes its origin group along: the group's engine writes to every store of it, and to extents that
//!   may be somebody else's by now.
//! - Groups whose extents are what they were are not touched by what happened to others.

use super::reading::Why;
use super::status::lv_of;
use foldback_dm_table::{DeviceRef, DmName, Table, Target};
use foldback_manager::activation::{ActivationError, Group};
use foldback_manager::store::FoundVg;
use foldback_units::LvmUuid;
use std::collections::{BTreeMap, BTreeSet};

/// Live tables by their devices' UUIDs.
pub(super) type Live = BTreeMap<String, (DmName, Table)>;

/// The devices that users open and that must be held, with the reason.
pub(super) fn astray(vg: &LvmUuid, found: &FoundVg, live: &Live) -> BTreeMap<DmName, Why> {
    let mut bad: BTreeMap<DeviceRef, String> = BTreeMap::new();
    for (id, name, table) in tops(vg, live) {
        if let Err(why) = stands(found, &id, live) {
            bad.entry(origin_of(name, table, live)).or_insert(why);
        }
    }
    let held = |(_, name, table): (LvmUuid, &DmName, &Table)| {
        bad.get(&origin_of(name, table, live)).map(|why| (name.clone(), Why::Changed(why.clone())))
    };
    tops(vg, live).filter_map(held).collect()
}

/// All devices that users open, to be held for one reason.
pub(super) fn all(vg: &LvmUuid, live: &Live, why: &Why) -> BTreeMap<DmName, Why> {
    tops(vg, live).map(|(_, name, _)| (name.clone(), why.clone())).collect()
}

fn tops<'l>(
    vg: &LvmUuid,
    live: &'l Live,
) -> impl Iterator<Item = (LvmUuid, &'l DmName, &'l Table)> + use<'l> {
    let prefix = vg.compact();
    live.iter().filter_map(move |(uuid, (name, table))| Some((lv_of(&prefix, uuid)?, name, table)))
}

/// The device on which a group's origin lies; an LV alone is its own.
fn origin_of(name: &DmName, table: &Table, live: &Live) -> DeviceRef {
    let named = table.lines.first().and_then(|line| match &line.target {
        Target::SnapshotOrigin { origin } => Some(origin),
        Target::Snapshot(params) | Target::SnapshotMerge(params) => Some(&params.origin),
        _ => None,
    });
    let Some(origin) = named else { return DeviceRef(name.0.clone()) };
    // A snapshot of a merged view names the device that merges, which names the origin.
    let through = live.values().find(|(other, _)| other.0 == origin.0).and_then(|(_, table)| {
        table.lines.first().and_then(|line| match &line.target {
            Target::SnapshotMerge(params) => Some(params.origin.clone()),
            _ => None,
        })
    });
    through.unwrap_or_else(|| origin.clone())
}

/// A live origin group, found from its tables: the metadata may know nothing of it any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LiveGroup {
    /// What users open.
    pub(super) tops: Vec<DmName>,
    /// What the tops stand on, and what stands in for a snapshot that merges, in the order in which they can be removed.
    pub(super) lower: Vec<DmName>,
}

/// The group of a device that users open.
pub(super) fn group_of(vg: &LvmUuid, device: &DmName, live: &Live) -> LiveGroup {
    let prefix = vg.compact();
    let all = live.iter().filter(|(uuid, _)| lv_of(&prefix, uuid).is_some()).map(|(_, found)| found);
    let origin =
        live.values().find(|(name, _)| name == device).map(|(name, table)| origin_of(name, table, live));
    let of_it = all.filter(|(name, table)| Some(origin_of(name, table, live)) == origin);
    let mut tops: Vec<(DmName, Table)> = of_it.cloned().collect();
    let named: BTreeSet<DeviceRef> =
        tops.iter_mut().flat_map(|(_, table)| table.devices_mut().map(|named| named.clone())).collect();
    let is_top = |name: &DmName| tops.iter().any(|(top, _)| top == name);
    let (mut stand_ins, mut stores, mut reals) = (Vec::new(), Vec::new(), Vec::new());
    for (uuid, (name, _)) in live.iter().filter(|(_, (name, _))| named.iter().any(|named| named.0 == name.0))
    {
        match uuid.strip_suffix("-cow") {
            Some(top) => {
                let stand_in = live.get(top).map(|(name, _)| name).filter(|name| !is_top(name));
                stand_ins.extend(stand_in.cloned());
                stores.push(name.clone());
            }
            None if !is_top(name) => reals.push(name.clone()),
            None => {}
        }
    }
    let lower = [stand_ins, stores, reals].concat();
    LiveGroup { tops: tops.into_iter().map(|(name, _)| name).collect(), lower }
}

/// Whether the extents of an LV's whole group are what is live.
fn stands(found: &FoundVg, id: &LvmUuid, live: &Live) -> Result<(), String> {
    let vg = &found.vg.name;
    let gone = || format!("a logical volume that is served ({id}) is gone from the metadata");
    let lv = found.vg.lvs.iter().find(|lv| lv.id == *id).ok_or_else(gone)?;
    let group = Group::of(found, &lv.name).map_err(|error| match error {
        ActivationError::Missing { lv, pv } => format!("PV {pv}, on which {vg}/{lv} lies, is missing"),
        other => other.to_string(),
    })?;
    let of = |uuid: &String| live.get(uuid).map(|(_, table)| table);
    let ground = if group.snapshots.is_empty() { &group.origin.top } else { &group.origin.real };
    if of(&ground.uuid) != Some(&group.origin.table) {
        return Err(format!("the extents of {vg}/{} are not what is served", group.origin.lv));
    }
    let moved = group.snapshots.iter().find(|snapshot| of(&snapshot.cow.uuid) != Some(&snapshot.cow_table));
    match moved {
        Some(snapshot) => Err(format!("the extents of {vg}/{} are not what is served", snapshot.lv)),
        None => Ok(()),
    }
}
