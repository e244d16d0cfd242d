//! Which groups the live tables want, and how far the ones that run are from that.
//!
//! What must hold:
//! - A group is the live `snapshot-origin`, `snapshot` and `snapshot-merge` tables that name the same origin device.
//! - A merge's claim to a store goes before a snapshot's: that is the handover.
//! - A `snapshot` that names a device with a live `snapshot-merge` is one of the merged view, and of that device's group.
//!   Once the device is an origin again it is an ordinary snapshot of it. What a snapshot is of never changes otherwise:
//!   it would show something else from one moment to the next.

use crate::error::DmErrorKind;
use crate::group::{Attached, OriginGroup, geometry_of};
use crate::map::Map;
use crate::mapped::{Lower, whole_target};
use crate::run::UserDm;
use foldback_device::Disks;
use foldback_dm_table::{DeviceRef, Target};
use foldback_engine::SpaceGeometry;
use foldback_units::{ChunkSize, Sectors};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A store as the live tables want it.
#[derive(Debug)]
pub(crate) struct WantedStore {
    pub(crate) map: Rc<Map>,
    pub(crate) geometry: SpaceGeometry,
    pub(crate) len: Sectors,
    pub(crate) chunk: ChunkSize,
    pub(crate) merge: bool,
    /// A snapshot of the merged view.
    pub(crate) view: bool,
}

/// A group as the live tables want it.
#[derive(Debug)]
pub(crate) struct WantedGroup {
    pub(crate) map: Rc<Map>,
    pub(crate) geometry: SpaceGeometry,
    pub(crate) stores: BTreeMap<Lower, WantedStore>,
}

impl<D: Disks> UserDm<D> {
    /// What the live tables want.
    pub(crate) fn wanted(&self) -> Result<BTreeMap<Lower, WantedGroup>, DmErrorKind> {
        let mut groups: BTreeMap<Lower, WantedGroup> = BTreeMap::new();
        for device in self.devices.values() {
            let Some(live) = &device.live else { continue };
            let (origin, snapshot, merge, view) = match whole_target(&live.table) {
                Some(Target::SnapshotOrigin { origin }) => (origin, None, false, false),
                Some(Target::Snapshot(params)) => {
                    let (origin, view) = self.names().base_of(&params.origin);
                    (origin, Some(params), false, view)
                }
                Some(Target::SnapshotMerge(params)) => (&params.origin, Some(params), true, false),
                _ => continue,
            };
            let (origin, map, geometry) = self.space(origin)?;
            let group = groups.entry(origin).or_insert_with(|| WantedGroup {
                map,
                geometry,
                stores: BTreeMap::new(),
            });
            let Some(params) = snapshot else { continue };
            if merge && group.stores.values().any(|store| store.merge) {
                return Err(DmErrorKind::Merging);
            }
            let (cow, map, geometry) = self.space(&params.cow)?;
            let (len, chunk) = (live.table.len(), params.chunk_size);
            let wanted = WantedStore { map, geometry, len, chunk, merge, view };
            // The merge takes the store over from a snapshot that has it still.
            if merge || !group.stores.contains_key(&cow) {
                drop(group.stores.insert(cow, wanted));
            }
        }
        Ok(groups)
    }

    pub(crate) fn space(&self, name: &DeviceRef) -> Result<(Lower, Rc<Map>, SpaceGeometry), DmErrorKind> {
        let names = self.names();
        let lower = names.lower(name).ok_or_else(|| DmErrorKind::NoLower(name.clone()))?;
        let map = names.map_of(lower)?;
        let geometry = geometry_of(&map, |disk| self.disk_geometry(disk));
        Ok((lower, map, geometry))
    }
}

/// Whether the engine has what is wanted, and no more.
pub(crate) fn is_as_wanted(group: &OriginGroup, wanted: &WantedGroup) -> bool {
    let stores_match = group.stores.values().all(|store| {
        wanted.stores.get(&store.cow).is_some_and(|wanted| {
            wanted.merge == store.merging && wanted.view == store.view && is_kept_as(store, wanted)
        })
    });
    group.geometry == wanted.geometry && group.stores.len() == wanted.stores.len() && stores_match
}

/// Whether all snapshots stay what they are of: those of a merged view of that view until the merge has ended, the others
/// of the origin.
pub(crate) fn keeps_bases(group: &OriginGroup, wanted: &WantedGroup) -> bool {
    let finished = group.engine.merge_progress().is_none_or(|progress| progress.finished);
    finished
        || group
            .stores
            .values()
            .filter(|store| !store.merging)
            .all(|store| wanted.stores.get(&store.cow).is_none_or(|wanted| wanted.view == store.view))
}

/// Whether the engine can be changed in place: nothing that merges has to go before its end, come back, or change; and
/// only snapshots of the merged view have to join a merge.
pub(crate) fn can_change(group: &OriginGroup, wanted: &WantedGroup) -> bool {
    let merging = group.merging().map(|(_, store)| store);
    let finished = group.engine.merge_progress().is_some_and(|progress| progress.finished);
    let joins = wanted.stores.iter().any(|(cow, store)| !store.view && group.store_on(*cow).is_none());
    group.geometry == wanted.geometry
        && match merging {
            None => true,
            Some(store) if wanted.stores.contains_key(&store.cow) => is_kept(store, wanted) && !joins,
            Some(_) => finished,
        }
}

/// Whether an attached store stays as it is, perhaps to be merged.
pub(crate) fn is_kept(store: &Attached, wanted: &WantedGroup) -> bool {
    wanted.stores.get(&store.cow).is_some_and(|wanted| is_kept_as(store, wanted))
}

/// A merge keeps the length that its snapshot had: the origin may have grown since (lvm2.md 7, trap 8).
fn is_kept_as(store: &Attached, wanted: &WantedStore) -> bool {
    let same_snapshot = !store.merging && wanted.len == store.len;
    wanted.geometry == store.geometry && (wanted.merge || same_snapshot)
}
