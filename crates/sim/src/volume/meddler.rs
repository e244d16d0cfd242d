//! Disks between the manager and the simulated ones that can plant a bug: what they leave out or put in another order
//! is what a manager with that bug would have left out or put in another order.

use foldback_device::{Completion, DiskId, Disks, Geometry, Op, Tag};
use foldback_testkit::SimDisks;
use std::io;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskBug {
    /// The texts are not flushed before the headers refer to them.
    ForgetTextFlush,
    /// The commit header is written without FUA.
    CommitNotDurable,
    /// No flush is ever asked for.
    NoFlush,
    /// The commit header is written before the text.
    HeaderBeforeText,
}

impl DiskBug {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ForgetTextFlush, Self::CommitNotDurable, Self::NoFlush, Self::HeaderBeforeText];
}

/// Simulated disks, with or without a bug.
#[derive(Debug)]
pub(crate) struct Meddler {
    disks: SimDisks,
    bug: Option<DiskBug>,
    done: Vec<Completion>,
    /// Writes that are kept back until a header was written.
    kept: Vec<(DiskId, Op)>,
    flushes: u64,
}

impl Meddler {
    pub(crate) fn new(disks: SimDisks, bug: Option<DiskBug>) -> Self {
        Self { disks, bug, done: Vec::new(), kept: Vec::new(), flushes: 0 }
    }

    /// Whether the operation is dropped, though it is reported as done.
    fn drops(&mut self, op: &Op) -> bool {
        if !matches!(op, Op::Flush) {
            return false;
        }
        self.flushes += 1;
        matches!(self.bug, Some(DiskBug::NoFlush | DiskBug::ForgetTextFlush))
    }

    /// Carries out what was kept back.
    fn release(&mut self) {
        for (disk, op) in std::mem::take(&mut self.kept) {
            self.disks.submit(Tag(u64::MAX), disk, op);
            // Its completion was reported when it was taken.
            while let Ok(Some(completion)) = self.disks.reap(true) {
                if completion.tag == Tag(u64::MAX) {
                    break;
                }
                self.done.push(completion);
            }
        }
    }
}

impl Disks for Meddler {
    fn count(&self) -> u32 {
        self.disks.count()
    }

    fn geometry(&self, disk: DiskId) -> io::Result<Geometry> {
        self.disks.geometry(disk)
    }

    fn submit(&mut self, tag: Tag, disk: DiskId, op: Op) {
        if self.drops(&op) {
            self.done.push(Completion { tag, outcome: Ok(()) });
            return;
        }
        let op = match op {
            Op::Write { at, from, .. } if self.bug == Some(DiskBug::CommitNotDurable) => {
                Op::Write { at, from, durable: false }
            }
            Op::Write { durable: false, .. } if self.bug == Some(DiskBug::HeaderBeforeText) => {
                self.kept.push((disk, op));
                self.done.push(Completion { tag, outcome: Ok(()) });
                return;
            }
            op => op,
        };
        let is_commit = matches!(op, Op::Write { durable: true, .. });
        self.disks.submit(tag, disk, op);
        if is_commit {
            self.release();
        }
    }

    fn reap(&mut self, wait: bool) -> io::Result<Option<Completion>> {
        match self.done.pop() {
            Some(completion) => Ok(Some(completion)),
            None => self.disks.reap(wait),
        }
    }
}
