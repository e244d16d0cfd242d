//! What may be read from a volume, now and after a power cut: the reference that is too simple to be wrong.
//!
//! Each sector has the list of contents that were ever given to it and are not yet out of the question. A content is
//! out of the question once another one certainly came after it: was begun after it had ended, and succeeded. After a
//! power cut only contents that are durable can rule out others.
//!
//! What must hold:
//! - A sector reads as the last content that was answered before the read began, or one not ordered before that.
//! - After a power cut it reads as the last content covered by a flush or FUA, or any later one (I1).
//! - A write that failed may or may not have happened, until a later one rules it out.

use crate::Sector;
use std::collections::BTreeSet;

/// A point in the order of events; the test counts it.
pub type Moment = u64;

/// Names a write that the model was told of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WriteToken(pub u64);

#[derive(Clone, Debug)]
struct Candidate {
    content: Sector,
    write: Option<WriteToken>,
    began: Moment,
    ended: Option<Moment>,
    succeeded: bool,
    durable: bool,
    /// Writes that overlapped this one and were seen to have come after it.
    precedes: Vec<WriteToken>,
}

impl Candidate {
    /// What the sector held in the beginning.
    fn first(content: Sector) -> Self {
        Self {
            content,
            write: None,
            began: 0,
            ended: Some(0),
            succeeded: true,
            durable: true,
            precedes: Vec::new(),
        }
    }

    /// Whether this one certainly came after `other`.
    fn follows(&self, other: &Self) -> bool {
        let was_seen_after = self.write.is_some_and(|write| other.precedes.contains(&write));
        self.succeeded && (was_seen_after || other.ended.is_some_and(|ended| ended < self.began))
    }
}

/// One volume.
#[derive(Clone, Debug)]
pub struct VolumeModel {
    sectors: Vec<Vec<Candidate>>,
    /// Sectors with more than one candidate, or one that is not durable.
    open: BTreeSet<u64>,
    /// A flush has failed on a disk below: acknowledged writes may be gone even without a power cut.
    distrusted: bool,
}

impl VolumeModel {
    /// A volume with this durable content.
    pub fn new(content: Vec<Sector>) -> Self {
        let sectors = content.into_iter().map(|sector| vec![Candidate::first(sector)]).collect();
        Self { sectors, open: BTreeSet::new(), distrusted: false }
    }

    /// Its length in sectors.
    pub fn len(&self) -> u64 {
        self.sectors.len() as u64
    }

    /// Whether it has no sector.
    pub fn is_empty(&self) -> bool {
        self.sectors.is_empty()
    }

    /// The volume is longer from now on: this lies behind its old end, durably.
    pub fn grow(&mut self, content: &[Sector]) {
        self.sectors.extend(content.iter().map(|sector| vec![Candidate::first(sector.clone())]));
    }

    /// What another volume holds behind the end of this one goes on behind it (a merge into a longer origin).
    pub fn grow_from(&mut self, other: &Self) {
        let end = self.sectors.len();
        self.sectors.extend(other.sectors.iter().skip(end).cloned());
        self.open.extend(other.open.range(end as u64..));
    }

    /// A write is submitted.
    pub fn begin(&mut self, write: WriteToken, at: u64, content: &[Sector], now: Moment) {
        for (sector, content) in (at..).zip(content) {
            let candidate = Candidate {
                content: content.clone(),
                write: Some(write),
                began: now,
                ended: None,
                succeeded: false,
                durable: false,
                precedes: Vec::new(),
            };
            self.sectors[sector as usize].push(candidate);
            self.open.insert(sector);
        }
    }

    /// A write is answered. With `durable` (FUA) the answer means durable.
    pub fn end(&mut self, write: WriteToken, at: u64, len: u64, succeeded: bool, durable: bool, now: Moment) {
        for sector in at..at + len {
            for candidate in &mut self.sectors[sector as usize] {
                if candidate.write == Some(write) {
                    candidate.ended = Some(now);
                    candidate.succeeded = succeeded;
                    candidate.durable = succeeded && durable;
                }
            }
        }
    }

    /// A flush that was submitted at `began` is answered with success.
    pub fn flushed(&mut self, began: Moment) {
        for sector in &self.open {
            for candidate in &mut self.sectors[*sector as usize] {
                candidate.durable |=
                    candidate.succeeded && candidate.ended.is_some_and(|ended| ended < began);
            }
        }
    }

