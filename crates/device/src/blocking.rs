//! Disks by blocking system calls, where io_uring is refused (old kernels, containers, seccomp).
//!
//! What must hold: the contract of [`Disks`], with one operation at a time, in the order of submission. An operation is
//! carried out when it is reaped, so a flush covers what was reaped before it, as the contract says.

use crate::calls::{self, Direction};
use crate::disks::{Completion, DiskId, Disks, Geometry, Op, Tag};
use crate::file::DiskFile;
use crate::guard::{Failure, Guard, Guarded};
use crate::transfer::Transfer;
use crate::{DiskKind, Memory, Slice};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Zeros are written in pieces of this many bytes, where they have to be written.
pub(crate) const ZEROS: usize = 1 << 20;

/// One operation at a time.
#[derive(Debug)]
pub struct BlockingDisks {
    guard: Guard,
    waiting: VecDeque<(Tag, DiskId, Op)>,
    zeros: Option<Slice>,
}

impl BlockingDisks {
    /// Over these disks, numbered in order.
    pub fn new(files: &[Arc<DiskFile>]) -> Self {
        Self { guard: Guard::new(files), waiting: VecDeque::new(), zeros: None }
    }

    fn carry_out(&mut self, disk: DiskId, op: Op) -> io::Result<()> {
        self.guard.admit(disk, &op)?;
        let zeros = self.zeros()?;
        let guarded = self.guard.get(disk)?;
        let file = &guarded.file.file;
        let (outcome, failure) = match op {
            Op::Read { at, into } => (whole(guarded, at.get(), into, Direction::Read), None),
            Op::Write { at, from, durable } => {
                let outcome = whole(guarded, at.get(), from, Direction::Write { durable });
                (outcome, durable.then_some(Failure::DurableWrite))
            }
            Op::WriteZeroes { at, len, durable, .. } => match zero(guarded, &zeros, at.get(), len.get()) {
                Ok(()) if durable => (file.sync_data(), Some(Failure::Flush)),
                zeroed => (zeroed, None),
            },
            Op::Discard { at, len } => (discard(guarded, at.get(), len.get()), None),
            Op::Flush => (file.sync_data(), Some(Failure::Flush)),
        };
        if let (Err(_), Some(failure)) = (&outcome, failure) {
            self.guard.failed(disk, failure);
        }
        outcome
    }

    fn zeros(&mut self) -> io::Result<Slice> {
        if let Some(zeros) = &self.zeros {
            return Ok(zeros.clone());
        }
        let memory = Memory::new(ZEROS).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(self.zeros.insert(memory.whole()).clone())
    }
}

impl Disks for BlockingDisks {
    fn count(&self) -> u32 {
        self.guard.count()
    }

    fn geometry(&self, disk: DiskId) -> io::Result<Geometry> {
        Ok(self.guard.get(disk)?.file.geometry())
    }

    fn first_data(&self, disk: DiskId, within: Range<u64>) -> Option<Range<u64>> {
        self.guard.first_data(disk, within)
    }

    fn submit(&mut self, tag: Tag, disk: DiskId, op: Op) {
        self.waiting.push_back((tag, disk, op));
    }

    fn reap(&mut self, _wait: bool) -> io::Result<Option<Completion>> {
        let Some((tag, disk, op)) = self.waiting.pop_front() else { return Ok(None) };
        let outcome = self.carry_out(disk, op);
        Ok(Some(Completion { tag, outcome }))
    }
}

fn whole(disk: &Guarded, at: u64, slices: Vec<Slice>, direction: Direction) -> io::Result<()> {
    let mut transfer = Transfer::new(slices).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    calls::transfer(&disk.file.file, at, &mut transfer, direction)
}

/// Forgets what can be forgotten without writing.
fn discard(disk: &Guarded, at: u64, len: u64) -> io::Result<()> {
    let Some((at, len)) = disk.forgettable(at, len) else { return Ok(()) };
    let done = match disk.file.kind() {
        DiskKind::Image => calls::allocate(&disk.file.file, calls::ZERO_IMAGE, at, len),
        DiskKind::Block => calls::discard_blocks(&disk.file.file, at, len),
    };
    done.or_else(|error| if calls::is_no_discard(&error) { Ok(()) } else { Err(error) })
}

/// Zeros by the file system or device itself, else by writing them.
fn zero(disk: &Guarded, zeros: &Slice, at: u64, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match calls::allocate(&disk.file.file, disk.zero_mode(), at, len) {
        Ok(()) => return Ok(()),
        Err(error) if calls::is_unsupported(&error) => {}
        Err(error) => return Err(error),
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let end = at.checked_add(len).ok_or_else(invalid)?;
    let mut at = at;
    while at < end {
        let piece = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(zeros.len());
        let slice = zeros.part(0, piece).ok_or_else(invalid)?;
        whole(disk, at, vec![slice], Direction::Write { durable: false })?;
        at = u64::try_from(piece).ok().and_then(|piece| at.checked_add(piece)).ok_or_else(invalid)?;
    }
    Ok(())
}
