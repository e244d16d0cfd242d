//! What a power cut leaves of a logged disk.
//!
//! Holds: everything up to a border (a flush, or a durable write) is there; of what was written after it, up to the next
//! border, any subset may be. The data of a flush that is not durable itself counts as written after it.

use anyhow::{Context, Result};

use super::log::{Entry, Kind};
use crate::guest::Random;

/// A disk onto which a log is replayed, from its first entry on.
#[derive(Debug)]
pub(super) struct Replay<'l> {
    log: &'l [u8],
    entries: &'l [Entry],
    disk: Vec<u8>,
    /// The first entry that is not replayed.
    next: usize,
    /// The data of the border itself is not durable.
    late: Option<usize>,
}

impl<'l> Replay<'l> {
    /// An empty disk of that many bytes.
    pub(super) fn new(log: &'l [u8], entries: &'l [Entry], bytes: usize) -> Self {
        Self { log, entries, disk: vec![0; bytes], next: 0, late: None }
    }

    /// Replays up to a border, which may not lie behind. `lost` is left out: for seeing that this is noticed.
    pub(super) fn to(&mut self, border: usize, lost: Option<usize>) -> Result<()> {
        if let Some(late) = self.late.take() {
            self.write(late)?;
        }
        let until = border.saturating_add(1);
        for index in self.next..until {
            let entry = self.entries.get(index).context("a border behind the log's end")?;
            if index == border && entry.flush && !entry.fua {
                self.late = Some(index);
            } else if Some(index) != lost {
                self.write(index)?;
            }
        }
        self.next = until;
        Ok(())
    }

    /// What is there right at the border.
    pub(super) fn disk(&self) -> &[u8] {
        &self.disk
    }

    /// The same with a subset, by the seed, of what was written after the border and before the next.
    pub(super) fn with_some(&self, seed: u64) -> Result<Vec<u8>> {
        let mut cut = Self {
            log: self.log,
            entries: self.entries,
            disk: self.disk.clone(),
            next: self.next,
            late: None,
        };
        let mut random = Random::new(seed);
        for index in self.late.into_iter().chain(self.next..next_border(self.entries, self.next)) {
            if random.next() & 1 == 1 {
                cut.write(index)?;
            }
        }
        Ok(cut.disk)
    }

    fn write(&mut self, index: usize) -> Result<()> {
        match &self.entries.get(index).context("no such entry")?.kind {
            Kind::Write { at, data } => {
                let bytes = self.log.get(data.clone()).context("data behind the log's end")?;
                let place = self.disk.get_mut(*at..at.saturating_add(bytes.len()));
                place.context("a write behind the disk's end")?.copy_from_slice(bytes);
            }
            Kind::Discard(range) => {
                self.disk.get_mut(range.clone()).context("a discard behind the disk's end")?.fill(0);
            }
            Kind::Mark(_) => {}
        }
        Ok(())
    }
}

/// The first border from an entry on, or the log's end.
pub(super) fn next_border(entries: &[Entry], from: usize) -> usize {
    let later = entries.iter().skip(from).position(Entry::is_border);
    later.map_or(entries.len(), |at| from.saturating_add(at))
}

#[cfg(test)]
mod tests {
    use super::super::log::{parse, tests::written};
    use super::Replay;

    /// Two sectors that a flush makes durable, a durable one, two that nobody flushed.
    fn log() -> Vec<u8> {
        written(&[
            (0, 0, &[1; 512]),
            (1, 0, &[2; 512]),
            (0, 1, &[]),
            (2, 2, &[3; 512]),
            (0, 0, &[4; 512]),
            (3, 0, &[5; 512]),
            (4, 1, &[6; 512]),
            (5, 0, &[7; 512]),
        ])
    }

    fn firsts(disk: &[u8]) -> Vec<u8> {
        disk.iter().step_by(512).copied().collect()
    }

    #[test]
    fn at_a_border_is_what_was_flushed_and_no_more() {
        let log = log();
        let entries = parse(&log).unwrap();
        let mut replay = Replay::new(&log, &entries, 4096);
        for (border, expected) in [
            (2, [1, 2, 0, 0, 0, 0, 0, 0]),
            (3, [1, 2, 3, 0, 0, 0, 0, 0]),
            // The data of the flush itself are not durable.
            (6, [4, 2, 3, 5, 0, 0, 0, 0]),
        ] {
            replay.to(border, None).unwrap();
            assert_eq!(firsts(replay.disk()), expected);
        }
    }

    #[test]
    fn after_a_border_every_subset_occurs() {
        let log = log();
        let entries = parse(&log).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let mut replay = Replay::new(&log, &entries, 4096);
            replay.to(3, None).unwrap();
            let disk = replay.with_some(seed).unwrap();
            seen.insert((disk[0], disk[3 * 512]));
            replay.to(6, None).unwrap();
            let disk = replay.with_some(seed).unwrap();
            // The flush's own data, and the last write.
            assert!(matches!((disk[4 * 512], disk[5 * 512]), (0 | 6, 0 | 7)));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(1, 0), (1, 5), (4, 0), (4, 5)]);
    }

    #[test]
    fn an_entry_can_be_lost_on_purpose_and_places_are_bounded() {
        let log = log();
        let entries = parse(&log).unwrap();
        let mut replay = Replay::new(&log, &entries, 4096);
        replay.to(3, Some(1)).unwrap();
        assert_eq!(firsts(replay.disk()), [1, 0, 3, 0, 0, 0, 0, 0]);
        assert!(Replay::new(&log, &entries, 1024).to(3, None).is_err());
    }
}
