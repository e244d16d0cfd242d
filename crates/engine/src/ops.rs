//! Requests and the operations that they are made of.
//!
//! A request is cut where its parts need different treatment: each part is an operation. An operation looks where it
//! has to go, waits if it must, and looks again; once it knows, its I/Os (legs) run; then it may have to wait until
//! something is durable; then its part of the request is done.
//!
//! What must hold:
//! - A request is answered once, when its last part is done, with the first fault of any.
//! - An operation ends only when it neither waits nor has a leg under way, so that no buffer is used after the answer.

use crate::api::{Buffer, Fault, Io, Request, RequestKind, Slice, Space, StoreId};
use crate::group::Group;
use crate::ledger::{Lane, Owner};
use crate::slab::Key;
use crate::spans::SpanId;
use crate::store::Validity;
use crate::wake::Waiter;
use foldback_units::{SectorRange, Sectors};

/// A request that is being served.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) request: Request,
    parts: u32,
    fault: Option<Fault>,
}

/// What an operation works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// A write to the origin, or to the merged view.
    Origin,
    /// A write to a snapshot, or its flush.
    Snapshot(StoreId),
}

/// Where an operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// It looks where to go, and may have to wait for that.
    Route,
    /// Its data goes into a new exception of its own.
    Data,
    /// Its legs are under way.
    Legs(Legs),
    /// A flush of the origin or the merged view is under way.
    Flush,
    /// It has to be flushed again, once a chunk that two places disagree about is copied.
    FlushAgain,
    /// It waits for the last thing.
    Settle,
}

/// What kind of legs an operation has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Legs {
    /// To one place that nothing else depends on.
    Plain,
    /// To chunks of the merging store.
    MergingStore(SpanId),
    /// To chunks of the merging store, and then to the origin, in a window.
    BothWays { span: SpanId, window: u64, second: bool },
}

/// A part of a request.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) request: Key,
    pub(crate) range: SectorRange,
    pub(crate) work: Work,
    pub(crate) step: Step,
    pub(crate) waits: u32,
    pub(crate) fault: Option<Fault>,
    /// It has had a snapshot told again that it is invalid.
    pub(crate) told_again: bool,
}

impl Live {
    pub(crate) const fn new(request: Request) -> Self {
        // One part stands for the cutting itself.
        Self { request, parts: 1, fault: None }
    }

    /// How many parts of it are not done.
    pub(crate) const fn parts(&self) -> u32 {
        self.parts
    }
}

impl Group {
    /// A new operation, which is about to be routed or to wait.
    pub(crate) fn add_op(&mut self, request: Key, range: SectorRange, work: Work, step: Step) -> Key {
        self.add_part(request);
        self.ops.insert(Op { request, range, work, step, waits: 0, fault: None, told_again: false })
    }

    pub(crate) fn add_part(&mut self, request: Key) {
        if let Some(live) = self.requests.get_mut(request) {
            live.parts = live.parts.saturating_add(1);
        }
    }

    pub(crate) fn part_done(&mut self, request: Key, result: Result<(), Fault>) {
        let Some(live) = self.requests.get_mut(request) else { return };
        live.parts = live.parts.saturating_sub(1);
        if let Err(fault) = result {
            live.fault.get_or_insert(fault);
        }
        if live.parts == 0
            && let Some(live) = self.requests.remove(request)
        {
            self.answers.push_back((live.request.id, live.fault.map_or(Ok(()), Err)));
        }
    }

    /// The request's memory for `range`: its buffer, or zeros.
    pub(crate) fn memory(&self, request: Key, range: SectorRange) -> Slice {
        let zeros = Slice { buffer: Buffer::Zeroes, offset: Sectors::ZERO, len: range.len() };
        let Some(live) = self.requests.get(request) else { return zeros };
        if matches!(live.request.kind, RequestKind::WriteZeroes { .. }) {
            return zeros;
        }
        let offset = range.start().saturating_sub(live.request.range.start());
        Slice { buffer: Buffer::Request(live.request.id), offset, len: range.len() }
    }

    pub(crate) fn is_fua(&self, request: Key) -> bool {
        let kind = self.requests.get(request).map(|live| live.request.kind);
        matches!(kind, Some(RequestKind::Write { fua: true } | RequestKind::WriteZeroes { fua: true }))
    }

