//! One attached store: its table, what is being made, and how a chunk of it is allocated.
//!
//! What must hold (dm-snapshot.md 1.2, K7, CVE-2013-4299):
//! - A chunk is given out once, never an area, and only where its record and the next area have room as well.
//! - The table holds what can be read from the store; what is not durable yet stands in `making` too.
//! - A store that is not valid takes no exceptions and answers nothing.

use crate::api::StoreId;
use crate::making::Making;
use crate::opened::OpenedStore;
use crate::planted::{self, Bug};
use crate::script::Script;
use crate::status::StoreStatus;
use crate::table::Run;
use crate::view::Base;
use crate::wake::Waiter;
use foldback_dm_snapshot_format::{Blocks, Header, Layout, Record};
use foldback_units::{Chunk, ChunkSize, SectorRange, Sectors};

/// Whether a snapshot can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Validity {
    /// In use.
    Valid,
    /// Lost; the header that says so is on its way to the store (C5).
    Invalidating,
    /// Lost, and the store says so durably.
    Invalid,
    /// Lost, but the store could not be told: origin writes that need an exception of it cannot go out.
    Untold,
}

/// A commit of exceptions that is under way.
#[derive(Debug)]
pub(crate) struct Commit {
    /// The number behind the exceptions that it covers.
    pub(crate) end: u64,
    /// The metadata writes, once the data is flushed.
    pub(crate) script: Option<Script>,
    /// The records that it writes.
    pub(crate) records: u64,
    /// The records of the block that the next commit begins with.
    pub(crate) tail: Vec<Record>,
}

/// A store of the group.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) id: StoreId,
    /// The snapshot's length.
    pub(crate) size: Sectors,
    /// What it shows where it has no exception.
    pub(crate) base: Base,
    pub(crate) opened: OpenedStore,
    pub(crate) validity: Validity,
    pub(crate) making: Making,
    pub(crate) commit: Option<Commit>,
    /// Who waits for the header that invalidates it.
    pub(crate) told: Vec<Waiter>,
}

impl Store {
    pub(crate) fn new(id: StoreId, size: Sectors, opened: OpenedStore) -> Self {
        let validity = if opened.valid { Validity::Valid } else { Validity::Invalid };
        let (base, making) = (Base::Origin, Making::default());
        Self { id, size, base, opened, validity, making, commit: None, told: Vec::new() }
    }

    pub(crate) fn chunk_size(&self) -> ChunkSize {
        self.opened.chunk_size()
    }

    pub(crate) fn blocks(&self) -> Blocks {
        self.opened.blocks
    }

    pub(crate) fn layout(&self) -> Layout {
        self.blocks().layout()
    }

    pub(crate) fn header(&self) -> Header {
        Header::new(self.chunk_size())
    }

    /// Whether nothing of it is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.making.is_empty() && self.commit.is_none() && self.validity != Validity::Invalidating
    }

    /// The part of `range` that belongs to the snapshot.
    pub(crate) fn clip(&self, range: SectorRange) -> Option<SectorRange> {
        range.intersect(SectorRange::new(Sectors::ZERO, self.size)?)
    }

    /// The chunks that hold `range`: the first, and the one behind the last.
    pub(crate) fn chunks_of(&self, range: SectorRange) -> (u64, u64) {
        let size = self.chunk_size();
        (size.chunk_of(range.start()).0, size.chunks_to_hold(range.end()))
    }

    /// The sectors of `len` chunks of the origin from `old` on, ending where the snapshot ends.
    pub(crate) fn origin_range(&self, old: u64, len: u64) -> Option<SectorRange> {
        let start = self.chunk_size().start_of(Chunk(old))?;
        let len = self.chunk_size().start_of(Chunk(len))?;
        self.clip(SectorRange::new(start, len)?)
    }

    /// Where `sector` of the snapshot lies in the store, if its chunk lies at chunk `new`.
    pub(crate) fn place(&self, sector: Sectors, new: u64) -> Sectors {
        // A chunk of a store that was checked: it lies inside the device.
        let start = self.chunk_size().start_of(Chunk(new)).unwrap_or(Sectors(u64::MAX));
        start.saturating_add(self.chunk_size().offset_in_chunk(sector))
    }

    /// Allocates up to `len` chunks for the origin's chunks from `old` on; fewer where an area lies in between.
    /// `None` where the store is full.
    pub(crate) fn allocate(&mut self, old: u64, len: u64) -> Option<Run> {
        let (layout, total) = (self.layout(), self.opened.geometry.size);
        let first = self.opened.next_free;
        let mut next = first;
        let mut count = 0_u64;
        while count < len && first.checked_add(count) == Some(next) {
            let index = self.opened.records.saturating_add(self.making.records()).saturating_add(count);
            if !layout.can_allocate(next, total) || !layout.can_commit(index, total) {
                break;
            }
            next = layout.next_after(next)?;
            count = count.saturating_add(1);
        }
        if count == 0 {
            return None;
        }
        self.opened.next_free = next;
        if planted::is(Bug::ReuseChunkEarly) && count == 1 && old.is_multiple_of(5) {
            self.opened.next_free = first;
        }
        Some(Run { old, new: first.0, len: count })
    }

    /// What its status line says, a failed merge aside.
    pub(crate) fn status(&self) -> StoreStatus {
        if self.validity != Validity::Valid {
            return StoreStatus::Invalid;
        }
        let (layout, records) = (self.layout(), self.opened.records);
        let numbers = if self.opened.merged {
            layout.merge_status(records)
        } else {
            layout.status(self.opened.next_free, records)
        };
        // Every place of a store that was checked fits.
        numbers.map_or(StoreStatus::Invalid, |numbers| StoreStatus::Valid {
            allocated: numbers.allocated,
            total: self.opened.geometry.size,
            metadata: numbers.metadata,
        })
    }
}
