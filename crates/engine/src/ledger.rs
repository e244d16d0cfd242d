//! Every I/O of a group: those that wait to be handed out, and those that are under way.
//!
//! What must hold:
//! - A number is never used twice, and every I/O is completed once: a completion nobody waits for is not taken.
//! - Foreground goes first; of a merge's copies at most `depth` are under way, and few at its beginning: its first reads touch
//!   memory that is new, which may take milliseconds for each, and who waits meanwhile is the foreground.
//! - Finding the owner of a completion takes O(1).

use crate::api::{Io, IoId, StoreId};
use crate::flushes::FlushIo;
use crate::slab::Key;
use crate::status::Counters;
use crate::view::Tracked;
use std::collections::VecDeque;

/// Whose an I/O is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A part of a request that needs nothing else.
    Part { request: Key },
    /// A read of the merged view from the store, handed out when so many windows had been completed.
    MergedRead { request: Key, windows: u64 },
    /// A snapshot's read; where it has no exception, writes to what it shows wait for it (C2).
    SnapshotRead { request: Key, store: StoreId, tracked: Option<Tracked> },
    /// One leg of an operation.
    Leg { op: Key },
    /// Reading what a copy writes.
    CopyRead { copy: Key },
    /// Writing a copy to its `dest`.
    CopyWrite { copy: Key, dest: usize },
    /// A flush of one device cache.
    Flush { flush: FlushIo },
    /// A metadata write of a commit.
    Commit { store: StoreId },
    /// The header that invalidates a snapshot.
    Header { store: StoreId },
    /// The records of a merge window, `piece` of them.
    WindowRecords { window: u64, piece: usize },
    /// Data of a merge, into a slot of scratch memory.
    MergeRead { slot: usize },
    /// Data of a merge, out of a slot.
    MergeWrite { slot: usize },
    /// A truncation's metadata writes.
    Truncate { window: u64 },
}

/// How urgent an I/O is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// Somebody waits for it.
    Foreground,
    /// A merge waits for it, and few of its kind are needed.
    Control,
    /// A merge's data.
    Background,
}

/// A merge's copies under way at its beginning, and after how many of them that are done it is one more.
const FIRST: u32 = 4;
const ONE_MORE: u32 = 4;

/// The I/Os of a group.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The number of the first of `running`.
    first: u64,
    running: VecDeque<Option<(Lane, Owner)>>,
    in_flight: usize,
    foreground: VecDeque<(Owner, Io)>,
    control: VecDeque<(Owner, Io)>,
    background: VecDeque<(Owner, Io)>,
    background_running: u32,
    depth: u32,
    /// Copies done since a merge began, as far as they count.
    copied: u32,
    pub(crate) counters: Counters,
}

impl Ledger {
    pub(crate) fn new(depth: u32) -> Self {
        Self {
            first: 0,
            running: VecDeque::new(),
            in_flight: 0,
            foreground: VecDeque::new(),
            control: VecDeque::new(),
            background: VecDeque::new(),
            background_running: 0,
            depth: depth.max(1),
            copied: 0,
            counters: Counters::default(),
        }
    }

    /// A merge begins.
    pub(crate) fn begin_merge(&mut self) {
        self.copied = 0;
    }

    pub(crate) fn push(&mut self, lane: Lane, owner: Owner, io: Io) {
        match lane {
            Lane::Foreground => self.foreground.push_back((owner, io)),
            Lane::Control => self.control.push_back((owner, io)),
            Lane::Background => self.background.push_back((owner, io)),
        }
    }

    /// The next to hand out, with its number and its owner.
    pub(crate) fn pop(&mut self) -> Option<(IoId, Owner, Io)> {
        let (lane, (owner, io)) = self.pop_lane()?;
        if lane == Lane::Background {
            self.background_running = self.background_running.saturating_add(1);
        }
        let id = self.next_io();
        self.running.push_back(Some((lane, owner)));
        self.in_flight = self.in_flight.saturating_add(1);
        self.count(owner, &io);
        Some((id, owner, io))
    }

    fn pop_lane(&mut self) -> Option<(Lane, (Owner, Io))> {
        if let Some(next) = self.foreground.pop_front() {
            return Some((Lane::Foreground, next));
        }
        if let Some(next) = self.control.pop_front() {
            return Some((Lane::Control, next));
        }
        let allowed = FIRST.saturating_add(self.copied.div_euclid(ONE_MORE)).min(self.depth);
        if self.background_running >= allowed {
            return None;
        }
        self.background.pop_front().map(|next| (Lane::Background, next))
    }

