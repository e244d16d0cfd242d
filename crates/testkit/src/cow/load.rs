//! Reads an exception store as the kernel does: the judge of what a power cut has left.
//!
//! What must hold (dm-snapshot.md 1.4):
//! - The visible records are those before the first whose new chunk is 0, from area 0 on through every full area.
//! - What follows the end is not looked at, except by [`Loaded::stale`].
//! - Of two records for one old chunk the first counts.

use super::{RECORDS_PER_SECTOR, is_area};
use crate::Sector;
use std::collections::{BTreeMap, BTreeSet};

/// What the header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Magic 0: a new store.
    Blank,
    /// A store in use.
    Valid,
    /// A store that was given up.
    Invalid,
}

/// Why the kernel would not take the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The magic is neither 0 nor a store's.
    Magic(u32),
    /// Not version 1.
    Version(u32),
    /// No power of two, or larger than the device.
    ChunkSize(u32),
    /// The last area is full and there is none after it.
    NoEnd,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What the header says.
    pub state: State,
    /// Sectors of a chunk; 0 for a blank store.
    pub chunk: u64,
    /// Visible records, (old, new), in table order.
    pub records: Vec<(u64, u64)>,
    /// Slots behind the end, in the area of the end, that are not zero: what W1 scrubs.
    pub stale: Vec<u64>,
    /// Slots of the area after that which are not zero: W1 scrubs them as well, a new store may have them (C3).
    pub stale_after: Vec<u64>,
}

fn record(store: &[Sector], chunk: u64, index: u64) -> Option<(u64, u64)> {
    let per_area = chunk * RECORDS_PER_SECTOR;
    let chunk_number = 1 + (index / per_area) * (per_area + 1);
    let slot = index % per_area;
    let sector = store.get((chunk_number * chunk + slot / RECORDS_PER_SECTOR) as usize)?;
    if *sector == Sector::Zero {
        return Some((0, 0));
    }
    let bytes = sector.to_bytes();
    let offset = (slot % RECORDS_PER_SECTOR) as usize * 16;
    let number = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    Some((number(offset), number(offset + 8)))
}

/// Reads the store that this device holds.
pub fn load(store: &[Sector]) -> Result<Loaded, Refusal> {
    let header = store[0].to_bytes();
    let number = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&header[at..at + 4]);
        u32::from_le_bytes(word)
    };
    let empty = |state, chunk| Loaded {
        state,
        chunk,
        records: Vec::new(),
        stale: Vec::new(),
        stale_after: Vec::new(),
    };
    match number(0) {
        0 => return Ok(empty(State::Blank, 0)),
        magic if magic != u32::from_le_bytes(*b"SnAp") => return Err(Refusal::Magic(magic)),
        _ => {}
    }
    if number(8) != 1 {
        return Err(Refusal::Version(number(8)));
    }
    let size = number(12);
    let chunk = u64::from(size);
    if !size.is_power_of_two() || chunk * 2 > store.len() as u64 {
        return Err(Refusal::ChunkSize(size));
    }
    if number(4) == 0 {
        return Ok(empty(State::Invalid, chunk));
    }
    let mut records = Vec::new();
    loop {
        match record(store, chunk, records.len() as u64) {
            None => return Err(Refusal::NoEnd),
            Some((_, 0)) => break,
            Some(found) => records.push(found),
        }
    }
    let end = records.len() as u64;
    let per_area = chunk * RECORDS_PER_SECTOR;
    let after = (end / per_area + 1) * per_area;
    let is_stale = |index: &u64| record(store, chunk, *index).is_some_and(|found| found != (0, 0));
    let stale = (end..after).filter(is_stale).collect();
    // A device may end inside the chunk where the next area would be: then there is none.
    let end_after = (1 + (after / per_area) * (per_area + 1) + 1) * chunk;
    let is_whole = end_after <= store.len() as u64;
    let stale_after = (after..after + per_area).filter(|index| is_whole && is_stale(index)).collect();
    Ok(Loaded { state: State::Valid, chunk, records, stale, stale_after })
}

impl Loaded {
    /// Where each old chunk lies.
    pub fn map(&self) -> BTreeMap<u64, u64> {
        let mut map = BTreeMap::new();
        for (old, new) in &self.records {
            map.entry(*old).or_insert(*new);
        }
        map
    }

    /// How many old chunks have an exception.
    pub fn exceptions(&self) -> u64 {
        self.map().len() as u64
    }

    /// The chunk that the kernel would allocate next (1.2).
    pub fn next_free(&self) -> u64 {
        let next = self.records.iter().map(|(_, new)| new + 1).max().unwrap_or(2);
        if self.chunk > 0 && is_area(next, self.chunk) { next + 1 } else { next }
    }

