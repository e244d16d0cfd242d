//! Requests to a snapshot that is not merging.
//!
//! What must hold (dm-snapshot.md 2.3, 2.4, 2.7):
//! - A read of what has no exception goes to the origin, or the merged view, and is tracked until it is done (C2).
//! - C7: a write is answered when its data is in the store and the mapping in memory; records follow at a flush, with
//!   FUA, or when the origin is to change.
//! - A write that covers a chunk copies nothing; one that covers a part reads the rest of the chunk once, from where
//!   the snapshot would read it.
//! - A flush commits every exception whose write was answered, and makes the data durable.
//! - A snapshot that is not valid serves nothing.

use crate::api::{Buffer, Fault, RequestKind, Slice, Space, StoreId};
use crate::copies::{Copy, Dest, Source, pieces};
use crate::group::Group;
use crate::ledger::{Lane, Owner};
use crate::making::{Stage, Until};
use crate::ops::{Legs, Step, Work};
use crate::planted::{self, Bug};
use crate::slab::Key;
use crate::store::Validity;
use crate::table::{Found, Run};
use crate::view::{Base, Tracked};
use crate::wake::Waiter;
use foldback_units::{SectorRange, Sectors};

impl Group {
    pub(crate) fn begin_snapshot(
        &mut self,
        request: Key,
        id: StoreId,
        kind: RequestKind,
        range: SectorRange,
    ) {
        if !self.is_valid(id) {
            self.add_part(request);
            return self.part_done(request, Err(Fault::Invalid));
        }
        match kind {
            RequestKind::Read => self.read_snapshot(request, id, range),
            RequestKind::Write { .. } | RequestKind::WriteZeroes { .. } => {
                let op = self.add_op(request, range, Work::Snapshot(id), Step::Route);
                self.route(op);
            }
            RequestKind::Flush => self.flush_snapshot(request, id, range),
            RequestKind::Discard => {}
        }
    }

    fn is_valid(&self, id: StoreId) -> bool {
        self.core.stores.get(&id).is_some_and(|store| store.validity == Validity::Valid)
    }

    fn read_snapshot(&mut self, request: Key, id: StoreId, range: SectorRange) {
        let Some(store) = self.core.stores.get(&id) else { return };
        let base = store.base;
        for (place, run) in store.runs(range) {
            if let Some(at) = place {
                let into = vec![self.memory(request, run)];
                let owner = Owner::SnapshotRead { request, store: id, tracked: None };
                self.read(request, owner, Space::Store(id), at, into);
                continue;
            }
            for (space, at, run) in self.core.places(base, run) {
                let into = vec![self.memory(request, run)];
                let tracked = Some(self.core.track(base, space, run));
                self.read(request, Owner::SnapshotRead { request, store: id, tracked }, space, at, into);
            }
        }
    }

    /// A read is done. If the snapshot was lost meanwhile, nobody knows what was read: a cache that could not be flushed
    /// may have dropped it.
    pub(crate) fn snapshot_was_read(
        &mut self,
        request: Key,
        id: StoreId,
        tracked: Option<Tracked>,
        result: Result<(), Fault>,
    ) {
        if let Some(tracked) = tracked {
            self.core.untrack(tracked);
        }
        let windows = tracked.and_then(|tracked| tracked.windows);
        let doubtful = windows.is_some_and(|windows| self.core.is_doubtful(windows));
        let result = if doubtful { Err(Fault::Device) } else { result };
        let lost = !self.is_valid(id);
        self.part_done(request, if lost { Err(Fault::Invalid) } else { result });
    }

    fn flush_snapshot(&mut self, request: Key, id: StoreId, range: SectorRange) {
        let op = self.add_op(request, range, Work::Snapshot(id), Step::Settle);
        let Some(store) = self.core.stores.get_mut(&id) else { return };
        let domains = store.opened.geometry.domains.clone();
        let commits = !planted::is(Bug::FlushWithoutCommit) && store.making.wait_for_all(Waiter::Op(op));
        self.core.touched.insert(id);
        self.park(op, if commits { 2 } else { 1 });
        self.core.flush(&[&domains], Waiter::Op(op));
    }

    /// Finds out where a write goes, and sends it there or waits.
    pub(crate) fn route_snapshot(&mut self, key: Key, id: StoreId) {
        let Some(range) = self.ops.get(key).map(|op| op.range) else { return };
        if !self.is_valid(id) {
            return self.end_op(key, Err(Fault::Invalid));
        }
        let Some(store) = self.core.stores.get_mut(&id) else { return };
        if self.core.flushes.is_poisoned(&store.opened.geometry.domains) {
            return self.end_op(key, Err(Fault::Device));
        }
        let (first, end) = store.chunks_of(range);
        if let Some((number, exception)) = store.making.find(first)
            && exception.stage == Stage::Copying
        {
            let until = exception.run.old_end();
            store.making.wait(number, Until::Mapped, Waiter::Op(key));
            let len = chunks_from(range, until, store.chunk_size().len());
            self.park(key, 1);
            self.cut(key, len);
            return;
        }
        let free = store.making.free_from(first, end.saturating_sub(first));
        match store.opened.table.find(first, end.saturating_sub(first)) {
            Found::Mapped { new, len } => {
                let until = first.saturating_add(len);
                let (at, len) =
                    (store.place(range.start(), new), chunks_from(range, until, store.chunk_size().len()));
                self.cut(key, len);
                self.start_leg(key, Legs::Plain, Space::Store(id), at);
            }
            Found::Gap { len } => {
                let Some(run) = store.allocate(first, len.min(free)) else {
                    self.core.invalidate(id);
                    return self.end_op(key, Err(Fault::Invalid));
                };
                let len = chunks_from(range, run.old_end(), store.chunk_size().len());
                let Some(range) = self.cut(key, len) else { return };
                self.write_new(key, id, run, range);
            }
        }
    }

