//! Merging a snapshot into its origin, by windows (dm-snapshot.md 3.3, 3.4).
//!
//! A window is the last records of the table. Its life: its records are read back; other snapshots get their exceptions
//! (W3); its chunks are copied, in store order from the store and in origin order to the origin (W4); the origin is
//! flushed (W5); one metadata write hides the records (W6); the mappings are dropped (W7). The next window begins when
//! the first has handed out all its copies, so that the device is never idle; it is closed only after the first.
//!
//! What must hold:
//! - R5, R6, R7, in `closing`; R1, R2, in `window` and `foreground`; R3 in `others`.
//! - Windows are closed in order: V never grows, and no record is hidden before all behind it are.
//! - After an error nothing more is begun until [`Merge::resume`]. The merged view stays right: what was not hidden is
//!   served from the store, and writes go where the window that stands still needs them.
//! - A merge that is paced begins no window for which it has no allowance (`pace`).
//! - A merge is finished when the empty table is durable and no write goes both ways.

mod closing;
mod foreground;
mod others;
mod pace;
mod records;
mod slots;
pub(crate) mod window;

pub(crate) use foreground::{Fence, Route};
pub(crate) use pace::Pace;

use crate::api::{Fault, Outcome, StoreId};
use crate::core::Core;
use crate::ledger::Owner;
use crate::script::Script;
use crate::spans::Spans;
use crate::status::MergeProgress;
use crate::store::Store;
use crate::wake::Waiter;
use foldback_units::{Cells, Chunk, Sectors};
use others::Others;
use records::{Contents, Reading};
use slots::{After, Slots};
use std::collections::VecDeque;
use window::{Phase, Shape, Window};

/// Windows at once: one that is closed while the next is copied.
const MAX_WINDOWS: usize = 2;
/// Records of one window at most: 128 MiB of state.
const MAX_RECORDS: u64 = 1 << 22;

/// A merge.
#[derive(Debug)]
pub(crate) struct Merge {
    store: StoreId,
    total: u64,
    left: u64,
    /// Records of one window.
    length: u64,
    paused: bool,
    failed: bool,
    finished: bool,
    /// What was merged since it began, for a map.
    merged: Cells,
    /// Oldest first. All but the last have been handed out.
    windows: VecDeque<Window>,
    next_number: u64,
    slots: Slots,
    reading: Option<Reading>,
    others: Others,
    /// The metadata writes of the first window's truncation.
    truncation: Script,
    /// Foreground writes under way to chunks that lie in the store, and to those that are written both ways.
    store_writes: Spans,
    both_writes: Spans,
    /// Flushes that wait until two places agree again.
    fenced: Vec<Waiter>,
}

/// The scratch memory of a merge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) start: Sectors,
    pub(crate) len: Sectors,
}

impl Merge {
    /// Begins to merge `id`, whose store is attached, valid and quiet. `window` is the length of its windows.
    pub(crate) fn start(id: StoreId, window: Sectors, memory: Memory, core: &mut Core) -> Option<Self> {
        let store = core.stores.get_mut(&id)?;
        // Finished means that the status says so, also where all there is are chunks that were never used.
        store.opened.merged |= store.opened.records == 0;
        let chunk = store.chunk_size();
        let total = store.opened.records;
        let length = window.0.checked_div(chunk.len().0).unwrap_or(1).clamp(1, MAX_RECORDS);
        core.merging = Some(id);
        core.ledger.begin_merge();
        Some(Self {
            store: id,
            total,
            left: total,
            length,
            paused: false,
            failed: false,
            finished: total == 0,
            merged: Cells::new(core.origin.size, chunk.len()),
            windows: VecDeque::new(),
            next_number: 0,
            slots: Slots::new(memory.start, memory.len, chunk),
            reading: None,
            others: Others::new(),
            truncation: Script::default(),
            store_writes: Spans::default(),
            both_writes: Spans::default(),
            fenced: Vec::new(),
        })
    }

