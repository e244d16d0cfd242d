//! Disks behind one io_uring.
//!
//! What must hold:
//! - An operation's memory, and the vector of addresses that names it, stay in the table of operations under way until
//!   the kernel has reported the operation; that is so also when the queue is dropped or breaks.
//! - At most [`DEPTH`] entries are with the kernel at once, half of what the completion ring holds: it never overflows.
//! - Short reads and writes go on behind what was done; interrupted ones go on, a bounded number of times.
//! - The thread that makes the queue is the one that uses it (the type is not `Send`), as SINGLE_ISSUER demands.
//!
//! Operations go to the kernel when somebody reaps, in one system call for all that have gathered.

use crate::blocking::ZEROS;
use crate::calls;
use crate::disks::{Completion, DiskId, Disks, Geometry, Op, Tag};
use crate::file::DiskFile;
use crate::guard::{Failure, Guard, HOLE_BORDER};
use crate::transfer::Transfer;
use crate::{DiskKind, Memory, Slice};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Entries with the kernel at once.
const DEPTH: usize = 256;
/// The same, as the kernel is told.
const ENTRIES: u32 = 256;
/// The most times that one step of an operation is handed in again after EINTR or EAGAIN.
const MAX_RETRIES: u32 = 1000;
/// Shorter zeros are written, unless space is to be given up; making a hole costs more.
const MIN_HOLE: u64 = 64 << 10;

/// What is left of an operation.
#[derive(Debug)]
enum Work {
    Read {
        at: u64,
        transfer: Transfer,
    },
    Write {
        at: u64,
        transfer: Transfer,
        durable: bool,
    },
    /// Make a hole.
    Hole {
        at: u64,
        len: u64,
        durable: bool,
    },
    /// Write zeros: the piece under way, and how much follows it.
    Zeros {
        at: u64,
        transfer: Transfer,
        rest: u64,
        durable: bool,
    },
    /// Make a hole in an image file, and nothing where that cannot be.
    Punch {
        at: u64,
        len: u64,
    },
    /// Tell a block device to forget.
    Forget {
        at: u64,
        len: u64,
    },
    Flush,
    /// There is nothing to do.
    Nothing,
}

#[derive(Debug)]
struct UnderWay {
    tag: Tag,
    disk: DiskId,
    work: Work,
    retries: u32,
}

/// What a report of the kernel means for an operation.
enum Next {
    Over(io::Result<()>),
    Again(Work),
}

/// Disks behind one ring.
pub struct UringDisks {
    ring: IoUring,
    guard: Guard,
    /// Whether descriptors are registered with the ring.
    fixed: bool,
    zeros: Slice,
    /// The operations that are waiting or with the kernel; the index is the entry's user data.
    table: Vec<Option<UnderWay>>,
    free: Vec<usize>,
    /// Waiting to be handed to the kernel.
    waiting: VecDeque<usize>,
    with_kernel: usize,
    over: VecDeque<Completion>,
    /// Signalled by the kernel when something completes, once somebody asked for it.
    ready: Option<OwnedFd>,
}

