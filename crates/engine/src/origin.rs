//! Requests to the origin, or, while a snapshot is merging, to the merged view.
//!
//! What must hold:
//! - C1, C2: a write reaches the origin only when every snapshot has its exception, durably, and no snapshot read of
//!   those sectors is under way; the merging store, when that holds of the snapshots of the merged view.
//! - A read without exceptions is one I/O, whatever its length.
//! - R8: a flush covers the origin, and while a merge is not finished its store as well. What no flush could cover any
//!   more is not written (I10).
//! - A discard is passed down only where nobody else could miss what is discarded.

use crate::api::{Fault, Io, RequestKind, Slice, Space, StoreId};
use crate::copy_out::Asker;
use crate::group::Group;
use crate::ledger::{Lane, Owner};
use crate::making::Until;
use crate::merge::{Fence, Route};
use crate::ops::{Legs, Step, Work};
use crate::planted::{self, Bug};
use crate::slab::Key;
use crate::store::Store;
use crate::table::Found;
use crate::view::Whose;
use crate::wake::Waiter;
use foldback_units::{SectorRange, Sectors};

impl Group {
    pub(crate) fn begin_origin(&mut self, request: Key, kind: RequestKind, range: SectorRange) {
        match kind {
            RequestKind::Read => self.read_origin(request, range),
            RequestKind::Write { .. } | RequestKind::WriteZeroes { .. } => {
                let op = self.add_op(request, range, Work::Origin, Step::Route);
                self.route(op);
            }
            RequestKind::Flush => self.flush_origin(request, range),
            RequestKind::Discard => {
                if self.core.stores.is_empty() {
                    self.add_part(request);
                    let io = Io::Discard { space: Space::Origin, range };
                    self.core.ledger.push(Lane::Foreground, Owner::Part { request }, io);
                }
            }
        }
    }

    fn flush_origin(&mut self, request: Key, range: SectorRange) {
        let op = self.add_op(request, range, Work::Origin, Step::Flush);
        self.flush_for(op);
    }

    fn flush_for(&mut self, op: Key) {
        self.park(op, 1);
        if let Some(op) = self.ops.get_mut(op) {
            op.step = Step::Flush;
        }
        let origin = self.core.origin.domains.clone();
        let merging = self.merging_store().filter(|_| !planted::is(Bug::AckFlushEarly));
        let store = merging.map(|store| store.opened.geometry.domains.clone()).unwrap_or_default();
        self.core.flush(&[&origin, &store], Waiter::Op(op));
    }

    /// What a flush made durable has to be what is read: while the two places of a chunk disagree, it is not answered.
    /// It is flushed again after such a chunk was copied; `flushed` says that it was, just now.
    pub(crate) fn pass_fence(&mut self, key: Key, flushed: bool) {
        let fence = self.merge.as_mut().map_or(Fence::Open, |merge| merge.fence(Waiter::Op(key)));
        match fence {
            Fence::Open if flushed => self.end_op(key, Ok(())),
            Fence::Open => self.flush_for(key),
            Fence::Broken => self.end_op(key, Err(Fault::Device)),
            Fence::Closed => {
                self.park(key, 1);
                if let Some(op) = self.ops.get_mut(key) {
                    op.step = Step::FlushAgain;
                }
            }
        }
    }

    /// The store whose exceptions are the merged view's, until the merge is finished.
    fn merging_store(&self) -> Option<&Store> {
        let merge = self.merge.as_ref().filter(|merge| !merge.is_finished())?;
        self.core.stores.get(&merge.store())
    }

    fn read_origin(&mut self, request: Key, range: SectorRange) {
        let runs = match self.merging_store() {
            Some(store) => store.runs(range),
            None => vec![(None, range)],
        };
        let store = self.core.merging;
        for (place, run) in runs {
            let windows = self.core.ledger.counters.windows;
            let (space, at, owner) = match (place, store) {
                (Some(at), Some(store)) => (Space::Store(store), at, Owner::MergedRead { request, windows }),
                _ => (Space::Origin, run.start(), Owner::Part { request }),
            };
            let into = vec![self.memory(request, run)];
            self.read(request, owner, space, at, into);
        }
    }

    pub(crate) fn read(&mut self, request: Key, owner: Owner, space: Space, at: Sectors, into: Vec<Slice>) {
        self.add_part(request);
        self.core.ledger.push(Lane::Foreground, owner, Io::Read { space, at, into });
    }

