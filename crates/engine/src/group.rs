//! An origin group: the methods that its users see, and the loop that moves everything on.
//!
//! What must hold (architecture.md, "The engine's contract"):
//! - Four kinds of method: a request comes in, what to do next, how it went, who can be answered. And getters.
//! - After each of them everything that can go on has gone on: nothing waits for a call that may not come.
//! - The same calls in the same order give the same I/Os in the same order.

use crate::api::{Fault, Io, IoId, Outcome, Request, RequestId, RequestKind, SpaceGeometry, StoreId, Volume};
use crate::core::Core;
use crate::ledger::Owner;
use crate::merge::{Memory, Merge};
use crate::opened::OpenedStore;
use crate::ops::{Live, Op};
use crate::settings::{ConfigError, GroupConfig, MIN_SCRATCH, MergeRefused};
use crate::slab::Slab;
use crate::status::{Counters, MergeProgress, StoreStatus};
use crate::store::Validity;
use crate::view::Base;
use crate::wake::Waiter;
use foldback_units::{SectorRange, Sectors};
use std::collections::VecDeque;

/// Scratch memory for copies into stores at most: 4 MiB. A merge gets the rest, at least half.
const COPY_MEMORY: Sectors = Sectors(8192);
/// Origins are smaller: 2^62 sectors.
const ORIGIN_LIMIT: u64 = 1 << 62;

/// An origin, its snapshots, and at most one of them that is merging.
#[derive(Debug)]
pub struct Group {
    pub(crate) core: Core,
    pub(crate) requests: Slab<Live>,
    pub(crate) ops: Slab<Op>,
    pub(crate) merge: Option<Merge>,
    pub(crate) answers: VecDeque<(RequestId, Result<(), Fault>)>,
    window: Sectors,
    merge_memory: Memory,
    held: bool,
    /// Requests that came while the group is held.
    waiting: VecDeque<Request>,
}

impl Group {
    /// A group of an origin without snapshots.
    pub fn new(config: GroupConfig) -> Result<Self, ConfigError> {
        if config.scratch < MIN_SCRATCH {
            return Err(ConfigError::Scratch(config.scratch.0));
        }
        if config.origin.size.0 >= ORIGIN_LIMIT {
            return Err(ConfigError::OriginSize(config.origin.size.0));
        }
        let start = Sectors(config.scratch.0.div_euclid(2) & !7).min(COPY_MEMORY);
        let len = Sectors(config.scratch.saturating_sub(start).0 & !7);
        let window = config.window;
        let core = Core::new(config, start);
        Ok(Self {
            core,
            requests: Slab::new(),
            ops: Slab::new(),
            merge: None,
            answers: VecDeque::new(),
            window,
            merge_memory: Memory { start, len },
            held: false,
            waiting: VecDeque::new(),
        })
    }

    /// Adds a snapshot of `size` sectors whose store was opened for writing, with this geometry and `size` as the length
    /// of its origin. Only while the group is quiet, and not during a merge ([`Group::attach_view`]).
    pub fn attach(
        &mut self,
        store: StoreId,
        size: Sectors,
        geometry: SpaceGeometry,
        opened: OpenedStore,
    ) -> Result<(), ConfigError> {
        self.refuse_unless_quiet()?;
        if let Some(merging) = self.core.merging {
            return Err(ConfigError::Merging(merging));
        }
        self.join(store, size, geometry, opened, Base::Origin)
    }

    /// Takes a snapshot out of the group. Only while it is quiet; the merging one only when its merge is finished.
    pub fn detach(&mut self, store: StoreId) -> Result<OpenedStore, ConfigError> {
        self.refuse_unless_quiet()?;
        let merging = self.core.merging == Some(store);
        if merging && self.merge.as_ref().is_some_and(|merge| !merge.is_finished()) {
            return Err(ConfigError::Merging(store));
        }
        let found = self.core.stores.remove(&store).ok_or(ConfigError::NoSuchStore(store))?;
        if merging {
            self.merge = None;
            self.core.merging = None;
            self.core.forget_views();
        }
        let valid = found.validity == Validity::Valid;
        Ok(OpenedStore { valid, ..found.opened })
    }

