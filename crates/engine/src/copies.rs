//! Copies into stores: data of the origin or the merged view, of a request, or of both in one write.
//!
//! What must hold (C1, C8):
//! - The origin is read once for all stores that need it. Where the merged view lies is looked up when the read begins.
//! - A copy holds its scratch memory from its read until its last write is done.
//! - A failed read fails the exceptions that need it, and so does a failed write of a merge's copy; any other failed write
//!   stops that store, and no other.
//! - Foreground copies go first; of a merge's at most `depth` are under way.

use crate::api::{Buffer, Fault, Io, Slice, Space, StoreId};
use crate::core::Core;
use crate::ledger::{Lane, Owner};
use crate::making::Finished;
use crate::scratch::Scratch;
use crate::slab::{Key, Slab};
use crate::store::Validity;
use crate::view::Base;
use foldback_units::{SectorRange, Sectors};
use std::collections::VecDeque;

/// The longest piece that is copied at once: 1 MiB.
const MAX_PIECE: Sectors = Sectors(2048);

/// Where a copy is written.
#[derive(Debug)]
pub(crate) struct Dest {
    pub(crate) store: StoreId,
    /// The exception that it is a part of.
    pub(crate) exception: u64,
    pub(crate) at: Sectors,
    /// What is written; scratch memory counts from where the source was read to.
    pub(crate) from: Vec<Slice>,
}

/// What a copy reads first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    pub(crate) base: Base,
    pub(crate) range: SectorRange,
}

/// One piece.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) source: Option<Source>,
    pub(crate) dests: Vec<Dest>,
    pub(crate) lane: Lane,
    memory: Sectors,
    reading: usize,
    /// A read failed.
    spoilt: bool,
    /// When it was read from the merging store: how many windows had been completed.
    windows: Option<u64>,
    writing: usize,
}

impl Copy {
    pub(crate) fn new(source: Option<Source>, dests: Vec<Dest>, lane: Lane) -> Self {
        let memory = Sectors::ZERO;
        Self { source, dests, lane, memory, reading: 0, spoilt: false, windows: None, writing: 0 }
    }

    /// A merge's copies are bounded here, so that they need not queue behind its other I/Os: somebody may wait for them.
    fn ledger_lane(&self) -> Lane {
        if self.lane == Lane::Background { Lane::Control } else { self.lane }
    }

    fn needs(&self) -> Sectors {
        self.source.map_or(Sectors::ZERO, |source| source.range.len())
    }
}

/// All copies of a group.
#[derive(Debug)]
pub(crate) struct Copies {
    known: Slab<Copy>,
    foreground: VecDeque<Key>,
    background: VecDeque<Key>,
    background_running: u32,
    background_memory: Sectors,
    /// A merge takes no more of the memory, so that somebody who waits finds some.
    background_share: Sectors,
    depth: u32,
    scratch: Scratch,
    piece: Sectors,
}

