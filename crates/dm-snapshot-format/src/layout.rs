//! Where everything lies in a store of a given chunk size.
//!
//! ```text
//! chunk  0       1        2 .. EPA+1   EPA+2    EPA+3 .. 2*EPA+2   ...
//!        header  area 0   data         area 1   data
//! ```
//!
//! EPA (exceptions per area) is as many records as one chunk holds; an area and its data make one stride.
//!
//! What must hold (dm-snapshot.md 1.1, 1.2):
//! - Area `k` lies at chunk `1 + k * stride`; every other chunk from 2 on is a data chunk, also the multiples of the
//!   stride.
//! - A record never straddles a sector.
//! - A place that does not fit a `u64` is `None`, never a wrapped number.

use crate::record::Record;
use foldback_units::{Chunk, ChunkSize, SECTOR, SectorRange, Sectors};
use std::num::NonZeroU64;

/// Records in one 512-byte sector.
pub(crate) const RECORDS_PER_SECTOR: u64 = 32;
const _: () = assert!(RECORDS_PER_SECTOR.saturating_mul(16) == SECTOR && Record::BYTES == 16);
/// The chunk of area 0.
const FIRST_AREA: u64 = 1;

/// The places in a store with chunks of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    chunk_size: ChunkSize,
    exceptions_per_area: NonZeroU64,
    stride: NonZeroU64,
}

/// A record's place in the table: an area, and a slot counted from the start of that area.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Which area, from 0.
    pub area: u64,
    /// Which record of the area, from 0.
    pub slot: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "area {} slot {}", self.area, self.slot)
    }
}

/// A record's place on the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordPlace {
    /// The sector of the store.
    pub sector: Sectors,
    /// The byte in that sector.
    pub offset: u16,
}

impl Layout {
    /// The layout of a store with chunks of this size.
    pub const fn new(chunk_size: ChunkSize) -> Self {
        // At most 2^21 sectors of 32 records: 2^26, far from any bound.
        let per_area = chunk_size.len().0.saturating_mul(RECORDS_PER_SECTOR);
        let exceptions_per_area = NonZeroU64::MIN.saturating_add(per_area.saturating_sub(1));
        Self { chunk_size, exceptions_per_area, stride: exceptions_per_area.saturating_add(1) }
    }

    /// The size of its chunks.
    pub const fn chunk_size(self) -> ChunkSize {
        self.chunk_size
    }

    /// Records in one area (EPA).
    pub const fn exceptions_per_area(self) -> u64 {
        self.exceptions_per_area.get()
    }

    /// Chunks from one area to the next: the area and the data chunks of its slots.
    pub const fn stride(self) -> u64 {
        self.stride.get()
    }

    /// The chunk of area `area`.
    pub fn area_chunk(self, area: u64) -> Option<Chunk> {
        area.checked_mul(self.stride())?.checked_add(FIRST_AREA).map(Chunk)
    }

    /// The sectors of area `area`.
    pub fn area_range(self, area: u64) -> Option<SectorRange> {
        self.chunk_size.range_of(self.area_chunk(area)?)
    }

    /// Whether area `area` lies wholly inside a store of `store` sectors.
    pub fn area_fits(self, area: u64, store: Sectors) -> bool {
        self.area_range(area).is_some_and(|range| range.end() <= store)
    }

    /// Whether a chunk may hold data: neither the header nor an area.
    pub fn is_data_chunk(self, chunk: Chunk) -> bool {
        chunk.0 > FIRST_AREA && !self.is_area_chunk(chunk)
    }

    /// Whether a chunk is an area.
    pub fn is_area_chunk(self, chunk: Chunk) -> bool {
        chunk.0 % self.stride == FIRST_AREA
    }

    /// The area and slot of the `index`-th record of the table, from 0.
    pub fn place_of(self, index: u64) -> Place {
        Place { area: index / self.exceptions_per_area, slot: index % self.exceptions_per_area }
    }

    /// Which record of the table lies there; `None` where the slot is past the area's end.
    pub fn index_of(self, place: Place) -> Option<u64> {
        if place.slot >= self.exceptions_per_area() {
            return None;
        }
        self.first_index(place.area)?.checked_add(place.slot)
    }

    /// The first record of an area.
    pub fn first_index(self, area: u64) -> Option<u64> {
        area.checked_mul(self.exceptions_per_area())
    }

    /// The sector and byte of the `index`-th record.
    pub fn record_place(self, index: u64) -> Option<RecordPlace> {
        let Place { area, slot } = self.place_of(index);
        let sector =
            self.area_range(area)?.start().checked_add(Sectors(slot.div_euclid(RECORDS_PER_SECTOR)))?;
        let offset = slot.rem_euclid(RECORDS_PER_SECTOR).checked_mul(16)?;
        Some(RecordPlace { sector, offset: u16::try_from(offset).ok()? })
    }

    /// The data chunk of the `index`-th exception in a store without holes.
    pub fn hole_free_chunk(self, index: u64) -> Option<Chunk> {
        let areas_behind = index / self.exceptions_per_area;
        index.checked_add(areas_behind)?.checked_add(2).map(Chunk)
    }

    /// The inverse: which data chunk of the store this is, counted from 0; `None` for the header and areas.
    pub fn data_chunk_index(self, chunk: Chunk) -> Option<u64> {
        let from_first_area = chunk.0.checked_sub(FIRST_AREA)?;
        let in_stride = (from_first_area % self.stride).checked_sub(1)?;
        self.first_index(from_first_area / self.stride)?.checked_add(in_stride)
    }

    /// The areas that must be durably zero before records `first..end` are written: those which follow an area that
    /// these records fill (C3). Records `first..end` are in table order, `end` exclusive.
    pub fn areas_to_zero(self, first: u64, end: u64) -> std::ops::Range<u64> {
        let next = (first / self.exceptions_per_area).saturating_add(1);
        next..(end / self.exceptions_per_area).saturating_add(1).max(next)
    }
}