    /// Finds out where a write goes, and sends it there or waits.
    pub(crate) fn route_origin(&mut self, key: Key) {
        let Some(range) = self.ops.get(key).map(|op| op.range) else { return };
        let store = self.merging_store().map(|store| store.opened.geometry.domains.as_slice());
        let caches = [self.core.origin.domains.as_slice(), store.unwrap_or_default()];
        if caches.iter().any(|domains| self.core.flushes.is_poisoned(domains)) {
            return self.end_op(key, Err(Fault::Device));
        }
        let merging = self.merge.as_mut().zip(self.core.merging);
        let Some((merge, store)) = merging.filter(|(merge, _)| !merge.is_finished()) else {
            if self.may_change(key, range, Whose::All) {
                self.start_leg(key, Legs::Plain, Space::Origin, range.start());
            }
            return;
        };
        let (route, len) = merge.route(range, &self.core);
        let Some(range) = self.cut(key, len) else { return };
        let whose = if route == Route::Plain { Whose::All } else { Whose::OfMerged };
        let goes = match route {
            Route::Held { .. } => true,
            Route::BothWays { .. } if planted::is(Bug::SkipViewCopyOut) => true,
            _ => self.may_change(key, range, whose),
        };
        if !goes {
            return;
        }
        match route {
            Route::Plain => self.start_leg(key, Legs::Plain, Space::Origin, range.start()),
            Route::Store { at } => {
                let Some(merge) = &mut self.merge else { return };
                let span = merge.begin_store_write(range, &self.core);
                self.start_leg(key, Legs::MergingStore(span), Space::Store(store), at);
            }
            Route::BothWays { at, window } => self.write_both_ways(key, range, store, at, window),
            Route::Held { window, item } => {
                self.park(key, 1);
                let counter = &mut self.core.ledger.counters.writes_held;
                *counter = counter.saturating_add(1);
                if let Some(merge) = &mut self.merge {
                    merge.hold_write(window, item, Waiter::Op(key));
                }
            }
        }
    }

    /// R10: to the store and to the origin, after every overlapping write that goes both ways.
    fn write_both_ways(&mut self, key: Key, range: SectorRange, store: StoreId, at: Sectors, window: u64) {
        let Some(merge) = &mut self.merge else { return };
        let waits = merge.wait_for_writes_both_ways(range, Waiter::Op(key));
        if waits > 0 {
            return self.park(key, waits);
        }
        let span = merge.begin_write_both_ways(range, window);
        let counter = &mut self.core.ledger.counters.written_both_ways;
        *counter = counter.saturating_add(1);
        self.start_leg(key, Legs::BothWays { span, window, second: false }, Space::Store(store), at);
    }

    /// Whether all snapshots that the change of `range` concerns have their exceptions, and their reads of it are over.
    /// Otherwise the operation waits, and looks again where it goes, or has failed.
    fn may_change(&mut self, key: Key, range: SectorRange, whose: Whose) -> bool {
        let Some(op) = self.ops.get_mut(key) else { return false };
        let tell_again = !std::mem::replace(&mut op.told_again, true);
        let waiter = Waiter::Op(key);
        let asker = Asker { waiter, lane: Lane::Foreground, until: Until::Durable, tell_again, whose };
        let needs = self.core.need_exceptions(range, asker);
        self.park(key, needs.waits);
        if let Some(fault) = needs.fault {
            self.fail_op(key, fault);
            return false;
        }
        if needs.waits > 0 {
            return false;
        }
        let reads = self.core.wait_for_reads(range, whose, waiter);
        self.park(key, reads);
        reads == 0
    }
}

impl Store {
    /// `range` cut where its place changes: where each part lies in the store, `None` where it lies in the origin.
    pub(crate) fn runs(&self, range: SectorRange) -> Vec<(Option<Sectors>, SectorRange)> {
        let mut runs: Vec<(Option<Sectors>, SectorRange)> = Vec::new();
        let mut rest = range;
        while !rest.is_empty() {
            let (place, len) = self.run_at(rest);
            let Some(run) = SectorRange::new(rest.start(), len) else { break };
            runs.push((place, run));
            let left = rest.len().saturating_sub(len);
            let Some(next) = SectorRange::new(run.end(), left) else { break };
            rest = next;
        }
        runs
    }

    /// Where the first sectors of `range` lie, and how many of them.
    pub(crate) fn run_at(&self, range: SectorRange) -> (Option<Sectors>, Sectors) {
        let Some(clip) = self.clip(range).filter(|clip| clip.start() == range.start()) else {
            return (None, range.len());
        };
        let (first, end) = self.chunks_of(clip);
        let found = self.opened.table.find(first, end.saturating_sub(first));
        let sectors = found.len().saturating_mul(self.chunk_size().len().0);
        let len = Sectors(sectors).saturating_sub(self.chunk_size().offset_in_chunk(clip.start()));
        match found {
            Found::Mapped { new, .. } => (Some(self.place(clip.start(), new)), len.min(clip.len())),
            // What lies behind the snapshot's end lies in the origin as well.
            Found::Gap { .. } if len >= clip.len() => (None, range.len()),
            Found::Gap { .. } => (None, len),
        }
    }
}
