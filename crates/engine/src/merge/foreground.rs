//! Foreground writes to the merged view.
//!
//! What must hold (dm-snapshot.md 3.4, R1, R2, R10):
//! - A chunk without an exception: the origin's own path, other snapshots first.
//! - An exception in no window, or in one whose copy has not begun: the store only. While it is being copied: the store
//!   only, and it is copied again. Copied: both ways, the store first, answered after both, one
//!   overlapping write at a time.
//! - Held where a chunk's turn would never come, and for the moment in which mappings are dropped.

use crate::api::Fault;
use crate::core::Core;
use crate::merge::Merge;
use crate::merge::window::Policy;
use crate::ops::Legs;
use crate::planted::{self, Bug};
use crate::spans::SpanId;
use crate::store::Store;
use crate::wake::Waiter;
use foldback_units::{Chunk, ChunkSize, SectorRange, Sectors};

/// Where a write goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// To the origin, as if nothing were merging.
    Plain,
    /// To the store.
    Store { at: Sectors },
    /// To both.
    BothWays { at: Sectors, window: u64 },
    /// Nowhere yet.
    Held { window: u64, item: usize },
}

/// Whether what is read is what a power cut would leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fence {
    /// It is, everywhere.
    Open,
    /// The waiter will be woken when that may have changed.
    Closed,
    /// It is not, until the merge is resumed.
    Broken,
}

impl Merge {
    /// A write that failed on one of its two ways, with the records hidden or about to be: reads see the store, a power
    /// cut would leave the origin. Until that chunk is copied again nobody may be told that what they read is durable.
    pub(crate) fn fence(&mut self, waiter: Waiter) -> Fence {
        if !self.disagrees() {
            return Fence::Open;
        }
        if self.failed {
            return Fence::Broken;
        }
        self.fenced.push(waiter);
        Fence::Closed
    }

    /// Whether what is read from a chunk may differ from what a power cut would leave.
    pub(crate) fn disagrees(&self) -> bool {
        self.windows.iter().any(|window| window.truncated && !window.is_copied())
    }

    /// Where the first sectors of `range` go, and how many of them.
    pub(crate) fn route(&self, range: SectorRange, core: &Core) -> (Route, Sectors) {
        let Some(store) = core.stores.get(&self.store) else { return (Route::Plain, range.len()) };
        let (Some(at), len) = store.run_at(range) else {
            let (_, len) = store.run_at(range);
            return (Route::Plain, len);
        };
        if self.windows.is_empty() {
            return (Route::Store { at }, len);
        }
        let size = store.chunk_size();
        let (first, end) = chunks(size, range.start(), len);
        let policy = self.policy(first);
        let same = (first..end).take_while(|&chunk| same_way(policy, self.policy(chunk))).count();
        let until = first.saturating_add(u64::try_from(same).unwrap_or(u64::MAX).max(1));
        let until = size.start_of(Chunk(until)).unwrap_or(range.end());
        let len = len.min(until.saturating_sub(range.start()));
        let route = match policy {
            None | Some((_, _, Policy::Store)) => Route::Store { at },
            Some((window, _, Policy::BothWays)) => Route::BothWays { at, window },
            Some((window, item, Policy::Held)) => Route::Held { window, item },
        };
        (route, len)
    }

    /// The window and item of a chunk, and what its writes have to do; `None` where it is in no window.
    fn policy(&self, old: u64) -> Option<(u64, usize, Policy)> {
        self.windows.iter().find_map(|window| {
            let item = window.find(old)?;
            Some((window.number, item, window.policy(item, self.failed)))
        })
    }

    /// A write to the store only begins.
    pub(crate) fn begin_store_write(&mut self, range: SectorRange, core: &Core) -> SpanId {
        if let Some(store) = core.stores.get(&self.store)
            && !self.windows.is_empty()
        {
            let (first, end) = chunks(store.chunk_size(), range.start(), range.len());
            for chunk in first..end {
                for window in &mut self.windows {
                    if let Some(item) = window.find(chunk) {
                        window.written_in_store(item);
                    }
                }
            }
        }
        self.store_writes.insert(range)
    }

    /// R10: how many overlapping writes `waiter` has to wait for.
    pub(crate) fn wait_for_writes_both_ways(&mut self, range: SectorRange, waiter: Waiter) -> u32 {
        if planted::is(Bug::RaceBothWays) { 0 } else { self.both_writes.wait_overlapping(range, waiter) }
    }

    pub(crate) fn begin_write_both_ways(&mut self, range: SectorRange, window: u64) -> SpanId {
        if let Some(window) = self.window(window) {
            window.both_ways = window.both_ways.saturating_add(1);
        }
        self.both_writes.insert(range)
    }

    pub(crate) fn hold_write(&mut self, window: u64, item: usize, waiter: Waiter) {
        if let Some(window) = self.window(window) {
            window.hold(item, waiter);
        }
    }

    /// A foreground write is done, on all its legs.
    pub(crate) fn legs_done(
        &mut self,
        legs: Legs,
        range: SectorRange,
        result: Result<(), Fault>,
        core: &mut Core,
    ) {
        match legs {
            Legs::Plain => {}
            Legs::MergingStore(span) => {
                let waiters = self.store_writes.remove(span);
                core.wakes.wake_all(waiters, Ok(()));
            }
            Legs::BothWays { span, window, .. } => {
                let waiters = self.both_writes.remove(span);
                core.wakes.wake_all(waiters, Ok(()));
                let size = core.stores.get(&self.store).map(Store::chunk_size);
                if let Some((window, size)) = self.window(window).zip(size) {
                    window.both_ways = window.both_ways.saturating_sub(1);
                    if result.is_err() {
                        let (first, end) = chunks(size, range.start(), range.len());
                        for item in (first..end).filter_map(|chunk| window.find(chunk)).collect::<Vec<_>>() {
                            window.spoil(item);
                        }
                    }
                }
            }
        }
    }
}

/// The chunks of `len` sectors from `start` on: the first, and the one behind the last.
fn chunks(size: ChunkSize, start: Sectors, len: Sectors) -> (u64, u64) {
    (size.chunk_of(start).0, size.chunks_to_hold(start.saturating_add(len)))
}

/// Whether two chunks can be written by one operation.
fn same_way(first: Option<(u64, usize, Policy)>, other: Option<(u64, usize, Policy)>) -> bool {
    let way = |policy: Option<(u64, usize, Policy)>| match policy {
        None | Some((_, _, Policy::Store)) => (Policy::Store, 0, 0),
        Some((window, _, Policy::BothWays)) => (Policy::BothWays, window, 0),
        Some((window, item, Policy::Held)) => (Policy::Held, window, item),
    };
    way(first) == way(other)
}
