//! Ranges of sectors that are in use for a while, and who waits until they are not.
//!
//! What must hold (C2, R1, R10):
//! - Whoever waits for the ranges that overlap theirs is woken once for each of them, when it goes away.
//! - Looking for overlaps takes O(log n) and the overlaps, as long as ranges are of similar length.

use crate::wake::Waiter;
use foldback_units::SectorRange;
use std::collections::BTreeMap;

/// One range in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SpanId {
    start: u64,
    number: u64,
}

#[derive(Debug)]
struct Span {
    end: u64,
    waiters: Vec<Waiter>,
}

/// Ranges in use.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    in_use: BTreeMap<SpanId, Span>,
    next: u64,
    /// No range is longer; forgotten when the last one goes.
    longest: u64,
}

impl Spans {
    pub(crate) fn insert(&mut self, range: SectorRange) -> SpanId {
        let id = SpanId { start: range.start().0, number: self.next };
        self.next = self.next.saturating_add(1);
        self.longest = self.longest.max(range.len().0);
        self.in_use.insert(id, Span { end: range.end().0, waiters: Vec::new() });
        id
    }

    /// Ends the use; who waited for it.
    pub(crate) fn remove(&mut self, id: SpanId) -> Vec<Waiter> {
        let waiters = self.in_use.remove(&id).map(|span| span.waiters).unwrap_or_default();
        if self.in_use.is_empty() {
            self.longest = 0;
        }
        waiters
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_use.is_empty()
    }

    fn candidates(&self, range: SectorRange) -> std::ops::Range<SpanId> {
        let start = range.start().0.saturating_sub(self.longest);
        SpanId { start, number: 0 }..SpanId { start: range.end().0, number: 0 }
    }

    pub(crate) fn overlaps(&self, range: SectorRange) -> bool {
        !self.is_empty()
            && self.in_use.range(self.candidates(range)).any(|(_, span)| span.end > range.start().0)
    }

    /// Waits for each range that overlaps; how many there are.
    pub(crate) fn wait_overlapping(&mut self, range: SectorRange, waiter: Waiter) -> u32 {
        if self.is_empty() {
            return 0;
        }
        let mut waits = 0_u32;
        let candidates = self.candidates(range);
        for (_, span) in self.in_use.range_mut(candidates).filter(|(_, span)| span.end > range.start().0) {
            span.waiters.push(waiter);
            waits = waits.saturating_add(1);
        }
        waits
    }

    /// Waits for each range there is; how many there are.
    pub(crate) fn wait_all(&mut self, waiter: Waiter) -> u32 {
        for span in self.in_use.values_mut() {
            span.waiters.push(waiter);
        }
        u32::try_from(self.in_use.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{SpanId, Spans};
    use crate::wake::Waiter;
    use foldback_units::{SectorRange, Sectors};
    use proptest::prelude::{any, proptest};

    fn range(start: u64, len: u64) -> SectorRange {
        SectorRange::new(Sectors(start), Sectors(len)).unwrap()
    }

    proptest! {
        /// The slow twin compares with every range in use.
        #[test]
        fn overlaps_agree_with_comparing_all(
            steps in proptest::collection::vec((0..200_u64, 1..30_u64, any::<bool>()), 1..80),
            probe in (0..220_u64, 1..40_u64),
        ) {
            let mut spans = Spans::default();
            let mut twin: Vec<(SpanId, SectorRange)> = Vec::new();
            for (start, len, remove) in steps {
                if remove && !twin.is_empty() {
                    let (id, _) = twin.swap_remove(start as usize % twin.len());
                    spans.remove(id);
                } else {
                    twin.push((spans.insert(range(start, len)), range(start, len)));
                }
            }
            let probe = range(probe.0, probe.1);
            let expected = twin.iter().filter(|(_, span)| span.overlaps(probe)).count();
            assert_eq!(spans.overlaps(probe), expected > 0);
            assert_eq!(spans.wait_overlapping(probe, Waiter::Op(7)), expected as u32);
            let woken: usize = twin.iter().map(|(id, _)| spans.remove(*id).len()).sum();
            assert_eq!(woken, expected);
        }
    }
}
