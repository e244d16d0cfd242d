//! One simulated disk: what is durable, and the writes that a power cut may still take back.
//!
//! What must hold:
//! - A sector's durable content changes only by a completed durable write, a completed flush, or a power cut.
//! - A flush makes durable the writes that were *completed* when it was submitted; of writes to one sector the one
//!   that landed last.
//! - Versions of a sector are in the order in which they landed; reads see the last.

use crate::Sector;
use std::collections::BTreeMap;

/// The number of a write, in the order of submission.
pub(crate) type WriteId = u64;

/// One not yet durable content of a sector.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) write: WriteId,
    /// When its write was completed, or failed.
    pub(crate) completed: Option<u64>,
    pub(crate) content: Sector,
}

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) durable: Vec<Sector>,
    /// Only sectors that have any.
    pub(crate) versions: BTreeMap<u64, Vec<Version>>,
    /// Sectors of one physical block.
    pub(crate) physical: u64,
    pub(crate) poisoned: bool,
}

impl Disk {
    pub(crate) fn new(durable: Vec<Sector>, physical: u64) -> Self {
        Self { durable, versions: BTreeMap::new(), physical, poisoned: false }
    }

    pub(crate) fn len(&self) -> u64 {
        self.durable.len() as u64
    }

    /// What a read sees now.
    pub(crate) fn current(&self, sector: u64) -> &Sector {
        match self.versions.get(&sector).and_then(|versions| versions.last()) {
            Some(version) => &version.content,
            None => &self.durable[sector as usize],
        }
    }

    /// A write reaches the cache, one sector of it.
    pub(crate) fn land(&mut self, write: WriteId, sector: u64, content: Sector) {
        self.versions.entry(sector).or_default().push(Version { write, completed: None, content });
    }

    /// A write that has landed whole is completed.
    pub(crate) fn complete(&mut self, write: WriteId, at: u64, len: u64, durable: bool, now: u64) {
        for sector in at..at + len {
            let Some(versions) = self.versions.get_mut(&sector) else { continue };
            // Not there: another write landed later and is durable already.
            let Some(place) = versions.iter().position(|version| version.write == write) else { continue };
            versions[place].completed = Some(now);
            if durable {
                self.settle(sector, place);
            }
        }
    }

    /// A flush that was submitted at `covers` is completed.
    pub(crate) fn flush(&mut self, covers: u64) {
        let sectors: Vec<u64> = self.versions.keys().copied().collect();
        for sector in sectors {
            let covered =
                self.versions[&sector].iter().rposition(|v| v.completed.is_some_and(|at| at <= covers));
            if let Some(place) = covered {
                self.settle(sector, place);
            }
        }
    }

    /// The version at `place` is durable; those that landed before it are gone for good.
    fn settle(&mut self, sector: u64, place: usize) {
        let Some(versions) = self.versions.get_mut(&sector) else { return };
        let later = versions.split_off(place + 1);
        if let Some(version) = versions.pop() {
            self.durable[sector as usize] = version.content;
        }
        if later.is_empty() {
            self.versions.remove(&sector);
        } else {
            self.versions.insert(sector, later);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Disk;
    use crate::Sector;

    fn disk() -> Disk {
        Disk::new(vec![Sector::Zero; 4], 1)
    }

    #[test]
    fn a_flush_covers_only_what_was_completed_when_it_was_submitted() {
        let mut disk = disk();
        disk.land(1, 0, Sector::Stamp(1));
        disk.complete(1, 0, 1, false, 10);
        disk.land(2, 0, Sector::Stamp(2));
        disk.complete(2, 0, 1, false, 12);
        disk.land(3, 1, Sector::Stamp(3));
        disk.flush(11);
        assert_eq!(disk.durable[0], Sector::Stamp(1));
        assert_eq!(disk.current(0), &Sector::Stamp(2));
        assert_eq!(disk.durable[1], Sector::Zero);
        disk.flush(12);
        assert_eq!(disk.durable[0], Sector::Stamp(2));
        assert_eq!(disk.current(1), &Sector::Stamp(3));
    }

    #[test]
    fn a_durable_write_is_safe_once_completed_and_covers_no_other() {
        let mut disk = disk();
        disk.land(1, 0, Sector::Stamp(1));
        disk.complete(1, 0, 1, false, 1);
        disk.land(2, 1, Sector::Stamp(2));
        assert_eq!(disk.durable[1], Sector::Zero);
        disk.complete(2, 1, 1, true, 2);
        assert_eq!(disk.durable[1], Sector::Stamp(2));
        assert_eq!(disk.durable[0], Sector::Zero);
    }

    #[test]
    fn a_later_write_to_the_same_sector_may_still_be_lost() {
        let mut disk = disk();
        disk.land(1, 0, Sector::Stamp(1));
        disk.land(2, 0, Sector::Stamp(2));
        disk.complete(1, 0, 1, true, 1);
        assert_eq!(disk.durable[0], Sector::Stamp(1));
        assert_eq!(disk.versions[&0].len(), 1);
    }
}
