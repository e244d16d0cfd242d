//! The memory of one read or write under way, as the system call wants it, and how far it has come.
//!
//! What must hold:
//! - The vector of addresses lives, unmoved, as long as the transfer: the kernel may read it until the completion.
//! - A short transfer is continued behind what was done; one that does not move at all is an error, never a loop.

use crate::Slice;
use std::io;

/// The most pieces one system call takes (IOV_MAX).
const MAX_PIECES: usize = 1024;

/// The most bytes of one system call: below 2 GiB, where Linux cuts transfers short anyway.
const MAX_BYTES: usize = 1 << 30;

/// The slices of one operation.
#[derive(Debug)]
pub(crate) struct Transfer {
    slices: Vec<Slice>,
    /// Bytes done so far.
    done: u64,
    total: u64,
    pieces: Vec<libc::iovec>,
}

impl Transfer {
    /// For these slices; `None` where their lengths do not add up.
    pub(crate) fn new(slices: Vec<Slice>) -> Option<Self> {
        let total =
            slices.iter().try_fold(0_u64, |sum, slice| sum.checked_add(u64::try_from(slice.len()).ok()?))?;
        let mut transfer = Self { slices, done: 0, total, pieces: Vec::new() };
        transfer.prepare();
        Some(transfer)
    }

    /// Bytes done so far: the next call's offset from the operation's start.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Whether everything is done.
    pub(crate) fn is_whole(&self) -> bool {
        self.done == self.total
    }

    /// The pieces of the next call. Their memory is kept alive by `self`.
    pub(crate) fn pieces(&self) -> &[libc::iovec] {
        &self.pieces
    }

    /// Counts what a call has done.
    ///
    /// # Errors
    /// Where it did nothing, or claims more than it was given.
    pub(crate) fn advance(&mut self, bytes: u64) -> io::Result<()> {
        if bytes == 0 && !self.is_whole() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the disk ended inside the range"));
        }
        self.done = self
            .done
            .checked_add(bytes)
            .filter(|done| *done <= self.total)
            .ok_or_else(|| io::Error::other("more bytes were reported than asked for"))?;
        self.prepare();
        Ok(())
    }

    /// Puts together the pieces behind `done`.
    fn prepare(&mut self) {
        self.pieces.clear();
        let mut skip = self.done;
        let mut room = MAX_BYTES;
        for slice in &self.slices {
            let len = u64::try_from(slice.len()).unwrap_or(u64::MAX);
            if skip >= len {
                skip = skip.saturating_sub(len);
                continue;
            }
            if self.pieces.len() == MAX_PIECES || room == 0 {
                break;
            }
            let offset = usize::try_from(skip).unwrap_or(0);
            let rest = slice.len().saturating_sub(offset).min(room);
            let Some(part) = slice.part(offset, rest) else { break };
            self.pieces.push(libc::iovec { iov_base: part.as_ptr().cast(), iov_len: rest });
            room = room.saturating_sub(rest);
            skip = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Transfer;
    use crate::Memory;

    fn lengths(transfer: &Transfer) -> Vec<usize> {
        transfer.pieces().iter().map(|piece| piece.iov_len).collect()
    }

    #[test]
    fn a_short_transfer_goes_on_behind_what_was_done() {
        let memory = Memory::new(4096).unwrap();
        let slices = vec![memory.slice(0, 1024).unwrap(), memory.slice(2048, 512).unwrap()];
        let mut transfer = Transfer::new(slices).unwrap();
        assert_eq!(lengths(&transfer), [1024, 512]);
        transfer.advance(512).unwrap();
        assert_eq!(lengths(&transfer), [512, 512]);
        transfer.advance(768).unwrap();
        assert_eq!(lengths(&transfer), [256]);
        assert!(!transfer.is_whole());
        transfer.advance(256).unwrap();
        assert!(transfer.is_whole() && transfer.pieces().is_empty());
    }

    #[test]
    fn standing_still_and_overshooting_are_errors() {
        let memory = Memory::new(512).unwrap();
        let mut transfer = Transfer::new(vec![memory.whole()]).unwrap();
        assert!(transfer.advance(0).is_err(), "a read at the end must not loop");
        assert!(transfer.advance(513).is_err());
    }

    #[test]
    fn many_slices_go_in_several_calls() {
        let memory = Memory::new(512).unwrap();
        let mut transfer = Transfer::new(vec![memory.whole(); 1500]).unwrap();
        assert_eq!(transfer.pieces().len(), 1024);
        transfer.advance(1024 * 512).unwrap();
        assert_eq!(transfer.pieces().len(), 476);
    }
}