    /// From now on acknowledged writes may be gone without a power cut.
    pub fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// Forgets what no read that began at `horizon` or later, and no power cut, can show.
    pub fn prune(&mut self, horizon: Moment) {
        let open = std::mem::take(&mut self.open);
        for sector in open {
            let candidates = &mut self.sectors[sector as usize];
            let buried = |lost: &Candidate| {
                let after = |other: &&Candidate| other.durable && other.follows(lost);
                candidates.iter().filter(after).any(|other| other.ended.is_some_and(|at| at < horizon))
            };
            let kept: Vec<Candidate> =
                candidates.iter().filter(|candidate| !buried(candidate)).cloned().collect();
            *candidates = kept;
            if candidates.len() > 1 || candidates.iter().any(|candidate| !candidate.durable) {
                self.open.insert(sector);
            }
        }
    }

    /// Whether a read that began at `began` and has just ended may have seen this.
    pub fn may_read(&self, sector: u64, seen: &Sector, began: Moment) -> bool {
        if self.distrusted && self.may_survive(sector, seen) {
            return true;
        }
        let candidates = &self.sectors[sector as usize];
        let ruled_out = |lost: &Candidate| {
            candidates.iter().any(|other| other.ended.is_some_and(|at| at < began) && other.follows(lost))
        };
        candidates.iter().any(|candidate| candidate.content == *seen && !ruled_out(candidate))
    }

    /// A read saw this while nothing else was going on in the sector: what overlapped is ordered from now on.
    pub fn observe(&mut self, sector: u64, seen: &Sector, began: Moment) {
        if self.distrusted || !self.open.contains(&sector) {
            return;
        }
        let candidates = &mut self.sectors[sector as usize];
        let is_settled = |candidate: &Candidate| candidate.ended.is_some_and(|ended| ended < began);
        let mut matching = candidates.iter().filter(|candidate| candidate.content == *seen);
        let (Some(last), None) = (matching.next(), matching.next()) else { return };
        let (Some(write), true) = (last.write, last.succeeded && candidates.iter().all(is_settled)) else {
            return;
        };
        for other in candidates.iter_mut().filter(|candidate| candidate.content != *seen) {
            if !other.precedes.contains(&write) {
                other.precedes.push(write);
            }
        }
    }

    /// Whether a power cut now may leave this.
    pub fn may_survive(&self, sector: u64, seen: &Sector) -> bool {
        let candidates = &self.sectors[sector as usize];
        let ruled_out =
            |lost: &Candidate| candidates.iter().any(|other| other.durable && other.follows(lost));
        candidates.iter().any(|candidate| candidate.content == *seen && !ruled_out(candidate))
    }

    /// What the sector may hold after a power cut, for a message.
    pub fn survivors(&self, sector: u64) -> Vec<Sector> {
        let candidates = self.sectors[sector as usize].iter();
        candidates
            .map(|candidate| candidate.content.clone())
            .filter(|c| self.may_survive(sector, c))
            .collect()
    }

    /// The power was cut, and this is what is there: durable, and nothing else is possible any more (I2).
    pub fn collapse(&mut self, content: &[Sector]) {
        *self = Self::new(content.to_vec());
    }

    /// The volume was opened again without a power cut, and this is what is there: what went before is over, though a
    /// power cut may still bring it back until the next flush.
    pub fn adopt(&mut self, content: &[Sector], now: Moment) {
        for (sector, content) in (0..).zip(content) {
            let candidates = &mut self.sectors[sector as usize];
            if candidates.len() == 1 && candidates[0].content == *content && candidates[0].durable {
                continue;
            }
            for candidate in candidates.iter_mut() {
                candidate.ended.get_or_insert(now.saturating_sub(1));
            }
            let mut last = Candidate::first(content.clone());
            (last.began, last.ended, last.durable) = (now, Some(now), false);
            candidates.push(last);
            self.open.insert(sector);
        }
        self.distrusted = false;
    }

