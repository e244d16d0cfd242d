//! Committing exceptions: from data that lies in a store to records that survive a crash.
//!
//! What must hold (dm-snapshot.md 2.7):
//! - C1: a record is written only after the data it points at was flushed.
//! - C3: an area becomes full only after the next one is durably zero.
//! - C4: blocks are written in ascending order, each durable before the next.
//! - K9: what is written is a block of the device, not a chunk; its image is made of records that were checked, and
//!   zeros.
//! - C8: one commit takes all exceptions that are ready, and shares its flush with everybody.
//! - A commit that fails invalidates the snapshot: the store's metadata is not known any more.

use crate::api::{Buffer, Fault, Io, Slice, Space, StoreId};
use crate::core::Core;
use crate::ledger::{Lane, Owner};
use crate::planted::{self, Bug};
use crate::script::{Next, Script};
use crate::store::{Commit, Store, Validity};
use crate::wake::Waiter;
use foldback_dm_snapshot_format::Record;
use foldback_dm_snapshot_format::blocks::encode_block;
use foldback_units::{Bytes, Chunk, Sectors};

impl Core {
    /// Begins a commit where one is wanted and none is under way.
    pub(crate) fn try_commit(&mut self, id: StoreId) {
        let Some(store) = self.stores.get_mut(&id) else { return };
        if store.commit.is_some() || store.validity != Validity::Valid {
            return;
        }
        store.making.bound_uncommitted(self.held);
        let Some(end) = store.making.committable() else { return };
        store.commit = Some(Commit { end, script: None, records: 0, tail: Vec::new() });
        let counter = &mut self.ledger.counters.commits;
        *counter = counter.saturating_add(1);
        if planted::is(Bug::SwapDataAndRecord) {
            self.wakes.wake(Waiter::Commit(id), Ok(()));
            return;
        }
        let domains = store.opened.geometry.domains.clone();
        self.flush(&[&domains], Waiter::Commit(id));
    }

    /// The data of a commit is durable, or not.
    pub(crate) fn commit_flushed(&mut self, id: StoreId, result: Result<(), Fault>) {
        let Some(store) = self.stores.get_mut(&id) else { return };
        if store.validity != Validity::Valid {
            store.commit = None;
            return;
        }
        let Some(script) = result.ok().and_then(|()| store.write_records()) else {
            store.commit = None;
            return self.failed_commit(id);
        };
        let Some(commit) = &mut store.commit else { return };
        let next = commit.script.insert(script).start();
        self.commit_on(id, next);
    }

    /// One of its metadata writes is done.
    pub(crate) fn commit_written(&mut self, id: StoreId, result: Result<(), Fault>) {
        let commit = self.stores.get_mut(&id).and_then(|store| store.commit.as_mut());
        let Some(script) = commit.and_then(|commit| commit.script.as_mut()) else { return };
        let next = script.complete(result);
        self.commit_on(id, next);
    }

    fn commit_on(&mut self, id: StoreId, next: Next) {
        match next {
            Next::Wait => {}
            Next::Run(ios) => {
                for io in ios {
                    self.ledger.push(Lane::Foreground, Owner::Commit { store: id }, io);
                }
            }
            Next::Over(result) => self.commit_over(id, result),
        }
    }

    fn commit_over(&mut self, id: StoreId, result: Result<(), Fault>) {
        let Some(store) = self.stores.get_mut(&id) else { return };
        let Some(commit) = store.commit.take() else { return };
        if store.validity != Validity::Valid {
            return;
        }
        if result.is_err() {
            return self.failed_commit(id);
        }
        store.opened.records = store.opened.records.saturating_add(commit.records);
        store.opened.tail = commit.tail;
        let waiters = store.making.committed(commit.end);
        self.wakes.wake_all(waiters, Ok(()));
        self.touched.insert(id);
    }
}

impl Store {
    /// The metadata writes of the commit that is under way; `None` where a place does not fit, which allocation has
    /// ruled out.
    fn write_records(&mut self) -> Option<Script> {
        let blocks = self.blocks();
        let commit = self.commit.as_mut()?;
        let mut records = self.opened.tail.clone();
        let kept = count(&records);
        for run in self.making.runs_until(commit.end) {
            for step in 0..run.len {
                let new = Chunk(run.new.saturating_add(step));
                records.push(Record::new(Chunk(run.old.saturating_add(step)), new).ok()?);
            }
        }
        let from = self.opened.records;
        commit.records = count(&records).saturating_sub(kept);
        let to = from.saturating_add(commit.records);
        let first = from.saturating_sub(kept);
        let slice = |start: u64, end: u64| {
            let at = |index: u64| usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX);
            records.get(at(start)..at(end.min(to))).unwrap_or_default()
        };
        let mut groups = vec![self.zero_areas(from, to)?];
        for span in blocks.touched(from..to) {
            let mut bytes = vec![0; span.range.len().to_bytes().and_then(Bytes::to_usize)?];
            encode_block(slice(span.first, span.end).iter().copied(), &mut bytes).ok()?;
            let space = Space::Store(self.id);
            groups.push(vec![Io::WriteMetadata { space, at: span.range.start(), bytes, fua: true }]);
        }
        if planted::is(Bug::CommitDescending) {
            groups.reverse();
        }
        let tail = slice(blocks.span_of(to)?.first, to).to_vec();
        if let Some(commit) = &mut self.commit {
            commit.tail = tail;
        }
        Some(Script::new(groups))
    }

    /// C3: the areas behind those that records `from..to` fill. One write each, all of the area: a later commit of the
    /// kernel's would write back whatever was left in it.
    fn zero_areas(&self, from: u64, to: u64) -> Option<Vec<Io>> {
        let mut ios = Vec::new();
        if planted::is(Bug::WrongAreaBorder) {
            return Some(ios);
        }
        for area in self.layout().areas_to_zero(from, to) {
            let range = self.layout().area_range(area)?;
            let from = vec![Slice { buffer: Buffer::Zeroes, offset: Sectors::ZERO, len: range.len() }];
            ios.push(Io::Write { space: Space::Store(self.id), at: range.start(), from, fua: true });
        }
        Some(ios)
    }
}

fn count(records: &[Record]) -> u64 {
    u64::try_from(records.len()).unwrap_or(u64::MAX)
}