impl UringDisks {
    /// Over these disks, numbered in order.
    ///
    /// # Errors
    /// Where the kernel refuses io_uring (`ENOSYS`, `EPERM`) or has no memory for it.
    pub fn new(files: &[Arc<DiskFile>]) -> io::Result<Self> {
        let ring = ring()?;
        let guard = Guard::new(files);
        let descriptors: Vec<_> = guard.files().map(|disk| disk.file.as_raw_fd()).collect();
        let fixed = ring.submitter().register_files(&descriptors).is_ok();
        let zeros = Memory::new(ZEROS).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self {
            ring,
            guard,
            fixed,
            zeros: zeros.whole(),
            table: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            with_kernel: 0,
            over: VecDeque::new(),
            ready: None,
        })
    }

    fn begin(&self, disk: DiskId, op: Op) -> io::Result<Work> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        Ok(match op {
            Op::Read { at, into } => {
                Work::Read { at: at.get(), transfer: Transfer::new(into).ok_or_else(invalid)? }
            }
            Op::Write { at, from, durable } => {
                Work::Write { at: at.get(), transfer: Transfer::new(from).ok_or_else(invalid)?, durable }
            }
            Op::WriteZeroes { at, len, durable, holes } => {
                let (at, len) = (at.get(), len.get());
                let gives_up = holes && self.guard.get(disk)?.file.kind() == DiskKind::Image;
                let least = if gives_up { HOLE_BORDER } else { MIN_HOLE };
                if len >= least && at.is_multiple_of(HOLE_BORDER) && len.is_multiple_of(HOLE_BORDER) {
                    Work::Hole { at, len, durable }
                } else {
                    self.zeros(at, len, durable)?
                }
            }
            Op::Discard { at, len } => self.discard(disk, at.get(), len.get())?,
            Op::Flush => Work::Flush,
        })
    }

    fn discard(&self, disk: DiskId, at: u64, len: u64) -> io::Result<Work> {
        let guarded = self.guard.get(disk)?;
        Ok(match (guarded.forgettable(at, len), guarded.file.kind()) {
            (None, _) => Work::Nothing,
            (Some((at, len)), DiskKind::Image) => Work::Punch { at, len },
            (Some((at, len)), DiskKind::Block) => Work::Forget { at, len },
        })
    }

    /// The next piece of zeros that have to be written.
    fn zeros(&self, at: u64, len: u64, durable: bool) -> io::Result<Work> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let piece = usize::try_from(len).unwrap_or(usize::MAX).min(self.zeros.len());
        let slice = self.zeros.part(0, piece).ok_or_else(invalid)?;
        let rest = u64::try_from(piece).ok().and_then(|piece| len.checked_sub(piece)).ok_or_else(invalid)?;
        let transfer = Transfer::new(vec![slice]).ok_or_else(invalid)?;
        Ok(Work::Zeros { at, transfer, rest, durable })
    }

    fn push(&mut self, tag: Tag, disk: DiskId, op: Op) -> io::Result<()> {
        self.guard.admit(disk, &op)?;
        let work = self.begin(disk, op)?;
        let is_over = match &work {
            Work::Read { transfer, .. } | Work::Write { transfer, .. } | Work::Zeros { transfer, .. } => {
                transfer.is_whole()
            }
            Work::Nothing => true,
            Work::Hole { .. } | Work::Punch { .. } | Work::Forget { .. } | Work::Flush => false,
        };
        if is_over {
            self.over.push_back(Completion { tag, outcome: Ok(()) });
            return Ok(());
        }
        let under_way = UnderWay { tag, disk, work, retries: 0 };
        let index = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            self.table.len().saturating_sub(1)
        });
        if let Some(place) = self.table.get_mut(index) {
            *place = Some(under_way);
        }
        self.waiting.push_back(index);
        Ok(())
    }

    /// Hands what is waiting to the ring, and tells the kernel; with `wait`, until at least one is reported.
    fn enter(&mut self, wait: bool) -> io::Result<()> {
        while self.with_kernel < DEPTH
            && let Some(index) = self.waiting.pop_front()
        {
            let entry = self.entry(index)?;
            // SAFETY: the memory that the entry names belongs to the operation in the table, which stays there until
            // its completion is taken from the ring.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.waiting.push_front(index);
                break;
            }
            self.with_kernel = self.with_kernel.saturating_add(1);
        }
        let wanted = usize::from(wait && self.with_kernel > 0);
        for _ in 0..MAX_RETRIES {
            match self.ring.submit_and_wait(wanted) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel is short of memory for requests, or wants completions taken first.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> io::Result<squeue::Entry> {
        let gone = || io::Error::other("an operation is missing from the table");
        let under_way = self.table.get(index).and_then(Option::as_ref).ok_or_else(gone)?;
        let disk = self.guard.get(under_way.disk)?;
        // Registered files are named by their index, which is the disk's number.
        let (target, flags) = if self.fixed {
            (i32::try_from(under_way.disk.0).map_err(io::Error::other)?, squeue::Flags::FIXED_FILE)
        } else {
            (disk.file.file.as_raw_fd(), squeue::Flags::empty())
        };
        let entry = build(types::Fd(target), &under_way.work, disk.zero_mode())?;
        Ok(entry.flags(flags).user_data(u64::try_from(index).map_err(io::Error::other)?))
    }

    /// Takes all that the kernel has reported.
    fn drain(&mut self) {
        loop {
            let Some(report) = self.ring.completion().next() else { break };
            self.with_kernel = self.with_kernel.saturating_sub(1);
            let Ok(index) = usize::try_from(report.user_data()) else { continue };
            let Some(under_way) = self.table.get_mut(index).and_then(Option::take) else { continue };
            let UnderWay { tag, disk, work, retries } = under_way;
            let result = report.result();
            let again = matches!(result.checked_neg(), Some(libc::EINTR | libc::EAGAIN));
            let next = if again && retries < MAX_RETRIES {
                Next::Again(work)
            } else {
                self.reported(disk, work, result)
            };
            match next {
                Next::Again(work) => {
                    let retries = if again { retries.saturating_add(1) } else { 0 };
                    if let Some(place) = self.table.get_mut(index) {
                        *place = Some(UnderWay { tag, disk, work, retries });
                    }
                    self.waiting.push_back(index);
                }
                Next::Over(outcome) => {
                    self.free.push(index);
                    self.over.push_back(Completion { tag, outcome });
                }
            }
        }
    }

    /// What `result` means for the operation that has `work` left.
    fn reported(&mut self, disk: DiskId, work: Work, result: i32) -> Next {
        let moved = u64::try_from(result)
            .map_err(|_| io::Error::from_raw_os_error(result.checked_neg().unwrap_or(libc::EIO)));
        match self.advance(disk, work, moved) {
            Ok(Some(work)) => Next::Again(work),
            Ok(None) => Next::Over(Ok(())),
            Err(error) => Next::Over(Err(error)),
        }
    }

    /// The work that is left, `None` where nothing is.
    fn advance(&mut self, disk: DiskId, work: Work, moved: io::Result<u64>) -> io::Result<Option<Work>> {
        match work {
            Work::Read { at, mut transfer } => {
                transfer.advance(moved?)?;
                Ok((!transfer.is_whole()).then_some(Work::Read { at, transfer }))
            }
            Work::Write { at, mut transfer, durable } => {
                if moved.is_err() && durable {
                    self.guard.failed(disk, Failure::DurableWrite);
                }
                transfer.advance(moved?)?;
                Ok((!transfer.is_whole()).then_some(Work::Write { at, transfer, durable }))
            }
            Work::Hole { at, len, durable } => match moved {
                Err(error) if calls::is_unsupported(&error) => self.zeros(at, len, durable).map(Some),
                Err(error) => Err(error),
                Ok(_) => Ok(durable.then_some(Work::Flush)),
            },
            Work::Zeros { at, mut transfer, rest, durable } => {
                transfer.advance(moved?)?;
                if !transfer.is_whole() {
                    return Ok(Some(Work::Zeros { at, transfer, rest, durable }));
                }
                let at = at.checked_add(transfer.done()).ok_or(io::ErrorKind::InvalidInput)?;
                if rest > 0 {
                    self.zeros(at, rest, durable).map(Some)
                } else {
                    Ok(durable.then_some(Work::Flush))
                }
            }
            Work::Punch { .. } | Work::Forget { .. } => match moved {
                Err(error) if !calls::is_no_discard(&error) => Err(error),
                _ => Ok(None),
            },
            Work::Nothing => Ok(None),
            Work::Flush => {
                if moved.is_err() {
                    self.guard.failed(disk, Failure::Flush);
                }
                moved.map(|_| None)
            }
        }
    }
}

