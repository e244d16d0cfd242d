//! A merge window: the last records of the table, and how far each of their chunks is.
//!
//! Everything here is pure bookkeeping: no I/O is made, only named.
//!
//! What must hold (dm-snapshot.md 3.3, 3.4):
//! - R1: a chunk is copied again if it was written while it was being copied, or was about to be. A second copy starts
//!   only when no write to the chunk is under way; after two of them the chunk's writes are held.
//! - R2: from the truncation on, no chunk takes a write that goes to the store only.
//! - A chunk counts as copied only when every piece of it was written since it was last written by somebody else.
//! - Per chunk of the window 32 bytes of state; nothing is searched linearly while copying.

use crate::planted::{self, Bug};
use crate::spans::Spans;
use crate::wake::Waiter;
use foldback_dm_snapshot_format::Record;
use foldback_units::{Chunk, ChunkSize, SectorRange, Sectors};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// After so many copies a chunk's writes are held: the first one, and two more.
const COPIES_BEFORE_HOLD: u8 = 3;

/// How far a chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Queued,
    Copying,
    Copied,
}

/// One chunk of the window.
#[derive(Clone, Copy, Debug)]
struct Item {
    old: u64,
    new: u64,
    /// Pieces that are still to be written.
    left: u32,
    stage: Stage,
    copies: u8,
    /// It was written while it was being copied.
    dirty: bool,
    /// A piece could not be copied.
    spoilt: bool,
    /// Its writes wait until it is copied.
    hold: bool,
}

/// An item that is being handed out.
#[derive(Clone, Copy, Debug)]
struct Current {
    item: usize,
    /// How much of it has been handed out.
    skip: Sectors,
    /// Pieces that are still to be handed out.
    pieces: u32,
}

/// A piece of a chunk in a slot of scratch memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) item: usize,
    /// Where in the origin.
    pub(crate) origin: Sectors,
    /// Where in the store.
    pub(crate) store: Sectors,
    /// Where in the slot.
    pub(crate) slot: Sectors,
    pub(crate) len: Sectors,
}

/// What a foreground write to a chunk of the window has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Policy {
    Store,
    BothWays,
    Held,
}

/// How far a window is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its records are being read.
    Reading,
    /// Other snapshots get their exceptions (W3).
    Others,
    /// Its chunks are being copied.
    Copying,
    /// All are copied; the origin is being flushed (W5).
    Flushing,
    /// The records are being hidden (W6).
    Truncating,
    /// They are hidden; the last writes that go both ways end.
    Dropping,
}

/// A window.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) number: u64,
    /// Its records, by their index in the table.
    pub(crate) records: Range<u64>,
    pub(crate) phase: Phase,
    /// A truncation may have reached the store.
    pub(crate) truncated: bool,
    /// The records of the block that the table will end in.
    pub(crate) keep: Vec<Record>,
    /// Old chunks that have a record below the window too, and how many in the window.
    pub(crate) repeated: BTreeMap<u64, u64>,
    /// Writes that go both ways, under way.
    pub(crate) both_ways: u32,
    items: Vec<Item>,
    by_old: Vec<u32>,
    /// Where the first pass is.
    cursor: usize,
    /// The item that was begun last, if not all of it has been handed out.
    current: Option<Current>,
    again: VecDeque<usize>,
    copying: usize,
    held: BTreeMap<usize, Vec<Waiter>>,
}

/// The shape of the chunks of a merge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) chunk_size: ChunkSize,
    /// The snapshot's length: its last chunk ends there.
    pub(crate) size: Sectors,
    /// The length of a slot.
    pub(crate) slot: Sectors,
}

impl Shape {
    /// The first sector of an old chunk, and how many it has.
    fn origin(self, old: u64) -> (Sectors, Sectors) {
        // A chunk of a store that was checked: it begins before the snapshot's end.
        let start = self.chunk_size.start_of(Chunk(old)).unwrap_or_default();
        (start, self.chunk_size.len().min(self.size.saturating_sub(start)))
    }
}

impl Window {
    pub(crate) fn new(number: u64, records: Range<u64>) -> Self {
        Self {
            number,
            records,
            phase: Phase::Reading,
            truncated: false,
            keep: Vec::new(),
            repeated: BTreeMap::new(),
            both_ways: 0,
            items: Vec::new(),
            by_old: Vec::new(),
            cursor: 0,
            current: None,
            again: VecDeque::new(),
            copying: 0,
            held: BTreeMap::new(),
        }
    }

