//! The exceptions of one store that are being made: allocated, but their records are not durable yet.
//!
//! Each is a run of chunks. Its data comes in parts; when the last one is written it is *mapped* and may be read from
//! the store. When its record is durable it leaves this queue. One whose source could not be read has *failed*: its
//! chunks are left as a hole.
//!
//! What must hold (C1, C4, C7, 4.1 "avoid two exceptions for same chunk"):
//! - No old chunk is in two of them.
//! - They become durable in the order in which they were allocated, so that a crash leaves no holes.
//! - Whoever waits for one is woken once: when it is mapped, durable, failed, or the store is gone.
//! - Nobody is woken while a part is still under way: it may use the waiter's buffer.

use crate::table::Run;
use crate::wake::Waiter;
use std::collections::{BTreeMap, VecDeque};

/// More exceptions than this are not left uncommitted: what a crash takes from an unflushed snapshot stays bounded.
const MAX_UNCOMMITTED: usize = 1024;

/// How far an exception is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Parts of its data are under way.
    Copying,
    /// Its data lies in the store, not yet durably.
    Mapped,
    /// Its data could not be had.
    Failed,
}

/// What a waiter waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The store can be read and written in its place.
    Mapped,
    /// Its record is durable.
    Durable,
}

/// One exception, or a run of them.
#[derive(Debug)]
pub(crate) struct Exception {
    pub(crate) run: Run,
    pub(crate) stage: Stage,
    parts: u32,
    broken: bool,
    mapped: Vec<Waiter>,
    durable: Vec<Waiter>,
}

/// What became of an exception whose last part is done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It is mapped; these waited for that.
    Mapped(Run, Vec<Waiter>),
    /// It failed; these waited for it.
    Failed(Vec<Waiter>),
}

/// The queue of one store, in the order of allocation.
#[derive(Debug, Default)]
pub(crate) struct Making {
    /// The number of the first in the queue.
    first: u64,
    queue: VecDeque<Exception>,
    by_old: BTreeMap<u64, u64>,
    barriers: BTreeMap<u64, Vec<Waiter>>,
    /// Somebody waits for the records of all exceptions below this number.
    wanted: u64,
    /// Records that the queue will need.
    records: u64,
}

impl Making {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many records the queue will need.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.queue.len()).unwrap_or(u64::MAX))
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Exception> {
        self.queue.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The exception that holds `old`.
    pub(crate) fn find(&self, old: u64) -> Option<(u64, &Exception)> {
        let (_, &number) = self.by_old.range(..=old).next_back()?;
        let exception = self.queue.get(usize::try_from(number.checked_sub(self.first)?).ok()?)?;
        (exception.run.old_end() > old).then_some((number, exception))
    }

    /// How many chunks from `old` on, at most `limit`, are in none; `old` is in none.
    pub(crate) fn free_from(&self, old: u64, limit: u64) -> u64 {
        self.by_old.range(old..).next().map_or(limit, |(next, _)| next.saturating_sub(old).min(limit))
    }

    /// A new one, with `parts` parts to come (at least one).
    pub(crate) fn add(&mut self, run: Run) -> u64 {
        let number = self.end();
        self.records = self.records.saturating_add(run.len);
        self.by_old.insert(run.old, number);
        self.queue.push_back(Exception {
            run,
            stage: Stage::Copying,
            parts: 0,
            broken: false,
            mapped: Vec::new(),
            durable: Vec::new(),
        });
        number
    }

    /// One more part of its data is to come.
    pub(crate) fn add_part(&mut self, number: u64) {
        if let Some(exception) = self.get_mut(number) {
            exception.parts = exception.parts.saturating_add(1);
        }
    }

    pub(crate) fn wait(&mut self, number: u64, until: Until, waiter: Waiter) {
        let want = number.saturating_add(1);
        let Some(exception) = self.get_mut(number) else { return };
        match until {
            Until::Mapped => exception.mapped.push(waiter),
            Until::Durable => {
                exception.durable.push(waiter);
                self.wanted = self.wanted.max(want);
            }
        }
    }

    /// Waits until all that are in the queue now are durable, or failed; false where there are none.
    pub(crate) fn wait_for_all(&mut self, waiter: Waiter) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        self.want_all();
        self.barriers.entry(self.end()).or_default().push(waiter);
        true
    }

    /// Whether somebody waits for a record.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted > self.first
    }

    /// All that are in the queue now shall become durable.
    pub(crate) fn want_all(&mut self) {
        self.wanted = self.end();
    }

    /// Exceptions that nobody waits for are committed as well when there are many of them,
    /// or always.
    pub(crate) fn bound_uncommitted(&mut self, all: bool) {
        if all || self.queue.len() > MAX_UNCOMMITTED {
            self.want_all();
        }
    }

    /// A part is done, `good` or not. Some when it was the last one.
    pub(crate) fn part_done(&mut self, number: u64, good: bool) -> Option<Finished> {
        let exception = self.get_mut(number)?;
        exception.parts = exception.parts.saturating_sub(1);
        exception.broken |= !good;
        if exception.parts > 0 || exception.stage != Stage::Copying {
            return None;
        }
        if !exception.broken {
            exception.stage = Stage::Mapped;
            return Some(Finished::Mapped(exception.run, std::mem::take(&mut exception.mapped)));
        }
        exception.stage = Stage::Failed;
        let mut waiters = std::mem::take(&mut exception.mapped);
        waiters.append(&mut exception.durable);
        let run = exception.run;
        self.forget(run);
        Some(Finished::Failed(waiters))
    }

    fn forget(&mut self, run: Run) {
        self.by_old.remove(&run.old);
        self.records = self.records.saturating_sub(run.len);
    }

    /// Takes failed ones off the front; barriers that became free.
    pub(crate) fn settle(&mut self) -> Vec<Waiter> {
        while self.queue.front().is_some_and(|exception| exception.stage == Stage::Failed) {
            self.queue.pop_front();
            self.first = self.first.saturating_add(1);
        }
        self.free_barriers()
    }

    fn free_barriers(&mut self) -> Vec<Waiter> {
        let still = self.barriers.split_off(&self.first.saturating_add(1));
        std::mem::replace(&mut self.barriers, still).into_values().flatten().collect()
    }

    /// The number behind those that can be committed now; `None` where nobody wants it or the first is not mapped.
    pub(crate) fn committable(&self) -> Option<u64> {
        let ready = self.queue.iter().take_while(|exception| exception.stage != Stage::Copying).count();
        let end = self.first.saturating_add(u64::try_from(ready).unwrap_or(u64::MAX));
        (ready > 0 && self.is_wanted()).then_some(end)
    }

    /// The runs below `end` whose records are to be written, in order.
    pub(crate) fn runs_until(&self, end: u64) -> impl Iterator<Item = Run> + '_ {
        let count = usize::try_from(end.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mapped = self.queue.iter().take(count).filter(|exception| exception.stage == Stage::Mapped);
        mapped.map(|exception| exception.run)
    }

    /// The records below `end` are durable: who waited for that.
    pub(crate) fn committed(&mut self, end: u64) -> Vec<Waiter> {
        let mut waiters = Vec::new();
        while self.first < end {
            let Some(mut exception) = self.queue.pop_front() else { break };
            self.first = self.first.saturating_add(1);
            if exception.stage == Stage::Mapped {
                self.forget(exception.run);
                waiters.append(&mut exception.durable);
            }
        }
        waiters.append(&mut self.settle());
        waiters
    }

    /// The runs that are mapped but not durable.
    pub(crate) fn mapped_runs(&self) -> Vec<Run> {
        self.runs_until(u64::MAX).collect()
    }

    /// The store is gone: all that have no part under way leave. Who waited for them.
    pub(crate) fn give_up(&mut self) -> Vec<Waiter> {
        let mut waiters = Vec::new();
        let mut gone = Vec::new();
        for exception in self.queue.iter_mut().filter(|exception| exception.parts == 0) {
            waiters.append(&mut exception.mapped);
            waiters.append(&mut exception.durable);
            if exception.stage != Stage::Failed {
                exception.stage = Stage::Failed;
                gone.push(exception.run);
            }
        }
        for run in gone {
            self.forget(run);
        }
        waiters.append(&mut self.settle());
        waiters
    }
}

