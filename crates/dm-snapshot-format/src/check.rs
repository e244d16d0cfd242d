//! The store check: reads a store piece by piece and says whether it may be used.
//!
//! What must hold (dm-snapshot.md 1.4, K1, K5; architecture.md, "When things go wrong"):
//! - It performs no read itself: [`Checker::next_read`] says what to read, [`Checker::feed`] takes the bytes, until
//!   there is nothing left to read. Every range lies inside the store; none is longer than [`MAX_READ`].
//! - The table ends where the kernel's loader ends it, and one area more is looked at, for the scrub.
//! - What the loader does not look at is looked at here: ranges, areas as targets, top bits, duplicates, stale tails.
//! - Memory is 16 bytes for each record, and 8 more while duplicates are sought. Findings are bounded, and so are
//!   records: by the chunks of the store, since every sound record has one of its own.

use crate::area::Area;
use crate::duplicates::{Repeat, for_each_repeat};
use crate::findings::{CheckedStore, Finding, FindingKind, Report, Severity};
use crate::header::{self, FirstChunk, Header};
use crate::layout::{Layout, Place, RECORDS_PER_SECTOR};
use crate::record::Record;
use foldback_units::{Bytes, Chunk, ChunkSize, SectorRange, Sectors};
use std::ops::Range;

/// The longest range that is asked for at once: 1 MiB.
pub const MAX_READ: Sectors = Sectors(2048);
/// The most that is read ahead.
const MAX_AHEAD: Sectors = Sectors(8192);
/// How many findings are listed; the rest is counted.
pub const MAX_FINDINGS: usize = 1000;
/// How many records a table may have: 16 TiB of the smallest chunks that LVM2 makes.
pub const MAX_RECORDS: u64 = 1 << 32;
/// How many records may stand for each chunk of the store. Every record has a chunk of its own, but a tail that came
/// back to life (K1) may repeat records; more than that is no table, however large its areas are.
const RECORDS_PER_CHUNK: u64 = 2;
/// What is read for the header: what `lvcreate` wipes.
const HEADER_READ: Sectors = Sectors(8);

/// What is known of a store before it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreGeometry {
    /// The length of the store.
    pub store: Sectors,
    /// The length of its origin.
    pub origin: Sectors,
    /// The chunk size that the volume group's metadata or the table line names.
    pub expected_chunk: Option<ChunkSize>,
}

/// Why bytes were not taken, or no report given: the caller did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FeedError {
    /// Not the length that was asked for.
    #[error("checking a store: {got} bytes were fed where {wanted} were asked for")]
    Length {
        /// How many were asked for.
        wanted: Bytes,
        /// How many came.
        got: usize,
    },
    /// Nothing was asked for.
    #[error("checking a store: bytes were fed after the last read")]
    NothingToRead,
    /// Something is still to be read.
    #[error("checking a store: {0} are still to be read")]
    Unfinished(SectorRange),
}

/// Where the reading stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The header comes next.
    Header,
    /// A piece of an area of the table comes next.
    Area(AreaCursor),
    /// The table has ended: a piece of the area behind it comes next.
    NextArea(AreaCursor),
    /// Nothing comes next.
    Done,
}

/// A place in an area that is read in pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct AreaCursor {
    layout: Layout,
    area: u64,
    /// Sectors of the area that were read.
    read: Sectors,
}

impl AreaCursor {
    fn start(layout: Layout, area: u64) -> Self {
        Self { layout, area, read: Sectors::ZERO }
    }

    /// The sectors of the next piece.
    fn piece(self) -> Option<SectorRange> {
        let range = self.layout.area_range(self.area)?;
        let len = range.len().checked_sub(self.read)?.min(MAX_READ);
        SectorRange::new(range.start().checked_add(self.read)?, len)
    }

    /// The cursor behind the next piece; `None` where that ends the area.
    fn advance(self) -> Option<Self> {
        let read = self.read.checked_add(MAX_READ)?;
        (read < self.layout.chunk_size().len()).then_some(Self { read, ..self })
    }

