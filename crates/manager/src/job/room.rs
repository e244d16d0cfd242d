//! Whether the origin's other snapshots have room for what a merge copies out to them.
//!
//! What must hold:
//! - Every chunk of another snapshot that a record of the merging one touches, and that the other does not have yet, is
//!   counted once; what lies behind the end of the other is not.
//! - The answer is never too good: holes in a store count as taken.
//!
//! A snapshot that overflows is lost. The kernel and LVM2 let that happen without a word (lvm2.md 5, gap e).

use foldback_dm_snapshot_format::{CheckedStore, Layout};
use foldback_units::{ChunkSize, Sectors};

/// What another snapshot lacks.
///
/// Of a live one the status says more than the disk: see [`Room::of_live`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    /// Chunks that the merge has copied out to it.
    pub(crate) needed: u64,
    /// Chunks it can still take.
    pub(crate) free: u64,
    /// Of what size.
    pub(crate) chunk_size: ChunkSize,
}

/// How full a live store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Usage {
    /// Its length.
    pub(crate) total: Sectors,
    /// What chunks of the origin take of it.
    pub(crate) data: Sectors,
}

impl Usage {
    pub(crate) fn exceptions(self, chunk_size: ChunkSize) -> u64 {
        chunk_size.chunks_to_hold(self.data)
    }
}

/// A store with its chunk size, which a blank one has from the metadata.
pub(crate) type Sized<'a> = (&'a CheckedStore, ChunkSize);

impl Room {
    /// For the merge of `merging`; `other` is the store of a snapshot of `len` sectors, and has `store` sectors itself.
    pub(crate) fn of(merging: Sized<'_>, other: Sized<'_>, len: Sectors, store: Sectors) -> Self {
        let (merging, from) = merging;
        let (other, chunk_size) = other;
        let has = sorted(other);
        let (mut needed, mut uncounted) = (0_u64, 0_u64);
        for chunk in sorted(merging) {
            let start = chunk.saturating_mul(from.len().0);
            let end = start.saturating_add(from.len().0).min(len.0);
            if start >= end {
                break;
            }
            let first = chunk_size.chunk_of(Sectors(start)).0.max(uncounted);
            let behind = chunk_size.chunks_to_hold(Sectors(end));
            let there = has
                .partition_point(|old| *old < behind)
                .saturating_sub(has.partition_point(|old| *old < first));
            let touched = behind.saturating_sub(first);
            needed = needed.saturating_add(touched.saturating_sub(u64::try_from(there).unwrap_or(u64::MAX)));
            uncounted = uncounted.max(behind);
        }
        let layout = Layout::new(chunk_size);
        let used = layout.data_chunk_index(other.next_free).unwrap_or(u64::MAX);
        let free = layout.capacity(store).unwrap_or(0).saturating_sub(used);
        Self { needed, free, chunk_size }
    }

    /// The same of live snapshots: `unseen` exceptions of the merging one, whose chunks are of size `from`, are not on the
    /// disk yet, and the other's store is as full as its status says.
    pub(crate) fn of_live(self, unseen: u64, from: ChunkSize, other: Usage) -> Self {
        let each = self.chunk_size.chunks_to_hold(from.len());
        let needed = self.needed.saturating_add(unseen.saturating_mul(each));
        let capacity = Layout::new(self.chunk_size).capacity(other.total).unwrap_or(0);
        Self { needed, free: capacity.saturating_sub(other.exceptions(self.chunk_size)), ..self }
    }

    /// By how much the other's store, which has `total` sectors, is too small.
    pub(crate) fn lacks(&self, total: Sectors) -> Sectors {
        let layout = Layout::new(self.chunk_size);
        let used = layout.capacity(total).unwrap_or(0).saturating_sub(self.free);
        let chunks = layout.min_chunks(used.saturating_add(self.needed)).unwrap_or(u64::MAX);
        Sectors(chunks.saturating_mul(self.chunk_size.len().get())).saturating_sub(total)
    }

    pub(crate) fn suffices(&self) -> bool {
        self.needed <= self.free
    }
}

/// The origin's chunks that the store has, each once.
fn sorted(store: &CheckedStore) -> Vec<u64> {
    let mut chunks: Vec<u64> = store.records.iter().map(|record| record.old_chunk().0).collect();
    chunks.sort_unstable();
    chunks.dedup();
    chunks
}

