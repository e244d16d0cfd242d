//! Reading the records of a merge window back from the store.
//!
//! The table in memory is sorted by old chunk; the order of the records, which a truncation needs, is only on disk.
//!
//! What must hold (W2):
//! - What is read must agree with the table in memory record by record, else nothing of the window is copied.
//! - An old chunk that has a record below the window too is not copied with it: hiding this one hides nothing.
//! - At most the window's own records are in memory, and those before it in the block where it begins.

use crate::api::{Io, Outcome, Space, StoreId};
use crate::core::Core;
use crate::ledger::{Lane, Owner};
use crate::merge::window::Window;
use crate::store::Store;
use foldback_dm_snapshot_format::{Area, Blocks, Record};
use foldback_units::{SectorRange, Sectors};
use std::collections::BTreeMap;

/// The longest range that is read at once: 1 MiB, 65,536 records.
const MAX_READ: Sectors = Sectors(2048);
/// Records in a sector.
const PER_SECTOR: u64 = 32;

/// The reads of one window.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    window: u64,
    pieces: Vec<Piece>,
    left: usize,
    good: bool,
}

#[derive(Debug)]
struct Piece {
    range: SectorRange,
    records: Vec<Record>,
}

/// What the records say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The records that stay in the block where the window begins.
    pub(crate) keep: Vec<Record>,
    /// What to copy: `(old, new)` by new chunk, each once.
    pub(crate) chunks: Vec<(u64, u64)>,
    /// Old chunks whose last record is not in the window, and how many records they have in it.
    pub(crate) repeated: BTreeMap<u64, u64>,
}

impl Reading {
    /// Begins to read the records of `window`; `None` where a place does not fit, which the check has ruled out.
    pub(crate) fn start(window: &Window, store: StoreId, blocks: Blocks, core: &mut Core) -> Option<Self> {
        let first = blocks.span_of(window.records.start)?.first;
        let mut pieces = Vec::new();
        let mut next = first;
        while next < window.records.end {
            let range = contiguous(blocks, next, window.records.end)?;
            next = next.checked_add(range.len().0.checked_mul(PER_SECTOR)?)?;
            pieces.push(Piece { range, records: Vec::new() });
        }
        for (piece, range) in pieces.iter().map(|piece| piece.range).enumerate() {
            let io = Io::ReadMetadata { space: Space::Store(store), range };
            core.ledger.push(Lane::Control, Owner::WindowRecords { window: window.number, piece }, io);
        }
        let left = pieces.len();
        Some(Self { window: window.number, pieces, left, good: true })
    }

    pub(crate) fn is_of(&self, window: u64) -> bool {
        self.window == window
    }

    /// A piece was read, or not.
    pub(crate) fn piece_read(&mut self, piece: usize, outcome: Outcome) {
        self.left = self.left.saturating_sub(1);
        let decoded = match (self.pieces.get_mut(piece), outcome) {
            (Some(piece), Outcome::Metadata(bytes)) => piece.decode(&bytes),
            _ => None,
        };
        self.good &= decoded.is_some();
    }

    /// Whether all reads are back, and what came of them: `None` while some are out.
    pub(crate) fn finished(&self) -> Option<bool> {
        (self.left == 0).then_some(self.good)
    }

    /// What was read, checked against the store's table. `None` where they disagree. `above` are the windows that are
    /// not closed yet: their records still count as repetitions in the store.
    pub(crate) fn contents<'a>(
        &self,
        window: &Window,
        above: &(impl Iterator<Item = &'a Window> + Clone),
        store: &Store,
    ) -> Option<Contents> {
        let first = store.blocks().span_of(window.records.start)?.first;
        let all: Vec<Record> = self.pieces.iter().flat_map(|piece| &piece.records).copied().collect();
        let start = usize::try_from(window.records.start.checked_sub(first)?).ok()?;
        let end = usize::try_from(window.records.end.checked_sub(first)?).ok()?;
        let (keep, records) = all.get(..end)?.split_at_checked(start)?;
        let table = &store.opened.table;
        let agrees = |record: &Record| table.get(record.old_chunk().0) == Some(record.new_chunk().0);
        if !keep.iter().chain(records).all(agrees) {
            return None;
        }
        let mut chunks: Vec<(u64, u64)> =
            records.iter().map(|record| (record.old_chunk().0, record.new_chunk().0)).collect();
        chunks.sort_unstable_by_key(|&(old, new)| (new, old));
        let mut repeated = BTreeMap::new();
        if !store.opened.repeats.is_empty() {
            let below = |old: u64| {
                let all = store.opened.repeats.get(&old).copied().unwrap_or(0);
                let hidden = |window: &Window| window.repeated.get(&old).copied().unwrap_or(0);
                above.clone().fold(all, |left, window| left.saturating_sub(hidden(window)))
            };
            repeated = take_repeated(&mut chunks, below);
        }
        Some(Contents { keep: keep.to_vec(), chunks, repeated })
    }
}

impl Piece {
    fn decode(&mut self, bytes: &[u8]) -> Option<()> {
        let wanted = self.range.len().to_bytes()?.to_usize()?;
        let area = Area::decode(bytes).ok().filter(|_| bytes.len() == wanted)?;
        self.records = area.records().collect::<Result<_, _>>().ok()?;
        Some(())
    }
}

/// The sectors that hold records from `first` (of a block) to `end`, as far as they lie in one area and are read at
/// once.
fn contiguous(blocks: Blocks, first: u64, end: u64) -> Option<SectorRange> {
    let layout = blocks.layout();
    let area = layout.place_of(first).area;
    let last = end.min(layout.first_index(area.checked_add(1)?)?).checked_sub(1)?;
    let start = blocks.span_of(first)?.range.start();
    let len = blocks.span_of(last)?.range.end().checked_sub(start)?;
    // Both are multiples of the block, unless the block is larger than 1 MiB: then a piece is a block.
    SectorRange::new(start, len.min(MAX_READ.max(blocks.sectors())))
}

/// Takes repetitions out of `chunks`, and chunks whose last record is not among them; returns those. `more` says how
/// many records besides one a chunk has in the window and below.
fn take_repeated(chunks: &mut Vec<(u64, u64)>, more: impl Fn(u64) -> u64) -> BTreeMap<u64, u64> {
    let mut repeated = BTreeMap::new();
    let mut kept = Vec::with_capacity(chunks.len());
    for same in chunks.chunk_by(|first, second| first == second) {
        let Some(&(old, new)) = same.first() else { continue };
        let here = u64::try_from(same.len()).unwrap_or(u64::MAX);
        if here > more(old) {
            kept.push((old, new));
        } else {
            repeated.insert(old, here);
        }
    }
    *chunks = kept;
    repeated
}