    /// The index of the next piece's first slot.
    fn first_index(self) -> u64 {
        let slots = self.read.0.saturating_mul(RECORDS_PER_SECTOR);
        self.layout.first_index(self.area).unwrap_or(u64::MAX).saturating_add(slots)
    }
}

/// The check of one store.
#[derive(Clone, Debug)]
pub struct Checker {
    geometry: StoreGeometry,
    stage: Stage,
    first_chunk: Option<FirstChunk>,
    /// The end of the table was seen in the area that is being read.
    ended: bool,
    visible: u64,
    records: Vec<Record>,
    highest: Option<Chunk>,
    stale: Option<Range<u64>>,
    findings: Vec<Finding>,
    unlisted: u64,
    refused: bool,
}

impl Checker {
    /// A check that has read nothing yet.
    pub fn new(geometry: StoreGeometry) -> Self {
        let mut checker = Self {
            geometry,
            stage: Stage::Header,
            first_chunk: None,
            ended: false,
            visible: 0,
            records: Vec::new(),
            highest: None,
            stale: None,
            findings: Vec::new(),
            unlisted: 0,
            refused: false,
        };
        if geometry.store.is_zero() {
            checker.stage = checker.feed_header(&[]);
        }
        checker
    }

    /// What to read next, at most [`MAX_READ`] and inside the store; `None` where the check is complete.
    pub fn next_read(&self) -> Option<SectorRange> {
        match self.stage {
            Stage::Header => SectorRange::new(Sectors::ZERO, HEADER_READ.min(self.geometry.store)),
            Stage::Area(cursor) | Stage::NextArea(cursor) => cursor.piece(),
            Stage::Done => None,
        }
    }

    /// What comes next and, as long as every area of the table is full, after it: at most `most` reads and 4 MiB, at least what
    /// comes next. For who reads ahead.
    pub fn reads_ahead(&self, most: usize) -> Vec<SectorRange> {
        let mut reads: Vec<SectorRange> = self.next_read().into_iter().collect();
        let (mut cursor, may_go_on) = match self.stage {
            Stage::Area(cursor) => (cursor, true),
            Stage::NextArea(cursor) => (cursor, false),
            Stage::Header | Stage::Done => return reads,
        };
        let mut left = MAX_AHEAD.saturating_sub(reads.first().map_or(Sectors::ZERO, |read| read.len()));
        // Once the table has ended, what is left of its area and the one behind it.
        let last = cursor.area.saturating_add(u64::from(may_go_on && self.ended));
        while reads.len() < most {
            let in_area = cursor.advance();
            let area = cursor.area.saturating_add(1);
            let goes_on = may_go_on && (!self.ended || area <= last);
            let next = in_area.or_else(|| {
                let fits = goes_on && cursor.layout.area_fits(area, self.geometry.store);
                fits.then(|| AreaCursor::start(cursor.layout, area))
            });
            let Some((next, piece)) = next.and_then(|next| Some((next, next.piece()?))) else { break };
            let Some(rest) = left.checked_sub(piece.len()) else { break };
            (cursor, left) = (next, rest);
            reads.push(piece);
        }
        reads
    }