    /// Keeps the first `len` sectors of an operation; the rest becomes one of its own, routed next.
    pub(crate) fn cut(&mut self, key: Key, len: Sectors) -> Option<SectorRange> {
        let op = self.ops.get_mut(key)?;
        let whole = op.range;
        if len >= whole.len() {
            return Some(whole);
        }
        let head = SectorRange::new(whole.start(), len)?;
        let rest = SectorRange::new(head.end(), whole.len().checked_sub(len)?)?;
        op.range = head;
        let (request, work) = (op.request, op.work);
        let rest = self.add_op(request, rest, work, Step::Route);
        self.park(rest, 1);
        self.core.wakes.wake(Waiter::Op(rest), Ok(()));
        Some(head)
    }

    /// The operation waits for `waits` more wakes.
    pub(crate) fn park(&mut self, key: Key, waits: u32) {
        if let Some(op) = self.ops.get_mut(key) {
            op.waits = op.waits.saturating_add(waits);
        }
    }

    pub(crate) fn op_woken(&mut self, key: Key, result: Result<(), Fault>) {
        let Some(op) = self.ops.get_mut(key) else { return };
        op.waits = op.waits.saturating_sub(1);
        if let Err(fault) = result {
            op.fault.get_or_insert(fault);
        }
        if op.waits > 0 {
            return self.end_if_only_parked(key);
        }
        match (op.step, op.fault) {
            (Step::Legs(_), _) => {}
            (_, Some(fault)) => self.end_op(key, Err(fault)),
            (Step::Route, None) => self.route(key),
            (Step::Data, None) => self.data_is_in_store(key),
            (Step::Flush, None) => self.pass_fence(key, true),
            (Step::FlushAgain, None) => self.pass_fence(key, false),
            (Step::Settle, None) => self.settled(key),
        }
    }

    pub(crate) fn route(&mut self, key: Key) {
        let Some(op) = self.ops.get(key) else { return };
        match op.work {
            Work::Origin => self.route_origin(key),
            Work::Snapshot(store) => self.route_snapshot(key, store),
        }
    }

    /// Hands out an operation's write, or the first of its two.
    pub(crate) fn start_leg(&mut self, key: Key, kind: Legs, space: Space, at: Sectors) {
        let Some(op) = self.ops.get_mut(key) else { return };
        op.step = Step::Legs(kind);
        let (request, range) = (op.request, op.range);
        let (memory, fua) = (self.memory(request, range), self.is_fua(request));
        let io = Io::Write { space, at, from: vec![memory], fua };
        self.core.ledger.push(Lane::Foreground, Owner::Leg { op: key }, io);
    }

    pub(crate) fn leg_done(&mut self, key: Key, result: Result<(), Fault>) {
        let Some(op) = self.ops.get_mut(key) else { return };
        let (step, range) = (op.step, op.range);
        // The store first: reads come from there, and must never be older than what a power cut would leave.
        if let (Step::Legs(Legs::BothWays { span, window, second: false }), Ok(())) = (step, result) {
            let legs = Legs::BothWays { span, window, second: true };
            return self.start_leg(key, legs, Space::Origin, range.start());
        }
        if let (Step::Legs(legs), Some(merge)) = (step, &mut self.merge) {
            merge.legs_done(legs, range, result, &mut self.core);
        }
        match (result, step) {
            (Ok(()), Step::Legs(Legs::Plain)) => self.settle_if_fua(key),
            _ => self.end_op(key, result),
        }
    }

    /// What it waited for at last is durable; a snapshot may have been lost instead.
    fn settled(&mut self, key: Key) {
        let Some(op) = self.ops.get(key) else { return };
        let lost = match op.work {
            Work::Origin => false,
            Work::Snapshot(id) => {
                self.core.stores.get(&id).is_none_or(|store| store.validity != Validity::Valid)
            }
        };
        self.end_op(key, if lost { Err(Fault::Invalid) } else { Ok(()) });
    }

    pub(crate) fn end_op(&mut self, key: Key, result: Result<(), Fault>) {
        if let Some(op) = self.ops.remove(key) {
            self.part_done(op.request, result);
        }
    }

    /// Ends an operation that may still be waited for elsewhere, once all its waits are over.
    pub(crate) fn fail_op(&mut self, key: Key, fault: Fault) {
        let Some(op) = self.ops.get_mut(key) else { return };
        op.fault.get_or_insert(fault);
        op.step = Step::Settle;
        if op.waits == 0 {
            self.end_op(key, Err(fault));
        }
    }
}
