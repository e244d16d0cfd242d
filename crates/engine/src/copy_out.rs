//! Copy-on-write: before sectors of the origin change, every snapshot that needs them gets its exception.
//!
//! What must hold (dm-snapshot.md 2.2, 2.5, 2.7 C1, C8, 4.1 "sort by chunk size"):
//! - All snapshots are asked, whatever their chunk size, and all must have a durable exception, or be invalid, durably.
//! - A chunk whose exception is being made is waited for, never made twice.
//! - A snapshot shorter than the origin needs nothing of what lies behind its end, also not of its last chunk.
//! - What several snapshots need of one place is read once.

use crate::api::{Buffer, Fault, Slice, StoreId};
use crate::copies::{Copy, Dest, Source, pieces};
use crate::core::Core;
use crate::ledger::Lane;
use crate::making::{Stage, Until};
use crate::planted::{self, Bug};
use crate::store::{Store, Validity};
use crate::table::Found;
use crate::view::{Base, Whose};
use crate::wake::Waiter;
use foldback_units::{SectorRange, Sectors};

/// What has to be waited for before the origin may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Needs {
    /// How often the waiter will be woken.
    pub(crate) waits: u32,
    /// It must not change at all: a snapshot that would be spoilt cannot be told.
    pub(crate) fault: Option<Fault>,
}

/// Who asks for exceptions, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) waiter: Waiter,
    pub(crate) lane: Lane,
    pub(crate) until: Until,
    /// Whether a snapshot that could not be told that it is invalid shall be told again.
    pub(crate) tell_again: bool,
    /// Which snapshots the change concerns.
    pub(crate) whose: Whose,
}

/// A new exception that has to be filled from what its snapshot is of.
#[derive(Debug)]
struct Made {
    store: StoreId,
    exception: u64,
    base: Base,
    /// The sectors of the snapshot.
    range: SectorRange,
    /// Where the first of them goes.
    at: Sectors,
}

/// What a store said about a range.
#[derive(Default)]
struct Answer {
    waits: u32,
    made: Vec<Made>,
    full: bool,
}

impl Core {
    /// Sees to it that every snapshot has its exceptions for `range`. Without anything to wait for, all have them.
    pub(crate) fn need_exceptions(&mut self, range: SectorRange, asker: Asker) -> Needs {
        let mut needs = Needs::default();
        let mut made = Vec::new();
        let mut lost = Vec::new();
        for (&id, store) in &mut self.stores {
            let concerned = Some(id) != self.merging && asker.whose.includes(store.base);
            let Some(clip) = store.clip(range).filter(|_| concerned) else { continue };
            match store.validity {
                Validity::Invalid => {}
                Validity::Invalidating => lost.push(id),
                Validity::Untold if store.has_all(clip) => {}
                Validity::Untold if asker.tell_again => lost.push(id),
                Validity::Untold => needs.fault = Some(Fault::Device),
                Validity::Valid => {
                    let mut answer = store.ask(clip, asker);
                    needs.waits = needs.waits.saturating_add(answer.waits);
                    made.append(&mut answer.made);
                    if answer.full {
                        lost.push(id);
                    }
                }
            }
            if store.making.is_wanted() {
                self.touched.insert(id);
            }
        }
        self.plan_copies(made, asker.lane);
        for id in lost {
            self.invalidate(id);
            if let Some(store) = self.stores.get_mut(&id).filter(|store| store.validity != Validity::Invalid)
            {
                store.told.push(asker.waiter);
                needs.waits = needs.waits.saturating_add(1);
            }
        }
        needs
    }

    /// One read for each piece, and a write for every store that needs some of it. What lies in the origin is read once
    /// for the snapshots of the origin and for those of the merged view.
    fn plan_copies(&mut self, mut made: Vec<Made>, lane: Lane) {
        for made in made.iter_mut().filter(|made| made.base == Base::Merged) {
            if planted::is(Bug::CopyOutFromOrigin) || !self.is_in_merging(made.range) {
                made.base = Base::Origin;
            }
        }
        let size = self.copies.piece();
        for base in [Base::Origin, Base::Merged] {
            let of_base = || made.iter().filter(|made| made.base == base);
            for piece in unions(of_base().map(|made| made.range)).flat_map(|union| pieces(union, size)) {
                let dests = of_base().filter_map(|made| made.part_of(piece)).collect();
                self.copy(Copy::new(Some(Source { base, range: piece }), dests, lane));
            }
        }
    }
}

/// The same sectors in ranges that neither overlap nor touch, ascending.
fn unions(ranges: impl Iterator<Item = SectorRange>) -> impl Iterator<Item = SectorRange> {
    let mut ranges: Vec<SectorRange> = ranges.collect();
    ranges.sort_unstable();
    let mut unions: Vec<SectorRange> = Vec::new();
    for range in ranges {
        match unions.last_mut() {
            Some(last) if range.start() <= last.end() => {
                let end = last.end().max(range.end());
                let len = end.saturating_sub(last.start());
                *last = SectorRange::new(last.start(), len).unwrap_or(*last);
            }
            _ => unions.push(range),
        }
    }
    unions.into_iter()
}

impl Made {
    /// What of `piece`, once read, goes to this store.
    fn part_of(&self, piece: SectorRange) -> Option<Dest> {
        let part = self.range.intersect(piece)?;
        let offset = part.start().checked_sub(piece.start())?;
        let at = self.at.checked_add(part.start().checked_sub(self.range.start())?)?;
        let from = vec![Slice { buffer: Buffer::Scratch, offset, len: part.len() }];
        Some(Dest { store: self.store, exception: self.exception, at, from })
    }
}

impl Store {
    /// Whether every chunk of `range` has a durable exception. Only for a store in which none is being made.
    fn has_all(&self, range: SectorRange) -> bool {
        let (first, end) = self.chunks_of(range);
        let count = end.saturating_sub(first);
        matches!(self.opened.table.find(first, count), Found::Mapped { len, .. } if len >= count)
    }

    /// Waits for what is being made in `range`, and begins what is missing.
    fn ask(&mut self, range: SectorRange, asker: Asker) -> Answer {
        let mut answer = Answer::default();
        let (mut chunk, end) = self.chunks_of(range);
        let until = if planted::is(Bug::ReleaseBeforeDurable) { Until::Mapped } else { asker.until };
        while chunk < end {
            if let Some((number, exception)) = self.making.find(chunk) {
                chunk = exception.run.old_end();
                let ready = until == Until::Mapped && exception.stage == Stage::Mapped;
                if !ready && !planted::is(Bug::ForgetWaiter) {
                    self.making.wait(number, until, asker.waiter);
                    answer.waits = answer.waits.saturating_add(1);
                }
                continue;
            }
            let free = self.making.free_from(chunk, end.saturating_sub(chunk));
            let missing = match self.opened.table.find(chunk, free) {
                Found::Mapped { len, .. } => {
                    chunk = chunk.saturating_add(len);
                    continue;
                }
                Found::Gap { len } => len,
            };
            let Some(run) = self.allocate(chunk, missing) else {
                answer.full = true;
                return answer;
            };
            chunk = run.old_end();
            let exception = self.making.add(run);
            self.making.wait(exception, until, asker.waiter);
            answer.waits = answer.waits.saturating_add(1);
            if let Some(range) = self.origin_range(run.old, run.len) {
                answer.made.push(Made {
                    store: self.id,
                    exception,
                    base: self.base,
                    range,
                    at: self.place(range.start(), run.new),
                });
            }
        }
        answer
    }
}
