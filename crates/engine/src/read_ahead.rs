//! Reading a store's metadata with several reads under way: the areas lie far from each other, and who opens a store may have
//! requests waiting.
//!
//! What must hold:
//! - The checker gets what it asks for, in its own order, whatever the order of completions.
//! - What was read ahead and is not asked for is forgotten, its errors as well.
//! - A store with few records costs few reads: as many are under way as areas were full, up to a bound.
//! - It is over only when nothing is under way: numbers of I/Os may be used again then.

use crate::api::{Fault, IoId};
use foldback_dm_snapshot_format::Checker;
use foldback_units::SectorRange;
use std::collections::VecDeque;

/// The most reads under way.
const MOST: usize = 32;

#[derive(Debug)]
enum State {
    Waiting,
    UnderWay(IoId),
    Over(Result<Vec<u8>, Fault>),
}

#[derive(Debug)]
struct Piece {
    range: SectorRange,
    state: State,
}

/// A store that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    checker: Box<Checker>,
    /// In the order in which the checker asks, from what it asks for next on.
    pieces: VecDeque<Piece>,
    fed: usize,
    failed: Option<Fault>,
}

impl Reading {
    pub(crate) fn new(checker: Checker) -> Self {
        let mut reading = Self { checker: Box::new(checker), pieces: VecDeque::new(), fed: 0, failed: None };
        reading.plan();
        reading
    }

    /// The next read, which gets this number.
    pub(crate) fn poll(&mut self, id: IoId) -> Option<SectorRange> {
        let piece = self.pieces.iter_mut().find(|piece| matches!(piece.state, State::Waiting))?;
        piece.state = State::UnderWay(id);
        Some(piece.range)
    }

    /// How a read went. One that is not under way is ignored.
    pub(crate) fn complete(&mut self, id: IoId, outcome: Result<Vec<u8>, Fault>) {
        let is_it = |piece: &&mut Piece| matches!(piece.state, State::UnderWay(other) if other == id);
        let Some(piece) = self.pieces.iter_mut().find(is_it) else { return };
        piece.state = State::Over(outcome);
        while self.feed() {}
        self.plan();
    }

