//! An origin with its snapshots as devices: bringing all of them up, and taking them down.
//!
//! What must hold (lvm2.md 2.2, 2.5, 2.7, trap 8):
//! - `-real`, `snapshot-origin` and `snapshot-merge` are as long as the origin is now; a snapshot, and the error device in
//!   its place while it merges, as long as its fictional LV.
//! - Every store is live before the origin takes writes: `-real`, then the stores, then snapshots, the origin, and last
//!   the error device of the merging snapshot.
//! - A snapshot of the merged view (one that was taken during the merge) has the origin's own device as its origin, not
//!   `-real`: a merge does not change that view, so only writes of users are copied out to it. It comes up after the
//!   origin, before anybody has opened that.
//! - Down goes the other way round, so that nothing is removed while another table names it.

use crate::activation::tables::{ActivationError, Device, Layer, lv_table};
use crate::store::FoundVg;
use foldback_dm_table::{Persistence, SnapshotParams, Table, Target, Verb};
use foldback_lvm2_format::vg::Lv;
use foldback_units::{ChunkSize, LvName, Sectors};

/// A snapshot of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupSnapshot {
    /// The LV users see, which is the store.
    pub lv: LvName,
    /// What users open.
    pub top: Device,
    /// The store.
    pub cow: Device,
    /// The store's own extents.
    pub cow_table: Table,
    /// Of the store.
    pub chunk_size: ChunkSize,
    /// As long as the fictional LV.
    pub len: Sectors,
    /// Without WRITE.
    pub read_only: bool,
    /// It merges into the origin.
    pub merging: bool,
    /// It was taken while another one merged, and is a snapshot of the merged view.
    pub merged_view: bool,
}

/// The origin of a group, or an LV that stands alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The LV.
    pub lv: LvName,
    /// What users open.
    pub top: Device,
    /// Its own extents below snapshots.
    pub real: Device,
    /// Its own extents.
    pub table: Table,
    /// Without WRITE.
    pub read_only: bool,
}

/// An LV with all that must be active with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The origin.
    pub origin: Origin,
    /// Its snapshots, in the VG's order; none for an LV that stands alone.
    pub snapshots: Vec<GroupSnapshot>,
}

impl Group {
    /// The group to which the LV `name` belongs, be it origin, snapshot or alone.
    pub fn of(found: &FoundVg, name: &LvName) -> Result<Self, ActivationError> {
        Self::with_tables(found, name, &|lv| lv_table(found, lv))
    }

    /// The same, with what `table` says of the extents of each of its LVs.
    pub(super) fn with_tables(
        found: &FoundVg,
        name: &LvName,
        table: &dyn Fn(&Lv) -> Result<Table, ActivationError>,
    ) -> Result<Self, ActivationError> {
        let links = found.vg.snapshots();
        let origin_name = links.of_cow(name).map_or(name, |snapshot| &snapshot.segment.origin);
        if links.is_cow(origin_name) {
            return Err(ActivationError::Stacked { lv: origin_name.clone() });
        }
        let origin = lv(found, origin_name)?;
        let mut snapshots = Vec::new();
        for snapshot in links.of_origin(origin_name) {
            let store = lv(found, &snapshot.segment.cow)?;
            snapshots.push(GroupSnapshot {
                lv: store.name.clone(),
                top: Device::of(found, store, Layer::Top),
                cow: Device::of(found, store, Layer::Cow),
                cow_table: table(store)?,
                chunk_size: snapshot.segment.chunk_size,
                len: found.vg.extent_size.of(snapshot.extent_count),
                read_only: !store.is_writable(),
                merging: snapshot.segment.merging,
                merged_view: snapshot.merge_view,
            });
        }
        let origin = Origin {
            lv: origin.name.clone(),
            top: Device::of(found, origin, Layer::Top),
            real: Device::of(found, origin, Layer::Real),
            table: table(origin)?,
            read_only: !origin.is_writable(),
        };
        Ok(Self { origin, snapshots })
    }