    pub(crate) fn store(&self) -> StoreId {
        self.store
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    /// Whether it stands still: between two windows, or after a failure.
    pub(crate) fn is_quiet(&self) -> bool {
        self.finished || self.failed || self.windows.is_empty()
    }

    pub(crate) fn progress(&self) -> MergeProgress {
        MergeProgress {
            chunks_total: self.total,
            chunks_left: self.left,
            failed: self.failed,
            finished: self.finished,
        }
    }

    pub(crate) fn merged(&self) -> &Cells {
        &self.merged
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
        self.failed = false;
    }

    /// Tries again after a failure.
    pub(crate) fn retry(&mut self) {
        self.failed = false;
    }

    /// What a whole window takes of an allowance.
    pub(crate) fn window_sectors(&self, core: &Core) -> Sectors {
        let size = core.stores.get(&self.store).map(Store::chunk_size);
        size.and_then(|size| size.start_of(Chunk(self.length))).unwrap_or_default()
    }

    /// Goes on as far as it can. `held`: no new window.
    pub(crate) fn advance(&mut self, held: bool, pace: &mut Pace, core: &mut Core) {
        if self.finished {
            return;
        }
        loop {
            let opened = !held && !self.paused && self.open_window(pace, core);
            let prepared = self.prepare(core);
            if held || self.paused {
                self.forget_parked(core);
            }
            self.start_batches(core);
            let closed = self.close(core);
            if !opened && !prepared && !closed {
                return;
            }
        }
    }

    /// A window that waits for room in another snapshot's store would keep the group from becoming quiet.
    fn forget_parked(&mut self, core: &mut Core) {
        let parked = self.others.is_parked();
        if let Some(last) = self.windows.back().filter(|last| parked && matches!(last.phase, Phase::Others)) {
            core.forget_parked(Waiter::WindowOthers(last.number));
            self.windows.pop_back();
            self.others = Others::new();
        }
    }

    /// Begins the next window when the last one has been handed out.
    fn open_window(&mut self, pace: &mut Pace, core: &mut Core) -> bool {
        let ready = self.windows.back().is_none_or(|last| {
            matches!(last.phase, Phase::Copying | Phase::Flushing | Phase::Truncating | Phase::Dropping)
                && last.is_handed_out()
        });
        let end = self.windows.back().map_or(self.left, |last| last.records.start);
        if self.failed || !ready || self.windows.len() >= MAX_WINDOWS || end == 0 {
            return false;
        }
        let Some(blocks) = core.stores.get(&self.store).map(Store::blocks) else { return false };
        let length = pace.take(self.length.min(end), blocks.layout().chunk_size());
        if length == 0 {
            return false;
        }
        let window = Window::new(self.next_number, end.saturating_sub(length)..end);
        self.next_number = self.next_number.saturating_add(1);
        self.reading = Reading::start(&window, self.store, blocks, core);
        self.others = Others::new();
        self.windows.push_back(window);
        if self.reading.is_none() {
            self.fail(core);
        }
        true
    }

    /// Brings the last window as far as copying.
    fn prepare(&mut self, core: &mut Core) -> bool {
        let Some(window) = self.windows.back().filter(|_| !self.failed) else { return false };
        match window.phase {
            Phase::Reading => {
                let Some(good) = self.reading.as_ref().and_then(Reading::finished) else { return false };
                let contents = if good { self.contents(core) } else { None };
                self.reading = None;
                let Some((window, contents)) = self.windows.back_mut().zip(contents) else {
                    self.fail(core);
                    return false;
                };
                window.fill(&contents.chunks);
                (window.keep, window.repeated) = (contents.keep, contents.repeated);
                window.phase = Phase::Others;
                true
            }
            Phase::Others => {
                let over = self.others.advance(window, self.store, core);
                if over.is_err() {
                    self.fail(core);
                } else if over == Ok(true)
                    && let Some(window) = self.windows.back_mut()
                {
                    window.phase = Phase::Copying;
                }
                over == Ok(true)
            }
            _ => false,
        }
    }

    /// What the records of the last window say.
    fn contents(&self, core: &Core) -> Option<Contents> {
        let (last, above) = (self.windows.back()?, self.windows.iter().rev().skip(1));
        self.reading.as_ref()?.contents(last, &above, core.stores.get(&self.store)?)
    }

    fn start_batches(&mut self, core: &mut Core) {
        let Some(store) = core.stores.get(&self.store).filter(|_| !self.failed) else { return };
        let shape = Shape { chunk_size: store.chunk_size(), size: store.size, slot: self.slots.len() };
        while let Some(slot) = self.slots.free() {
            let writes = [&self.store_writes, &self.both_writes];
            let mut copying = self.windows.iter_mut().filter(|window| matches!(window.phase, Phase::Copying));
            let batch = copying.find_map(|window| {
                let pieces = window.next_batch(shape, writes);
                (!pieces.is_empty()).then_some((window.number, pieces))
            });
            let Some((window, pieces)) = batch else { return };
            self.slots.fill(slot, window, pieces, self.store, &mut core.ledger);
        }
    }

    /// An error of the merge's own: nothing more is begun. A window that was not copied yet is forgotten.
    fn fail(&mut self, core: &mut Core) {
        self.failed = true;
        core.wakes.wake_all(std::mem::take(&mut self.fenced), Ok(()));
        if self.windows.back().is_some_and(|last| matches!(last.phase, Phase::Reading | Phase::Others)) {
            self.windows.pop_back();
            self.reading = None;
        }
        for window in self.windows.iter_mut().filter(|window| !matches!(window.phase, Phase::Dropping)) {
            let waiters = window.stop();
            core.wakes.wake_all(waiters, Ok(()));
        }
    }

    fn window(&mut self, number: u64) -> Option<&mut Window> {
        self.windows.iter_mut().find(|window| window.number == number)
    }

    /// An I/O of the merge's own is done.
    pub(crate) fn completed(
        &mut self,
        owner: Owner,
        outcome: Outcome,
        result: Result<(), Fault>,
        core: &mut Core,
    ) {
        match owner {
            Owner::WindowRecords { window, piece } => self.records_read(window, piece, outcome),
            Owner::MergeRead { slot } => {
                let after = self.slots.read_done(slot, result, &mut core.ledger);
                self.slot_done(after, core);
            }
            Owner::MergeWrite { slot } => {
                let after = self.slots.write_done(slot, result);
                self.slot_done(after, core);
            }
            Owner::Truncate { window } => self.truncation_written(window, result, core),
            _ => {}
        }
    }

    fn records_read(&mut self, window: u64, piece: usize, outcome: Outcome) {
        if let Some(reading) = self.reading.as_mut().filter(|reading| reading.is_of(window)) {
            reading.piece_read(piece, outcome);
        }
    }

    pub(crate) fn others_woken(&mut self, number: u64, result: Result<(), Fault>, core: &mut Core) {
        // A window that failed meanwhile is waited for in vain.
        let waits = self.window(number).is_some_and(|window| matches!(window.phase, Phase::Others));
        if waits {
            self.others.woken();
            if result.is_err() {
                self.fail(core);
            }
        }
    }

    fn slot_done(&mut self, after: After, core: &mut Core) {
        let After::Done { window, pieces, good } = after else { return };
        let Some(window) = self.window(window) else { return };
        let done = window.batch_done(&pieces, good);
        core.wakes.wake_all(done.waiters, Ok(()));
        core.wakes.wake_all(std::mem::take(&mut self.fenced), Ok(()));
        let counters = &mut core.ledger.counters;
        counters.chunks_merged = counters.chunks_merged.saturating_add(done.first).saturating_add(done.again);
        counters.chunks_recopied = counters.chunks_recopied.saturating_add(done.again);
        if !good {
            self.fail(core);
        }
    }
}

/// Who waits for a window's flush.
fn flushed(window: &Window) -> Waiter {
    Waiter::WindowFlushed(window.number)
}
