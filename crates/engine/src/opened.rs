//! A store that was opened: what a group needs to know of it, in memory.
//!
//! What must hold:
//! - `records` counts every record of the table, identical repetitions included; the table has each chunk once.
//! - `tail` holds the records of the block that the next record goes to, so that no stale byte is written back.

use crate::api::SpaceGeometry;
use crate::table::Table;
use foldback_dm_snapshot_format::{Blocks, Finding, Layout, Record};
use foldback_units::{Chunk, ChunkSize, Sectors};
use std::collections::BTreeMap;

/// A store that may join a group ([`crate::Group::attach`]).
#[derive(Debug)]
pub struct OpenedStore {
    pub(crate) geometry: SpaceGeometry,
    /// What bounded old chunks when it was checked.
    pub(crate) origin: Sectors,
    pub(crate) blocks: Blocks,
    pub(crate) table: Table,
    /// Old chunks whose record stands in the table more than once, and how many more times.
    pub(crate) repeats: BTreeMap<u64, u64>,
    pub(crate) records: u64,
    pub(crate) tail: Vec<Record>,
    pub(crate) next_free: Chunk,
    pub(crate) valid: bool,
    pub(crate) writable: bool,
    /// A merge has truncated it: its status counts down as if it had no holes (1.8).
    pub(crate) merged: bool,
    pub(crate) findings: Vec<Finding>,
}

impl OpenedStore {
    pub(crate) fn new(
        geometry: SpaceGeometry,
        origin: Sectors,
        blocks: Blocks,
        records: &[Record],
        findings: Vec<Finding>,
        writable: bool,
    ) -> Self {
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let first = blocks.span_of(count).map_or(count, |span| span.first);
        let tail =
            usize::try_from(first).ok().and_then(|first| records.get(first..)).unwrap_or_default().to_vec();
        let chunks = |record: &Record| (record.old_chunk().0, record.new_chunk().0);
        let (table, repeats) = Table::from_records(records.iter().map(chunks));
        Self {
            geometry,
            origin,
            blocks,
            table,
            repeats,
            records: count,
            tail,
            next_free: Layout::FIRST_FREE,
            valid: true,
            writable,
            merged: false,
            findings,
        }
    }

    pub(crate) fn with_next_free(self, next_free: Chunk) -> Self {
        Self { next_free, ..self }
    }

    pub(crate) fn made_invalid(self) -> Self {
        Self { valid: false, ..self }
    }

    pub(crate) fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// The store's chunk size: the header's.
    pub fn chunk_size(&self) -> ChunkSize {
        self.blocks.layout().chunk_size()
    }

    /// False where the header says that the snapshot was invalidated.
    pub fn is_valid(&self) -> bool {
        self.valid
    }

    /// What the check found and let pass, or repaired.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many records the table has.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How many chunks have an exception.
    pub fn exceptions(&self) -> u64 {
        self.table.chunks()
    }

    /// The chunk that is given out next.
    pub fn next_free(&self) -> Chunk {
        self.next_free
    }
}