impl Disks for UringDisks {
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
        if let Err(error) = self.push(tag, disk, op) {
            self.over.push_back(Completion { tag, outcome: Err(error) });
        }
    }

    fn reap(&mut self, wait: bool) -> io::Result<Option<Completion>> {
        loop {
            if let Some(completion) = self.over.pop_front() {
                return Ok(Some(completion));
            }
            if self.with_kernel == 0 && self.waiting.is_empty() {
                return Ok(None);
            }
            // No system call where it could bring nothing: most reaps that do not wait are of that kind.
            let reported = !self.ring.completion().is_empty();
            let deferred = self.ring.submission().taskrun();
            if !self.waiting.is_empty() || deferred || (wait && !reported) {
                self.enter(wait && !reported)?;
            }
            self.drain();
            if !wait && self.over.is_empty() {
                return Ok(None);
            }
        }
    }

    fn ready_fd(&mut self) -> io::Result<Option<BorrowedFd<'_>>> {
        if self.ready.is_none() {
            // The ring's own descriptor does not wake who polls it when task work is deferred; this does.
            let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            self.ring.submitter().register_eventfd(ready.as_raw_fd())?;
            self.ready = Some(ready);
        }
        Ok(self.ready.as_ref().map(OwnedFd::as_fd))
    }
}

