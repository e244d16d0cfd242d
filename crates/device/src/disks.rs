//! The contract between those who need disks and those who are disks (real ones, or simulated).
//!
//! What must hold: see the crate. Here is only what both sides agree on.

use crate::Slice;
use foldback_units::Bytes;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// One disk of a set: an image file or a block device, in the order in which they were opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DiskId(pub u32);

/// The submitter's own number for an operation; comes back in its [`Completion`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(pub u64);

/// What a disk is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Its length.
    pub size: Bytes,
    /// Offsets, lengths and memory are multiples of this: 512 or 4096.
    pub logical_block: u32,
    /// The unit the medium writes in; at least `logical_block`. A torn write is torn between such units or, on
    /// media that promise less, between 512-byte sectors.
    pub physical_block: u32,
}

/// One operation. Offsets are bytes from the disk's start and, like the lengths of slices, multiples of 512.
#[derive(Debug)]
pub enum Op {
    /// Fill the slices from the disk. Past the end: an error.
    Read {
        /// Where.
        at: Bytes,
        /// Into which memory, in order.
        into: Vec<Slice>,
    },
    /// Write the slices. A crash before the next completed flush may keep any part of it, in units of a sector.
    Write {
        /// Where.
        at: Bytes,
        /// From which memory, in order.
        from: Vec<Slice>,
        /// Completed means durable (FUA). Makes no *other* write durable.
        durable: bool,
    },
    /// Zeros, as a `Write` of zeros would leave them; may be carried out without moving data.
    WriteZeroes {
        /// Where.
        at: Bytes,
        /// How many bytes.
        len: Bytes,
        /// As in `Write`.
        durable: bool,
        /// Space is to be given up: little zeros, too, are a hole in an image file, and take up none where one was. Who will
        /// write there soon does not want that.
        holes: bool,
    },
    /// Nobody needs this content any more. From submission until it is written again the range may read as anything, also as
    /// what it was, and a crash may change that; never take it for zeros. A disk that cannot forget succeeds and does nothing;
    /// nobody writes zeros for it.
    Discard {
        /// Where.
        at: Bytes,
        /// How many bytes.
        len: Bytes,
    },
    /// Makes durable every write that was completed before this was submitted.
    Flush,
}

/// How an operation ended.
#[derive(Debug)]
pub struct Completion {
    /// The submitter's number.
    pub tag: Tag,
    /// Whole, or the reason; after an error of a write the range's content is unknown.
    pub outcome: io::Result<()>,
}

/// A set of disks behind one queue. Operations under way have no order among each other.
///
/// Every submitted operation completes exactly once, also when it fails.
pub trait Disks {
    /// How many disks there are: ids run from 0.
    fn count(&self) -> u32;

    /// What `disk` is like.
    ///
    /// # Errors
    /// `InvalidInput` for an id that does not exist.
    fn geometry(&self, disk: DiskId) -> io::Result<Geometry>;

    /// Takes an operation. Refusals (range, alignment, poisoned disk) come back as completions, too.
    fn submit(&mut self, tag: Tag, disk: DiskId, op: Op);

    /// The next completion. With `wait`, waits for one as long as anything is under way; `None` otherwise.
    ///
    /// # Errors
    /// Only where the queue itself is broken; operations under way are then lost.
    fn reap(&mut self, wait: bool) -> io::Result<Option<Completion>>;

    /// The first bytes within a range that may be other than zero, as far as is known without reading them; `None` where all of
    /// it reads as zeros. What is under way may or may not count. A disk that cannot tell may hold data everywhere.
    fn first_data(&self, _disk: DiskId, within: Range<u64>) -> Option<Range<u64>> {
        Some(within)
    }

    /// For owners that wait for other things as well: a descriptor that becomes readable anew (as an edge) whenever
    /// something may have completed. Asked for once. `None` where nothing is ever under way behind a `reap` that
    /// returned `None`.
    ///
    /// # Errors
    /// No descriptor is left.
    fn ready_fd(&mut self) -> io::Result<Option<BorrowedFd<'_>>> {
        Ok(None)
    }
}

impl<T: Disks + ?Sized> Disks for Box<T> {
    fn count(&self) -> u32 {
        (**self).count()
    }

    fn geometry(&self, disk: DiskId) -> io::Result<Geometry> {
        (**self).geometry(disk)
    }

    fn submit(&mut self, tag: Tag, disk: DiskId, op: Op) {
        (**self).submit(tag, disk, op);
    }

    fn reap(&mut self, wait: bool) -> io::Result<Option<Completion>> {
        (**self).reap(wait)
    }

    fn first_data(&self, disk: DiskId, within: Range<u64>) -> Option<Range<u64>> {
        (**self).first_data(disk, within)
    }

    fn ready_fd(&mut self) -> io::Result<Option<BorrowedFd<'_>>> {
        (**self).ready_fd()
    }
}

impl<T: Disks + ?Sized> Disks for &mut T {
    fn count(&self) -> u32 {
        (**self).count()
    }

    fn geometry(&self, disk: DiskId) -> io::Result<Geometry> {
        (**self).geometry(disk)
    }

    fn submit(&mut self, tag: Tag, disk: DiskId, op: Op) {
        (**self).submit(tag, disk, op);
    }

    fn reap(&mut self, wait: bool) -> io::Result<Option<Completion>> {
        (**self).reap(wait)
    }

    fn first_data(&self, disk: DiskId, within: Range<u64>) -> Option<Range<u64>> {
        (**self).first_data(disk, within)
    }

    fn ready_fd(&mut self) -> io::Result<Option<BorrowedFd<'_>>> {
        (**self).ready_fd()
    }
}