    /// Takes the bytes of the range that [`Checker::next_read`] named.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), FeedError> {
        let range = self.next_read().ok_or(FeedError::NothingToRead)?;
        let wanted = range.len().to_bytes().unwrap_or(Bytes(u64::MAX));
        if wanted.to_usize() != Some(bytes.len()) {
            return Err(FeedError::Length { wanted, got: bytes.len() });
        }
        // A range of whole sectors holds whole records, so that decoding it cannot fail.
        let piece = Area::decode(bytes).map_err(|_| FeedError::Length { wanted, got: bytes.len() })?;
        self.stage = match self.stage {
            Stage::Header => self.feed_header(bytes),
            Stage::Area(cursor) => self.feed_area(cursor, &piece),
            Stage::NextArea(cursor) => self.feed_next_area(cursor, &piece),
            Stage::Done => Stage::Done,
        };
        Ok(())
    }

    fn feed_header(&mut self, bytes: &[u8]) -> Stage {
        let header = match header::decode(bytes) {
            Err(error) => {
                self.find(FindingKind::Header(error), None);
                return Stage::Done;
            }
            Ok(FirstChunk::Blank) => {
                self.first_chunk = Some(FirstChunk::Blank);
                self.find(FindingKind::Blank, None);
                return Stage::Done;
            }
            Ok(FirstChunk::Store(header)) => header,
        };
        self.first_chunk = Some(FirstChunk::Store(header));
        if !header.valid {
            self.find(FindingKind::Invalidated, None);
            return Stage::Done;
        }
        if let Some(expected) = self.geometry.expected_chunk
            && expected != header.chunk_size
        {
            self.find(FindingKind::ChunkSizeDiffers { header: header.chunk_size, expected }, None);
        }
        self.enter_area(Layout::new(header.chunk_size), 0)
    }

    /// The table goes on in this area, if the store has it.
    fn enter_area(&mut self, layout: Layout, area: u64) -> Stage {
        if layout.area_fits(area, self.geometry.store) {
            return Stage::Area(AreaCursor::start(layout, area));
        }
        // Nobody fills an area before the next one is zeroed (C3), so that a table without an end is damage.
        self.find(FindingKind::NoEnd { area }, None);
        Stage::Done
    }

    fn feed_area(&mut self, cursor: AreaCursor, piece: &Area<'_>) -> Stage {
        if self.ended {
            self.note_stale(cursor, piece.nonzero());
        } else {
            if !self.take_records(cursor.layout, piece) {
                return Stage::Done;
            }
            self.ended = !piece.is_full();
            self.note_stale(cursor, piece.stale());
        }
        if let Some(next) = cursor.advance() {
            return Stage::Area(next);
        }
        let area = cursor.area.saturating_add(1);
        if !self.ended {
            return self.enter_area(cursor.layout, area);
        }
        if let Some(slots) = self.stale.clone() {
            let place = Some(cursor.layout.place_of(slots.start));
            self.find(FindingKind::StaleTail { slots }, place);
        }
        if cursor.layout.area_fits(area, self.geometry.store) {
            Stage::NextArea(AreaCursor::start(cursor.layout, area))
        } else {
            Stage::Done
        }
    }

    fn feed_next_area(&mut self, cursor: AreaCursor, piece: &Area<'_>) -> Stage {
        self.note_stale(cursor, piece.nonzero());
        if let Some(next) = cursor.advance() {
            return Stage::NextArea(next);
        }
        let first = cursor.layout.first_index(cursor.area).unwrap_or(u64::MAX);
        if self.stale.as_ref().is_some_and(|stale| stale.end > first) {
            self.find(FindingKind::NextAreaNotZero { area: cursor.area }, None);
        }
        Stage::Done
    }

    fn note_stale(&mut self, cursor: AreaCursor, slots: Option<Range<usize>>) {
        let Some(slots) = slots else { return };
        let index =
            |slot: usize| cursor.first_index().saturating_add(u64::try_from(slot).unwrap_or(u64::MAX));
        let start = self.stale.as_ref().map_or(index(slots.start), |stale| stale.start);
        self.stale = Some(start..index(slots.end));
    }

    /// Takes the records before the terminator; false where there are too many.
    fn take_records(&mut self, layout: Layout, piece: &Area<'_>) -> bool {
        let store_chunks = layout.chunk_size().whole_chunks(self.geometry.store);
        let origin_chunks = layout.chunk_size().chunks_to_hold(self.geometry.origin);
        // A header may claim chunks of 1 GiB, and an area of that size 64 million records for a store of three chunks.
        let limit = store_chunks.saturating_mul(RECORDS_PER_CHUNK).min(MAX_RECORDS);
        for record in piece.records() {
            if self.visible >= limit {
                self.find(FindingKind::TooManyRecords { limit }, None);
                return false;
            }
            let place = Some(layout.place_of(self.visible));
            self.visible = self.visible.saturating_add(1);
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.find(FindingKind::BadRecord(error), place);
                    continue;
                }
            };
            if record.new_chunk().0 >= store_chunks {
                self.find(FindingKind::NewBeyondStore { record, chunks: store_chunks }, place);
            } else if !layout.is_data_chunk(record.new_chunk()) {
                self.find(FindingKind::NewIsMetadata { record }, place);
            }
            if record.old_chunk().0 >= origin_chunks {
                self.find(FindingKind::OldBeyondOrigin { record, chunks: origin_chunks }, place);
            }
            self.highest = self.highest.max(Some(record.new_chunk()));
            self.records.push(record);
        }
        true
    }

    fn find(&mut self, kind: FindingKind, place: Option<Place>) {
        self.refused |= kind.severity() == Severity::Refuse;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { kind, place });
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }

    /// The report, once there is nothing left to read.
    pub fn finish(mut self) -> Result<Report, FeedError> {
        if let Some(range) = self.next_read() {
            return Err(FeedError::Unfinished(range));
        }
        let store = match self.first_chunk {
            None => None,
            Some(FirstChunk::Blank) => Some(CheckedStore {
                header: None,
                records: Vec::new(),
                next_free: Layout::FIRST_FREE,
                stale: None,
            }),
            Some(FirstChunk::Store(header)) => self.finish_table(header),
        };
        Ok(Report {
            first_chunk: self.first_chunk,
            visible: self.visible,
            findings: self.findings,
            unlisted: self.unlisted,
            store,
        })
    }

    fn finish_table(&mut self, header: Header) -> Option<CheckedStore> {
        let layout = Layout::new(header.chunk_size);
        let records = std::mem::take(&mut self.records);
        // A record that was left out would shift the places of all behind it.
        if u64::try_from(records.len()) == Ok(self.visible) {
            let identical = self.find_duplicates(layout, &records);
            self.count_holes(layout, identical);
        }
        if self.refused {
            return None;
        }
        let next_free = layout.next_free_after_load(self.highest)?;
        Some(CheckedStore { header: Some(header), records, next_free, stale: self.stale.take() })
    }

    /// Returns how many records only repeat an earlier one.
    fn find_duplicates(&mut self, layout: Layout, records: &[Record]) -> u64 {
        let place = |index: usize| layout.place_of(u64::try_from(index).unwrap_or(u64::MAX));
        let mut identical = 0_u64;
        // Two answers to one question. The kernel takes the first, but no sound writer leaves two.
        for_each_repeat(records, Record::old_chunk, |Repeat { first, later }| {
            if first.1 == later.1 {
                identical = identical.saturating_add(1);
                return;
            }
            let (record, first_new) = (later.1, first.1.new_chunk());
            let kind = FindingKind::DuplicateOld { record, first: place(first.0), first_new };
            self.find(kind, Some(place(later.0)));
        });
        // What a resurrected record leaves behind (K1): the chunk was given out again meanwhile.
        for_each_repeat(records, Record::new_chunk, |Repeat { first, later }| {
            if first.1.old_chunk() != later.1.old_chunk() {
                let (record, first_old) = (later.1, first.1.old_chunk());
                let kind = FindingKind::DuplicateNew { record, first: place(first.0), first_old };
                self.find(kind, Some(place(later.0)));
            }
        });
        if identical > 0 {
            self.find(FindingKind::IdenticalDuplicates { records: identical }, None);
        }
        identical
    }

    fn count_holes(&mut self, layout: Layout, identical: u64) {
        let allocated = self.highest.and_then(|highest| layout.data_chunk_index(highest)?.checked_add(1));
        let used = self.visible.saturating_sub(identical);
        let chunks = allocated.unwrap_or(0).saturating_sub(used);
        if chunks > 0 && !self.refused {
            self.find(FindingKind::Holes { chunks }, None);
        }
    }
}