    /// What the snapshot reads as, over this origin.
    pub fn view(&self, store: &[Sector], origin: &[Sector]) -> Vec<Sector> {
        let mut view = origin.to_vec();
        for (old, new) in self.map() {
            let (to, from) = ((old * self.chunk) as usize, (new * self.chunk) as usize);
            let len = (self.chunk as usize).min(view.len().saturating_sub(to));
            if from + len <= store.len() {
                view[to..to + len].clone_from_slice(&store[from..from + len]);
            }
        }
        view
    }

    /// What is wrong with the visible records (I5), in words; identical duplicates are not.
    pub fn structural_faults(&self, store_len: u64, origin_len: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let mut olds: BTreeMap<u64, u64> = BTreeMap::new();
        let mut news: BTreeMap<u64, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (index, (old, new)) in self.records.iter().enumerate() {
            if *new < 2 || is_area(*new, self.chunk) {
                faults.push(format!("record {index} ({old} -> {new}) points at the header or at an area"));
            }
            if (new + 1) * self.chunk > store_len {
                faults.push(format!("record {index} ({old} -> {new}) points past the device's end"));
            }
            if old * self.chunk >= origin_len {
                faults.push(format!("record {index} ({old} -> {new}) is past the origin's end"));
            }
            if !seen.insert((*old, *new)) {
                continue;
            }
            if let Some(other) = olds.insert(*old, *new) {
                faults.push(format!("old chunk {old} has two exceptions, {other} and {new}"));
            }
            if let Some(other) = news.insert(*new, *old) {
                faults.push(format!("new chunk {new} belongs to two old chunks, {other} and {old}"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, State, load};
    use crate::cow::Builder;
    use crate::{Rng, Sector};

    fn data(stamp: u64) -> Vec<Sector> {
        vec![Sector::Stamp(stamp); 2]
    }

    #[test]
    fn what_was_built_is_loaded_over_area_borders_and_holes() {
        let mut rng = Rng::new(1);
        let mut builder = Builder::new(2 * 300, 2, &mut rng);
        for old in (0..150).rev() {
            if old == 77 {
                builder.leak();
            }
            assert!(builder.push(old, &data(old)));
        }
        assert!(builder.repeat(3));
        let expected = builder.records().to_vec();
        let store = builder.finish(true, false);
        let loaded = load(&store).unwrap();
        assert_eq!((loaded.state, loaded.records.len(), loaded.exceptions()), (State::Valid, 151, 150));
        assert_eq!(loaded.records, expected);
        assert!(loaded.structural_faults(600, 300).is_empty());
        let view = loaded.view(&store, &vec![Sector::Zero; 300]);
        assert!((0..300).all(|sector| view[sector as usize] == Sector::Stamp(sector / 2)));
        // dm-snapshot.md 1.2: chunks 0 and 1, 150 exceptions, the hole, and two areas passed.
        assert_eq!(loaded.next_free(), 2 + 150 + 1 + 2);
    }

    #[test]
    fn the_capacity_edge_is_the_kernels() {
        // K7: with 34 sectors the 32nd exception of a one-sector chunk does not fit, with 35 it does.
        for (sectors, fit) in [(34, 31), (35, 32)] {
            let mut builder = Builder::new(sectors, 1, &mut Rng::new(1));
            assert_eq!((0..40).filter(|old| builder.push(*old, &[Sector::Zero])).count(), fit);
            assert_eq!(load(&builder.finish(true, false)).unwrap().records.len(), fit);
        }
    }

    #[test]
    fn what_is_behind_the_end_is_not_visible_but_stale() {
        let mut builder = Builder::new(200, 1, &mut Rng::new(1));
        assert!(builder.push(4, &data(1)[..1]));
        builder.leave_stale(&[(9, 9), (10, 10)]);
        let loaded = load(&builder.finish(true, false)).unwrap();
        assert_eq!(loaded.records, [(4, 2)]);
        assert_eq!(&loaded.stale[..2], [2, 3]);
    }

    #[test]
    fn headers_are_told_apart() {
        let built = |valid, blank| Builder::new(64, 2, &mut Rng::new(1)).finish(valid, blank);
        assert_eq!(load(&built(true, true)).unwrap().state, State::Blank);
        assert_eq!(load(&built(false, false)).unwrap().state, State::Invalid);
        let mut other = built(true, false);
        other[0] = Sector::Stamp(1);
        assert!(matches!(load(&other), Err(Refusal::Magic(_))));
    }

    #[test]
    fn structural_faults_are_named() {
        let mut builder = Builder::new(200, 1, &mut Rng::new(1));
        for (old, new) in [(0, 5), (0, 6), (1, 5), (2, 34), (3, 500), (900, 7)] {
            builder.push_raw(old, new);
        }
        let faults = load(&builder.finish(true, false)).unwrap().structural_faults(200, 100);
        assert_eq!(faults.len(), 5, "{faults:?}");
    }
}
