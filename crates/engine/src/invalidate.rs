//! Giving up a snapshot: its store is full, or has failed.
//!
//! What must hold (C5, K2, I7):
//! - No origin write that the snapshot would have needed a copy for is released before the store's header says,
//!   durably, that the snapshot is invalid.
//! - Where the header cannot be written those writes fail; a later one tries again.
//! - A merge can wait: where an I/O of its own fails, it is the merge that fails, and the snapshot stays what it is.
//! - The header is built from what is known, never from a buffer that something else uses (4.1, 61578dcd).

use crate::api::{Fault, Io, Space, StoreId};
use crate::core::Core;
use crate::ledger::{Lane, Owner};
use crate::planted::{self, Bug};
use crate::store::{Store, Validity};
use crate::table::Table;
use foldback_dm_snapshot_format::Header;
use foldback_units::{Bytes, Sectors};

impl Core {
    /// Begins to invalidate a snapshot, unless that is under way or done.
    pub(crate) fn invalidate(&mut self, id: StoreId) {
        let Some(store) = self.stores.get_mut(&id) else { return };
        match store.validity {
            Validity::Invalid | Validity::Invalidating => return,
            Validity::Untold => {}
            // What is not durable by now will never be: it protects nothing.
            Validity::Valid => store.forget_uncommitted(),
        }
        store.validity = Validity::Invalidating;
        let io = store.invalid_header();
        self.ledger.push(Lane::Foreground, Owner::Header { store: id }, io);
        if planted::is(Bug::InvalidateNotDurable) {
            self.invalidated(id, Ok(()));
        }
    }

    /// What was being made will never be durable. While a merge is under way the store only takes no more exceptions; on
    /// its disk it stays valid, which is true as long as the origin keeps what it has no record of: the merge fails, and a
    /// foreground write that needs one gives the snapshot up.
    pub(crate) fn failed_commit(&mut self, id: StoreId) {
        if self.merging.is_none() {
            return self.invalidate(id);
        }
        let Some(store) = self.stores.get_mut(&id).filter(|store| store.validity == Validity::Valid) else {
            return;
        };
        store.forget_uncommitted();
        store.validity = Validity::Untold;
        let mut waiters = store.making.give_up();
        waiters.append(&mut store.told);
        self.wakes.wake_all(waiters, Ok(()));
        self.unpark(id);
    }

    /// The header is durable, or could not be written.
    pub(crate) fn invalidated(&mut self, id: StoreId, result: Result<(), Fault>) {
        let Some(store) = self.stores.get_mut(&id) else { return };
        if result.is_ok() {
            store.validity = Validity::Invalid;
            store.opened.valid = false;
            store.opened.table = Table::default();
            store.opened.repeats.clear();
        } else {
            store.validity = Validity::Untold;
        }
        let mut waiters = store.making.give_up();
        waiters.append(&mut store.told);
        // They look at the store again, and see what became of it.
        self.wakes.wake_all(waiters, Ok(()));
        self.unpark(id);
    }
}

impl Store {
    fn forget_uncommitted(&mut self) {
        for run in self.making.mapped_runs() {
            self.opened.table.remove(run.old, run.len);
        }
    }

    /// The first block of the store, with a header that says invalid.
    fn invalid_header(&self) -> Io {
        let bytes = self.blocks().sectors().to_bytes().and_then(Bytes::to_usize).unwrap_or_default();
        let mut image = vec![0; bytes];
        if let Some(first) = image.first_chunk_mut::<{ Header::BYTES }>() {
            *first = self.header().invalidated().encode();
        }
        Io::WriteMetadata { space: Space::Store(self.id), at: Sectors::ZERO, bytes: image, fua: true }
    }
}
