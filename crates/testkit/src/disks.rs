//! Simulated disks under the contract of `foldback-device`, for whoever runs on real ones otherwise.
//!
//! What must hold:
//! - Ranges and lengths that are no whole sectors, or past the end, are refused as a completion.
//! - When the power is off nothing succeeds and nothing changes; the image is what was found at that moment.
//! - When the process that uses the disks was killed nothing succeeds either, and the caches stay; what was under way
//!   lands or does not. [`SimDisks::revive`] gives the disks to the next process.

use crate::rng::mix;
use crate::{Cut, Image, InjectedFault, Order, Rng, Sector, SimOp, SimOutcome, SimSet};
use foldback_device::{Completion, DiskId, Disks, Geometry, Op, Slice, Tag};
use foldback_units::{Bytes, SECTOR, Sectors};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

#[derive(Debug)]
struct Inner {
    set: SimSet,
    /// Tags of operations under way, and where their reads go.
    reads: BTreeMap<u64, (Tag, Vec<Slice>)>,
    next: u64,
    refused: Vec<Completion>,
    /// How many operations are still taken before the power goes.
    power: Option<u64>,
    found: Option<Image>,
    /// How many operations are still taken before the process that uses the disks is killed.
    life: Option<u64>,
    taken: u64,
    polls: u64,
}

/// A handle on simulated disks; clones share them.
#[derive(Clone, Debug)]
pub struct SimDisks(Rc<RefCell<Inner>>);

