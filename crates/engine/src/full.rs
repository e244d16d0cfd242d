//! Stores that are full, and what is parked until they are grown or given up.
//!
//! What must hold (docs/decisions/0001-engine.md, "A store that is full"; architecture.md, "A store that fills"):
//! - With [`WhenFull::Hold`] nobody loses a snapshot for want of room. Only who needs a new exception of that store waits.
//! - Who is parked has begun nothing and holds nothing: a group is quiet beside it, and it looks again where to go.
//! - C5: after a store was given up they go on only when its header says so durably.
//! - While the group is held nobody is released.

use crate::api::{RequestId, SpaceGeometry, StoreId};
use crate::core::Core;
use crate::group::Group;
use crate::ops::{Op, Step};
use crate::planted::{self, Bug};
use crate::settings::ConfigError;
use crate::slab::Key;
use crate::store::{Store, Validity};
use crate::table::CHUNK_LIMIT;
use crate::wake::Waiter;
use std::collections::BTreeMap;

/// What becomes of a snapshot whose store has no room for an exception.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum WhenFull {
    /// It is invalidated, and whoever needed the exception goes on.
    #[default]
    Invalidate,
    /// Whoever needs the exception waits until the store is grown ([`Group::grow_store`]) or given up ([`Group::give_up`]).
    Hold,
}

/// A store that is full and held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FullStore {
    /// The request that found it so first; `None` where a merge did.
    pub first: Option<RequestId>,
    /// Parts of requests, and a merge, that wait.
    pub waiting: usize,
}

/// Who waits for room in a store.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    first: Option<RequestId>,
    waiters: Vec<Waiter>,
    /// They may look again, once the group is not held any more.
    over: bool,
}

impl Core {
    /// Parks `waiter` until the store is full no more, or given up.
    pub(crate) fn park_full(&mut self, id: StoreId, waiter: Waiter) {
        self.parked.entry(id).or_default().waiters.push(waiter);
    }

    /// The store has room, or is lost, or has gone: who is parked looks again where to go.
    pub(crate) fn unpark(&mut self, id: StoreId) {
        if let Some(parked) = self.parked.get_mut(&id) {
            parked.over = true;
            self.release_parked();
        }
    }

    /// Wakes those that need not be parked any more, unless the group is held.
    pub(crate) fn release_parked(&mut self) {
        if self.held && !planted::is(Bug::ReleaseWhileHeld) {
            return;
        }
        let over: Vec<StoreId> =
            self.parked.iter().filter(|(_, parked)| parked.over).map(|(id, _)| *id).collect();
        for id in over {
            let waiters = self.parked.remove(&id).map(|parked| parked.waiters).unwrap_or_default();
            self.wakes.wake_all(waiters, Ok(()));
        }
    }

    /// `waiter` does not want room any more.
    pub(crate) fn forget_parked(&mut self, waiter: Waiter) {
        for parked in self.parked.values_mut() {
            parked.waiters.retain(|parked| *parked != waiter);
        }
        self.parked.retain(|_, parked| !parked.waiters.is_empty());
    }

    /// How often each operation is parked.
    fn parked_ops(&self) -> BTreeMap<Key, u32> {
        let mut ops = BTreeMap::new();
        for waiter in self.parked.values().flat_map(|parked| &parked.waiters) {
            if let Waiter::Op(op) = waiter {
                let count: &mut u32 = ops.entry(*op).or_default();
                *count = count.saturating_add(1);
            }
        }
        ops
    }
}

impl Group {
    /// What becomes of the snapshot when its store is full; [`WhenFull::Invalidate`] until this is called. Whoever is parked
    /// when that is chosen is not parked any longer: the store is given up.
    pub fn set_when_full(&mut self, store: StoreId, when_full: WhenFull) -> Result<(), ConfigError> {
        let found = self.core.stores.get_mut(&store).ok_or(ConfigError::NoSuchStore(store))?;
        found.when_full = when_full;
        if when_full == WhenFull::Invalidate && self.full_store(store).is_some() {
            return self.give_up(store);
        }
        Ok(())
    }

