//! Which LVs are origins, stores and fictional LVs, and who is visible: derived from segments, never stored
//! (lvm2.md 1.9).
//!
//! What must hold:
//! - A snapshot is three LVs: the origin, the store (which users see), and the fictional LV that ties them.
//! - A store is seen, except while it merges into an origin that is seen; a fictional LV never is.
//! - The fictional LV's length is the origin's when the snapshot was taken, and is not "corrected" (trap 8).

use super::types::{Lv, Segment, SegmentKind, SnapshotSegment, Vg};
use super::words::LvStatus;
use foldback_units::LvName;
use std::collections::{HashMap, HashSet};

/// A snapshot as its fictional LV describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot<'a> {
    /// `snapshotN`.
    pub fictional: &'a Lv,
    /// Origin, store, chunk size, and whether it merges.
    pub segment: &'a SnapshotSegment,
    /// The origin's length when the snapshot was taken, in extents.
    pub extent_count: u32,
    /// It was taken while another one merged, and is a snapshot of the merged view ([`super::MERGE_VIEW`]).
    pub merge_view: bool,
}

/// A VG's snapshots, looked up by origin and by store.
#[derive(Clone, Debug)]
pub struct SnapshotLinks<'a> {
    all: Vec<Snapshot<'a>>,
    by_cow: HashMap<&'a LvName, usize>,
    by_origin: HashMap<&'a LvName, Vec<usize>>,
    fictional: HashSet<&'a LvName>,
    lvs: HashMap<&'a LvName, &'a Lv>,
}

impl<'a> SnapshotLinks<'a> {
    /// Collects the snapshots of `vg`.
    pub fn of(vg: &'a Vg) -> Self {
        let mut links = Self {
            all: Vec::new(),
            by_cow: HashMap::new(),
            by_origin: HashMap::new(),
            fictional: HashSet::new(),
            lvs: vg.lvs.iter().map(|lv| (&lv.name, lv)).collect(),
        };
        for fictional in &vg.lvs {
            for segment in &fictional.segments {
                if let SegmentKind::Snapshot(snapshot) = &segment.kind {
                    let index = links.all.len();
                    links.fictional.insert(&fictional.name);
                    let Segment { extent_count, merge_view, .. } = *segment;
                    links.all.push(Snapshot { fictional, segment: snapshot, extent_count, merge_view });
                    links.by_cow.entry(&snapshot.cow).or_insert(index);
                    links.by_origin.entry(&snapshot.origin).or_default().push(index);
                }
            }
        }
        links
    }

    /// Every snapshot, in the VG's order of fictional LVs.
    pub fn all(&self) -> &[Snapshot<'a>] {
        &self.all
    }

    /// The snapshot whose store is the LV `cow`.
    pub fn of_cow(&self, cow: &LvName) -> Option<Snapshot<'a>> {
        self.by_cow.get(cow).and_then(|&index| self.all.get(index)).copied()
    }

    /// The snapshots of the LV `origin`, merging ones included.
    pub fn of_origin(&self, origin: &LvName) -> impl Iterator<Item = Snapshot<'a>> {
        let indexes = self.by_origin.get(origin).map(Vec::as_slice).unwrap_or_default();
        indexes.iter().filter_map(|&index| self.all.get(index)).copied()
    }

    /// The snapshot that merges, or will merge, into the LV `origin`.
    pub fn merging_into(&self, origin: &LvName) -> Option<Snapshot<'a>> {
        self.of_origin(origin).find(|snapshot| snapshot.segment.merging)
    }

    /// The LV of that name.
    pub fn lv(&self, name: &LvName) -> Option<&'a Lv> {
        self.lvs.get(name).copied()
    }

    /// Whether the LV has snapshots.
    pub fn is_origin(&self, name: &LvName) -> bool {
        self.by_origin.contains_key(name)
    }

    /// Whether the LV is the store of a snapshot.
    pub fn is_cow(&self, name: &LvName) -> bool {
        self.by_cow.contains_key(name)
    }

    /// Whether the LV only ties a store to its origin, and is no volume.
    pub fn is_fictional(&self, name: &LvName) -> bool {
        self.fictional.contains(name)
    }

    /// Whether LVM2 shows the LV, and writes it among the first.
    pub fn is_visible(&self, lv: &Lv) -> bool {
        if self.is_fictional(&lv.name) {
            return false;
        }
        let Some(snapshot) = self.of_cow(&lv.name) else { return lv.status.contains(&LvStatus::Visible) };
        // LVM2 takes any invisible origin for a sparse snapshot's, which hides only itself. One level only: a store of
        // a store cannot be activated, and a crafted ring of them must end here.
        let origin = self.lv(&snapshot.segment.origin);
        !snapshot.segment.merging || origin.is_none_or(|origin| !origin.status.contains(&LvStatus::Visible))
    }
}

impl Vg {
    /// The VG's snapshots, for one question; use [`SnapshotLinks::of`] for several.
    pub fn snapshots(&self) -> SnapshotLinks<'_> {
        SnapshotLinks::of(self)
    }

    /// A name for a new fictional LV: `snapshotN` with the lowest free N.
    pub fn free_snapshot_name(&self) -> Option<LvName> {
        let used: HashSet<&str> = self.lvs.iter().map(|lv| lv.name.as_str()).collect();
        let limit = u64::try_from(used.len()).ok()?.saturating_add(1);
        (0..limit)
            .map(|number| format!("snapshot{number}"))
            .find(|name| !used.contains(name.as_str()))
            .and_then(|name| LvName::new(&name).ok())
    }
}