impl Copies {
    pub(crate) fn new(memory: Sectors, depth: u32) -> Self {
        // Several pieces at a time, each a multiple of 4 KiB: what the largest logical blocks need.
        let piece = Sectors((memory.0.div_euclid(4) & !7).max(8)).min(MAX_PIECE);
        Self {
            known: Slab::new(),
            foreground: VecDeque::new(),
            background: VecDeque::new(),
            background_running: 0,
            background_memory: Sectors::ZERO,
            background_share: Sectors(memory.0.div_euclid(2)),
            depth: depth.max(1),
            scratch: Scratch::new(memory),
            piece,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The longest range that one copy reads.
    pub(crate) fn piece(&self) -> Sectors {
        self.piece
    }

    fn pop(&mut self) -> Option<(Key, Lane)> {
        if let Some(key) = self.foreground.pop_front() {
            return Some((key, Lane::Foreground));
        }
        let key = *self.background.front()?;
        let needs = self.known.get(key).map_or(Sectors::ZERO, Copy::needs);
        let full = self.background_memory.saturating_add(needs) > self.background_share;
        if self.background_running > 0 && (full || self.background_running >= self.depth) {
            return None;
        }
        self.background.pop_front().map(|key| (key, Lane::Background))
    }

    fn unpop(&mut self, key: Key, lane: Lane) {
        match lane {
            Lane::Background => self.background.push_front(key),
            Lane::Foreground | Lane::Control => self.foreground.push_front(key),
        }
    }
}

/// `range` in pieces of at most `piece`.
pub(crate) fn pieces(range: SectorRange, piece: Sectors) -> impl Iterator<Item = SectorRange> {
    let mut start = range.start();
    std::iter::from_fn(move || {
        let len = range.end().checked_sub(start)?.min(piece);
        let next = SectorRange::new(start, len).filter(|range| !range.is_empty())?;
        start = next.end();
        Some(next)
    })
}

impl Core {
    /// Takes a copy; it starts when there is memory for it.
    pub(crate) fn copy(&mut self, copy: Copy) {
        for dest in &copy.dests {
            if let Some(store) = self.stores.get_mut(&dest.store) {
                store.making.add_part(dest.exception);
            }
        }
        let lane = copy.lane;
        let key = self.copies.known.insert(copy);
        match lane {
            Lane::Background => self.copies.background.push_back(key),
            Lane::Foreground | Lane::Control => self.copies.foreground.push_back(key),
        }
    }

    pub(crate) fn start_copies(&mut self) {
        while let Some((key, lane)) = self.copies.pop() {
            let Some(copy) = self.copies.known.get_mut(key) else { continue };
            let needs = copy.needs();
            let memory = if needs.is_zero() { Some(Sectors::ZERO) } else { self.copies.scratch.take(needs) };
            let Some(memory) = memory else {
                // Nobody overtakes: what is given back is joined until it is enough.
                self.copies.unpop(key, lane);
                return;
            };
            copy.memory = memory;
            if lane == Lane::Background {
                let copies = &mut self.copies;
                copies.background_running = copies.background_running.saturating_add(1);
                copies.background_memory = copies.background_memory.saturating_add(needs);
            }
            self.begin_copy(key);
        }
    }

    fn begin_copy(&mut self, key: Key) {
        let Some(copy) = self.copies.known.get_mut(key) else { return };
        let stores = &self.stores;
        let usable =
            |dest: &Dest| stores.get(&dest.store).is_some_and(|store| store.validity == Validity::Valid);
        // A store that was lost meanwhile needs no copy any more.
        let lost: Vec<Dest> = copy.dests.extract_if(.., |dest| !usable(dest)).collect();
        match copy.source {
            Some(source) if !copy.dests.is_empty() => {
                self.read_copy(key, source);
            }
            _ => self.write_copy(key),
        }
        for dest in lost {
            self.part_done(dest.store, dest.exception, true);
        }
    }

    fn read_copy(&mut self, key: Key, source: Source) {
        let places = self.places(source.base, source.range);
        let Some(copy) = self.copies.known.get_mut(key) else { return };
        copy.reading = places.len();
        for (space, at, run) in places {
            if space != Space::Origin {
                copy.windows = Some(self.ledger.counters.windows);
            }
            let skip = run.start().saturating_sub(source.range.start());
            let offset = copy.memory.saturating_add(skip);
            let into = vec![Slice { buffer: Buffer::Scratch, offset, len: run.len() }];
            let owner = Owner::CopyRead { copy: key };
            self.ledger.push(copy.ledger_lane(), owner, Io::Read { space, at, into });
        }
    }

    fn write_copy(&mut self, key: Key) {
        let Some(copy) = self.copies.known.get_mut(key) else { return };
        copy.writing = copy.dests.len();
        let lane = copy.ledger_lane();
        for (index, dest) in copy.dests.iter_mut().enumerate() {
            let mut from = std::mem::take(&mut dest.from);
            for slice in from.iter_mut().filter(|slice| slice.buffer == Buffer::Scratch) {
                slice.offset = slice.offset.saturating_add(copy.memory);
            }
            let io = Io::Write { space: Space::Store(dest.store), at: dest.at, from, fua: false };
            self.ledger.push(lane, Owner::CopyWrite { copy: key, dest: index }, io);
        }
        if copy.writing == 0 {
            self.end_copy(key);
        }
    }

    fn end_copy(&mut self, key: Key) -> Option<Copy> {
        let copy = self.copies.known.remove(key)?;
        if !copy.needs().is_zero() {
            self.copies.scratch.give(copy.memory, copy.needs());
        }
        if copy.lane == Lane::Background {
            let copies = &mut self.copies;
            copies.background_running = copies.background_running.saturating_sub(1);
            copies.background_memory = copies.background_memory.saturating_sub(copy.needs());
        }
        Some(copy)
    }

    pub(crate) fn copy_was_read(&mut self, key: Key, result: Result<(), Fault>) {
        let Some(copy) = self.copies.known.get_mut(key) else { return };
        copy.reading = copy.reading.saturating_sub(1);
        copy.spoilt |= result.is_err();
        if copy.reading > 0 {
            return;
        }
        let (spoilt, windows) = (copy.spoilt, copy.windows);
        if !spoilt && !windows.is_some_and(|windows| self.is_doubtful(windows)) {
            return self.write_copy(key);
        }
        for dest in self.end_copy(key).map(|copy| copy.dests).unwrap_or_default() {
            self.part_done(dest.store, dest.exception, false);
        }
    }

    pub(crate) fn copy_was_written(&mut self, key: Key, dest: usize, result: Result<(), Fault>) {
        let Some(copy) = self.copies.known.get_mut(key) else { return };
        copy.writing = copy.writing.saturating_sub(1);
        let Some((store, exception)) = copy.dests.get(dest).map(|dest| (dest.store, dest.exception)) else {
            return;
        };
        let background = copy.lane == Lane::Background;
        if copy.writing == 0 {
            self.end_copy(key);
        }
        if result.is_err() && background {
            // Nothing of the window is overwritten yet: the merge can fail instead of the snapshot.
            return self.part_done(store, exception, false);
        }
        if result.is_err() {
            self.invalidate(store);
        }
        // Not a failed exception: its waiters wait for the store to be invalidated.
        self.part_done(store, exception, true);
    }

    /// A part of an exception is done; not `good` where its source could not be read.
    fn part_done(&mut self, id: StoreId, exception: u64, good: bool) {
        let Some(store) = self.stores.get_mut(&id) else { return };
        match store.making.part_done(exception, good) {
            None => {}
            Some(Finished::Mapped(run, waiters)) => {
                if store.validity == Validity::Valid {
                    store.opened.table.insert(run);
                    let copied = &mut self.ledger.counters.chunks_copied_out;
                    *copied = copied.saturating_add(run.len);
                }
                self.wakes.wake_all(waiters, Ok(()));
            }
            Some(Finished::Failed(waiters)) => {
                let free = store.making.settle();
                self.wakes.wake_all(waiters, Err(Fault::Device));
                self.wakes.wake_all(free, Ok(()));
            }
        }
        if matches!(store.validity, Validity::Invalid | Validity::Untold) {
            let waiters = store.making.give_up();
            self.wakes.wake_all(waiters, Ok(()));
        }
        self.touched.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::pieces;
    use foldback_units::{SectorRange, Sectors};

    #[test]
    fn pieces_cover_a_range_once() {
        let range = |start, len| SectorRange::new(Sectors(start), Sectors(len)).unwrap();
        let cut: Vec<_> = pieces(range(5, 20), Sectors(8)).collect();
        assert_eq!(cut, [range(5, 8), range(13, 8), range(21, 4)]);
        assert_eq!(pieces(range(5, 0), Sectors(8)).count(), 0);
    }
}