    /// Takes the chunks to copy, `(old, new)` by new chunk, each once.
    pub(crate) fn fill(&mut self, chunks: &[(u64, u64)]) {
        let queued = |&(old, new): &(u64, u64)| Item {
            old,
            new,
            left: 0,
            stage: Stage::Queued,
            copies: 0,
            dirty: false,
            spoilt: false,
            hold: false,
        };
        self.items = chunks.iter().map(queued).collect();
        let mut by_old: Vec<u32> = (0..).take(self.items.len()).collect();
        by_old.sort_unstable_by_key(|&item| self.items.get(index(item)).map(|item| item.old));
        self.by_old = by_old;
    }

    /// The old chunks, ascending.
    pub(crate) fn olds(&self) -> impl Iterator<Item = u64> + '_ {
        self.by_old.iter().filter_map(|&item| self.items.get(index(item))).map(|item| item.old)
    }

    /// The old chunks from the `skip`-th on: the first run of consecutive ones, at most `limit` long.
    pub(crate) fn run_of_olds(&self, skip: usize, limit: u64) -> Option<(u64, u64)> {
        let mut olds = self.by_old.get(skip..)?.iter().filter_map(|&item| self.items.get(index(item)));
        let first = olds.next()?.old;
        let mut len = 1_u64;
        while len < limit.max(1) && olds.next().is_some_and(|item| Some(item.old) == first.checked_add(len)) {
            len = len.saturating_add(1);
        }
        Some((first, len))
    }

    pub(crate) fn find(&self, old: u64) -> Option<usize> {
        let of = |item: &u32| self.items.get(index(*item)).map_or(0, |item| item.old);
        let at = self.by_old.binary_search_by_key(&old, of).ok()?;
        self.by_old.get(at).map(|&item| index(item))
    }

    /// What a write to a chunk has to do. `failed`: nothing is being copied until somebody resumes the merge.
    pub(crate) fn policy(&self, item: usize, failed: bool) -> Policy {
        let Some(item) = self.items.get(item) else { return Policy::Store };
        match self.phase {
            Phase::Reading | Phase::Others => return Policy::Store,
            Phase::Dropping => return Policy::Held,
            Phase::Copying | Phase::Flushing | Phase::Truncating => {}
        }
        match item.stage {
            Stage::Copied if planted::is(Bug::ForgetDualWrite) => Policy::Store,
            Stage::Copied => Policy::BothWays,
            Stage::Queued if failed && self.truncated => Policy::BothWays,
            Stage::Queued if failed => Policy::Store,
            Stage::Queued | Stage::Copying if self.truncated || item.hold => Policy::Held,
            Stage::Queued | Stage::Copying => Policy::Store,
        }
    }

    /// A write of the chunk goes to the store only.
    pub(crate) fn written_in_store(&mut self, item: usize) {
        if let Some(item) = self.items.get_mut(item).filter(|item| item.stage == Stage::Copying) {
            item.dirty |= !planted::is(Bug::ForgetRecopy);
        }
    }

    /// A write that went both ways failed on a leg: the two places may differ, so the chunk is copied again.
    pub(crate) fn spoil(&mut self, item: usize) {
        let Some(state) = self.items.get_mut(item) else { return };
        match state.stage {
            Stage::Copied => {
                state.stage = Stage::Queued;
                self.again.push_back(item);
            }
            Stage::Copying => state.dirty = true,
            Stage::Queued => {}
        }
    }

    pub(crate) fn hold(&mut self, item: usize, waiter: Waiter) {
        self.held.entry(item).or_default().push(waiter);
    }

    /// All writes that are held: they look again where to go.
    pub(crate) fn release_held(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.held).into_values().flatten().collect()
    }

    /// Whether every chunk has been handed out once.
    pub(crate) fn is_handed_out(&self) -> bool {
        self.cursor >= self.items.len() && self.current.is_none()
    }

    /// Whether every chunk is copied.
    pub(crate) fn is_copied(&self) -> bool {
        self.is_handed_out() && self.again.is_empty() && self.copying == 0
    }

    /// What to copy next, as much as fits a slot. `writes` are the foreground writes under way, to the store and both
    /// ways.
    pub(crate) fn next_batch(&mut self, shape: Shape, writes: [&Spans; 2]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut used = Sectors::ZERO;
        while used < shape.slot {
            let Some(current) = self.current.take().or_else(|| self.next_item(shape, writes)) else { break };
            let Current { item, skip, pieces: left } = current;
            let Some(state) = self.items.get(item) else { break };
            let (origin, len) = shape.origin(state.old);
            let store = shape.chunk_size.start_of(Chunk(state.new)).unwrap_or_default();
            let rest = len.saturating_sub(skip);
            let room = shape.slot.saturating_sub(used);
            if !used.is_zero() && rest > room {
                self.current = Some(current);
                break;
            }
            let len = rest.min(room);
            let at = |start: Sectors| start.saturating_add(skip);
            pieces.push(Piece { item, origin: at(origin), store: at(store), slot: used, len });
            used = used.saturating_add(len);
            if len < rest {
                self.current = Some(Current { item, skip: at(len), pieces: left.saturating_sub(1) });
                break;
            }
        }
        pieces
    }

    fn next_item(&mut self, shape: Shape, [store, both]: [&Spans; 2]) -> Option<Current> {
        let overlaps = |spans: &Spans, old: u64| {
            let (start, len) = shape.origin(old);
            !spans.is_empty() && SectorRange::new(start, len).is_some_and(|range| spans.overlaps(range))
        };
        if let Some(state) = self.items.get_mut(self.cursor) {
            let item = self.cursor;
            self.cursor = item.saturating_add(1);
            // R1: a write that is still under way may come after the read.
            state.dirty = overlaps(store, state.old) && !planted::is(Bug::ForgetRecopy);
            return self.begin(item, shape);
        }
        for _ in 0..self.again.len() {
            let item = self.again.pop_front()?;
            let Some(state) = self.items.get_mut(item) else { continue };
            if overlaps(store, state.old) || overlaps(both, state.old) {
                // Until those are done no others begin, so that this one's turn comes.
                state.hold = true;
                self.again.push_back(item);
                continue;
            }
            return self.begin(item, shape);
        }
        None
    }

    fn begin(&mut self, item: usize, shape: Shape) -> Option<Current> {
        let state = self.items.get_mut(item)?;
        let (_, len) = shape.origin(state.old);
        let pieces = u32::try_from(len.0.div_ceil(shape.slot.0.max(1))).unwrap_or(u32::MAX);
        state.stage = Stage::Copying;
        state.left = pieces;
        self.copying = self.copying.saturating_add(1);
        Some(Current { item, skip: Sectors::ZERO, pieces })
    }

    /// The pieces of a slot are done, well or not. Who waited for their chunks, and how many of those were copied for
    /// the first time, and once more.
    pub(crate) fn batch_done(&mut self, pieces: &[Piece], good: bool) -> BatchDone {
        let mut done = BatchDone::default();
        for piece in pieces {
            self.pieces_done(piece.item, 1, good, &mut done);
        }
        done
    }

    /// Nothing more is handed out for now: what was begun and not handed out goes back, and all writes that are held
    /// look again where to go.
    pub(crate) fn stop(&mut self) -> Vec<Waiter> {
        let mut done = BatchDone::default();
        if let Some(Current { item, pieces, .. }) = self.current.take() {
            self.pieces_done(item, pieces, false, &mut done);
        }
        done.waiters.append(&mut self.release_held());
        done.waiters
    }

    fn pieces_done(&mut self, item: usize, count: u32, good: bool, done: &mut BatchDone) {
        let Some(state) = self.items.get_mut(item) else { return };
        state.left = state.left.saturating_sub(count);
        state.spoilt |= !good;
        if state.left > 0 {
            return;
        }
        self.copying = self.copying.saturating_sub(1);
        let (dirty, spoilt) = (state.dirty, state.spoilt);
        (state.dirty, state.spoilt) = (false, false);
        if !spoilt {
            let counter = if state.copies == 0 { &mut done.first } else { &mut done.again };
            *counter = counter.saturating_add(1);
            state.copies = state.copies.saturating_add(1);
        }
        if dirty || spoilt {
            state.stage = Stage::Queued;
            state.hold = state.copies >= COPIES_BEFORE_HOLD;
            self.again.push_back(item);
        } else {
            state.stage = Stage::Copied;
            state.hold = false;
        }
        done.waiters.append(&mut self.held.remove(&item).unwrap_or_default());
    }
}

/// What became of the pieces of a slot.
#[derive(Debug, Default)]
pub(crate) struct BatchDone {
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) first: u64,
    pub(crate) again: u64,
}

fn index(item: u32) -> usize {
    usize::try_from(item).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
