//! Which chunk comes next, how much fits, and what the status line says of it.
//!
//! What must hold (dm-snapshot.md 1.2, 1.8; CVE-2013-4299; K7):
//! - The next free chunk is never an area, neither after an allocation nor after loading a table.
//! - Nothing is ever given out twice: the next free chunk only grows, holes are left.
//! - A chunk is given out only if it lies wholly inside the store.
//! - The last record of an area needs the next area to exist, since that is zeroed first.
//! - The numbers are the kernel's, so that LVM2's percentages and its "merge finished" hold for ours too.

use crate::layout::Layout;
use foldback_units::{Chunk, Sectors};

/// What a status line says of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreStatus {
    /// Header, areas, data and leaked holes.
    pub allocated: Sectors,
    /// Header and areas.
    pub metadata: Sectors,
}

impl StoreStatus {
    /// Whether a merge has nothing left to do. A store that was never used says so as well.
    pub fn merge_finished(self) -> bool {
        self.allocated == self.metadata
    }
}

impl Layout {
    /// The first data chunk of an empty store.
    pub const FIRST_FREE: Chunk = Chunk(2);

    /// The chunk to give out after `allocated` was.
    pub fn next_after(self, allocated: Chunk) -> Option<Chunk> {
        self.skip_area(allocated.checked_add(1)?)
    }

    /// The next free chunk of a table that was loaded, `highest` being its highest new chunk. Never an area, also
    /// when the table ends exactly at the end of one (CVE-2013-4299).
    pub fn next_free_after_load(self, highest: Option<Chunk>) -> Option<Chunk> {
        let after = highest.map_or(Some(Self::FIRST_FREE), |chunk| chunk.checked_add(1))?;
        self.skip_area(after.max(Self::FIRST_FREE))
    }

    fn skip_area(self, chunk: Chunk) -> Option<Chunk> {
        if self.is_area_chunk(chunk) { chunk.checked_add(1) } else { Some(chunk) }
    }

    /// Whether `next_free` can be given out in a store of `store` sectors.
    pub fn can_allocate(self, next_free: Chunk, store: Sectors) -> bool {
        next_free.0 < self.chunk_size().whole_chunks(store)
    }

    /// Whether the record of slot `index` can be written in a store of `store` sectors: its area exists, and so does
    /// the next one if this record fills its area (K7).
    pub fn can_commit(self, index: u64, store: Sectors) -> bool {
        index.checked_add(1).is_some_and(|end| self.area_fits(self.place_of(end).area, store))
    }

    /// D_min: the chunks a store needs to hold `exceptions` without holes.
    pub fn min_chunks(self, exceptions: u64) -> Option<u64> {
        self.hole_free_chunk(exceptions).map(Chunk::get)
    }

    /// How many exceptions a store of `store` sectors holds without holes: the largest number whose
    /// [`Layout::min_chunks`] fit. `None` where not even the header and the first area fit.
    pub fn capacity(self, store: Sectors) -> Option<u64> {
        let behind = self.chunk_size().whole_chunks(store).checked_sub(2)?;
        let whole_strides = behind.div_euclid(self.stride());
        // The last slot of an area costs two chunks: its data and the next area.
        let rest = behind.rem_euclid(self.stride()).min(self.exceptions_per_area().saturating_sub(1));
        self.first_index(whole_strides)?.checked_add(rest)
    }

    /// The status of a store in use: its next free chunk, and how many records it holds.
    pub fn status(self, next_free: Chunk, records: u64) -> Option<StoreStatus> {
        let metadata = self.place_of(records).area.checked_add(2)?;
        Some(StoreStatus {
            allocated: self.chunk_size().start_of(next_free)?,
            metadata: self.chunk_size().start_of(Chunk(metadata))?,
        })
    }

    /// The status of a store that is being merged, from the first truncation on: it counts down as if the remaining
    /// records had no holes.
    pub fn merge_status(self, records: u64) -> Option<StoreStatus> {
        self.status(self.hole_free_chunk(records)?, records)
    }
}