    /// A write of `range`, all of it in `run`, which has just been allocated.
    fn write_new(&mut self, key: Key, id: StoreId, run: Run, range: SectorRange) {
        let Some(request) = self.ops.get(key).map(|op| op.request) else { return };
        let memory = self.memory(request, range);
        let Some(store) = self.core.stores.get_mut(&id) else { return };
        let Some(whole) = store.origin_range(run.old, run.len) else { return };
        let exception = store.making.add(run);
        let at = store.place(whole.start(), run.new);
        let base = if planted::is(Bug::FillFromOrigin) { Base::Origin } else { store.base };
        store.making.wait(exception, Until::Mapped, Waiter::Op(key));
        self.core.touched.insert(id);
        if let Some(op) = self.ops.get_mut(key) {
            op.step = Step::Data;
        }
        self.park(key, 1);
        for copy in self.copies_around(whole, range, memory, &Place { store: id, exception, base, at }) {
            self.core.copy(copy);
        }
    }

    /// What fills `whole`: the request's memory in `range`, and what the snapshot shows around it.
    fn copies_around(
        &self,
        whole: SectorRange,
        range: SectorRange,
        memory: Slice,
        place: &Place,
    ) -> Vec<Copy> {
        let before = range.start().saturating_sub(whole.start());
        let behind = whole.end().saturating_sub(range.end());
        let scratch = |offset, len| Slice { buffer: Buffer::Scratch, offset, len };
        let piece = self.core.copies.piece();
        let around = before.saturating_add(behind);
        if !around.is_zero() && whole.len() <= piece {
            let after = before.saturating_add(range.len());
            let mut from = vec![scratch(Sectors::ZERO, before), memory, scratch(after, behind)];
            from.retain(|slice| !slice.len.is_zero());
            let source = Source { base: place.base, range: whole };
            return vec![Copy::new(Some(source), vec![place.dest(Sectors::ZERO, from)], Lane::Foreground)];
        }
        let mut copies = vec![Copy::new(None, vec![place.dest(before, vec![memory])], Lane::Foreground)];
        let head = SectorRange::new(whole.start(), before);
        let tail = SectorRange::new(range.end(), behind);
        for range in [head, tail].into_iter().flatten().flat_map(|part| pieces(part, piece)) {
            let skip = range.start().saturating_sub(whole.start());
            let from = vec![scratch(Sectors::ZERO, range.len())];
            let source = Source { base: place.base, range };
            copies.push(Copy::new(Some(source), vec![place.dest(skip, from)], Lane::Foreground));
        }
        copies
    }

    /// The data of a write lies in its new exception.
    pub(crate) fn data_is_in_store(&mut self, key: Key) {
        self.settle_if_fua(key);
    }

    /// The data is written: with FUA the records of its exceptions have to be durable as well.
    pub(crate) fn settle_if_fua(&mut self, key: Key) {
        let Some(op) = self.ops.get_mut(key) else { return };
        let Work::Snapshot(id) = op.work else { return self.end_op(key, Ok(())) };
        let (request, range) = (op.request, op.range);
        op.step = Step::Settle;
        if !self.is_valid(id) {
            return self.end_op(key, Err(Fault::Invalid));
        }
        let mut waits = 0_u32;
        if self.is_fua(request)
            && let Some(store) = self.core.stores.get_mut(&id)
        {
            let (mut chunk, end) = store.chunks_of(range);
            while chunk < end {
                if let Some((number, exception)) = store.making.find(chunk) {
                    chunk = exception.run.old_end();
                    store.making.wait(number, Until::Durable, Waiter::Op(key));
                    waits = waits.saturating_add(1);
                } else {
                    let left = end.saturating_sub(chunk);
                    chunk = chunk.saturating_add(store.making.free_from(chunk, left).max(1));
                }
            }
            self.core.touched.insert(id);
        }
        self.park(key, waits);
        if waits == 0 {
            self.end_op(key, Ok(()));
        }
    }
}

/// A new exception and where its first sector goes.
struct Place {
    store: StoreId,
    exception: u64,
    /// What the snapshot is of.
    base: Base,
    at: Sectors,
}

impl Place {
    fn dest(&self, skip: Sectors, from: Vec<Slice>) -> Dest {
        Dest { store: self.store, exception: self.exception, at: self.at.saturating_add(skip), from }
    }
}

/// How many sectors of `range` lie before chunk `until`.
fn chunks_from(range: SectorRange, until: u64, chunk: Sectors) -> Sectors {
    let end = Sectors(until.saturating_mul(chunk.0));
    end.saturating_sub(range.start()).min(range.len())
}