    pub(crate) fn refuse_unless_quiet(&self) -> Result<(), ConfigError> {
        if self.is_quiet() { Ok(()) } else { Err(ConfigError::Busy) }
    }

    /// Begins to merge a snapshot. From now on [`Volume::Origin`] is the merged view, and the snapshot's own volume is
    /// gone. Only while the group is quiet.
    pub fn start_merge(&mut self, store: StoreId) -> Result<(), MergeRefused> {
        if let Some(merging) = self.core.merging {
            return Err(MergeRefused::AlreadyMerging(merging));
        }
        match self.core.stores.get(&store).map(|store| store.validity) {
            None => return Err(MergeRefused::NoSuchStore(store)),
            Some(Validity::Valid) => {}
            Some(_) => return Err(MergeRefused::Invalid(store)),
        }
        if !self.is_quiet() {
            return Err(MergeRefused::Busy);
        }
        self.merge = Merge::start(store, self.window, self.merge_memory, &mut self.core);
        self.pump();
        Ok(())
    }

    /// No new window is begun until [`Group::resume_merge`]; those that are under way are finished.
    pub fn pause_merge(&mut self) {
        if let Some(merge) = &mut self.merge {
            merge.pause();
        }
    }

    /// Goes on with a merge that was paused, and tries again one that failed.
    pub fn resume_merge(&mut self) {
        if let Some(merge) = &mut self.merge {
            merge.resume();
        }
        self.pump();
    }

    /// From now on requests are taken but not begun. Those that were begun finish, exceptions are committed, and the
    /// merge stops at the end of its windows: then the group is quiet.
    pub fn hold(&mut self) {
        self.held = true;
        self.core.commits_all = true;
        self.core.touched.extend(self.core.stores.keys());
        self.pump();
    }

    /// Ends [`Group::hold`].
    pub fn release(&mut self) {
        self.held = false;
        self.core.commits_all = false;
        while let Some(request) = self.waiting.pop_front() {
            self.begin(request);
        }
        self.pump();
    }

    /// Whether nothing is under way: no request, no I/O, no exception without a durable record, no window of a merge
    /// (one that failed stands still).
    pub fn is_quiet(&self) -> bool {
        let merge = self.merge.as_ref().is_none_or(Merge::is_quiet);
        merge && self.requests.is_empty() && self.core.is_quiet()
    }

    /// Takes a request. Its answer comes from [`Group::poll_answer`]. What does not exist now is refused, also while the
    /// group is held; what does not exist any more when it is released as well.
    pub fn submit(&mut self, request: Request) {
        if self.held && self.has(&request) {
            self.waiting.push_back(request);
            return;
        }
        self.begin(request);
        self.pump();
    }

    /// Whether what a request asks for exists now.
    fn has(&self, request: &Request) -> bool {
        let size = self.volume_size(request.volume);
        let volume = size.and_then(|size| SectorRange::new(Sectors::ZERO, size));
        volume.is_some_and(|volume| request.kind == RequestKind::Flush || volume.contains(request.range))
    }

    fn begin(&mut self, request: Request) {
        if !self.has(&request) {
            self.answers.push_back((request.id, Err(Fault::Range)));
            return;
        }
        let key = self.requests.insert(Live::new(request));
        if request.kind == RequestKind::Flush || !request.range.is_empty() {
            match request.volume {
                Volume::Origin => self.begin_origin(key, request.kind, request.range),
                Volume::Snapshot(store) => self.begin_snapshot(key, store, request.kind, request.range),
            }
        }
        self.part_done(key, Ok(()));
    }

    fn volume_size(&self, volume: Volume) -> Option<Sectors> {
        match volume {
            Volume::Origin => Some(self.core.origin.size),
            Volume::Snapshot(id) if self.core.merging == Some(id) => None,
            Volume::Snapshot(id) => self.core.stores.get(&id).map(|store| store.size),
        }
    }

