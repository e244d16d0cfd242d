//! An origin group (being written): the methods that its users compile against.

use crate::api::{Fault, Io, IoId, Outcome, Request, RequestId, SpaceGeometry, StoreId};
use crate::opened::OpenedStore;
use crate::settings::{ConfigError, GroupConfig, MIN_SCRATCH, MergeRefused};
use crate::status::{Counters, MergeProgress, StoreStatus};
use foldback_units::Sectors;
use std::collections::{BTreeMap, VecDeque};

/// An origin, its snapshots, and at most one of them that is merging.
#[derive(Debug)]
pub struct Group {
    config: GroupConfig,
    stores: BTreeMap<StoreId, OpenedStore>,
    merging: Option<StoreId>,
    held: bool,
    answers: VecDeque<(RequestId, Result<(), Fault>)>,
    counters: Counters,
}

impl Group {
    /// A group of an origin without snapshots.
    pub fn new(config: GroupConfig) -> Result<Self, ConfigError> {
        if config.scratch < MIN_SCRATCH {
            return Err(ConfigError::Scratch(config.scratch.0));
        }
        Ok(Self {
            config,
            stores: BTreeMap::new(),
            merging: None,
            held: false,
            answers: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// Adds a snapshot of `size` sectors; only while the group is quiet.
    pub fn attach(
        &mut self,
        store: StoreId,
        size: Sectors,
        geometry: SpaceGeometry,
        opened: OpenedStore,
    ) -> Result<(), ConfigError> {
        if size > self.config.origin.size || opened.geometry != geometry || !opened.writable {
            return Err(ConfigError::NotOpenedSo(store));
        }
        self.stores.insert(store, opened);
        Ok(())
    }

    /// Takes a snapshot out of the group; only while it is quiet.
    pub fn detach(&mut self, store: StoreId) -> Result<OpenedStore, ConfigError> {
        self.stores.remove(&store).ok_or(ConfigError::NoSuchStore(store))
    }

    /// Begins to merge a snapshot; only while the group is quiet.
    pub fn start_merge(&mut self, store: StoreId) -> Result<(), MergeRefused> {
        self.merging = Some(store);
        Ok(())
    }

    /// No new window is begun.
    pub fn pause_merge(&mut self) {}

    /// Goes on after [`Group::pause_merge`] or after a failure.
    pub fn resume_merge(&mut self) {}

    /// Requests are taken but not begun.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Ends [`Group::hold`].
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.held || self.answers.is_empty()
    }

    /// Takes a request.
    pub fn submit(&mut self, request: Request) {
        self.answers.push_back((request.id, Err(Fault::Gone)));
    }

    /// What to do next.
    pub fn poll_io(&mut self) -> Option<(IoId, Io)> {
        None
    }

    /// How an I/O went.
    pub fn complete_io(&mut self, _id: IoId, _outcome: Outcome) {}

    /// Who can be answered.
    pub fn poll_answer(&mut self) -> Option<(RequestId, Result<(), Fault>)> {
        self.answers.pop_front()
    }

    /// The number of the next I/O.
    pub fn next_io(&self) -> IoId {
        IoId(0)
    }

    /// What a snapshot's status line says.
    pub fn store_status(&self, store: StoreId) -> Option<StoreStatus> {
        self.stores.get(&store).map(|_| StoreStatus::Invalid)
    }

    /// How far the merge is; `None` without one.
    pub fn merge_progress(&self) -> Option<MergeProgress> {
        None
    }

    /// Memory of the exception tables.
    pub fn table_bytes(&self) -> usize {
        self.stores.values().fold(0, |sum, store| sum.saturating_add(store.table.bytes()))
    }

    /// Plain numbers.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
