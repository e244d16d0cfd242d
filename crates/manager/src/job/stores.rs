//! Looking at the stores that take part in a merge, before anything is written.
//!
//! What must hold:
//! - A damaged store refuses the merge, with the first finding that does; an invalid one that only looks on is left out.
//! - A live snapshot is invalid as soon as its device says so: whose store failed could not write it there, and lacks copies.
//! - Another snapshot that would overflow refuses it, too, unless that is forced.

use crate::activation::Group;
use crate::check;
use crate::job::error::MergeError;
use crate::job::host::MergeHost;
use crate::job::merge::{Job, Outcome};
use crate::job::room::{Room, Sized};
use crate::ops::merge::Merge;
use crate::store::{DiskSet, FoundVg};
use foldback_dm_snapshot_format::{CheckedStore, FindingKind, Report, Severity};
use foldback_dm_table::{DeviceMapper, DmName, SnapshotStatus};
use foldback_lvm2_format::vg::Snapshot;
use foldback_units::{ChunkSize, LvName, Sectors};

impl<H: MergeHost> Job<'_, '_, H> {
    /// Checks the stores of all snapshots of the origin: the others take copies during the merge.
    ///
    /// A live store is written while it is read here: what looks damaged is left to whoever carries it, who has checked
    /// it when it was brought up.
    ///
    /// How many chunks there are to merge.
    pub(super) fn check_stores(
        &mut self,
        found: &FoundVg,
        merge: &Merge,
        live: Option<&Group>,
    ) -> Outcome<u64, H> {
        let lost = self.lost(live)?;
        let links = found.vg.snapshots();
        let mut disks = self.host.disks();
        let mut set = DiskSet::new(&mut *disks, self.request.paths);
        let mut stores = Vec::new();
        for snapshot in links.of_origin(&merge.origin) {
            let lv = &snapshot.segment.cow;
            let vg = || self.request.vg.clone();
            let report = check::check(&mut set, found, lv)?;
            if is_invalidated(&report) || lost.contains(lv) {
                // Another one that overflowed takes no more copies: nothing of it can be hurt.
                if *lv == merge.snapshot {
                    return Err(MergeError::Invalidated { vg: vg(), lv: lv.clone() });
                }
                continue;
            }
            let refuses = report.findings.iter().find(|finding| finding.severity() == Severity::Refuse);
            if let Some(finding) = refuses.filter(|_| live.is_none()) {
                let (origin, finding) = (merge.origin.clone(), Box::new(finding.clone()));
                return Err(MergeError::Damaged { vg: vg(), origin, lv: lv.clone(), finding });
            }
            stores.extend(report.store.map(|store| (snapshot, store)));
        }
        drop(disks);
        self.check_room(found, merge, &stores, live)?;
        let merging = stores.iter().find(|(snapshot, _)| snapshot.segment.cow == merge.snapshot);
        let records = merging.map_or(0, |(_, store)| store.records.len());
        Ok(u64::try_from(records).unwrap_or(u64::MAX))
    }

    /// The live snapshots that are invalid, whatever their stores say.
    fn lost(&mut self, live: Option<&Group>) -> Outcome<Vec<LvName>, H> {
        let failed = |source| MergeError::Host { attempt: "looking at the snapshots", source };
        let there = self.host.mapper().list().map_err(failed)?;
        let is_there = |name: &DmName| there.iter().any(|info| info.name == *name && info.live);
        let mut lost = Vec::new();
        // One that is marked and waits is a snapshot still.
        for snapshot in live.into_iter().flat_map(|live| &live.snapshots) {
            if !is_there(&snapshot.top.name) {
                continue;
            }
            let status = self.host.mapper().status(&snapshot.top.name).map_err(failed)?;
            if status.iter().any(|line| SnapshotStatus::parse(line) == Some(SnapshotStatus::Invalid)) {
                lost.push(snapshot.lv.clone());
            }
        }
        Ok(lost)
    }

    /// Refuses where another snapshot would overflow; warns where that is live, unless the merge is under way.
    fn check_room(
        &mut self,
        found: &FoundVg,
        merge: &Merge,
        stores: &[(Snapshot<'_>, CheckedStore)],
        live: Option<&Group>,
    ) -> Outcome<(), H> {
        let is_merging = |one: &&(Snapshot<'_>, CheckedStore)| one.0.segment.cow == merge.snapshot;
        let Some((snapshot, store)) = stores.iter().find(is_merging) else { return Ok(()) };
        let merging = (store, chunk_size(snapshot, store));
        self.check_end(found, merge, snapshot, merging)?;
        if let Some(live) = live
            && self.is_merging(live)?
        {
            return Ok(());
        }
        // The merge does not change what a snapshot of the merged view shows: nothing is copied out to it.
        let others = stores.iter().filter(|one| !is_merging(one) && !one.0.merge_view);
        for (snapshot, store) in others {
            let other = &snapshot.segment.cow;
            let size = |extents| found.vg.extent_size.of(extents);
            let store_size = found.vg.lv(other).map_or(Sectors::ZERO, |lv| size(lv.extent_count()));
            let other_store = (store, chunk_size(snapshot, store));
            let room = Room::of(merging, other_store, size(snapshot.extent_count), store_size);
            if let Some(live) = live {
                self.warn_of_overflow(live, merge, merging, other, room)?;
            } else if !room.suffices() && !self.request.force {
                let (vg, lv, other) = (self.request.vg.clone(), merge.snapshot.clone(), other.clone());
                let Room { needed, free, chunk_size } = room;
                return Err(MergeError::WouldOverflow { vg, lv, other, needed, free, chunk_size });
            }
        }
        Ok(())
    }

    /// Refuses where the origin was extended since, and the chunk that then was its last, in part, would be written whole:
    /// behind the snapshot's end the store holds nothing.
    fn check_end(
        &self,
        found: &FoundVg,
        merge: &Merge,
        snapshot: &Snapshot<'_>,
        store: Sized<'_>,
    ) -> Outcome<(), H> {
        let (store, chunk_size) = store;
        let end = found.vg.extent_size.of(snapshot.extent_count);
        let now =
            found.vg.lv(&merge.origin).map_or(Sectors::ZERO, |lv| found.vg.extent_size.of(lv.extent_count()));
        let last = chunk_size.chunk_of(end);
        let in_part = !chunk_size.offset_in_chunk(end).is_zero();
        if now > end && in_part && store.records.iter().any(|record| record.old_chunk() == last) {
            let (vg, lv, origin) = (self.request.vg.clone(), merge.snapshot.clone(), merge.origin.clone());
            return Err(MergeError::Grown { vg, lv, origin });
        }
        Ok(())
    }
}

fn is_invalidated(report: &Report) -> bool {
    report.findings.iter().any(|finding| finding.kind == FindingKind::Invalidated)
}

/// The header wins over the metadata (dm-snapshot.md 1.4).
fn chunk_size(snapshot: &Snapshot<'_>, store: &CheckedStore) -> ChunkSize {
    store.header.map_or(snapshot.segment.chunk_size, |header| header.chunk_size)
}
