//! Which writes to one file may be under way together.
//!
//! What must hold:
//! - Where one of two writes has to read first (it begins or ends inside a block) and they share a block, only one is
//!   under way: else the block that it read would overwrite what the other wrote.
//! - Writes of whole blocks never wait for each other.
//! - Among writes that may not be under way together the one that came first goes first, so nobody waits for ever
//!   behind later ones.
//! - A write that is never answered holds back only what shares its blocks.

use foldback_units::SectorRange;
use std::collections::{BTreeMap, VecDeque};

/// How a write behaves towards its neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// Whole blocks.
    Whole,
    /// Reads blocks and writes them back.
    ReadsFirst,
}

/// A write that has gone in, to be named when it leaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place(u64);

#[derive(Clone, Copy, Debug)]
struct Taken {
    range: SectorRange,
    manner: Manner,
}

impl Taken {
    fn excludes(self, other: Self) -> bool {
        let reads = self.manner == Manner::ReadsFirst || other.manner == Manner::ReadsFirst;
        reads && self.range.overlaps(other.range)
    }
}

/// The writes of one file: those under way, and those that wait (`T` is what to begin when they may).
#[derive(Debug)]
pub(crate) struct Gate<T> {
    next: u64,
    inside: BTreeMap<Place, Taken>,
    waiting: VecDeque<(Place, Taken, T)>,
    /// How many of both read first: while there are none, nothing is compared.
    readers: usize,
}

impl<T> Gate<T> {
    pub(crate) const fn new() -> Self {
        Self { next: 0, inside: BTreeMap::new(), waiting: VecDeque::new(), readers: 0 }
    }

    /// A write comes. Its work is handed back with its place if it may begin; else it waits. The most that waits is what
    /// the kernel gives at once.
    pub(crate) fn enter(&mut self, range: SectorRange, manner: Manner, work: T) -> Option<(Place, T)> {
        let place = Place(self.next);
        self.next = self.next.wrapping_add(1);
        let taken = Taken { range, manner };
        if manner == Manner::ReadsFirst {
            self.readers = self.readers.saturating_add(1);
        }
        if self.readers > 0 && self.is_barred(taken, self.waiting.len()) {
            self.waiting.push_back((place, taken, work));
            return None;
        }
        self.inside.insert(place, taken);
        Some((place, work))
    }

    /// A write was answered. What may begin now is handed back.
    pub(crate) fn leave(&mut self, place: Place) -> Vec<(Place, T)> {
        if let Some(Taken { manner: Manner::ReadsFirst, .. }) = self.inside.remove(&place) {
            self.readers = self.readers.saturating_sub(1);
        }
        let mut free = Vec::new();
        let mut at = 0;
        while let Some((_, taken, _)) = self.waiting.get(at) {
            if self.is_barred(*taken, at) {
                at = usize::saturating_add(at, 1);
            } else if let Some((place, taken, work)) = self.waiting.remove(at) {
                self.inside.insert(place, taken);
                free.push((place, work));
            }
        }
        free
    }

    /// Nothing is under way and nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inside.is_empty() && self.waiting.is_empty()
    }

    /// Whether something under way, or one of the first `before` that wait, excludes it.
    fn is_barred(&self, taken: Taken, before: usize) -> bool {
        self.inside.values().any(|inside| inside.excludes(taken))
            || self.waiting.iter().take(before).any(|(_, waiting, _)| waiting.excludes(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, Manner, Place};
    use foldback_units::{SectorRange, Sectors};
    use proptest::prelude::*;

    fn range(start: u64, len: u64) -> SectorRange {
        SectorRange::new(Sectors(start), Sectors(len)).unwrap()
    }

    #[test]
    fn whole_sectors_never_wait_for_each_other() {
        let mut gate = Gate::new();
        assert!(gate.enter(range(0, 8), Manner::Whole, 1).is_some());
        assert!(gate.enter(range(0, 8), Manner::Whole, 2).is_some());
    }

    #[test]
    fn a_write_that_reads_first_excludes_its_sectors_and_no_others() {
        let mut gate = Gate::new();
        let (first, _) = gate.enter(range(3, 1), Manner::ReadsFirst, 1).unwrap();
        assert!(gate.enter(range(0, 8), Manner::Whole, 2).is_none());
        assert!(gate.enter(range(4, 4), Manner::Whole, 3).is_some());
        assert_eq!(gate.leave(first).into_iter().map(|(_, work)| work).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn who_came_first_goes_first() {
        let mut gate = Gate::new();
        let (plain, _) = gate.enter(range(0, 1), Manner::Whole, 1).unwrap();
        assert!(gate.enter(range(0, 1), Manner::ReadsFirst, 2).is_none());
        // It could begin, and then the one before it might wait for ever.
        assert!(gate.enter(range(0, 1), Manner::Whole, 3).is_none());
        let next = gate.leave(plain);
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].1, 2);
        assert_eq!(gate.leave(next[0].0).len(), 1);
    }

    /// The slow twin: the law itself, checked after every step over everything that is inside or waits.
    #[derive(Default)]
    struct Law {
        inside: Vec<(u64, SectorRange, Manner, Place)>,
        waiting: Vec<(u64, SectorRange, Manner)>,
    }

    fn excludes(one: (SectorRange, Manner), other: (SectorRange, Manner)) -> bool {
        (one.1 == Manner::ReadsFirst || other.1 == Manner::ReadsFirst) && one.0.overlaps(other.0)
    }

    impl Law {
        fn begin(&mut self, place: Place, number: u64) {
            let at = self.waiting.iter().position(|it| it.0 == number).unwrap();
            let (_, range, manner) = self.waiting.remove(at);
            self.inside.push((number, range, manner, place));
        }

        fn holds(&self) {
            for (at, one) in self.inside.iter().enumerate() {
                for other in &self.inside[at + 1..] {
                    assert!(!excludes((one.1, one.2), (other.1, other.2)));
                }
            }
            for waiting in &self.waiting {
                let before = self
                    .inside
                    .iter()
                    .map(|it| (it.1, it.2))
                    .chain(self.waiting.iter().filter(|it| it.0 < waiting.0).map(|it| (it.1, it.2)));
                let mut before = before;
                assert!(before.any(|it| excludes(it, (waiting.1, waiting.2))), "waits for nobody");
            }
        }
    }

    proptest! {
        #[test]
        fn nobody_waits_for_nothing_and_nobody_is_inside_with_whom_it_excludes(
            steps in prop::collection::vec((any::<bool>(), 0..12_u64, 1..5_u64, any::<bool>()), 1..80)
        ) {
            let mut gate = Gate::new();
            let mut law = Law::default();
            for (number, (comes, start, len, whole)) in (0_u64..).zip(steps) {
                if comes || law.inside.is_empty() {
                    let manner = if whole { Manner::Whole } else { Manner::ReadsFirst };
                    law.waiting.push((number, range(start, len), manner));
                    if let Some((place, number)) = gate.enter(range(start, len), manner, number) {
                        law.begin(place, number);
                    }
                } else {
                    let at = start as usize % law.inside.len();
                    let (.., place) = law.inside.swap_remove(at);
                    for (place, number) in gate.leave(place) {
                        law.begin(place, number);
                    }
                }
                law.holds();
            }
            while let Some((.., place)) = law.inside.pop() {
                for (place, number) in gate.leave(place) {
                    law.begin(place, number);
                }
            }
            prop_assert!(gate.is_empty() && law.waiting.is_empty());
        }
    }
}
