//! What the store check found, as values: the caller decides the words, the exit status and the repair.
//!
//! What must hold (architecture.md, "When things go wrong"; K1, K5):
//! - Every finding has one severity, fixed by its kind: a store with one that refuses is neither read nor written.
//! - Every finding about a record says which record, by area and slot.
//! - A [`CheckedStore`] exists only where nothing refuses, and all of its records are within both devices.

use crate::blocks::{Blocks, Truncation};
use crate::header::{FirstChunk, Header, HeaderError};
use crate::layout::Place;
use crate::record::{BadRecord, Record};
use foldback_units::{Chunk, ChunkSize};
use std::fmt;
use std::ops::Range;

/// What a finding means for the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// Odd but harmless, and left as it is.
    Pass,
    /// Hidden damage that is scrubbed when the store is opened for writing.
    Repair,
    /// The store cannot be trusted: nothing is written.
    Refuse,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FindingKind {
    /// The first bytes are no header.
    #[error("{0}")]
    Header(HeaderError),
    /// The snapshot was invalidated: it overflowed or its device failed, so exceptions are missing.
    #[error("the snapshot was invalidated (valid is 0): its exceptions are not complete")]
    Invalidated,
    /// The device ends before this area does, though the table goes on in it.
    #[error("the table of exceptions goes on in area {area}, but the store ends before that")]
    NoEnd {
        /// The first area that does not fit.
        area: u64,
    },
    /// More records than a store of this size can have.
    #[error("the table holds more than {limit} exceptions, which a store of this size cannot have")]
    TooManyRecords {
        /// The bound.
        limit: u64,
    },
    /// A record whose new chunk has bits set that never reach a disk.
    #[error("{0}")]
    BadRecord(BadRecord),
    /// A record that points behind the end of the store.
    #[error("origin {} points at store {}, but the store has {chunks} whole chunks", .record.old_chunk(), .record.new_chunk())]
    NewBeyondStore {
        /// The record.
        record: Record,
        /// How many whole chunks the store has.
        chunks: u64,
    },
    /// A record that points at an area.
    #[error("origin {} points at store {}, which is metadata", .record.old_chunk(), .record.new_chunk())]
    NewIsMetadata {
        /// The record.
        record: Record,
    },
    /// A record of a chunk that the origin does not have.
    #[error("origin {} (store {}) does not exist, the origin has {chunks} chunks", .record.old_chunk(), .record.new_chunk())]
    OldBeyondOrigin {
        /// The record.
        record: Record,
        /// How many chunks the origin has, the last one perhaps in part.
        chunks: u64,
    },
    /// Two records give one origin chunk different content.
    #[error("origin {} points at store {}, but {first} says {first_new}", .record.old_chunk(), .record.new_chunk())]
    DuplicateOld {
        /// The later record.
        record: Record,
        /// Where the earlier one lies.
        first: Place,
        /// Where that one points.
        first_new: Chunk,
    },
    /// Two records of different origin chunks share one store chunk.
    #[error("store {} is taken by origin {}, but {first} gives it to origin {first_old}", .record.new_chunk(), .record.old_chunk())]
    DuplicateNew {
        /// The later record.
        record: Record,
        /// Where the earlier one lies.
        first: Place,
        /// Whose that one is.
        first_old: Chunk,
    },
    /// Bytes behind the terminator, in its area, that would come back to life as records (K1).
    #[error("{} slots behind the end of the table are not zero and could come back as exceptions", .slots.end.saturating_sub(.slots.start))]
    StaleTail {
        /// From the first to behind the last slot that is not zero, as indices into the table.
        slots: Range<u64>,
    },
    /// The area behind the last one is not zero. Whoever fills the last one zeroes it first.
    #[error("area {area}, behind the last one, is not zero")]
    NextAreaNotZero {
        /// Which area.
        area: u64,
    },
    /// A store that nobody has opened yet.
    #[error("the store is new: it has no header yet")]
    Blank,
    /// The header names another chunk size than the volume group does. The header wins.
    #[error("the header's chunk size of {header} overrides the {expected} of the volume group")]
    ChunkSizeDiffers {
        /// The header's.
        header: ChunkSize,
        /// The volume group's, or the table line's.
        expected: ChunkSize,
    },
    /// Chunks that were allocated and never committed before a crash.
    #[error("{chunks} chunks of the store were allocated but never used")]
    Holes {
        /// How many.
        chunks: u64,
    },
    /// Records that stand in the table more than once, with the same content.
    #[error("{records} exceptions are repeated")]
    IdenticalDuplicates {
        /// How many, without the first of each.
        records: u64,
    },
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Which record, where it is about one.
    pub place: Option<Place>,
}

impl Finding {
    /// What it means for the store.
    pub const fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

impl FindingKind {
    /// What it means for the store.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Header(_)
            | Self::Invalidated
            | Self::NoEnd { .. }
            | Self::TooManyRecords { .. }
            | Self::BadRecord(_)
            | Self::NewBeyondStore { .. }
            | Self::NewIsMetadata { .. }
            | Self::OldBeyondOrigin { .. }
            | Self::DuplicateOld { .. }
            | Self::DuplicateNew { .. } => Severity::Refuse,
            Self::StaleTail { .. } => Severity::Repair,
            Self::NextAreaNotZero { .. }
            | Self::Blank
            | Self::ChunkSizeDiffers { .. }
            | Self::Holes { .. }
            | Self::IdenticalDuplicates { .. } => Severity::Pass,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", self.kind)
    }
}

/// What a check found out about a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// What lies at the store's start; `None` where that was refused.
    pub first_chunk: Option<FirstChunk>,
    /// How many records come before the end of the table, as far as it was read.
    pub visible: u64,
    /// The findings: about single records in table order, then about pairs of them, then about the whole. At most
    /// [`crate::check::MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub unlisted: u64,
    /// The store, where nothing refuses.
    pub store: Option<CheckedStore>,
}

impl Report {
    /// The worst severity of all findings, `None` where there are none.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(Finding::severity).max()
    }
}

/// A store that may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedStore {
    /// Its header; `None` for a new store, whose first opener makes one.
    pub header: Option<Header>,
    /// All records in table order, identical duplicates included: the index is the slot in the table.
    pub records: Vec<Record>,
    /// The chunk to give out next.
    pub next_free: Chunk,
    /// What must be zeroed before the store is written, as indices into the table, the first of them behind the last
    /// record; `None` where nothing must.
    pub stale: Option<Range<u64>>,
}

impl CheckedStore {
    /// The writes that zero what lies behind the end of the table (W1). They need a flush afterwards, and no order
    /// among each other. `None` where nothing has to be done.
    pub fn scrub(&self, blocks: Blocks) -> Option<Truncation> {
        let stale = self.stale.as_ref()?;
        Truncation::new(blocks, stale.end, u64::try_from(self.records.len()).ok()?)
    }
}
