//! Opening the stores of a group, several at a time, with whatever may happen meanwhile.
//!
//! What must hold (W1, C6, I8):
//! - A store that was opened for writing has nothing behind the end of its table, durably.
//! - An open that met an error can be repeated.

use super::control::MERGED;
use super::drive::{Drive, Stop};
use super::judge::StoreFacts;
use super::runner::{Owner, Runner};
use super::scenario::StorePlan;
use crate::report::{Failure, Scene};
use foldback_engine::{Io, IoId, OpenAccess, OpenError, OpenedStore, Outcome, Space, StoreId, StoreOpen};
use foldback_testkit::Cut;
use foldback_testkit::cow::{State, load};
use foldback_units::{ChunkSize, Sectors};
use std::collections::{BTreeMap, BTreeSet};

/// How often an open is repeated after errors.
const MAX_OPENS: u64 = 20;

impl StoreFacts {
    pub(crate) fn of(plan: &StorePlan) -> Self {
        Self {
            chunk: plan.chunk,
            snapshot_len: plan.snapshot_len,
            view: false,
            created: !plan.blank,
            may_be_invalid: plan.invalid,
            clean: false,
            records: Vec::new(),
            next_free: 2,
            wanted: BTreeSet::new(),
            leaked: 0,
        }
    }
}

impl Drive {
    /// Opens these stores and attaches them, unless the life ends before.
    pub(crate) fn open_stores(&mut self, stores: &BTreeSet<StoreId>) -> Result<Option<Stop>, Failure> {
        self.openings = stores.iter().map(|store| (*store, self.begin_open(*store))).collect();
        let mut opens = 0;
        while !self.openings.is_empty() {
            if let Some(stop) = self.tick()? {
                self.cut_in_open();
                return Ok(Some(stop));
            }
            let before = (self.openings.len(), opens);
            let begun = self.pump_openings()?;
            if self.rng.percent(self.scenario.shares.peek) {
                self.peek()?;
            }
            let was_busy = !self.runner.is_idle();
            self.complete()?;
            if let Some(stop) = self.poll_openings(&mut opens)? {
                self.openings.clear();
                return Ok(Some(stop));
            }
            if !begun && !was_busy && before == (self.openings.len(), opens) {
                return Err(Failure::new("liveness", "a store is being opened and nothing is under way"));
            }
        }
        Ok(None)
    }

    fn cut_in_open(&mut self) {
        let creates = self.openings.keys().any(|store| !self.facts.stores[store].created);
        self.scenes.saw_if(creates, Scene::CreationCut);
        self.scenes.saw(if self.life == 0 { Scene::CutInOpen } else { Scene::CutInRecovery });
        self.openings.clear();
    }

    fn poll_openings(&mut self, opens: &mut u64) -> Result<Option<Stop>, Failure> {
        let stores: Vec<StoreId> = self.openings.keys().copied().collect();
        for store in stores {
            match self.openings.get_mut(&store).and_then(StoreOpen::poll_opened) {
                None => {}
                Some(Ok(opened)) => {
                    self.openings.remove(&store);
                    self.opened(store, opened)?;
                }
                Some(Err(OpenError::Device { .. })) if self.trouble && *opens < MAX_OPENS => {
                    *opens += 1;
                    self.scenes.saw(Scene::OpenFailed);
                    if (0..self.runner.set.count()).any(|disk| self.runner.set.is_poisoned(disk)) {
                        return Ok(Some(Stop::Kill));
                    }
                    let again = self.begin_open(store);
                    self.openings.insert(store, again);
                }
                Some(Err(error)) => {
                    return Err(Failure::new("open", format!("store {}: {error}", store.0)));
                }
            }
        }
        Ok(None)
    }

    fn begin_open(&mut self, store: StoreId) -> StoreOpen {
        let facts = &self.facts.stores[&store];
        let table = if facts.created && self.rng.one_in(8) { 8 } else { facts.chunk };
        let snapshot_len = Sectors(facts.snapshot_len);
        self.next_opening += 1_000_000;
        let chunk = self.chunk_size(table);
        let geometry = self.geometries[&Space::Store(store)].clone();
        self.note(|_| format!("open store {}", store.0));
        StoreOpen::new(store, geometry, snapshot_len, chunk, OpenAccess::ReadWrite, IoId(self.next_opening))
    }

