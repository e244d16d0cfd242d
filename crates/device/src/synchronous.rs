//! One operation, waited for: for labels, metadata areas and commands that do one thing at a time.
//!
//! What must hold:
//! - Nothing else is under way on the disks while these are used; a completion of somebody else's is an error.
//! - Bytes need not lie on block borders: a read takes the blocks around them; a write reads those blocks, changes the
//!   bytes and writes them back whole. So a 512-byte header on a disk of 4096-byte blocks keeps its neighbours.

use crate::disks::{DiskId, Disks, Op, Tag};
use crate::{Memory, Slice};
use foldback_units::Bytes;
use std::io;

/// The tag of the one operation under way.
const ONLY: Tag = Tag(u64::MAX);

/// Fills `into` from `at` on.
///
/// # Errors
/// What the disk reports; `InvalidInput` behind its end.
pub fn read_exact(disks: &mut dyn Disks, disk: DiskId, at: Bytes, into: &mut [u8]) -> io::Result<()> {
    if into.is_empty() {
        return Ok(());
    }
    let around = Blocks::around(disks, disk, at, into.len())?;
    around.read(disks, disk)?;
    if around.bytes.copy_to(into) { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Writes `bytes` at `at`; with `durable` they are safe when this returns.
///
/// # Errors
/// What the disk reports; `InvalidInput` behind its end. The range's content is unknown then.
pub fn write_all(
    disks: &mut dyn Disks,
    disk: DiskId,
    at: Bytes,
    bytes: &[u8],
    durable: bool,
) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let around = Blocks::around(disks, disk, at, bytes.len())?;
    if around.bytes.len() != around.whole.len() {
        around.read(disks, disk)?;
    }
    if !around.bytes.copy_from(bytes) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    run(disks, disk, Op::Write { at: around.at, from: vec![around.whole], durable })
}

/// Makes `len` bytes from `at` on read as zeros; both lie on block borders.
///
/// # Errors
/// As [`write_all`].
pub fn write_zeroes(
    disks: &mut dyn Disks,
    disk: DiskId,
    at: Bytes,
    len: Bytes,
    durable: bool,
) -> io::Result<()> {
    run(disks, disk, Op::WriteZeroes { at, len, durable, holes: false })
}

/// Makes durable what was written.
///
/// # Errors
/// What the disk reports; the disk is poisoned then.
pub fn flush(disks: &mut dyn Disks, disk: DiskId) -> io::Result<()> {
    run(disks, disk, Op::Flush)
}

/// The blocks around some bytes, and memory for them.
struct Blocks {
    at: Bytes,
    whole: Slice,
    bytes: Slice,
}

impl Blocks {
    fn around(disks: &dyn Disks, disk: DiskId, at: Bytes, len: usize) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the range is not on the disk");
        let block = u64::from(disks.geometry(disk)?.logical_block);
        let before = at.get().checked_rem(block).ok_or_else(invalid)?;
        let start = at.get().checked_sub(before).ok_or_else(invalid)?;
        let end = u64::try_from(len)
            .ok()
            .and_then(|len| at.get().checked_add(len)?.checked_next_multiple_of(block))
            .ok_or_else(invalid)?;
        let len_whole =
            end.checked_sub(start).and_then(|len| usize::try_from(len).ok()).ok_or_else(invalid)?;
        let memory = Memory::new(len_whole).ok_or_else(invalid)?;
        let before = usize::try_from(before).map_err(|_| invalid())?;
        let bytes = memory.slice(before, len).ok_or_else(invalid)?;
        Ok(Self { at: Bytes(start), whole: memory.whole(), bytes })
    }

    fn read(&self, disks: &mut dyn Disks, disk: DiskId) -> io::Result<()> {
        run(disks, disk, Op::Read { at: self.at, into: vec![self.whole.clone()] })
    }
}

/// Submits one operation and waits for it.
fn run(disks: &mut dyn Disks, disk: DiskId, op: Op) -> io::Result<()> {
    disks.submit(ONLY, disk, op);
    match disks.reap(true)? {
        Some(completion) if completion.tag == ONLY => completion.outcome,
        Some(other) => Err(io::Error::other(format!("{:?} of somebody else was under way", other.tag))),
        None => Err(io::Error::other("the operation was lost")),
    }
}