#[cfg(test)]
mod tests {
    use super::{Room, Usage};
    use foldback_dm_snapshot_format::{CheckedStore, Header, Layout, Record};
    use foldback_testkit::Rng;
    use foldback_units::{Chunk, ChunkSize, Sectors};
    use std::collections::BTreeSet;

    fn store(sectors: u32, olds: &[u64]) -> (CheckedStore, ChunkSize) {
        let chunk_size = ChunkSize::from_sectors(sectors).unwrap();
        let layout = Layout::new(chunk_size);
        let new = |index: usize| layout.hole_free_chunk(index as u64).unwrap();
        let records: Vec<Record> = olds
            .iter()
            .enumerate()
            .map(|(index, old)| Record::new(Chunk(*old), new(index)).unwrap())
            .collect();
        let next_free = layout.next_free_after_load(records.last().map(|record| record.new_chunk())).unwrap();
        let header = Some(Header::new(chunk_size));
        (CheckedStore { header, records, next_free, stale: None }, chunk_size)
    }

    fn room(
        merging: &(CheckedStore, ChunkSize),
        other: &(CheckedStore, ChunkSize),
        len: u64,
        store: u64,
    ) -> Room {
        Room::of((&merging.0, merging.1), (&other.0, other.1), Sectors(len), Sectors(store))
    }

    /// The slow twin goes sector by sector.
    #[test]
    fn what_is_needed_agrees_with_a_count_by_sectors() {
        let mut rng = Rng::new(5);
        for _ in 0..500 {
            let (from, to) = (1_u32 << rng.below(6), 1_u32 << rng.below(6));
            let len = 1 + rng.below(300);
            let mut olds = |size: u32| -> Vec<u64> {
                let chunks = len.div_ceil(u64::from(size)) + 2;
                let count = rng.below(20);
                (0..count).map(|_| rng.below(chunks)).collect()
            };
            let (merging, other) = (olds(from), olds(to));
            let has: BTreeSet<u64> = other.iter().copied().collect();
            let touched: BTreeSet<u64> = (0..len)
                .filter(|sector| merging.contains(&(sector / u64::from(from))))
                .map(|sector| sector / u64::from(to))
                .collect();
            let room = room(&store(from, &merging), &store(to, &other), len, 1 << 20);
            assert_eq!(
                room.needed,
                touched.difference(&has).count() as u64,
                "{from} {to} {len} {merging:?} {other:?}"
            );
        }
    }

    /// K7 and D_min: a store of exactly the size that is needed suffices, one chunk less does not.
    #[test]
    fn room_ends_where_the_store_does() {
        let merging = store(8, &(0..300).collect::<Vec<_>>());
        let other = store(8, &(0..10).collect::<Vec<_>>());
        let chunks = Layout::new(ChunkSize::from_sectors(8).unwrap()).min_chunks(300).unwrap();
        let room = |chunks: u64| room(&merging, &other, 1 << 20, chunks * 8);
        assert_eq!((room(chunks).needed, room(chunks).free), (290, 290));
        assert!(room(chunks).suffices() && !room(chunks - 1).suffices());
        assert_eq!(room(0).free, 0);
    }

    /// A status counts what the disk does not show yet, and what is lacking is exactly what would suffice.
    #[test]
    fn a_live_store_has_the_room_that_its_status_says() {
        let size = |sectors| ChunkSize::from_sectors(sectors).unwrap();
        let layout = Layout::new(size(8));
        let merging = store(8, &(0..300).collect::<Vec<_>>());
        let other = store(8, &[]);
        let total = Sectors(layout.min_chunks(100).unwrap() * 8);
        let seen = room(&merging, &other, 1 << 20, total.0);
        assert_eq!((seen.needed, seen.free), (300, 100));
        // 7 more chunks of 32 sectors are to come, and 40 of the other's are taken.
        let live = seen.of_live(7, size(32), Usage { total, data: Sectors(40 * 8) });
        assert_eq!((live.needed, live.free), (328, 60));
        let larger = total.get() + live.lacks(total).get();
        assert_eq!(layout.capacity(Sectors(larger)), Some(368));
        assert!(layout.capacity(Sectors(larger - 8)) < Some(368));
        assert_eq!(seen.of_live(1, size(4), Usage { total, data: Sectors::ZERO }).needed, 301);
    }
}