impl SimDisks {
    /// Disks with this content, of physical blocks of so many sectors.
    pub fn new(image: Image, physical: &[u64], order: Order, seed: u64) -> Self {
        let set = SimSet::new(image, physical, order, Rng::new(mix(seed)));
        let inner = Inner {
            set,
            reads: BTreeMap::new(),
            next: 0,
            refused: Vec::new(),
            power: None,
            found: None,
            life: None,
            taken: 0,
            polls: 0,
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// The power goes when `count` more operations were taken.
    pub fn power_off_after(&self, count: u64) {
        self.0.borrow_mut().power = Some(count);
    }

    /// The power goes now, where it has not yet; what is found on the disks.
    pub fn power_off(&self, style: Option<Cut>) -> Image {
        let mut inner = self.0.borrow_mut();
        inner.cut(style);
        inner.found.clone().unwrap_or_else(|| inner.set.visible())
    }

    /// The process is killed when `count` more operations were taken.
    pub fn kill_after(&self, count: u64) {
        self.0.borrow_mut().life = Some(count);
    }

    /// Whether the process was killed, or the power is off.
    pub fn is_off(&self) -> bool {
        self.0.borrow().is_off()
    }

    /// Whether the process was killed while the power stayed on.
    pub fn is_killed(&self) -> bool {
        let inner = self.0.borrow();
        inner.found.is_none() && inner.life == Some(0)
    }

    /// The next process opens the disks, where the power stayed on: of what the last one had under way any part has
    /// landed, poisoned disks are opened again, and no error is to come.
    pub fn revive(&self) {
        let mut inner = self.0.borrow_mut();
        let landing = mix(inner.taken) % (1 + inner.set.under_way() as u64);
        for _ in 0..landing {
            inner.set.step();
        }
        inner.set.abandon();
        inner.set.reopen();
        inner.set.clear_faults();
        inner.reads.clear();
        inner.refused.clear();
        (inner.life, inner.power) = (None, None);
    }

    /// No error is to come any more.
    pub fn clear_faults(&self) {
        self.0.borrow_mut().set.clear_faults();
    }

    /// What a power cut now could leave, without one.
    pub fn peek_cut(&self, style: Option<Cut>) -> Image {
        self.0.borrow_mut().set.cut(style)
    }

    /// What reads would see now.
    pub fn visible(&self) -> Image {
        self.0.borrow().set.visible()
    }

    /// Injects an error.
    pub fn inject(&self, fault: InjectedFault) {
        self.0.borrow_mut().set.inject(fault);
    }

    /// How many operations an injected error hit.
    pub fn faults_hit(&self) -> u64 {
        self.0.borrow().set.faults_hit()
    }

    /// How many operations were taken so far.
    pub fn taken(&self) -> u64 {
        self.0.borrow().taken
    }
}

fn off() -> io::Error {
    io::Error::other("the simulated power is off")
}

fn gather(from: &[Slice]) -> Vec<Sector> {
    Sector::split(&from.iter().flat_map(Slice::to_vec).collect::<Vec<u8>>())
}

impl Inner {
    fn cut(&mut self, style: Option<Cut>) {
        if self.found.is_none() {
            self.found = Some(self.set.cut(style));
        }
    }

    fn is_off(&self) -> bool {
        self.found.is_some() || self.life == Some(0)
    }

    /// The operation in sectors, where it lies on the disk; and where a read goes.
    fn translate(&self, disk: DiskId, op: Op) -> io::Result<(SimOp, Vec<Slice>)> {
        let size = self.geometry(disk)?.size;
        let place = |at: Bytes, len: Bytes| -> io::Result<(u64, u64)> {
            let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
            let (Some(start), Some(count)) = (at.to_sectors(), len.to_sectors()) else {
                return Err(bad("not whole sectors"));
            };
            let end = at.checked_add(len).filter(|end| *end <= size && !len.is_zero());
            end.map(|_| (start.0, count.0)).ok_or_else(|| bad("past the end of the simulated disk, or empty"))
        };
        let total = |slices: &[Slice]| Bytes(slices.iter().map(|slice| slice.len() as u64).sum());
        Ok(match op {
            Op::Read { at, into } => {
                let (at, len) = place(at, total(&into))?;
                (SimOp::Read { at, len }, into)
            }
            Op::Write { at, from, durable } => {
                let (at, _) = place(at, total(&from))?;
                (SimOp::Write { at, content: gather(&from), durable }, Vec::new())
            }
            Op::WriteZeroes { at, len, durable, .. } => {
                let (at, len) = place(at, len)?;
                (SimOp::Write { at, content: vec![Sector::Zero; len as usize], durable }, Vec::new())
            }
            Op::Discard { at, len } => {
                let (at, len) = place(at, len)?;
                (SimOp::Discard { at, len }, Vec::new())
            }
            Op::Flush => (SimOp::Flush, Vec::new()),
        })
    }

    fn geometry(&self, disk: DiskId) -> io::Result<Geometry> {
        let index = disk.0 as usize;
        if index >= self.set.count() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no simulated disk {}", disk.0)));
        }
        let size = Sectors(self.set.len(index)).to_bytes().unwrap_or(Bytes::ZERO);
        let physical_block = (self.set.physical(index) * SECTOR) as u32;
        Ok(Geometry { size, logical_block: 512, physical_block })
    }

    fn submit(&mut self, tag: Tag, disk: DiskId, op: Op) {
        if self.power == Some(0) {
            self.cut(None);
        }
        self.power = self.power.map(|left| left.saturating_sub(1));
        if self.is_off() {
            self.refused.push(Completion { tag, outcome: Err(off()) });
            return;
        }
        self.life = self.life.map(|left| left.saturating_sub(1));
        self.taken += 1;
        match self.translate(disk, op) {
            Err(error) => self.refused.push(Completion { tag, outcome: Err(error) }),
            Ok((op, into)) => {
                self.next += 1;
                self.reads.insert(self.next, (tag, into));
                self.set.submit(self.next, disk.0 as usize, op);
            }
        }
    }

    fn reap(&mut self) -> Option<Completion> {
        if let Some(refused) = self.refused.pop() {
            return Some(refused);
        }
        if self.is_off() {
            let (tag, _) = self.reads.pop_first()?.1;
            return Some(Completion { tag, outcome: Err(off()) });
        }
        let (number, outcome) = self.set.step()?;
        let (tag, into) = self.reads.remove(&number)?;
        let outcome = match outcome {
            SimOutcome::Done => Ok(()),
            SimOutcome::Content(content) => scatter(&content, &into),
            SimOutcome::Failed => Err(io::Error::other("simulated EIO")),
        };
        Some(Completion { tag, outcome })
    }
}

fn scatter(content: &[Sector], into: &[Slice]) -> io::Result<()> {
    let bytes = Sector::join(content);
    let mut done = 0;
    for slice in into {
        let part = &bytes[done..done + slice.len()];
        if !slice.copy_from(part) {
            return Err(io::Error::other("a slice refused bytes of its own length"));
        }
        done += slice.len();
    }
    Ok(())
}

impl Disks for SimDisks {
    fn count(&self) -> u32 {
        self.0.borrow().set.count() as u32
    }