impl Drop for UringDisks {
    fn drop(&mut self) {
        while self.with_kernel > 0 {
            if self.ring.submit_and_wait(1).is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                // What the kernel may still write into must not be given back to the allocator.
                std::mem::forget(std::mem::take(&mut self.table));
                break;
            }
            while self.ring.completion().next().is_some() {
                self.with_kernel = self.with_kernel.saturating_sub(1);
            }
        }
    }
}

impl std::fmt::Debug for UringDisks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringDisks")
            .field("disks", &self.guard.count())
            .field("waiting", &self.waiting.len())
            .field("with_kernel", &self.with_kernel)
            .finish_non_exhaustive()
    }
}

/// The ring with all that newer kernels offer to a single thread, or a plain one.
fn ring() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_submit_all().setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag();
    builder
        .setup_defer_taskrun()
        .build(ENTRIES)
        .or_else(|_| IoUring::builder().setup_submit_all().build(ENTRIES))
        .or_else(|_| IoUring::new(ENTRIES))
}

fn build(target: types::Fd, work: &Work, zero_mode: libc::c_int) -> io::Result<squeue::Entry> {
    let place = |at: u64, transfer: &Transfer| {
        at.checked_add(transfer.done()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
    };
    Ok(match work {
        Work::Read { at, transfer } => {
            let pieces = transfer.pieces();
            let count = u32::try_from(pieces.len()).map_err(io::Error::other)?;
            opcode::Readv::new(target, pieces.as_ptr(), count).offset(place(*at, transfer)?).build()
        }
        Work::Write { at, transfer, .. } | Work::Zeros { at, transfer, .. } => {
            let pieces = transfer.pieces();
            let count = u32::try_from(pieces.len()).map_err(io::Error::other)?;
            let durable = matches!(work, Work::Write { durable: true, .. });
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            opcode::Writev::new(target, pieces.as_ptr(), count)
                .offset(place(*at, transfer)?)
                .rw_flags(flags)
                .build()
        }
        Work::Hole { at, len, .. } => {
            opcode::Fallocate::new(target, *len).offset(*at).mode(zero_mode).build()
        }
        Work::Punch { at, len } => {
            opcode::Fallocate::new(target, *len).offset(*at).mode(calls::ZERO_IMAGE).build()
        }
        Work::Forget { at, len } => {
            // linux/blkdev.h: the place in `addr`, the length in `addr3`, where other commands have their own bytes.
            let mut command = [0; 16];
            if let Some(addr3) = command.first_chunk_mut() {
                *addr3 = len.to_ne_bytes();
            }
            opcode::UringCmd16::new(target, calls::DISCARD_COMMAND).addr(Some(*at)).cmd(command).build()
        }
        Work::Nothing => opcode::Nop::new().build(),
        Work::Flush => opcode::Fsync::new(target).flags(types::FsyncFlags::DATASYNC).build(),
    })
}

#[cfg(test)]
mod tests;
