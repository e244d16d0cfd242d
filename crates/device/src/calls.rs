//! The system calls of the blocking backend: each is done at once, whole or as an error.
//!
//! What must hold:
//! - Addresses come from a [`Transfer`] or a [`Slice`] that the caller keeps alive over the call.

use crate::Slice;
use crate::transfer::Transfer;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The most times that an interrupted call is taken up again without having moved.
const MAX_INTERRUPTIONS: u32 = 1000;

/// How a range is made zeros without writing them.
pub(crate) const ZERO_IMAGE: libc::c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
/// The same for a block device: its blocks stay allocated.
pub(crate) const ZERO_DEVICE: libc::c_int = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

/// Which way a transfer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// From the disk.
    Read,
    /// To the disk; completed means durable if `durable`.
    Write { durable: bool },
}

/// Carries a transfer out.
pub(crate) fn transfer(
    file: &File,
    at: u64,
    transfer: &mut Transfer,
    direction: Direction,
) -> io::Result<()> {
    let mut interruptions = 0;
    while !transfer.is_whole() {
        let offset =
            at.checked_add(transfer.done()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        match once(file, offset, transfer.pieces(), direction) {
            Ok(bytes) => transfer.advance(bytes)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted && interruptions < MAX_INTERRUPTIONS => {
                interruptions = u32::saturating_add(interruptions, 1);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn once(file: &File, at: u64, pieces: &[libc::iovec], direction: Direction) -> io::Result<u64> {
    let count = libc::c_int::try_from(pieces.len()).map_err(io::Error::other)?;
    let at = libc::off_t::try_from(at).map_err(io::Error::other)?;
    let descriptor = file.as_raw_fd();
    // SAFETY: the pieces point into memory that the transfer owns and that no Rust reference points into.
    let moved = unsafe {
        match direction {
            Direction::Read => libc::preadv(descriptor, pieces.as_ptr(), count, at),
            Direction::Write { durable: false } => libc::pwritev(descriptor, pieces.as_ptr(), count, at),
            Direction::Write { durable: true } => {
                libc::pwritev2(descriptor, pieces.as_ptr(), count, at, libc::RWF_DSYNC)
            }
        }
    };
    u64::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// One read of `len` bytes into the start of `into`; short is an error.
pub(crate) fn read_once(file: &File, into: &Slice, len: usize, at: u64) -> io::Result<()> {
    let part = into.part(0, len).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let piece = libc::iovec { iov_base: part.as_ptr().cast(), iov_len: len };
    let moved = once(file, at, &[piece], Direction::Read)?;
    // The end of a file that is shorter is no failure of the alignment that is being tried.
    if usize::try_from(moved).is_ok_and(|moved| moved <= len) { Ok(()) } else { Err(io::Error::other("")) }
}

/// fallocate with `mode`.
pub(crate) fn allocate(file: &File, mode: libc::c_int, at: u64, len: u64) -> io::Result<()> {
    let at = libc::off_t::try_from(at).map_err(io::Error::other)?;
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: no memory is involved.
    let done = unsafe { libc::fallocate(file.as_raw_fd(), mode, at, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// linux/fs.h: BLKDISCARD.
const BLKDISCARD: rustix::ioctl::Opcode = rustix::ioctl::opcode::none(0x12, 119);
/// linux/blkdev.h: BLOCK_URING_CMD_DISCARD, since Linux 6.12; takes the place and the length where an ioctl takes a pointer to them.
pub(crate) const DISCARD_COMMAND: rustix::ioctl::Opcode = rustix::ioctl::opcode::none(0x12, 0);

/// Tells a block device that a range is not needed.
pub(crate) fn discard_blocks(device: &File, at: u64, len: u64) -> io::Result<()> {
    let range = [at, len];
    // SAFETY: the kernel reads two numbers at this address and writes none.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), BLKDISCARD.into(), range.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a discard was not carried out and nothing is wrong with the disk: it cannot, or somebody has the range cached.
pub(crate) fn is_no_discard(error: &io::Error) -> bool {
    is_unsupported(error) || matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EBUSY))
}

/// Whether a file system or device does not know how to zero a range by itself.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ENODEV))
}