    /// All sectors that hold one content for certain.
    pub fn settled(&self) -> Option<Vec<Sector>> {
        let only = |candidates: &Vec<Candidate>| match candidates.as_slice() {
            [candidate] => Some(candidate.content.clone()),
            _ => None,
        };
        self.sectors.iter().map(only).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{VolumeModel, WriteToken};
    use crate::Sector;

    const OLD: Sector = Sector::Stamp(0);
    const A: Sector = Sector::Stamp(1);
    const B: Sector = Sector::Stamp(2);

    fn model() -> VolumeModel {
        VolumeModel::new(vec![OLD; 2])
    }

    #[test]
    fn an_acknowledged_write_is_read_and_may_be_lost_until_flushed() {
        let mut model = model();
        model.begin(WriteToken(1), 0, &[A], 1);
        assert!(model.may_read(0, &OLD, 2) && model.may_read(0, &A, 2));
        model.end(WriteToken(1), 0, 1, true, false, 3);
        assert!(!model.may_read(0, &OLD, 4) && model.may_read(0, &A, 4));
        assert!(model.may_read(0, &OLD, 2), "a read begun before the answer may be older");
        assert!(model.may_survive(0, &OLD) && model.may_survive(0, &A));
        model.flushed(3);
        assert!(model.may_survive(0, &OLD), "a flush begun before the answer does not cover it");
        model.flushed(4);
        assert!(!model.may_survive(0, &OLD) && model.may_survive(0, &A));
        assert!(model.may_survive(1, &OLD) && !model.may_survive(1, &A));
    }

    #[test]
    fn overlapping_writes_may_land_in_any_order_until_one_is_seen() {
        let mut model = model();
        model.begin(WriteToken(1), 0, &[A], 1);
        model.begin(WriteToken(2), 0, &[B], 2);
        model.end(WriteToken(1), 0, 1, true, false, 3);
        model.end(WriteToken(2), 0, 1, true, false, 4);
        model.flushed(5);
        assert!(model.may_survive(0, &A) && model.may_survive(0, &B) && !model.may_survive(0, &OLD));
        assert!(model.may_read(0, &A, 6));
        model.observe(0, &A, 6);
        assert!(!model.may_read(0, &B, 7) && !model.may_survive(0, &B));
        model.prune(7);
        assert_eq!(model.settled(), Some(vec![A, OLD]));
    }

    #[test]
    fn a_read_under_way_may_still_show_what_a_later_read_ruled_out() {
        let mut model = model();
        model.begin(WriteToken(1), 0, &[A], 1);
        model.begin(WriteToken(2), 0, &[B], 2);
        // A read begins at 3.
        model.end(WriteToken(2), 0, 1, true, false, 4);
        model.end(WriteToken(1), 0, 1, true, false, 5);
        model.observe(0, &A, 6);
        assert!(!model.may_read(0, &B, 6) && model.may_read(0, &B, 3));
        assert!(model.may_survive(0, &B), "neither is durable");
    }

    #[test]
    fn a_failed_write_is_possible_until_ruled_out() {
        let mut model = model();
        model.begin(WriteToken(1), 0, &[A], 1);
        model.end(WriteToken(1), 0, 1, false, false, 2);
        model.flushed(3);
        assert!(model.may_survive(0, &OLD) && model.may_survive(0, &A));
        assert!(model.may_read(0, &OLD, 4) && model.may_read(0, &A, 4));
        model.begin(WriteToken(2), 0, &[B], 5);
        model.end(WriteToken(2), 0, 1, true, true, 6);
        assert!(!model.may_survive(0, &OLD) && !model.may_survive(0, &A) && model.may_survive(0, &B));
    }

    #[test]
    fn what_is_there_after_a_restart_is_read_but_not_yet_durable() {
        let mut model = model();
        model.begin(WriteToken(1), 0, &[A], 1);
        model.end(WriteToken(1), 0, 1, true, false, 2);
        model.adopt(&[OLD, OLD], 5);
        assert!(model.may_read(0, &OLD, 6) && !model.may_read(0, &A, 6));
        assert!(model.may_survive(0, &A));
        model.flushed(7);
        assert!(!model.may_survive(0, &A) && model.may_survive(0, &OLD));
    }

    #[test]
    fn a_volume_that_grows_keeps_what_it_holds() {
        let mut model = model();
        model.begin(WriteToken(1), 1, &[A], 1);
        model.grow(&[B]);
        assert!(model.len() == 3 && model.may_read(2, &B, 2) && !model.may_read(2, &OLD, 2));
        let mut shorter = VolumeModel::new(vec![OLD; 1]);
        shorter.grow_from(&model);
        assert!(shorter.len() == 3 && shorter.may_read(1, &A, 2) && shorter.may_read(1, &OLD, 2));
    }

    #[test]
    fn pruning_keeps_what_a_read_under_way_may_still_show() {
        let mut model = model();
        model.begin(WriteToken(1), 0, &[A], 2);
        model.end(WriteToken(1), 0, 1, true, true, 3);
        model.prune(1);
        assert!(model.may_read(0, &OLD, 1));
        model.prune(4);
        assert!(!model.may_read(0, &OLD, 1));
    }
}