    /// Whether everything was read, or cannot be, and nothing is under way.
    pub(crate) fn is_over(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The checker that has read everything, or why it has not.
    pub(crate) fn into_outcome(self) -> Result<Box<Checker>, Fault> {
        self.failed.map_or(Ok(self.checker), Err)
    }

    /// Gives the checker what it asks for, if that is there.
    fn feed(&mut self) -> bool {
        let Some(wanted) = self.checker.next_read().filter(|_| self.failed.is_none()) else { return false };
        let Some(piece) = self.pieces.pop_front_if(|piece| matches!(piece.state, State::Over(_))) else {
            return false;
        };
        self.failed = match piece.state {
            State::Over(Ok(bytes)) if piece.range == wanted => {
                self.fed = self.fed.saturating_add(1);
                self.checker.feed(&bytes).err().map(|_| Fault::Device)
            }
            State::Over(Err(fault)) => Some(fault),
            // Cannot happen: pieces are what the checker says that it will ask for.
            _ => Some(Fault::Device),
        };
        true
    }

    /// Adds reads up to what may be under way; forgets those that are not needed any more.
    fn plan(&mut self) {
        let wanted = match self.failed {
            Some(_) => Vec::new(),
            None => self.checker.reads_ahead(self.fed.saturating_add(1).min(MOST)),
        };
        self.pieces
            .retain(|piece| matches!(piece.state, State::UnderWay(_)) || wanted.contains(&piece.range));
        for range in wanted {
            if !self.pieces.iter().any(|piece| piece.range == range) {
                self.pieces.push_back(Piece { range, state: State::Waiting });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Reading};
    use crate::api::{Fault, IoId};
    use foldback_dm_snapshot_format::{Checker, Header, StoreGeometry};
    use foldback_units::{ChunkSize, SectorRange, Sectors};

    const CHUNK: u64 = 8;
    const PER_AREA: u64 = 256;

    /// The metadata of a store with so many records, by sector.
    struct Store {
        records: u64,
        size: u64,
    }

    impl Store {
        fn reading(&self) -> Reading {
            let geometry = StoreGeometry {
                store: Sectors(self.size),
                origin: Sectors(1 << 30),
                expected_chunk: ChunkSize::from_sectors(8).ok(),
            };
            Reading::new(Checker::new(geometry))
        }

        fn read(&self, range: SectorRange) -> Vec<u8> {
            let mut bytes = vec![0; (range.len().0 * 512) as usize];
            if range.start().0 == 0 {
                let header = Header::new(ChunkSize::from_sectors(8).unwrap()).encode();
                bytes[..header.len()].copy_from_slice(&header);
                return bytes;
            }
            let area = (range.start().0 / CHUNK - 1) / (PER_AREA + 1);
            for slot in 0..PER_AREA.min(self.records.saturating_sub(area * PER_AREA)) {
                let number = area * PER_AREA + slot;
                let new = 2 + area * (PER_AREA + 1) + slot;
                let at = slot as usize * 16;
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
                bytes[at + 8..at + 16].copy_from_slice(&new.to_le_bytes());
            }
            bytes
        }
    }

    /// Reads to the end; completes the `nth` of what is under way, counted around. Returns how many reads there were, how
    /// many at once, and what came of it.
    fn run(
        store: &Store,
        nth: usize,
        fails: impl Fn(SectorRange) -> bool,
    ) -> (u64, usize, Result<u64, Fault>) {
        let mut reading = store.reading();
        let (mut next, mut most, mut under_way) = (0, 0, Vec::new());
        while !reading.is_over() {
            while let Some(range) = reading.poll(IoId(next)) {
                assert!(range.end().0 <= store.size);
                under_way.push((IoId(next), range));
                next += 1;
            }
            most = most.max(under_way.len());
            let (id, range) = under_way.remove(nth % under_way.len());
            let outcome = if fails(range) { Err(Fault::Device) } else { Ok(store.read(range)) };
            reading.complete(id, outcome);
        }
        assert!(under_way.is_empty(), "something is under way still");
        let outcome = reading.into_outcome().map(|checker| {
            let report = checker.finish().unwrap();
            report.store.unwrap().records.len() as u64
        });
        (next, most, outcome)
    }

    #[test]
    fn the_order_of_completions_changes_nothing() {
        for records in [0, 1, 255, 256, 257, 40_000] {
            let store = Store { records, size: (records + 2000) * 2 * CHUNK };
            for nth in [0, 1, 7, usize::MAX] {
                let (reads, most, outcome) = run(&store, nth, |_| false);
                assert_eq!(outcome, Ok(records));
                assert!(most <= MOST, "{most} at once");
                // The header, the areas of the table, one behind it, and what was read ahead in vain.
                let needed = 3 + records / PER_AREA;
                assert!(
                    reads >= needed && reads <= needed + needed.min(MOST as u64),
                    "{reads} for {records}"
                );
            }
        }
    }

    #[test]
    fn few_records_take_few_reads_and_many_take_them_together() {
        let reads = |records| run(&Store { records, size: 1 << 24 }, 0, |_| false);
        assert_eq!(reads(0).0, 3, "the header, an area, and the one behind it");
        assert_eq!(reads(100_000).1, MOST);
    }

    #[test]
    fn an_error_counts_where_the_table_goes_and_nowhere_else() {
        let store = Store { records: 10 * PER_AREA, size: 1 << 24 };
        let area = |range: SectorRange| (range.start().0 / CHUNK - 1) / (PER_AREA + 1);
        for nth in [0, 3, usize::MAX] {
            let fails = |wanted: u64| move |range: SectorRange| range.start().0 > 0 && area(range) == wanted;
            assert_eq!(run(&store, nth, fails(5)).2, Err(Fault::Device));
            assert_eq!(
                run(&store, nth, fails(11)).2,
                Err(Fault::Device),
                "the one behind the end is looked at"
            );
            assert_eq!(run(&store, nth, fails(12)).2, Ok(10 * PER_AREA));
        }
    }
}