    fn pump_openings(&mut self) -> Result<bool, Failure> {
        let mut begun = false;
        let stores: Vec<StoreId> = self.openings.keys().copied().collect();
        for store in stores {
            while let Some((id, io)) = self.openings.get_mut(&store).and_then(StoreOpen::poll_io) {
                begun = true;
                self.note(|_| format!("io {} of opening {}: {}", id.0, store.0, Runner::describe(&io)));
                let created = self.facts.stores[&store].created;
                self.scenes.saw_if(created && matches!(io, Io::WriteMetadata { .. }), Scene::StaleTail);
                self.runner.submit(Owner::Opening(store), id, io, &mut self.scenes)?;
            }
        }
        Ok(begun)
    }

    pub(crate) fn complete_opening(&mut self, store: StoreId, id: IoId, outcome: Outcome) {
        if let Some(opening) = self.openings.get_mut(&store) {
            opening.complete_io(id, outcome);
        }
    }

    /// A store was opened: what must be durable now is looked at, then it joins the group.
    fn opened(&mut self, store: StoreId, opened: OpenedStore) -> Result<(), Failure> {
        self.note(|_| format!("store {} opened", store.0));
        let image = self.runner.set.cut(Some(Cut::LoseAll));
        let device = self.facts.maps[&Space::Store(store)].gather(&image);
        let loaded = load(&device)
            .map_err(|refusal| Failure::new("I5", format!("store {} as opened: {refusal:?}", store.0)))?;
        if loaded.state == State::Blank {
            return Err(Failure::new(
                "I8",
                format!("store {} was opened; its header is not durable", store.0),
            ));
        }
        if (loaded.state == State::Valid) != opened.is_valid() {
            let what =
                format!("store {} is {:?}, opened as valid: {}", store.0, loaded.state, opened.is_valid());
            return Err(Failure::new("open", what));
        }
        let is_new = !self.facts.stores[&store].created;
        if let Some(slot) = loaded.stale.first().or(loaded.stale_after.first().filter(|_| !is_new)) {
            let what =
                format!("store {} was opened and slot {slot} behind its end is not zero (W1)", store.0);
            return Err(Failure::new("I5", what));
        }
        if opened.is_valid() && opened.records() != loaded.records.len() as u64 {
            let what = format!(
                "store {} has {} records, opened with {}",
                store.0,
                loaded.records.len(),
                opened.records()
            );
            return Err(Failure::new("open", what));
        }
        let merging = self.facts.merge.as_ref().is_some_and(|merge| merge.store == store);
        if let Some(facts) = self.facts.stores.get_mut(&store) {
            self.scenes.saw_if(!facts.created, Scene::StoreCreated);
            self.scenes.saw_if(loaded.state == State::Invalid, Scene::InvalidReopened);
            facts.created = true;
            facts.clean = !merging;
        }
        let size = Sectors(self.facts.stores[&store].snapshot_len);
        let geometry = self.geometries[&Space::Store(store)].clone();
        let Some(group) = &mut self.group else { return Ok(()) };
        let attached = if self.facts.stores[&store].view {
            group.attach_view(store, size, geometry, opened)
        } else {
            group.attach(store, size, geometry, opened)
        };
        attached.map_err(|error| Failure::new("contract", format!("attaching: {error}")))
    }

    fn chunk_size(&self, sectors: u64) -> ChunkSize {
        // Scenarios hold powers of two only.
        ChunkSize::from_sectors(sectors as u32).unwrap_or(self.one_sector)
    }

    /// The stores that a life begins with: those of the merged view, or the others.
    pub(crate) fn present(&self, views: bool) -> BTreeSet<StoreId> {
        self.facts.stores.iter().filter(|(_, facts)| facts.view == views).map(|(store, _)| *store).collect()
    }

    /// Whether the merge was marked and has to go on.
    pub(crate) fn has_merge(&self) -> bool {
        self.facts.merge.as_ref().is_some_and(|merge| merge.store == MERGED)
    }
}

/// The machines that open stores now.
pub(crate) type Openings = BTreeMap<StoreId, StoreOpen>;
