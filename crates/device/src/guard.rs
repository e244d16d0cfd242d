//! What every backend checks before it touches a disk, and what a failure leaves behind.
//!
//! What must hold:
//! - An operation outside the disk, or off its blocks, is refused before anything moves.
//! - After a failed flush no write and no flush of that disk succeeds again: what the failed one left unsaid can never
//!   be learned later (the system reports a lost page once).

use crate::disks::{DiskId, Geometry, Op};
use crate::file::{Access, DiskFile};
use crate::{DiskKind, Slice};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Holes in an image file have these borders: file systems have blocks of a page at most.
pub(crate) const HOLE_BORDER: u64 = 4096;

/// One disk of a set.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) file: Arc<DiskFile>,
    poisoned: bool,
}

/// The disks of a set by number.
#[derive(Debug)]
pub(crate) struct Guard(Vec<Guarded>);

impl Guard {
    pub(crate) fn new(files: &[Arc<DiskFile>]) -> Self {
        Self(files.iter().map(|file| Guarded { file: Arc::clone(file), poisoned: false }).collect())
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn get(&self, disk: DiskId) -> io::Result<&Guarded> {
        usize::try_from(disk.0).ok().and_then(|index| self.0.get(index)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("there is no disk {}", disk.0))
        })
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<DiskFile>> {
        self.0.iter().map(|disk| &disk.file)
    }

    /// As [`crate::Disks::first_data`]: what cannot be told may be data.
    pub(crate) fn first_data(&self, disk: DiskId, within: Range<u64>) -> Option<Range<u64>> {
        let told = self.get(disk).and_then(|disk| disk.file.first_data(within.clone()));
        told.unwrap_or(Some(within))
    }

    /// Whether `op` may go to the disk at all.
    pub(crate) fn admit(&self, disk: DiskId, op: &Op) -> io::Result<()> {
        let guarded = self.get(disk)?;
        if !matches!(op, Op::Read { .. }) {
            if guarded.poisoned {
                return Err(io::Error::other(format!(
                    "a flush of {} failed earlier; nothing is written until it is opened again",
                    guarded.file.path().display()
                )));
            }
            if guarded.file.access() == Access::Read {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the disk is open for reading only",
                ));
            }
        }
        inside(&guarded.file.geometry(), op)
    }

    /// Takes note of a failure.
    pub(crate) fn failed(&mut self, disk: DiskId, what: Failure) {
        let Some(guarded) = usize::try_from(disk.0).ok().and_then(|index| self.0.get_mut(index)) else {
            return;
        };
        let poisons = match what {
            Failure::Flush => true,
            // A failed sync of a buffered file may have used up the one report about some other page.
            Failure::DurableWrite => !guarded.file.is_direct(),
        };
        guarded.poisoned |= poisons;
    }
}

/// A failure that may say something about more than its own range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    Flush,
    DurableWrite,
}

impl Guarded {
    /// How zeros are made without writing them.
    pub(crate) fn zero_mode(&self) -> libc::c_int {
        match self.file.kind() {
            DiskKind::Image => crate::calls::ZERO_IMAGE,
            DiskKind::Block => crate::calls::ZERO_DEVICE,
        }
    }

    /// The part of a range that a discard may be told of. In an image these are whole blocks of its file system, which would
    /// write zeros into the others; a block device looks to its own.
    pub(crate) fn forgettable(&self, at: u64, len: u64) -> Option<(u64, u64)> {
        let block = match self.file.kind() {
            DiskKind::Image => HOLE_BORDER,
            DiskKind::Block => u64::from(self.file.geometry().logical_block),
        };
        let start = at.checked_next_multiple_of(block)?;
        let end = at.checked_add(len)?;
        let len = end.checked_sub(end.checked_rem(block)?)?.checked_sub(start)?;
        (len > 0).then_some((start, len))
    }
}

fn inside(geometry: &Geometry, op: &Op) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let block = u64::from(geometry.logical_block);
    let (at, len) = match op {
        Op::Read { at, into: slices } | Op::Write { at, from: slices, .. } => {
            if let Some(slice) = slices.iter().find(|slice| !is_aligned(slice, geometry.logical_block)) {
                return refuse(format!("{slice:?} is not aligned to the disk's blocks of {block} bytes"));
            }
            let lengths = slices.iter().map(|slice| u64::try_from(slice.len()).unwrap_or(u64::MAX));
            (at.get(), lengths.fold(0, u64::saturating_add))
        }
        Op::WriteZeroes { at, len, .. } | Op::Discard { at, len } => (at.get(), len.get()),
        Op::Flush => return Ok(()),
    };
    if !at.is_multiple_of(block) || !len.is_multiple_of(block) {
        return refuse(format!("{len} bytes at {at} are not aligned to the disk's blocks of {block} bytes"));
    }
    match at.checked_add(len) {
        Some(end) if end <= geometry.size.get() => Ok(()),
        _ => refuse(format!("{len} bytes at {at} end behind the disk's {}", geometry.size)),
    }
}

fn is_aligned(slice: &Slice, block: u32) -> bool {
    let block = usize::try_from(block).unwrap_or(usize::MAX);
    slice.as_ptr().addr().is_multiple_of(block) && slice.len().is_multiple_of(block)
}

#[cfg(test)]
mod tests {
    use super::{Failure, Guard};
    use crate::set::open_files;
    use crate::{Access, DiskId, Memory, Op};
    use foldback_units::Bytes;

    #[test]
    fn a_failed_flush_poisons_its_disk_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a"), dir.path().join("b")];
        for path in &paths {
            std::fs::write(path, [0; 4096]).unwrap();
        }
        let mut guard = Guard::new(&open_files(&paths, Access::Write).unwrap());
        guard.failed(DiskId(0), Failure::Flush);
        let memory = Memory::new(4096).unwrap();
        let write = Op::Write { at: Bytes(0), from: vec![memory.whole()], durable: false };
        let error = guard.admit(DiskId(0), &write).unwrap_err();
        assert!(error.to_string().contains("opened again"), "{error}");
        assert!(guard.admit(DiskId(0), &Op::Flush).is_err());
        assert!(guard.admit(DiskId(0), &Op::Read { at: Bytes(0), into: vec![memory.whole()] }).is_ok());
        assert!(guard.admit(DiskId(1), &write).is_ok());
    }

    #[test]
    fn a_failed_durable_write_poisons_only_where_the_page_cache_is_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, [0; 4096]).unwrap();
        let files = open_files(&[path], Access::Write).unwrap();
        let mut guard = Guard::new(&files);
        guard.failed(DiskId(0), Failure::DurableWrite);
        assert_eq!(guard.admit(DiskId(0), &Op::Flush).is_ok(), files[0].is_direct());
    }
}