    /// The group as it is live while its merge is marked and has not begun, which the origin's live table tells: the
    /// snapshot is one like others. Every change of such a group but the start of its merge is one between two of these;
    /// else an extended origin, say, would be given the merge's table.
    #[must_use]
    pub fn while_deferred(mut self) -> Self {
        self.snapshots.iter_mut().for_each(|snapshot| snapshot.merging = false);
        self
    }

    /// The group with the devices of `live` for the LVs that both have: what is live keeps its name until it is renamed.
    #[must_use]
    pub(crate) fn called_as(mut self, live: &Self) -> Self {
        self.origin.top = live.origin.top.clone();
        self.origin.real = live.origin.real.clone();
        for snapshot in &mut self.snapshots {
            let known = live.snapshots.iter().find(|known| known.cow.uuid == snapshot.cow.uuid);
            if let Some(known) = known {
                snapshot.top = known.top.clone();
                snapshot.cow = known.cow.clone();
            }
        }
        self
    }

    /// The snapshot that merges.
    pub fn merging(&self) -> Option<&GroupSnapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.merging)
    }

    /// Whether `other` is made of the same LVs on the same extents, whatever their names and permissions are.
    pub fn stands_on_the_same_ground(&self, other: &Self) -> bool {
        let origin = |group: &Self| (group.origin.top.uuid.clone(), group.origin.table.clone());
        let stores = |group: &Self| {
            let mut stores: Vec<_> = group.snapshots.iter().collect();
            stores.sort_by(|a, b| a.cow.uuid.cmp(&b.cow.uuid));
            let ground =
                |store: &&GroupSnapshot| (store.cow.uuid.clone(), store.cow_table.clone(), store.merging);
            stores.iter().map(ground).collect::<Vec<_>>()
        };
        origin(self) == origin(other) && stores(self) == stores(other)
    }

    /// The table of what users open as the origin.
    pub fn origin_table(&self) -> Table {
        if self.snapshots.is_empty() {
            return self.origin.table.clone();
        }
        let target = match self.merging() {
            Some(snapshot) => Target::SnapshotMerge(self.params(snapshot)),
            None => Target::SnapshotOrigin { origin: self.origin.real.device_ref() },
        };
        Table::of(self.origin.table.len(), target)
    }

    /// The table of what users open as the snapshot.
    pub fn snapshot_table(&self, snapshot: &GroupSnapshot) -> Table {
        let target = if snapshot.merging { Target::Error } else { Target::Snapshot(self.params(snapshot)) };
        Table::of(snapshot.len, target)
    }

    /// The table that a snapshot of the merged view has when the merge is over.
    pub(crate) fn table_on_real(&self, view: &GroupSnapshot) -> Table {
        Table::of(view.len, Target::Snapshot(params_on(&self.origin.real, view)))
    }

    fn params(&self, snapshot: &GroupSnapshot) -> SnapshotParams {
        let on_view = self.is_view(snapshot);
        params_on(if on_view { &self.origin.top } else { &self.origin.real }, snapshot)
    }

    /// A merge writes the origin also where users may not.
    pub(crate) fn real_read_only(&self) -> bool {
        self.origin.read_only && self.merging().is_none()
    }

    /// Snapshots that are served.
    pub(crate) fn live_snapshots(&self) -> impl Iterator<Item = &GroupSnapshot> {
        self.snapshots.iter().filter(|snapshot| !snapshot.merging)
    }

    /// Those of them whose origin is `-real`.
    fn plain_snapshots(&self) -> impl Iterator<Item = &GroupSnapshot> {
        self.live_snapshots().filter(|snapshot| !self.is_view(snapshot))
    }

    /// Those whose origin is the merged view.
    pub(crate) fn views(&self) -> impl Iterator<Item = &GroupSnapshot> {
        self.live_snapshots().filter(|snapshot| self.is_view(snapshot))
    }

    pub(crate) fn is_view(&self, snapshot: &GroupSnapshot) -> bool {
        snapshot.merged_view && !snapshot.merging && self.merging().is_some()
    }

    /// Refuses a group that the kernel must not be given: it would leave snapshots of the merged view out, and let writes
    /// spoil them (architecture.md, "Merging").
    pub fn check_kernel(&self) -> Result<(), ActivationError> {
        let refuse = |_| Err(ActivationError::MergedView { lv: self.origin.lv.clone() });
        self.snapshots.iter().find(|snapshot| snapshot.merged_view).map_or(Ok(()), refuse)
    }
}

