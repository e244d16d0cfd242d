//! What all parts of a group share: its spaces, its I/Os, its stores, and the exceptions being made.
//!
//! What must hold:
//! - Nothing here knows requests or a merge: whoever waits is a [`Waiter`].
//! - I10: a snapshot whose cache could not be flushed while an exception was being made is lost.

use crate::api::{Fault, FlushDomain, SpaceGeometry, StoreId};
use crate::copies::Copies;
use crate::flushes::Flushes;
use crate::ledger::Ledger;
use crate::settings::GroupConfig;
use crate::store::Store;
use crate::view::Reads;
use crate::wake::{Waiter, Wakes};
use foldback_units::Sectors;
use std::collections::{BTreeMap, BTreeSet};

/// The shared part of a group.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) origin: SpaceGeometry,
    pub(crate) ledger: Ledger,
    pub(crate) flushes: Flushes,
    pub(crate) wakes: Wakes,
    pub(crate) stores: BTreeMap<StoreId, Store>,
    /// The store that is being merged: it takes no exceptions, and nothing is copied out to it.
    pub(crate) merging: Option<StoreId>,
    pub(crate) copies: Copies,
    /// Snapshot reads of the origin, or of the merged view, that are under way (C2).
    pub(crate) reads: Reads,
    /// Every exception is committed, not only those that somebody waits for.
    pub(crate) commits_all: bool,
    /// Stores that may have something to commit.
    pub(crate) touched: BTreeSet<StoreId>,
}

impl Core {
    pub(crate) fn new(config: GroupConfig, copy_memory: Sectors) -> Self {
        Self {
            origin: config.origin,
            ledger: Ledger::new(config.depth),
            flushes: Flushes::new(),
            wakes: Wakes::default(),
            stores: BTreeMap::new(),
            merging: None,
            copies: Copies::new(copy_memory, config.depth),
            reads: Reads::default(),
            commits_all: false,
            touched: BTreeSet::new(),
        }
    }

    /// Wakes `waiter` once what is complete now on these spaces is durable.
    pub(crate) fn flush(&mut self, domains: &[&[FlushDomain]], waiter: Waiter) {
        let domains: BTreeSet<FlushDomain> = domains.iter().copied().flatten().copied().collect();
        self.flushes.ask(&domains, waiter, &mut self.ledger, &mut self.wakes);
    }

    /// A flush is done, or failed. Then what was not durable on that cache may be gone, and what is being made never
    /// will be: its snapshots are lost, or stopped.
    pub(crate) fn flushed(&mut self, domain: FlushDomain, result: Result<(), Fault>) {
        self.flushes.complete(domain, result, &mut self.ledger, &mut self.wakes);
        if result.is_ok() {
            return;
        }
        let on_it = |store: &Store| store.opened.geometry.domains.contains(&domain);
        let lost = self.stores.values().filter(|store| on_it(store) && !store.making.is_empty());
        let lost: Vec<StoreId> = lost.map(|store| store.id).collect();
        for id in lost {
            self.failed_commit(id);
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.ledger.is_empty() && self.copies.is_empty() && self.stores.values().all(Store::is_quiet)
    }

    /// Begins what can begin: copies that have memory now, commits that are wanted.
    pub(crate) fn advance(&mut self) {
        while let Some(store) = self.touched.pop_first() {
            self.try_commit(store);
        }
        self.start_copies();
    }
}