    /// What to do next. I/Os that were handed out have no order among each other.
    pub fn poll_io(&mut self) -> Option<(IoId, Io)> {
        let (id, owner, io) = self.core.ledger.pop()?;
        if let Owner::Flush { flush } = owner {
            self.core.flushes.handed_out(flush);
        }
        Some((id, io))
    }

    /// How an I/O went. One that is not under way is ignored.
    pub fn complete_io(&mut self, id: IoId, outcome: Outcome) {
        let Some(owner) = self.core.ledger.complete(id) else { return };
        self.completed(owner, outcome);
        self.pump();
    }

    fn completed(&mut self, owner: Owner, outcome: Outcome) {
        let result = match &outcome {
            Outcome::Failed(fault) => Err(*fault),
            Outcome::Done | Outcome::Metadata(_) => Ok(()),
        };
        match owner {
            Owner::Part { request } => self.part_done(request, result),
            Owner::MergedRead { request, windows } => self.merged_was_read(request, windows, result),
            Owner::SnapshotRead { request, store, tracked } => {
                self.snapshot_was_read(request, store, tracked, result);
            }
            Owner::Leg { op } => self.leg_done(op, result),
            Owner::CopyRead { copy } => self.core.copy_was_read(copy, result),
            Owner::CopyWrite { copy, dest } => self.core.copy_was_written(copy, dest, result),
            Owner::Flush { flush } => self.core.flushed(flush, result),
            Owner::Commit { store } => self.core.commit_written(store, result),
            Owner::Header { store } => self.core.invalidated(store, result),
            Owner::WindowRecords { .. }
            | Owner::MergeRead { .. }
            | Owner::MergeWrite { .. }
            | Owner::Truncate { .. } => {
                if let Some(merge) = &mut self.merge {
                    merge.completed(owner, outcome, result, &mut self.core);
                }
            }
        }
    }

    /// Who can be answered.
    pub fn poll_answer(&mut self) -> Option<(RequestId, Result<(), Fault>)> {
        self.answers.pop_front()
    }

    /// Moves on everything that can go on.
    fn pump(&mut self) {
        loop {
            while let Some((waiter, result)) = self.core.wakes.next() {
                self.woken(waiter, result);
            }
            if let Some(merge) = &mut self.merge {
                merge.advance(self.held, &mut self.core);
            }
            self.core.advance();
            if self.core.wakes.is_empty() && self.core.touched.is_empty() {
                return;
            }
        }
    }

    fn woken(&mut self, waiter: Waiter, result: Result<(), Fault>) {
        match (waiter, &mut self.merge) {
            (Waiter::Op(op), _) => self.op_woken(op, result),
            (Waiter::Commit(store), _) => self.core.commit_flushed(store, result),
            (Waiter::WindowOthers(window), Some(merge)) => merge.others_woken(window, result, &mut self.core),
            (Waiter::WindowFlushed(window), Some(merge)) => {
                merge.window_flushed(window, result, &mut self.core);
            }
            (Waiter::WindowOthers(_) | Waiter::WindowFlushed(_), None) => {}
        }
    }

    /// The number of the next I/O.
    pub fn next_io(&self) -> IoId {
        self.core.ledger.next_io()
    }

    /// What a snapshot's status line says; `None` where it is not attached.
    pub fn store_status(&self, store: StoreId) -> Option<StoreStatus> {
        let status = self.core.stores.get(&store)?.status();
        let merge = self.merge.as_ref().filter(|merge| merge.store() == store && merge.is_failed());
        Some(if merge.is_some() && status != StoreStatus::Invalid {
            StoreStatus::MergeFailed
        } else {
            status
        })
    }

    /// How far the merge is; `None` without one.
    pub fn merge_progress(&self) -> Option<MergeProgress> {
        self.merge.as_ref().map(Merge::progress)
    }

    /// Memory of the exception tables, in bytes.
    pub fn table_bytes(&self) -> usize {
        self.core.stores.values().fold(0, |sum, store| sum.saturating_add(store.opened.table.bytes()))
    }

    /// Plain numbers since the group was made.
    pub fn counters(&self) -> &Counters {
        &self.core.ledger.counters
    }
}