    fn geometry(&self, disk: DiskId) -> io::Result<Geometry> {
        self.0.borrow().geometry(disk)
    }

    fn submit(&mut self, tag: Tag, disk: DiskId, op: Op) {
        self.0.borrow_mut().submit(tag, disk, op);
    }

    fn reap(&mut self, wait: bool) -> io::Result<Option<Completion>> {
        let mut inner = self.0.borrow_mut();
        // Whoever does not wait must not rely on something being ready.
        inner.polls += 1;
        if !wait && mix(inner.polls).is_multiple_of(3) {
            return Ok(inner.refused.pop());
        }
        Ok(inner.reap())
    }
}

#[cfg(test)]
mod tests {
    use super::SimDisks;
    use crate::{Cut, Image, Order, Sector};
    use foldback_device::{DiskId, Disks, Memory, Op, Tag};
    use foldback_units::Bytes;

    fn disks() -> SimDisks {
        SimDisks::new(Image::new(vec![vec![Sector::Zero; 8]]), &[8], Order::Any, 1)
    }

    fn run(disks: &mut SimDisks, op: Op) -> std::io::Result<()> {
        disks.submit(Tag(9), DiskId(0), op);
        let completion = disks.reap(true).unwrap().unwrap();
        assert_eq!(completion.tag, Tag(9));
        completion.outcome
    }

    #[test]
    fn bytes_come_back_as_they_were_written() {
        let mut disks = disks();
        let memory = Memory::new(1024).unwrap();
        assert!(memory.whole().copy_from(&[3; 1024]));
        run(&mut disks, Op::Write { at: Bytes(512), from: vec![memory.whole()], durable: true }).unwrap();
        let (left, right) = (Memory::new(512).unwrap(), Memory::new(1024).unwrap());
        run(&mut disks, Op::Read { at: Bytes(512), into: vec![left.whole(), right.whole()] }).unwrap();
        assert_eq!(left.whole().to_vec(), [3; 512]);
        assert_eq!(right.whole().to_vec()[..512], [3; 512]);
        assert_eq!(right.whole().to_vec()[512..], [0; 512]);
    }

    #[test]
    fn what_is_past_the_end_or_no_whole_sector_is_refused() {
        let mut disks = disks();
        let memory = Memory::new(1024).unwrap();
        for at in [7 * 512, 100, u64::MAX - 511] {
            assert!(run(&mut disks, Op::Read { at: Bytes(at), into: vec![memory.whole()] }).is_err());
        }
    }

    /// dm-snapshot.md 3.5: what was only written may be lost with the power, not with the process.
    #[test]
    fn a_process_that_is_killed_leaves_the_caches() {
        let mut disks = disks();
        disks.kill_after(2);
        let zeroes = |at| Op::WriteZeroes { at: Bytes(at), len: Bytes(512), durable: false, holes: false };
        let memory = Memory::new(512).unwrap();
        assert!(memory.whole().copy_from(&[3; 512]));
        run(&mut disks, Op::Write { at: Bytes(0), from: vec![memory.whole()], durable: false }).unwrap();
        run(&mut disks, zeroes(512)).unwrap_err();
        assert!(disks.is_off() && disks.is_killed());
        assert!(run(&mut disks, zeroes(0)).is_err());
        disks.revive();
        assert!(!disks.is_off());
        assert_eq!(disks.visible().disks[0][0].to_bytes(), [3; 512]);
        run(&mut disks, zeroes(0)).unwrap();
        assert_eq!(disks.peek_cut(Some(Cut::LoseAll)).disks[0][0], Sector::Zero);
    }

    #[test]
    fn without_power_nothing_succeeds_and_nothing_changes() {
        let mut disks = disks();
        disks.power_off_after(1);
        let zeroes = |at| Op::WriteZeroes { at: Bytes(at), len: Bytes(512), durable: true, holes: false };
        run(&mut disks, zeroes(0)).unwrap();
        assert!(run(&mut disks, zeroes(0)).is_err() && disks.is_off());
        assert_eq!(disks.power_off(Some(Cut::KeepAll)), disks.visible());
        assert_eq!(disks.taken(), 1);
    }
}
