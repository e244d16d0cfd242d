//! A set of simulated disks behind one queue: operations under way, completions in random order, injected errors.
//!
//! What must hold:
//! - Every operation completes exactly once.
//! - A write may become visible, in part and in any order, at any time between submission and completion; a failed
//!   one may have landed in part; what has landed is content of the cache like any other.
//! - A failed flush drops an arbitrary part of what was not durable, and poisons its disk: no write or flush succeeds
//!   on it until [`SimSet::reopen`].
//!
//! - A discard is a write of what nobody can foresee: each sector becomes zeros, garbage, or stays, and none of that is
//!   durable before the next flush.
//!
//! Not modelled: a write that lands after its failure was reported, misdirected writes, bit rot.

use crate::cut::{Pending, cut};
use crate::disk::Disk;
use crate::{Cut, Image, Rng, Sector};

/// One operation, in sectors.
#[derive(Clone, Debug)]
pub enum SimOp {
    /// Read.
    Read {
        /// From which sector on.
        at: u64,
        /// How many.
        len: u64,
    },
    /// Write.
    Write {
        /// From which sector on.
        at: u64,
        /// What.
        content: Vec<Sector>,
        /// Completed means durable.
        durable: bool,
    },
    /// Forget the content.
    Discard {
        /// From which sector on.
        at: u64,
        /// How many.
        len: u64,
    },
    /// Make durable what was completed when this is submitted.
    Flush,
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SimOutcome {
    /// A write or a flush, whole.
    Done,
    /// A read, whole.
    Content(Vec<Sector>),
    /// EIO.
    Failed,
}

/// Which operations an injected error waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Flushes.
    Flush,
    /// Any.
    Any,
}

/// An error to come.
#[derive(Clone, Copy, Debug)]
pub struct InjectedFault {
    /// What it hits.
    pub kind: FaultKind,
    /// On which disk only, where given.
    pub disk: Option<usize>,
    /// How many matching operations still succeed before it.
    pub after: u64,
    /// How many matching operations fail from then on.
    pub times: u64,
}

/// Which operation under way completes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Any.
    Any,
    /// The one submitted first.
    Oldest,
    /// The one submitted last.
    Newest,
    /// Mostly any, but reads are late.
    LateReads,
    /// Mostly any, but flushes are late.
    LateFlushes,
}

#[derive(Clone, Debug)]
struct UnderWay {
    tag: u64,
    disk: usize,
    op: SimOp,
    /// The number of a write, or the moment that a flush covers.
    number: u64,
    /// Which sectors of a write have reached the cache.
    landed: Vec<bool>,
    doomed: bool,
}

/// The disks and what is under way on them.
#[derive(Clone, Debug)]
pub struct SimSet {
    disks: Vec<Disk>,
    under_way: Vec<UnderWay>,
    /// Counts submissions and completions.
    now: u64,
    order: Order,
    faults: Vec<InjectedFault>,
    faults_hit: u64,
    rng: Rng,
}

/// What discarded sectors may read as has this bit, and nothing that anybody writes.
const GARBAGE: u64 = 1 << 46;
/// One step in so many lands a part of some write early.
const EARLY_LANDING: u64 = 4;

impl SimSet {
    /// Disks with this content. `physical` is the number of sectors of one physical block of each.
    pub fn new(image: Image, physical: &[u64], order: Order, rng: Rng) -> Self {
        let physical = physical.iter().copied().chain(std::iter::repeat(1));
        let disks = image.disks.into_iter().zip(physical).map(|(durable, block)| Disk::new(durable, block));
        Self {
            disks: disks.collect(),
            under_way: Vec::new(),
            now: 0,
            order,
            faults: Vec::new(),
            faults_hit: 0,
            rng,
        }
    }

    /// How many disks.
    pub fn count(&self) -> usize {
        self.disks.len()
    }

