//! The power cut: which of the writes that were not yet durable are found on the medium afterwards.
//!
//! What must hold (dm-snapshot.md 3.5, fault model a to d):
//! - Each disk keeps any subset of its unflushed and under-way writes; caches are independent of each other.
//! - A write may be torn, at 512 bytes or at the physical block, any subset of its units; a sector itself is atomic.
//! - What was durable is never lost.

use crate::disk::{Disk, Version, WriteId};
use crate::rng::mix;
use crate::{Rng, Sector};

/// What is found on a set of disks after a power cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Each disk's sectors.
    pub disks: Vec<Vec<Sector>>,
    /// Whether each disk has torn writes inside a physical block.
    pub split_blocks: Vec<bool>,
}

impl Image {
    /// Disks with this content.
    pub fn new(disks: Vec<Vec<Sector>>) -> Self {
        let split_blocks = vec![false; disks.len()];
        Self { disks, split_blocks }
    }
}

/// How one disk chooses what survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Nothing that was not durable.
    LoseAll,
    /// Everything, writes under way included.
    KeepAll,
    /// Each write whole or not at all, so many of a hundred.
    Writes(u64),
    /// Each unit of each write on its own, so many of a hundred.
    Units(u64),
    /// The writes submitted first, so many of a hundred.
    Earliest(u64),
    /// The writes submitted last, so many of a hundred.
    Latest(u64),
    /// Each write in its own way: whole, lost, torn at random, only its beginning, only its end.
    Torn,
}

impl Cut {
    /// Any of them.
    pub fn any(rng: &mut Rng) -> Self {
        match rng.below(12) {
            0 => Self::LoseAll,
            1 => Self::KeepAll,
            2 | 3 => Self::Writes(rng.between(5, 95)),
            4 => Self::Units(rng.between(5, 95)),
            5 | 6 => Self::Earliest(rng.between(5, 95)),
            7 | 8 => Self::Latest(rng.between(5, 95)),
            _ => Self::Torn,
        }
    }
}

/// A write under way: what of it has not reached the cache. The caller gives them in the order of landing.
pub(crate) struct Pending {
    pub(crate) write: WriteId,
    pub(crate) sectors: Vec<(u64, Sector)>,
}

/// Decides, the same way each time it is asked.
struct Fate {
    cut: Cut,
    salt: u64,
    /// Sectors of the unit in which writes are torn.
    unit: u64,
    first: WriteId,
    span: u64,
}

impl Fate {
    fn draw(&self, write: WriteId, what: u64) -> u64 {
        mix(mix(self.salt ^ write).wrapping_add(what))
    }

    fn survives(&self, write: WriteId, sector: u64) -> bool {
        let age = (write - self.first) * 100 / self.span.max(1);
        let unit = sector / self.unit;
        match self.cut {
            Cut::LoseAll => false,
            Cut::KeepAll => true,
            Cut::Writes(share) => self.draw(write, 0) % 100 < share,
            Cut::Units(share) => self.draw(write, 1 + unit) % 100 < share,
            Cut::Earliest(share) => age < share,
            Cut::Latest(share) => age >= 100 - share,
            Cut::Torn => match self.draw(write, 0) % 5 {
                0 => true,
                1 => false,
                2 => self.draw(write, 1 + unit).is_multiple_of(2),
                // Where the write is broken is a place in the disk's units, the same for all units of the write.
                3 => unit % 16 < self.draw(write, 1) % 16,
                _ => unit % 16 >= self.draw(write, 1) % 16,
            },
        }
    }
}

/// The medium after a power cut that tears writes in units of so many sectors.
pub(crate) fn cut(disk: &Disk, pending: &[Pending], cut: Cut, unit: u64, rng: &mut Rng) -> Vec<Sector> {
    let mut medium = disk.durable.clone();
    let written = disk.versions.values().flatten().map(|version| version.write);
    let ids = || written.clone().chain(pending.iter().map(|pending| pending.write));
    let (Some(first), Some(last)) = (ids().min(), ids().max()) else { return medium };
    let fate = Fate { cut, salt: rng.bits(), unit, first, span: last - first + 1 };
    let keeps = |version: &&Version, sector: u64| fate.survives(version.write, sector);
    for (sector, versions) in &disk.versions {
        if let Some(version) = versions.iter().rev().find(|version| keeps(version, *sector)) {
            medium[*sector as usize] = version.content.clone();
        }
    }
    for pending in pending {
        for (sector, content) in &pending.sectors {
            if fate.survives(pending.write, *sector) {
                medium[*sector as usize] = content.clone();
            }
        }
    }
    medium
}

#[cfg(test)]
mod tests {
    use super::{Cut, cut};
    use crate::disk::Disk;
    use crate::{Rng, Sector};
    use std::collections::BTreeSet;

    /// Eight sectors, one write over all of them, completed and not flushed.
    fn written() -> Disk {
        let mut disk = Disk::new(vec![Sector::Zero; 8], 4);
        for sector in 0..8 {
            disk.land(1, sector, Sector::Stamp(sector));
        }
        disk.complete(1, 0, 8, false, 1);
        disk
    }

    fn outcomes(disk: &Disk) -> BTreeSet<Vec<bool>> {
        let mut rng = Rng::new(3);
        let mut seen = BTreeSet::new();
        for _ in 0..4000 {
            let style = Cut::any(&mut rng);
            let medium = cut(disk, &[], style, 1, &mut rng);
            seen.insert(medium.iter().map(|sector| *sector != Sector::Zero).collect());
        }
        seen
    }

    #[test]
    fn an_unflushed_write_is_torn_in_every_way() {
        let seen = outcomes(&written());
        assert!(seen.contains(&vec![false; 8]) && seen.contains(&vec![true; 8]));
        assert!(seen.len() > 100, "{}", seen.len());
    }

    #[test]
    fn what_was_flushed_is_never_lost() {
        let mut disk = written();
        disk.flush(1);
        assert_eq!(outcomes(&disk), BTreeSet::from([vec![true; 8]]));
    }

    #[test]
    fn of_two_unflushed_writes_either_may_be_found() {
        let mut disk = written();
        disk.land(2, 0, Sector::Stamp(100));
        disk.complete(2, 0, 1, false, 2);
        let mut rng = Rng::new(4);
        let found: BTreeSet<String> = (0..200)
            .map(|_| {
                let style = Cut::any(&mut rng);
                format!("{:?}", cut(&disk, &[], style, 1, &mut rng)[0])
            })
            .collect();
        assert_eq!(found.len(), 3);
    }
}
