//! Snapshots of the merged view: those that are taken while a merge runs.
//!
//! Where such a snapshot has no exception it shows what the merged view shows: the merging store's chunk, or the origin.
//!
//! What must hold (docs/decisions/0001-engine.md, "Snapshots of the merged view"):
//! - Merging a chunk does not change the merged view: a merge neither copies out to these snapshots nor waits for them.
//! - C1, I6: a foreground write waits for their exceptions wherever it goes; what is copied out is the merged view.
//! - C2: it waits for their reads of the merged view, wherever those read.
//! - A read of the merging store is not believed if its cache could not be flushed and a window was completed meanwhile.
//! - When the merge leaves the group they are ordinary snapshots, without a change of their stores.

use crate::api::{Fault, Space, SpaceGeometry, StoreId};
use crate::core::Core;
use crate::group::Group;
use crate::opened::OpenedStore;
use crate::planted::{self, Bug};
use crate::settings::ConfigError;
use crate::slab::Key;
use crate::spans::{SpanId, Spans};
use crate::store::Store;
use crate::wake::Waiter;
use foldback_units::{SectorRange, Sectors};

/// What a snapshot shows where it has no exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Base {
    /// The origin.
    Origin,
    /// The merged view.
    Merged,
}

/// Which snapshots a change concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    /// The origin changes, and with it the merged view.
    All,
    /// The origin changes, the merged view does not: a merge.
    OfOrigin,
    /// The merged view changes, where the merging store holds it.
    OfMerged,
}

impl Whose {
    pub(crate) fn includes(self, base: Base) -> bool {
        match self {
            Self::All => true,
            Self::OfOrigin => base == Base::Origin,
            Self::OfMerged => base == Base::Merged,
        }
    }
}

/// Snapshot reads of what others may want to change (C2).
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) of_origin: Spans,
    pub(crate) of_merged: Spans,
}

/// One such read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tracked {
    base: Base,
    span: SpanId,
    /// Where it reads the merging store: how many windows had been completed.
    pub(crate) windows: Option<u64>,
}

impl Core {
    /// Where `range` of the base lies, in order.
    pub(crate) fn places(&self, base: Base, range: SectorRange) -> Vec<(Space, Sectors, SectorRange)> {
        let merging = self.merging.filter(|_| base == Base::Merged);
        let Some(store) = merging.and_then(|id| self.stores.get(&id)) else {
            return vec![(Space::Origin, range.start(), range)];
        };
        let place = |(at, run): (Option<Sectors>, SectorRange)| match at {
            Some(at) => (Space::Store(store.id), at, run),
            None => (Space::Origin, run.start(), run),
        };
        store.runs(range).into_iter().map(place).collect()
    }

    /// Whether some of `range` of the merged view lies in the merging store.
    pub(crate) fn is_in_merging(&self, range: SectorRange) -> bool {
        let store = self.merging.and_then(|id| self.stores.get(&id));
        store.is_some_and(|store| store.runs(range).iter().any(|(place, _)| place.is_some()))
    }

    /// A snapshot begins to read `run` of its base, in `space`.
    pub(crate) fn track(&mut self, base: Base, space: Space, run: SectorRange) -> Tracked {
        let windows = (space != Space::Origin).then_some(self.ledger.counters.windows);
        let spans = match base {
            Base::Origin => &mut self.reads.of_origin,
            Base::Merged => &mut self.reads.of_merged,
        };
        Tracked { base, span: spans.insert(run), windows }
    }

    /// That read is over.
    pub(crate) fn untrack(&mut self, tracked: Tracked) {
        let spans = match tracked.base {
            Base::Origin => &mut self.reads.of_origin,
            Base::Merged => &mut self.reads.of_merged,
        };
        let waiters = spans.remove(tracked.span);
        self.wakes.wake_all(waiters, Ok(()));
    }

    /// C2: how many reads of what is to change `waiter` has to wait for.
    pub(crate) fn wait_for_reads(&mut self, range: SectorRange, whose: Whose, waiter: Waiter) -> u32 {
        let mut waits = 0_u32;
        if whose != Whose::OfMerged && !planted::is(Bug::SkipDrain) {
            waits = waits.saturating_add(self.reads.of_origin.wait_overlapping(range, waiter));
        }
        if whose != Whose::OfOrigin && !planted::is(Bug::SkipViewDrain) {
            waits = waits.saturating_add(self.reads.of_merged.wait_overlapping(range, waiter));
        }
        waits
    }

    /// Whether what was read from the merging store, when so many windows had been completed, may be out of date: its
    /// cache could not be flushed, so what was merged since may have been dropped from it.
    pub(crate) fn is_doubtful(&self, windows: u64) -> bool {
        let store = self.merging.and_then(|id| self.stores.get(&id));
        let poisoned = store.is_none_or(|store| self.flushes.is_poisoned(&store.opened.geometry.domains));
        poisoned && windows != self.ledger.counters.windows
    }

    /// The merge has left: the merged view is the origin.
    pub(crate) fn forget_views(&mut self) {
        for store in self.stores.values_mut() {
            store.base = Base::Origin;
        }
    }
}

impl Group {
    /// Adds a snapshot of the merged view: a new one, or after a restart one that was taken during this merge. As
    /// [`Group::attach`], but only while a merge is there.
    pub fn attach_view(
        &mut self,
        store: StoreId,
        size: Sectors,
        geometry: SpaceGeometry,
        opened: OpenedStore,
    ) -> Result<(), ConfigError> {
        self.refuse_unless_quiet()?;
        let Some(merge) = &self.merge else { return Err(ConfigError::NotMerging(store)) };
        if merge.disagrees() {
            return Err(ConfigError::Disagrees(merge.store()));
        }
        self.join(store, size, geometry, opened, Base::Merged)
    }

    pub(crate) fn join(
        &mut self,
        id: StoreId,
        size: Sectors,
        geometry: SpaceGeometry,
        opened: OpenedStore,
        base: Base,
    ) -> Result<(), ConfigError> {
        if self.core.stores.contains_key(&id) {
            return Err(ConfigError::StoreExists(id));
        }
        let origin = self.core.origin.size;
        if size > origin {
            return Err(ConfigError::SnapshotSize { store: id, size: size.0, origin: origin.0 });
        }
        if opened.geometry != geometry || opened.origin != size || !opened.writable {
            return Err(ConfigError::NotOpenedSo(id));
        }
        let opened = OpenedStore { geometry, ..opened };
        let mut store = Store::new(id, size, opened);
        store.base = base;
        self.core.stores.insert(id, store);
        Ok(())
    }

    /// A read of the merged view's from the merging store is done.
    pub(crate) fn merged_was_read(&mut self, request: Key, windows: u64, result: Result<(), Fault>) {
        let doubtful = self.core.is_doubtful(windows);
        self.part_done(request, if doubtful { Err(Fault::Device) } else { result });
    }
}
