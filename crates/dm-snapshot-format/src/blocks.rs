//! Metadata writes in units of the device's physical block instead of whole areas (K9).
//!
//! What must hold (dm-snapshot.md 3.4 W6, C3, C4, K1):
//! - A block is as large as the physical block, but never larger than a chunk, so that it stays inside one area.
//! - The image of a block is a prefix of the table's records and zeros: no stale byte is ever written back.
//! - A truncation zeroes every record from the new end on. The block that holds the new end comes last, and it alone
//!   is mandatory: a terminator hides all that lies behind.
//! - A commit's blocks come in ascending order. Where there is more than one, each must be durable before the next is
//!   written, since a torn later block would leave records behind a hole.

use crate::layout::{Layout, Place, RECORDS_PER_SECTOR};
use crate::record::Record;
use foldback_units::{SectorRange, Sectors};
use std::ops::Range;
use zerocopy::IntoBytes;

/// A store's areas cut into blocks that are written as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    layout: Layout,
    sectors: Sectors,
}

/// One metadata block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSpan {
    /// Its sectors in the store.
    pub range: SectorRange,
    /// The record (an index into the table) that its first slot holds.
    pub first: u64,
    /// The record after the one of its last slot.
    pub end: u64,
}

/// Why blocks cannot be made, or an image of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlocksError {
    /// Not a block size.
    #[error("a physical block of {0} is not a power of two")]
    BlockSize(Sectors),
    /// More records than fit into the buffer.
    #[error("the image of a metadata block of {bytes} bytes is too small for its records")]
    TooManyRecords {
        /// Length of the buffer.
        bytes: usize,
    },
}

impl Blocks {
    /// The blocks of a store on a device with this physical block size.
    pub fn new(layout: Layout, physical: Sectors) -> Result<Self, BlocksError> {
        if !physical.0.is_power_of_two() {
            return Err(BlocksError::BlockSize(physical));
        }
        Ok(Self { layout, sectors: physical.min(layout.chunk_size().len()) })
    }

    /// The store's layout.
    pub const fn layout(self) -> Layout {
        self.layout
    }

    /// The size of a block.
    pub const fn sectors(self) -> Sectors {
        self.sectors
    }

    /// How many records a block holds.
    pub const fn records_per_block(self) -> u64 {
        // At most an area's worth.
        self.sectors.0.saturating_mul(RECORDS_PER_SECTOR)
    }

    /// The block that holds record `index`; `None` where that is beyond what a device can have.
    pub fn span_of(self, index: u64) -> Option<BlockSpan> {
        let place = self.layout.place_of(index);
        let block = place.slot.checked_div(self.records_per_block())?;
        let slot = block.checked_mul(self.records_per_block())?;
        let first = self.layout.index_of(Place { slot, ..place })?;
        let start = self.layout.area_range(place.area)?.start();
        let start = start.checked_add(self.sectors.checked_mul(block)?)?;
        let end = first.checked_add(self.records_per_block())?;
        Some(BlockSpan { range: SectorRange::new(start, self.sectors)?, first, end })
    }

    /// The blocks that hold records `first..end`, ascending.
    pub fn touched(self, records: Range<u64>) -> impl Iterator<Item = BlockSpan> {
        let first = if records.is_empty() { None } else { self.span_of(records.start) };
        std::iter::successors(
            first,
            move |span| {
                if span.end < records.end { self.span_of(span.end) } else { None }
            },
        )
    }
}

/// Fills `image` with a block's records, from its first slot on, and zeros behind them.
pub fn encode_block(records: impl IntoIterator<Item = Record>, image: &mut [u8]) -> Result<(), BlocksError> {
    let bytes = image.len();
    image.fill(0);
    let mut rest = image;
    for record in records {
        let (slot, behind) =
            rest.split_at_mut_checked(Record::BYTES).ok_or(BlocksError::TooManyRecords { bytes })?;
        slot.copy_from_slice(record.to_raw().as_bytes());
        rest = behind;
    }
    Ok(())
}

/// One write of a truncation or a scrub.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataWrite {
    /// These sectors become zeros.
    Zero(SectorRange),
    /// The block that holds the new end: its first records stay ([`encode_block`]), the rest becomes zeros.
    Boundary {
        /// The block.
        span: BlockSpan,
        /// The records of the table that stay in it; empty where it becomes all zeros.
        keep: Range<u64>,
    },
}

/// The writes that end a table earlier, highest first, the boundary block last.
///
/// The same writes scrub what lies behind the end of a table: then the records that are hidden were none.
#[derive(Clone, Debug)]
pub struct Truncation {
    blocks: Blocks,
    /// The new end of the table.
    to: u64,
    /// The end of what is still to be hidden: it comes down to the end of the boundary block, area by area.
    from: u64,
    lowest_area: u64,
    done: bool,
}

impl Truncation {
    /// The writes that leave `to` of `from` records; none where nothing goes away. `None` where no device can be that
    /// large.
    pub fn new(blocks: Blocks, from: u64, to: u64) -> Option<Self> {
        let lowest_area = blocks.layout.place_of(to).area;
        // Checked here once: every lower place then fits too, so that the iteration cannot end early.
        blocks.layout.area_range(blocks.layout.place_of(from).area)?;
        blocks.span_of(from)?;
        Some(Self { blocks, to, from, lowest_area, done: from <= to })
    }

    /// The zeros of the highest area that still has records to hide, above the boundary block.
    fn next_zeros(&mut self) -> Option<SectorRange> {
        let boundary = self.blocks.span_of(self.to)?;
        if self.from <= boundary.end {
            return None;
        }
        let last = self.blocks.span_of(self.from.checked_sub(1)?)?;
        let area = self.blocks.layout.place_of(last.first).area;
        let (start, from) = if area == self.lowest_area {
            (boundary.range.end(), boundary.end)
        } else {
            (self.blocks.layout.area_range(area)?.start(), self.blocks.layout.first_index(area)?)
        };
        self.from = from;
        SectorRange::new(start, last.range.end().checked_sub(start)?)
    }
}

impl Iterator for Truncation {
    type Item = MetadataWrite;

    fn next(&mut self) -> Option<MetadataWrite> {
        if self.done {
            return None;
        }
        if let Some(zeros) = self.next_zeros() {
            return Some(MetadataWrite::Zero(zeros));
        }
        self.done = true;
        let span = self.blocks.span_of(self.to)?;
        Some(MetadataWrite::Boundary { span, keep: span.first..self.to })
    }
}
