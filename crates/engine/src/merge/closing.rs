//! The end of a window: flush, truncate, drop (W5, W6, W7).
//!
//! What must hold (dm-snapshot.md 3.3):
//! - R5: the origin is flushed after every copy of the window is complete and before the first write that hides one.
//! - R6: only the records of the window are hidden; what stays in its block was read from there and checked.
//! - R7, R10: mappings are dropped only when the truncation is durable and no write to the window goes both ways.
//! - A truncation that failed may have reached the store: the window stays as it is, written both ways, until a later
//!   one succeeds.
//! - A write that failed on one way after the copy sends its chunk back to be copied, before anything else.

use crate::api::{Buffer, Fault, Io, Slice, Space, StoreId};
use crate::core::Core;
use crate::ledger::{Lane, Owner};
use crate::merge::window::{Phase, Window};
use crate::merge::{Merge, flushed};
use crate::planted::{self, Bug};
use crate::script::{Next, Script};
use foldback_dm_snapshot_format::blocks::encode_block;
use foldback_dm_snapshot_format::{Blocks, MetadataWrite, Truncation};
use foldback_units::{Bytes, SectorRange, Sectors};

impl Merge {
    /// Brings the first window nearer to its end; true where something changed.
    pub(crate) fn close(&mut self, core: &mut Core) -> bool {
        let failed = self.failed;
        let Some(window) = self.windows.front_mut() else { return false };
        match window.phase {
            Phase::Copying if window.is_copied() && !failed => {
                window.phase = Phase::Flushing;
                if planted::is(Bug::DropOriginFlush) {
                    core.wakes.wake(flushed(window), Ok(()));
                } else {
                    let domains = core.origin.domains.clone();
                    core.flush(&[&domains], flushed(window));
                }
                true
            }
            Phase::Dropping if !window.is_copied() => {
                window.phase = Phase::Copying;
                core.wakes.wake_all(window.release_held(), Ok(()));
                true
            }
            Phase::Dropping if window.both_ways == 0 => {
                self.drop_window(core);
                true
            }
            _ => false,
        }
    }

    /// W5 is done, or failed.
    pub(crate) fn window_flushed(&mut self, number: u64, result: Result<(), Fault>, core: &mut Core) {
        let store = self.store;
        let Some(window) = self.window(number).filter(|window| matches!(window.phase, Phase::Flushing))
        else {
            return;
        };
        window.phase = Phase::Copying;
        if result.is_err() {
            return self.fail(core);
        }
        // A chunk that was spoilt meanwhile is copied again, and the window flushed again.
        if !window.is_copied() {
            return;
        }
        let script = core.stores.get(&store).and_then(|found| truncation(window, store, found.blocks()));
        let Some(mut script) = script else { return self.fail(core) };
        window.phase = Phase::Truncating;
        window.truncated = true;
        let next = script.start();
        self.truncation = script;
        self.truncate_on(number, next, core);
    }

    /// One of the writes of W6 is done.
    pub(crate) fn truncation_written(&mut self, number: u64, result: Result<(), Fault>, core: &mut Core) {
        let next = self.truncation.complete(result);
        self.truncate_on(number, next, core);
    }

    fn truncate_on(&mut self, number: u64, next: Next, core: &mut Core) {
        match next {
            Next::Wait => {}
            Next::Run(ios) => {
                let boundary = ios.iter().any(|io| matches!(io, Io::WriteMetadata { .. }));
                for io in ios {
                    core.ledger.push(Lane::Control, Owner::Truncate { window: number }, io);
                }
                if boundary && planted::is(Bug::DropMappingEarly) {
                    self.truncated(number);
                }
            }
            Next::Over(Ok(())) => self.truncated(number),
            Next::Over(Err(_)) => {
                if let Some(window) = self.window(number) {
                    window.phase = Phase::Copying;
                }
                self.fail(core);
            }
        }
    }

    fn truncated(&mut self, number: u64) {
        if let Some(window) = self.window(number) {
            // A chunk that was spoilt meanwhile: see `close`.
            window.phase = if window.is_copied() { Phase::Dropping } else { Phase::Copying };
        }
    }

    /// W7.
    fn drop_window(&mut self, core: &mut Core) {
        let Some(mut window) = self.windows.pop_front() else { return };
        self.left = window.records.start;
        if let Some(store) = core.stores.get_mut(&self.store) {
            for old in window.olds() {
                if let Some(range) =
                    store.origin_range(old, 1).filter(|_| store.opened.table.get(old).is_some())
                {
                    self.merged.add(range);
                }
                store.opened.table.remove(old, 1);
                if !store.opened.repeats.is_empty() {
                    store.opened.repeats.remove(&old);
                }
            }
            for (old, here) in &window.repeated {
                if let Some(more) = store.opened.repeats.get_mut(old) {
                    *more = more.saturating_sub(*here);
                    if *more == 0 {
                        store.opened.repeats.remove(old);
                    }
                }
            }
            store.opened.records = window.records.start;
            store.opened.tail = std::mem::take(&mut window.keep);
            store.opened.merged = true;
        }
        let counter = &mut core.ledger.counters.windows;
        *counter = counter.saturating_add(1);
        core.wakes.wake_all(window.release_held(), Ok(()));
        self.finished = self.left == 0 && self.windows.is_empty();
    }
}

/// The writes that hide a window's records: those above the block where the table will end, then that block, durably.
fn truncation(window: &Window, store: StoreId, blocks: Blocks) -> Option<Script> {
    let (from, to) = (window.records.end, window.records.start);
    let hidden = u64::from(planted::is(Bug::TruncateTooMuch) && !window.keep.is_empty());
    let (mut zeros, mut boundary) = (Vec::new(), Vec::new());
    let space = Space::Store(store);
    for write in Truncation::new(blocks, from, to)? {
        match write {
            MetadataWrite::Zero(range) => zeros.push(zero(space, range)),
            MetadataWrite::Boundary { span, keep } => {
                let count = usize::try_from(keep.end.checked_sub(keep.start)?.saturating_sub(hidden)).ok()?;
                let mut bytes = vec![0; span.range.len().to_bytes().and_then(Bytes::to_usize)?];
                encode_block(window.keep.get(..count)?.iter().copied(), &mut bytes).ok()?;
                boundary.push(Io::WriteMetadata { space, at: span.range.start(), bytes, fua: true });
            }
        }
    }
    Some(Script::new([zeros, boundary]))
}

fn zero(space: Space, range: SectorRange) -> Io {
    let slice = Slice { buffer: Buffer::Zeroes, offset: Sectors::ZERO, len: range.len() };
    Io::Write { space, at: range.start(), from: vec![slice], fua: false }
}
