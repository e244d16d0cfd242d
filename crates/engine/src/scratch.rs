//! The part of the scratch memory that copies for snapshots pass through.
//!
//! What must hold:
//! - A range that was taken is taken until it is given back; no two overlap.
//! - Whatever was given back joins its neighbours, so that an empty memory is one range again.

use foldback_units::Sectors;
use std::collections::BTreeMap;

/// Scratch memory, by free ranges.
#[derive(Debug)]
pub(crate) struct Scratch {
    free: BTreeMap<u64, u64>,
}

impl Scratch {
    /// All of `len` sectors from 0 on is free.
    pub(crate) fn new(len: Sectors) -> Self {
        Self { free: BTreeMap::from([(0, len.0)]) }
    }

    /// Takes `len` sectors, the lowest that fit.
    pub(crate) fn take(&mut self, len: Sectors) -> Option<Sectors> {
        let (&start, &room) = self.free.iter().find(|(_, room)| **room >= len.0)?;
        self.free.remove(&start);
        let rest = room.saturating_sub(len.0);
        if rest > 0 {
            self.free.insert(start.saturating_add(len.0), rest);
        }
        Some(Sectors(start))
    }

    /// Gives back what was taken.
    pub(crate) fn give(&mut self, start: Sectors, len: Sectors) {
        let (mut start, mut len) = (start.0, len.0);
        if let Some((&before, &room)) = self.free.range(..start).next_back()
            && before.saturating_add(room) == start
        {
            self.free.remove(&before);
            (start, len) = (before, room.saturating_add(len));
        }
        if let Some(room) = self.free.remove(&start.saturating_add(len)) {
            len = len.saturating_add(room);
        }
        self.free.insert(start, len);
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;
    use foldback_units::Sectors;
    use proptest::prelude::proptest;

    proptest! {
        /// The slow twin marks every sector.
        #[test]
        fn no_two_ranges_overlap_and_all_comes_back(steps in proptest::collection::vec((1..20_u64, 0..3_u8), 1..100)) {
            let mut scratch = Scratch::new(Sectors(64));
            let mut marks = [false; 64];
            let mut taken: Vec<(Sectors, Sectors)> = Vec::new();
            for (len, action) in steps {
                if action > 0 {
                    let longest = marks.split(|&mark| mark).map(<[bool]>::len).max().unwrap_or(0);
                    let got = scratch.take(Sectors(len));
                    assert_eq!(got.is_some(), longest as u64 >= len);
                    if let Some(start) = got {
                        let range = &mut marks[start.0 as usize..(start.0 + len) as usize];
                        assert!(range.iter().all(|&mark| !mark));
                        range.fill(true);
                        taken.push((start, Sectors(len)));
                    }
                } else if !taken.is_empty() {
                    let (start, len) = taken.swap_remove(len as usize % taken.len());
                    scratch.give(start, len);
                    marks[start.0 as usize..(start.0 + len.0) as usize].fill(false);
                }
            }
            for (start, len) in taken {
                scratch.give(start, len);
            }
            assert_eq!(scratch.take(Sectors(64)), Some(Sectors(0)));
        }
    }
}