fn params_on(origin: &Device, snapshot: &GroupSnapshot) -> SnapshotParams {
    SnapshotParams {
        origin: origin.device_ref(),
        cow: snapshot.cow.device_ref(),
        persistence: Persistence::Persistent,
        chunk_size: snapshot.chunk_size,
    }
}

fn lv<'f>(found: &'f FoundVg, name: &LvName) -> Result<&'f Lv, ActivationError> {
    let missing = || ActivationError::NotFound { vg: found.vg.name.to_string(), lv: name.clone() };
    found.vg.lv(name).ok_or_else(missing)
}

pub(crate) fn create(device: &Device) -> Verb {
    Verb::Create { name: device.name.clone(), uuid: device.uuid.clone(), minor: device.minor }
}

pub(crate) fn load(device: &Device, table: Table, read_only: bool) -> Verb {
    Verb::Load { name: device.name.clone(), table, read_only }
}

pub(crate) fn resume(device: &Device) -> Verb {
    Verb::Resume { name: device.name.clone() }
}

pub(crate) fn remove(device: &Device) -> Verb {
    Verb::Remove { name: device.name.clone() }
}

fn up(verbs: &mut Vec<Verb>, device: &Device, table: Table, read_only: bool) {
    verbs.extend([create(device), load(device, table, read_only), resume(device)]);
}

/// The verbs that bring a group up of which no device exists.
pub fn activate(group: &Group) -> Vec<Verb> {
    let mut verbs = Vec::new();
    if group.snapshots.is_empty() {
        up(&mut verbs, &group.origin.top, group.origin.table.clone(), group.origin.read_only);
        return verbs;
    }
    up(&mut verbs, &group.origin.real, group.origin.table.clone(), group.real_read_only());
    for snapshot in &group.snapshots {
        // A store takes copies also where users may not write the snapshot.
        up(&mut verbs, &snapshot.cow, snapshot.cow_table.clone(), false);
    }
    for snapshot in group.plain_snapshots() {
        up(&mut verbs, &snapshot.top, group.snapshot_table(snapshot), snapshot.read_only);
    }
    up(&mut verbs, &group.origin.top, group.origin_table(), group.origin.read_only);
    for snapshot in group.views() {
        up(&mut verbs, &snapshot.top, group.snapshot_table(snapshot), snapshot.read_only);
    }
    if let Some(snapshot) = group.merging() {
        up(&mut verbs, &snapshot.top, group.snapshot_table(snapshot), snapshot.read_only);
    }
    verbs
}

/// The verbs that take a group down: the origin first, since what writes it (a running merge above all) needs every
/// snapshot there to copy out to (R3). Snapshots of the merged view stand on the origin, and a merge copies nothing out to
/// them: they go before it.
pub fn deactivate(group: &Group) -> Vec<Verb> {
    let mut verbs: Vec<Verb> = group.views().map(|snapshot| remove(&snapshot.top)).collect();
    verbs.push(remove(&group.origin.top));
    let others = group.snapshots.iter().filter(|snapshot| !group.is_view(snapshot));
    verbs.extend(others.map(|snapshot| remove(&snapshot.top)));
    verbs.extend(group.snapshots.iter().map(|snapshot| remove(&snapshot.cow)));
    if !group.snapshots.is_empty() {
        verbs.push(remove(&group.origin.real));
    }
    verbs
}

/// The device through which the LV `name` is read and written.
pub fn device_of<'g>(group: &'g Group, name: &LvName) -> Option<&'g Device> {
    if group.origin.lv == *name {
        return Some(&group.origin.top);
    }
    group.snapshots.iter().find(|snapshot| snapshot.lv == *name).map(|snapshot| &snapshot.top)
}
