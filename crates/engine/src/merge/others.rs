//! W3: before a window is copied, the other snapshots of the origin get their exceptions for it, all in bulk. Those of the
//! merged view do not change and take no part.
//!
//! What must hold (dm-snapshot.md R3, C2):
//! - No byte of a chunk of the window is overwritten before every other snapshot has a durable exception for it, or is
//!   durably invalid, and their reads of the origin that were under way are done.
//! - Exceptions are asked for a few at a time, so that foreground copies find their place between them; their records
//!   are committed together.

use crate::api::{Fault, StoreId};
use crate::copy_out::Asker;
use crate::core::Core;
use crate::ledger::Lane;
use crate::making::Until;
use crate::merge::window::Window;
use crate::planted::{self, Bug};
use crate::store::{Store, Validity};
use crate::view::{Base, Whose};
use crate::wake::Waiter;

/// Exceptions that are being made for a window at once.
const MAX_ASKED: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Exceptions are asked for.
    Asking,
    /// Their records become durable.
    Committing,
    /// Snapshot reads of the origin end.
    Draining,
}

/// How far it is.
#[derive(Debug)]
pub(crate) struct Others {
    stage: Stage,
    waits: u32,
    /// How many of the window's old chunks have been asked for.
    asked: usize,
}

impl Others {
    pub(crate) const fn new() -> Self {
        Self { stage: Stage::Asking, waits: 0, asked: 0 }
    }

    pub(crate) fn woken(&mut self) {
        self.waits = self.waits.saturating_sub(1);
    }

    /// Goes on as far as it can; true when it is over.
    pub(crate) fn advance(
        &mut self,
        window: &Window,
        merging: StoreId,
        core: &mut Core,
    ) -> Result<bool, Fault> {
        let waiter = Waiter::WindowOthers(window.number);
        if self.stage == Stage::Asking {
            self.ask(window, merging, core)?;
            if self.waits > 0 {
                return Ok(false);
            }
            self.stage = Stage::Committing;
            for (&id, store) in core.stores.iter_mut().filter(|(id, store)| is_other(**id, store, merging)) {
                if store.validity == Validity::Valid && store.making.wait_for_all(waiter) {
                    self.waits = self.waits.saturating_add(1);
                    core.touched.insert(id);
                }
            }
        }
        if self.stage == Stage::Committing && self.waits == 0 {
            self.waits = wait_for_lost(merging, core, waiter)?;
            if self.waits == 0 {
                self.stage = Stage::Draining;
                self.waits = core.reads.of_origin.wait_all(waiter);
            }
        }
        Ok(self.stage == Stage::Draining && self.waits == 0)
    }

    fn ask(&mut self, window: &Window, merging: StoreId, core: &mut Core) -> Result<(), Fault> {
        let waiter = Waiter::WindowOthers(window.number);
        let whose = if planted::is(Bug::BulkCopyOutViews) { Whose::All } else { Whose::OfOrigin };
        let (lane, until) = (Lane::Background, Until::Mapped);
        let asker = Asker { waiter, lane, until, tell_again: true, whose };
        let Some(store) = core.stores.get(&merging) else { return Err(Fault::Gone) };
        let limit = core.copies.piece().0.checked_div(store.chunk_size().len().0).unwrap_or(1).max(1);
        let others = core.stores.iter().any(|(id, store)| is_other(*id, store, merging));
        let alone = (!others && whose == Whose::OfOrigin) || planted::is(Bug::SkipOtherSnapshot);
        while !alone && self.waits < MAX_ASKED {
            let Some((old, len)) = window.run_of_olds(self.asked, limit) else { break };
            let range = core.stores.get(&merging).and_then(|store| store.origin_range(old, len));
            self.asked = self.asked.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
            let Some(range) = range else { continue };
            let needs = core.need_exceptions(range, asker);
            self.waits = self.waits.saturating_add(needs.waits);
            if let Some(fault) = needs.fault {
                return Err(fault);
            }
        }
        Ok(())
    }
}

/// Whether a merge changes what the store's snapshot shows.
fn is_other(id: StoreId, store: &Store, merging: StoreId) -> bool {
    id != merging && store.base == Base::Origin
}

/// Waits for snapshots that were lost meanwhile to be told so; an error where one cannot be.
fn wait_for_lost(merging: StoreId, core: &mut Core, waiter: Waiter) -> Result<u32, Fault> {
    let mut waits = 0_u32;
    for (_, store) in core.stores.iter_mut().filter(|(id, store)| is_other(**id, store, merging)) {
        match store.validity {
            Validity::Valid | Validity::Invalid => {}
            Validity::Untold => return Err(Fault::Device),
            Validity::Invalidating => {
                store.told.push(waiter);
                waits = waits.saturating_add(1);
            }
        }
    }
    Ok(waits)
}
