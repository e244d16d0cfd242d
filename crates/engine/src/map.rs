//! Which chunks of a volume its stores keep, by cells: what a map of the volume is drawn from.
//!
//! What must hold:
//! - It is read in slices of bounded work, so that no request waits for it; what changes between two slices is seen in part.
//! - A sector counts once, however many snapshots keep it; a lost snapshot keeps nothing.
//! - What was merged is known since the merge was begun here: of what an earlier process merged nothing is left in a store.

use crate::api::Volume;
use crate::group::Group;
use crate::store::{Store, Validity};
use foldback_units::{Cells, SectorRange, Sectors};

/// Runs of exceptions that one slice looks at: well below a millisecond.
const SLICE: usize = 16_384;

/// What a map is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapOf {
    /// A snapshot: where it keeps chunks of its own.
    Snapshot,
    /// An origin: where any of its snapshots keeps a chunk of its own.
    Origin,
    /// An origin that a snapshot merges into: what is still to be merged, and what was.
    Merge,
}

/// A map that is being drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkMap {
    /// What it shows.
    pub of: MapOf,
    /// Sectors that are kept in a store.
    pub kept: Cells,
    /// Of a merge: sectors that were merged since it was begun here.
    pub merged: Option<Cells>,
    /// Where the next slice begins; `None` where all is drawn.
    pub next: Option<Sectors>,
}

impl Group {
    /// A map of a volume, of which nothing is drawn yet; [`Group::draw`] goes on. `None` where there is no such volume, or it is lost.
    pub fn map(&self, volume: Volume) -> Option<ChunkMap> {
        let stores = self.mapped(volume);
        let (of, size) = match volume {
            Volume::Snapshot(_) => (MapOf::Snapshot, stores.first()?.size),
            Volume::Origin if self.core.merging.is_some() => (MapOf::Merge, self.core.origin.size),
            Volume::Origin => (MapOf::Origin, self.core.origin.size),
        };
        let chunk = stores.iter().map(|store| store.chunk_size().len()).max().unwrap_or(Sectors(1));
        let merged = self.merge.as_ref().filter(|_| of == MapOf::Merge).map(|merge| merge.merged().clone());
        Some(ChunkMap { of, kept: Cells::new(size, chunk), merged, next: Some(Sectors::ZERO) })
    }

    /// Draws the next slice of a map.
    pub fn draw(&self, volume: Volume, map: &mut ChunkMap) {
        let Some(from) = map.next else { return };
        let parts = self.mapped(volume).into_iter().map(|store| ranges(store, from)).collect();
        map.next = map.kept.add_union(parts, from, SLICE);
    }

    /// The stores whose exceptions the map of a volume shows.
    fn mapped(&self, volume: Volume) -> Vec<&Store> {
        let merging = self.core.merging;
        let shown = |store: &&Store| match volume {
            Volume::Snapshot(id) => store.id == id && merging != Some(id),
            Volume::Origin => merging.is_none_or(|merging| store.id == merging),
        };
        let stores = self.core.stores.values().filter(shown);
        stores.filter(|store| store.validity == Validity::Valid).collect()
    }
}

/// The sectors of the origin that a store keeps, ascending, from those on that end behind `from`.
fn ranges(store: &Store, from: Sectors) -> impl Iterator<Item = SectorRange> + '_ {
    let runs = store.opened.table.runs_from(store.chunk_size().chunk_of(from).0);
    runs.filter_map(|run| store.origin_range(run.old, run.len))
}

#[cfg(test)]
mod tests {
    use super::{ChunkMap, MapOf};
    use crate::rig::{Rig, Snapshot, config, range};
    use crate::{StoreId, Volume};
    use foldback_units::Sectors;

    fn drawn(rig: &Rig, volume: Volume) -> ChunkMap {
        let mut map = rig.group.map(volume).unwrap();
        while map.next.is_some() {
            rig.group.draw(volume, &mut map);
        }
        map
    }

    fn kept(rig: &Rig, volume: Volume) -> Vec<u64> {
        drawn(rig, volume).kept.counts().iter().map(|count| count.0).collect()
    }

    fn write(rig: &mut Rig, volume: Volume, at: u64) {
        rig.write_now(volume, range(at, 1), &[7]).unwrap();
        rig.flush_now(volume).unwrap();
    }

    #[test]
    fn a_map_shows_what_each_snapshot_keeps_and_the_origin_what_any_of_them_keeps() {
        let snapshots = [Snapshot::new(1, 64, 8, 4096), Snapshot::new(2, 60, 16, 4096)];
        let mut rig = Rig::new(config(64, 1024, 256), &snapshots);
        let [one, two] = [1, 2].map(|id| Volume::Snapshot(StoreId(id)));
        write(&mut rig, one, 9);
        write(&mut rig, Volume::Origin, 50);
        assert_eq!(kept(&rig, one), [0, 8, 0, 0, 0, 0, 8, 0]);
        assert_eq!(kept(&rig, two), [0, 0, 0, 12]);
        assert_eq!(kept(&rig, Volume::Origin), [8, 0, 0, 12]);
        assert_eq!(drawn(&rig, Volume::Origin).of, MapOf::Origin);
    }

    /// A merge moves its chunks from `kept` to `merged`, and what is overwritten meanwhile is in neither twice.
    #[test]
    fn the_map_of_a_merge_shows_what_is_left_and_what_was_merged() {
        let mut rig = Rig::new(config(64, 1024, 8), &[Snapshot::new(1, 64, 8, 4096)]);
        for chunk in [0, 3, 4] {
            write(&mut rig, Volume::Snapshot(StoreId(1)), chunk * 8);
        }
        rig.group.pause_merge();
        rig.group.start_merge(StoreId(1)).unwrap();
        rig.group.pause_merge();
        rig.settle();
        let begun = drawn(&rig, Volume::Origin);
        let merged = begun.merged.unwrap();
        assert_eq!(begun.of, MapOf::Merge);
        assert_eq!((begun.kept.total().0 + merged.total().0, begun.kept.counts()[1]), (24, Sectors(0)));
        rig.group.resume_merge();
        rig.settle();
        let over = drawn(&rig, Volume::Origin);
        let counts: Vec<u64> = over.merged.unwrap().counts().iter().map(|count| count.0).collect();
        assert_eq!((over.kept.total(), counts), (Sectors::ZERO, vec![8, 0, 0, 8, 8, 0, 0, 0]));
        assert!(rig.group.map(Volume::Snapshot(StoreId(1))).is_none(), "it has gone into its origin");
    }
}