    fn count(&mut self, owner: Owner, io: &Io) {
        let counters = &mut self.counters;
        let sectors = match io {
            Io::Flush { .. } => {
                counters.flushes = counters.flushes.saturating_add(1);
                return;
            }
            Io::WriteMetadata { bytes, .. } => u64::try_from(bytes.len()).unwrap_or(u64::MAX).div_euclid(512),
            Io::Write { from, .. } if matches!(owner, Owner::Commit { .. } | Owner::Truncate { .. }) => {
                from.iter().fold(0, |sum: u64, slice| sum.saturating_add(slice.len.0))
            }
            _ => return,
        };
        counters.metadata_writes = counters.metadata_writes.saturating_add(1);
        counters.metadata_sectors = counters.metadata_sectors.saturating_add(sectors);
    }

    /// The number of the next I/O.
    pub(crate) fn next_io(&self) -> IoId {
        let used = u64::try_from(self.running.len()).unwrap_or(u64::MAX);
        IoId(self.first.saturating_add(used))
    }

    /// Whose the I/O was that is done; `None` where it is not under way.
    pub(crate) fn complete(&mut self, id: IoId) -> Option<Owner> {
        let at = usize::try_from(id.0.checked_sub(self.first)?).ok()?;
        let (lane, owner) = self.running.get_mut(at)?.take()?;
        if lane == Lane::Background {
            self.background_running = self.background_running.saturating_sub(1);
            self.copied = self.copied.saturating_add(1);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        while let Some(None) = self.running.front() {
            self.running.pop_front();
            self.first = self.first.saturating_add(1);
        }
        Some(owner)
    }

    /// Whether nothing is under way and nothing waits to be handed out.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight == 0
            && self.foreground.is_empty()
            && self.control.is_empty()
            && self.background.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Lane, Ledger, Owner};
    use crate::api::{FlushDomain, Io, IoId};

    fn io() -> Io {
        Io::Flush { domain: FlushDomain(0) }
    }

    fn owner(op: usize) -> Owner {
        Owner::Leg { op }
    }

    #[test]
    fn foreground_goes_first_and_a_merge_keeps_to_its_depth() {
        let mut ledger = Ledger::new(2);
        for op in 0..3 {
            ledger.push(Lane::Background, owner(op), io());
        }
        ledger.push(Lane::Control, owner(8), io());
        ledger.push(Lane::Foreground, owner(9), io());
        let popped: Vec<_> = std::iter::from_fn(|| ledger.pop()).map(|(id, owner, _)| (id, owner)).collect();
        let expected = [9, 8, 0, 1].map(owner);
        assert_eq!(popped.iter().map(|(_, owner)| *owner).collect::<Vec<_>>(), expected);
        assert_eq!(ledger.complete(popped[0].0), Some(owner(9)));
        assert!(ledger.pop().is_none());
        assert_eq!(ledger.complete(popped[2].0), Some(owner(0)));
        assert_eq!(ledger.pop().map(|(_, owner, _)| owner), Some(owner(2)));
    }

    #[test]
    fn a_merge_begins_with_few_copies_and_comes_to_its_depth() {
        let mut ledger = Ledger::new(6);
        ledger.begin_merge();
        for op in 0..100 {
            ledger.push(Lane::Background, owner(op), io());
        }
        let mut under_way = std::collections::VecDeque::new();
        let mut most = Vec::new();
        for done in 0..20 {
            under_way.extend(std::iter::from_fn(|| ledger.pop()).map(|(id, ..)| id));
            most.push(under_way.len());
            assert!(ledger.complete(under_way.pop_front().unwrap()).is_some(), "{done}");
        }
        assert_eq!(most[..9], [4, 4, 4, 4, 5, 5, 5, 5, 6]);
        assert_eq!(most[19], 6, "no more than its depth");
        ledger.begin_merge();
        assert_eq!(std::iter::from_fn(|| ledger.pop()).count(), 0, "the next one begins so again");
    }

    #[test]
    fn an_io_is_completed_once() {
        let mut ledger = Ledger::new(1);
        for op in 0..4 {
            ledger.push(Lane::Foreground, owner(op), io());
        }
        let ids: Vec<IoId> = std::iter::from_fn(|| ledger.pop()).map(|(id, ..)| id).collect();
        for &at in &[2, 0, 3, 1] {
            assert_eq!(ledger.complete(ids[at]), Some(owner(at)));
            assert_eq!(ledger.complete(ids[at]), None);
        }
        assert!(ledger.is_empty());
        assert_eq!((ledger.next_io(), ledger.complete(IoId(99))), (IoId(4), None));
    }
}