    /// A disk's length in sectors.
    pub fn len(&self, disk: usize) -> u64 {
        self.disks[disk].len()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// How many operations are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Sectors of one physical block of a disk.
    pub fn physical(&self, disk: usize) -> u64 {
        self.disks[disk].physical
    }

    /// Injects an error.
    pub fn inject(&mut self, fault: InjectedFault) {
        self.faults.push(fault);
    }

    /// Forgets the errors still to come.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// How many operations an injected error hit.
    pub fn faults_hit(&self) -> u64 {
        self.faults_hit
    }

    /// Whether a flush of this disk has failed.
    pub fn is_poisoned(&self, disk: usize) -> bool {
        self.disks[disk].poisoned
    }

    /// Opens a poisoned disk again.
    pub fn reopen(&mut self) {
        for disk in &mut self.disks {
            disk.poisoned = false;
        }
    }

    /// Takes an operation. Its range must lie on the disk.
    pub fn submit(&mut self, tag: u64, disk: usize, op: SimOp) {
        self.now += 1;
        let op = match op {
            SimOp::Discard { at, len } => self.forget(disk, at, len),
            op => op,
        };
        let landed = match &op {
            SimOp::Write { content, .. } => vec![false; content.len()],
            SimOp::Read { .. } | SimOp::Discard { .. } | SimOp::Flush => Vec::new(),
        };
        let doomed = self.is_hit(disk, &op);
        self.under_way.push(UnderWay { tag, disk, op, number: self.now, landed, doomed });
    }

    /// What a discard leaves, as a write.
    fn forget(&mut self, disk: usize, at: u64, len: u64) -> SimOp {
        let all = self.rng.below(4);
        let content = (at..at + len).map(|sector| match if all < 3 { all } else { self.rng.below(3) } {
            0 => self.disks[disk].current(sector).clone(),
            1 => Sector::Zero,
            _ => Sector::Stamp(GARBAGE | self.rng.below(1 << 40)),
        });
        SimOp::Write { at, content: content.collect(), durable: false }
    }

    fn is_hit(&mut self, disk: usize, op: &SimOp) -> bool {
        let mut hit = false;
        for fault in &mut self.faults {
            let matches = match fault.kind {
                FaultKind::Any => true,
                FaultKind::Read => matches!(op, SimOp::Read { .. }),
                FaultKind::Write => matches!(op, SimOp::Write { .. }),
                FaultKind::Flush => matches!(op, SimOp::Flush),
            };
            if !matches || fault.disk.is_some_and(|only| only != disk) || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else {
                fault.times -= 1;
                hit = true;
            }
        }
        self.faults_hit += u64::from(hit);
        hit
    }

    /// One operation under way completes; `None` where there is none.
    pub fn step(&mut self) -> Option<(u64, SimOutcome)> {
        if self.under_way.is_empty() {
            return None;
        }
        if self.rng.one_in(EARLY_LANDING) {
            self.land_early();
        }
        let index = self.choose();
        let done = self.under_way.remove(index);
        self.now += 1;
        let tag = done.tag;
        Some((tag, self.finish(done)))
    }

    fn choose(&mut self) -> usize {
        let count = self.under_way.len();
        let index = self.rng.index(count);
        let is_late = |op: &SimOp| match self.order {
            Order::LateReads => matches!(op, SimOp::Read { .. }),
            Order::LateFlushes => matches!(op, SimOp::Flush),
            Order::Any | Order::Oldest | Order::Newest => false,
        };
        match self.order {
            Order::Oldest => 0,
            Order::Newest => count - 1,
            _ if is_late(&self.under_way[index].op) => {
                self.under_way.iter().position(|other| !is_late(&other.op)).unwrap_or(index)
            }
            _ => index,
        }
    }

    fn land_early(&mut self) {
        let index = self.rng.index(self.under_way.len());
        let share = self.rng.below(101);
        self.land(index, share);
    }

    /// Lands so many of a hundred of a write's sectors.
    fn land(&mut self, index: usize, share: u64) {
        let Some(entry) = self.under_way.get_mut(index) else { return };
        land_entry(entry, &mut self.disks, share, &mut self.rng);
    }

    fn finish(&mut self, mut done: UnderWay) -> SimOutcome {
        let poisoned = self.disks[done.disk].poisoned;
        match &done.op {
            SimOp::Read { .. } if done.doomed => SimOutcome::Failed,
            SimOp::Read { at, len } => {
                let disk = &self.disks[done.disk];
                SimOutcome::Content((*at..at + len).map(|sector| disk.current(sector).clone()).collect())
            }
            SimOp::Write { .. } if done.doomed || poisoned => {
                let share = if self.rng.one_in(3) { 0 } else { self.rng.below(101) };
                land_entry(&mut done, &mut self.disks, share, &mut self.rng);
                self.end_landed(&done);
                SimOutcome::Failed
            }
            SimOp::Write { at, content, durable } => {
                let (at, len, durable) = (*at, content.len() as u64, *durable);
                land_entry(&mut done, &mut self.disks, 100, &mut self.rng);
                self.disks[done.disk].complete(done.number, at, len, durable, self.now);
                SimOutcome::Done
            }
            // It became a write when it was submitted.
            SimOp::Discard { .. } => SimOutcome::Failed,
            SimOp::Flush if poisoned => SimOutcome::Failed,
            SimOp::Flush if done.doomed => {
                self.lose_cache(done.disk);
                SimOutcome::Failed
            }
            SimOp::Flush => {
                self.disks[done.disk].flush(done.number);
                SimOutcome::Done
            }
        }
    }

    /// What a failed flush does to the disk.
    fn lose_cache(&mut self, index: usize) {
        let style = Cut::any(&mut self.rng);
        let medium = cut(&self.disks[index], &[], style, 1, &mut self.rng);
        let physical = self.disks[index].physical;
        self.disks[index] = Disk::new(medium, physical);
        self.disks[index].poisoned = true;
    }

    /// What a read would see now, without errors: not part of the disk, for judges only.
    pub fn visible(&self) -> Image {
        let disks = self.disks.iter();
        Image::new(disks.map(|disk| (0..disk.len()).map(|s| disk.current(s).clone()).collect()).collect())
    }

    /// What would be found after a power cut now, each disk in its own way. Changes nothing but the random numbers.
    pub fn cut(&mut self, style: Option<Cut>) -> Image {
        let mut image = Image::new(Vec::new());
        for index in 0..self.disks.len() {
            let pending = self.pending(index);
            let style = style.unwrap_or_else(|| Cut::any(&mut self.rng));
            let physical = self.disks[index].physical;
            let unit = if self.rng.one_in(2) { physical } else { 1 };
            image.split_blocks.push(unit < physical);
            image.disks.push(cut(&self.disks[index], &pending, style, unit, &mut self.rng));
        }
        image
    }

    /// What has not landed, in any order.
    fn pending(&mut self, disk: usize) -> Vec<Pending> {
        let mut pending = Vec::new();
        for entry in self.under_way.iter().filter(|entry| entry.disk == disk) {
            let SimOp::Write { at, content, .. } = &entry.op else { continue };
            let sectors = content.iter().zip(&entry.landed).zip(*at..);
            let sectors = sectors.filter(|((_, landed), _)| !**landed);
            let sectors = sectors.map(|((content, _), sector)| (sector, content.clone())).collect();
            pending.push(Pending { write: entry.number, sectors });
        }
        self.rng.shuffle(&mut pending);
        pending
    }

    /// Whoever submitted what is under way is gone: it lands as far as it has landed, and completes never.
    pub fn abandon(&mut self) {
        for entry in std::mem::take(&mut self.under_way) {
            self.end_landed(&entry);
        }
    }

    /// What has landed of a write that will not go on is in the cache like any other content: reads see it, and the
    /// next flush makes it durable.
    fn end_landed(&mut self, entry: &UnderWay) {
        if let SimOp::Write { at, content, .. } = &entry.op {
            self.disks[entry.disk].complete(entry.number, *at, content.len() as u64, false, self.now);
        }
    }

    /// The power goes and comes back: this is what is there, nothing is under way, no error is armed.
    pub fn restart(&mut self, image: Image) {
        let physical: Vec<u64> = self.disks.iter().map(|disk| disk.physical).collect();
        let disks = image.disks.into_iter().zip(physical).map(|(durable, block)| Disk::new(durable, block));
        self.disks = disks.collect();
        self.under_way.clear();
        self.faults.clear();
    }
}

fn land_entry(entry: &mut UnderWay, disks: &mut [Disk], share: u64, rng: &mut Rng) {
    let SimOp::Write { at, content, .. } = &entry.op else { return };
    for (index, content) in content.iter().enumerate() {
        if !entry.landed[index] && (share >= 100 || rng.percent(share)) {
            entry.landed[index] = true;
            disks[entry.disk].land(entry.number, at + index as u64, content.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FaultKind, InjectedFault, Order, SimOp, SimOutcome, SimSet};
    use crate::{Cut, Image, Rng, Sector};

    fn set(seed: u64) -> SimSet {
        let image = Image::new(vec![vec![Sector::Zero; 16]]);
        SimSet::new(image, &[8], Order::Any, Rng::new(seed))
    }

    fn write(at: u64, len: usize, stamp: u64, durable: bool) -> SimOp {
        SimOp::Write { at, content: vec![Sector::Stamp(stamp); len], durable }
    }

    #[test]
    fn a_flush_submitted_before_a_write_completes_does_not_cover_it() {
        for seed in 0..50 {
            let mut set = set(seed);
            set.submit(1, 0, write(0, 1, 7, false));
            set.submit(2, 0, SimOp::Flush);
            while set.step().is_some() {}
            assert_eq!(set.cut(Some(Cut::LoseAll)).disks[0][0], Sector::Zero);
            set.submit(3, 0, SimOp::Flush);
            assert_eq!(set.step(), Some((3, SimOutcome::Done)));
            assert_eq!(set.cut(Some(Cut::LoseAll)).disks[0][0], Sector::Stamp(7));
        }
    }

    #[test]
    fn a_write_under_way_may_already_be_there_and_may_be_torn() {
        let mut set = set(1);
        set.submit(1, 0, write(0, 8, 7, true));
        let cuts: Vec<usize> = (0..300)
            .map(|_| set.cut(None).disks[0].iter().filter(|sector| **sector != Sector::Zero).count())
            .collect();
        assert!(cuts.contains(&0) && cuts.contains(&8) && cuts.iter().any(|count| (1..8).contains(count)));
    }

    #[test]
    fn a_failed_flush_poisons_until_reopened() {
        let mut set = set(2);
        set.inject(InjectedFault { kind: FaultKind::Flush, disk: Some(0), after: 0, times: 1 });
        set.submit(1, 0, SimOp::Flush);
        assert_eq!(set.step(), Some((1, SimOutcome::Failed)));
        set.submit(2, 0, write(0, 1, 7, false));
        assert_eq!(set.step(), Some((2, SimOutcome::Failed)));
        set.submit(3, 0, SimOp::Read { at: 15, len: 1 });
        assert_eq!(set.step(), Some((3, SimOutcome::Content(vec![Sector::Zero]))));
        set.reopen();
        set.submit(4, 0, write(0, 1, 8, false));
        assert_eq!(set.step(), Some((4, SimOutcome::Done)));
        assert_eq!(set.faults_hit(), 1);
    }

    #[test]
    fn the_nth_operation_fails_and_only_it() {
        let mut set = set(3);
        set.inject(InjectedFault { kind: FaultKind::Write, disk: None, after: 2, times: 1 });
        let failed: Vec<bool> = (0..5)
            .map(|tag| {
                set.submit(tag, 0, write(tag, 1, tag, false));
                set.step() == Some((tag, SimOutcome::Failed))
            })
            .collect();
        assert_eq!(failed, [false, false, true, false, false]);
    }
}