    /// Who waits for room in the store; `None` where nobody does.
    pub fn full_store(&self, store: StoreId) -> Option<FullStore> {
        let parked = self.core.parked.get(&store).filter(|parked| !parked.over)?;
        Some(FullStore { first: parked.first, waiting: parked.waiters.len() })
    }

    /// The store is longer from now on, perhaps on more disks. Nothing has to be quiet for that.
    pub fn grow_store(&mut self, store: StoreId, geometry: SpaceGeometry) -> Result<(), ConfigError> {
        let found = self.core.stores.get_mut(&store).ok_or(ConfigError::NoSuchStore(store))?;
        if !found.can_grow_to(&geometry) {
            return Err(ConfigError::NotGrown(store));
        }
        found.opened.geometry = geometry;
        self.core.unpark(store);
        self.pump();
        Ok(())
    }

    /// Gives a snapshot up: it is invalid, and when its store says so durably, whoever was parked for it goes on.
    pub fn give_up(&mut self, store: StoreId) -> Result<(), ConfigError> {
        if self.core.merging == Some(store) {
            return Err(ConfigError::Merging(store));
        }
        if !self.core.stores.contains_key(&store) {
            return Err(ConfigError::NoSuchStore(store));
        }
        self.core.invalidate(store);
        self.pump();
        Ok(())
    }

    /// Whether a request is parked: nothing of it is under way, and all that is left of it waits for room in a store.
    pub fn is_parked(&self, request: RequestId) -> bool {
        if self.core.parked.is_empty() {
            return false;
        }
        let parked = self.core.parked_ops();
        let mut parts = 0_u32;
        for (key, op) in self.ops.iter().filter(|(_, op)| self.request_of(op) == Some(request)) {
            if !is_parked(key, op, &parked) {
                return false;
            }
            parts = parts.saturating_add(1);
        }
        self.requests.iter().any(|(_, live)| live.request.id == request && live.parts() == parts)
    }

    /// Whether all requests there are are parked.
    pub(crate) fn all_are_parked(&self) -> bool {
        if self.requests.is_empty() || self.core.parked.is_empty() {
            return self.requests.is_empty();
        }
        let parked = self.core.parked_ops();
        self.ops.iter().all(|(key, op)| is_parked(key, op, &parked))
    }

    fn request_of(&self, op: &Op) -> Option<RequestId> {
        self.requests.get(op.request).map(|live| live.request.id)
    }

    /// An operation finds a store full: it is parked.
    pub(crate) fn park_op(&mut self, key: Key, store: StoreId) {
        self.park(key, 1);
        self.core.park_full(store, Waiter::Op(key));
        self.note_parked(key);
    }

    /// An operation that has failed and waits for nothing but room ends.
    pub(crate) fn end_if_only_parked(&mut self, key: Key) {
        let Some((op, fault)) = self.ops.get(key).and_then(|op| Some((op, op.fault?))) else { return };
        if !self.core.parked.is_empty() && is_parked(key, op, &self.core.parked_ops()) {
            self.core.forget_parked(Waiter::Op(key));
            self.end_op(key, Err(fault));
        }
    }

    /// Remembers which request was the first to be parked for a store.
    pub(crate) fn note_parked(&mut self, key: Key) {
        let Some(request) = self.ops.get(key).and_then(|op| self.request_of(op)) else { return };
        let alone = |parked: &&mut Parked| parked.waiters.as_slice() == [Waiter::Op(key)];
        for parked in self.core.parked.values_mut().filter(alone) {
            parked.first = Some(request);
        }
    }
}

fn is_parked(key: Key, op: &Op, parked: &BTreeMap<Key, u32>) -> bool {
    op.step == Step::Route && parked.get(&key) == Some(&op.waits)
}

impl Store {
    /// Whether it takes no exception for want of room, and waits for it.
    pub(crate) fn holds(&self) -> bool {
        self.when_full == WhenFull::Hold && self.validity == Validity::Valid
    }

    fn can_grow_to(&self, geometry: &SpaceGeometry) -> bool {
        let now = &self.opened.geometry;
        geometry.size >= now.size
            && geometry.physical_block == now.physical_block
            && now.domains.iter().all(|domain| geometry.domains.contains(domain))
            && self.chunk_size().chunks_to_hold(geometry.size) < CHUNK_LIMIT
    }
}