#[cfg(test)]
mod tests {
    use super::{Finished, Making, Stage, Until};
    use crate::table::Run;
    use crate::wake::Waiter;

    fn run(old: u64, len: u64) -> Run {
        Run { old, new: old + 100, len }
    }

    fn made(runs: &[Run]) -> Making {
        let mut making = Making::default();
        for &run in runs {
            let number = making.add(run);
            making.add_part(number);
        }
        making
    }

    #[test]
    fn c4_commits_follow_the_order_of_allocation() {
        let mut making = made(&[run(5, 1), run(9, 2), run(1, 1)]);
        making.wait(2, Until::Durable, Waiter::Op(2));
        making.part_done(2, true);
        making.part_done(1, true);
        assert_eq!(making.committable(), None, "the first is not mapped");
        assert_eq!(making.part_done(0, true), Some(Finished::Mapped(run(5, 1), vec![])));
        assert_eq!(making.committable(), Some(3));
        let runs: Vec<Run> = making.runs_until(3).collect();
        assert_eq!(runs, [run(5, 1), run(9, 2), run(1, 1)]);
        assert_eq!(making.committed(3), [Waiter::Op(2)]);
        assert!(making.is_empty() && making.records() == 0);
    }

    #[test]
    fn a_failed_one_is_a_hole_and_holds_nobody_up() {
        let mut making = made(&[run(5, 1), run(9, 1)]);
        making.wait(0, Until::Durable, Waiter::Op(0));
        assert!(making.wait_for_all(Waiter::Op(7)));
        making.part_done(1, true);
        assert_eq!(making.part_done(0, false), Some(Finished::Failed(vec![Waiter::Op(0)])));
        assert_eq!(making.find(5).map(|(number, _)| number), None);
        assert_eq!(making.settle(), []);
        assert_eq!(making.committable(), Some(2));
        assert_eq!(making.committed(2), [Waiter::Op(7)]);
    }

    #[test]
    fn nobody_is_woken_while_a_part_is_under_way() {
        let mut making = made(&[run(5, 1), run(9, 1)]);
        making.add_part(0);
        making.wait(0, Until::Mapped, Waiter::Op(0));
        making.wait(1, Until::Mapped, Waiter::Op(1));
        making.part_done(0, true);
        making.part_done(1, true);
        assert_eq!(making.give_up(), []);
        assert_eq!(making.find(5).map(|(_, exception)| exception.stage), Some(Stage::Copying));
        making.part_done(0, true);
        assert_eq!(making.give_up(), []);
        assert!(making.is_empty());
    }

    #[test]
    fn places_between_are_free() {
        let making = made(&[run(5, 2), run(9, 1)]);
        assert_eq!(making.find(4).map(|(number, _)| number), None);
        assert_eq!(making.find(6).map(|(number, _)| number), Some(0));
        assert_eq!((making.free_from(0, 100), making.free_from(7, 100)), (5, 2));
        assert_eq!((making.free_from(10, 100), making.free_from(0, 3)), (100, 3));
    }
}
