//! Who waits for something inside the engine, and the queue of those that can go on.
//!
//! What must hold:
//! - A state machine never calls another one: it wakes it. So no call comes back into a machine that is at work.
//! - Whoever registers a waiter counts it, and is woken exactly that often.

use crate::api::{Fault, StoreId};
use crate::slab::Key;
use std::collections::VecDeque;

/// Who is woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// An operation of a request.
    Op(Key),
    /// A commit whose data is flushed.
    Commit(StoreId),
    /// A merge window that waits for other snapshots (R3).
    WindowOthers(u64),
    /// A merge window whose copies are flushed (R5).
    WindowFlushed(u64),
}

/// Those that can go on, in order.
#[derive(Debug, Default)]
pub(crate) struct Wakes(VecDeque<(Waiter, Result<(), Fault>)>);

impl Wakes {
    pub(crate) fn wake(&mut self, waiter: Waiter, result: Result<(), Fault>) {
        self.0.push_back((waiter, result));
    }

    pub(crate) fn wake_all(&mut self, waiters: Vec<Waiter>, result: Result<(), Fault>) {
        self.0.extend(waiters.into_iter().map(|waiter| (waiter, result)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn next(&mut self) -> Option<(Waiter, Result<(), Fault>)> {
        self.0.pop_front()
    }
}
