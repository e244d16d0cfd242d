//! What is to be sent: heads of answers as bytes, and the data of reads as the memory that they were read into.
//!
//! What must hold:
//! - Pieces leave in the order in which they came, each byte once.
//! - Data is not copied; its memory is given back when its last byte has left.
//! - One call sends as much as the system takes in one call.

use super::buffers::Buffers;
use super::stream::Stream;
use foldback_device::socket::{MAX_PIECES, Outgoing};
use foldback_device::{Memory, Slice};
use std::collections::VecDeque;
use std::io;

#[derive(Debug)]
enum Piece {
    /// So many of `bytes`.
    Bytes(usize),
    /// What is left of the data, and all of its memory.
    Data(Slice, Memory),
}

/// Answers on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Bytes of all [`Piece::Bytes`]; those before `sent` have left.
    bytes: Vec<u8>,
    sent: usize,
    pieces: VecDeque<Piece>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait, without the data of reads: their memory is counted elsewhere.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Appends what `write` appends to the buffer that it gets.
    pub(super) fn write<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.bytes.len();
        let result = write(&mut self.bytes);
        let added = self.bytes.len().saturating_sub(before);
        match self.pieces.back_mut() {
            Some(Piece::Bytes(len)) => *len = len.saturating_add(added),
            _ if added == 0 => {}
            _ => self.pieces.push_back(Piece::Bytes(added)),
        }
        result
    }

    /// Appends the first `len` bytes of a memory.
    pub(super) fn data(&mut self, memory: Memory, len: usize) {
        // A read is never longer than its memory.
        if let Some(slice) = memory.slice(0, len) {
            self.pieces.push_back(Piece::Data(slice, memory));
        }
    }

    /// Sends once. Returns whether everything that was offered went: then there may be room for more.
    pub(super) fn send(&mut self, stream: &mut impl Stream, buffers: &mut Buffers) -> io::Result<bool> {
        let mut offered = [const { Outgoing::Bytes(&[]) }; MAX_PIECES];
        let mut at = self.sent;
        let mut total: usize = 0;
        let mut count: usize = 0;
        for (offer, piece) in offered.iter_mut().zip(&self.pieces) {
            *offer = match piece {
                Piece::Bytes(len) => {
                    let end = at.saturating_add(*len);
                    let bytes = self.bytes.get(at..end).unwrap_or_default();
                    at = end;
                    Outgoing::Bytes(bytes)
                }
                Piece::Data(slice, _) => Outgoing::Memory(slice),
            };
            total = total.saturating_add(offer.len());
            count = count.saturating_add(1);
        }
        let went = stream.send(offered.get(..count).unwrap_or_default())?.min(total);
        self.advance(went, buffers);
        Ok(went == total)
    }

    fn advance(&mut self, went: usize, buffers: &mut Buffers) {
        let mut left = went;
        while left > 0 {
            match self.pieces.pop_front() {
                Some(Piece::Bytes(len)) => {
                    let taken = len.min(left);
                    self.sent = self.sent.saturating_add(taken);
                    left = left.saturating_sub(taken);
                    if taken < len {
                        self.pieces.push_front(Piece::Bytes(len.saturating_sub(taken)));
                    }
                }
                Some(Piece::Data(slice, memory)) => {
                    let taken = slice.len().min(left);
                    left = left.saturating_sub(taken);
                    match slice.part(taken, slice.len().saturating_sub(taken)) {
                        Some(rest) if !rest.is_empty() => self.pieces.push_front(Piece::Data(rest, memory)),
                        _ => {
                            drop(slice);
                            buffers.give(memory);
                        }
                    }
                }
                None => break,
            }
        }
        // What has left is forgotten all at once: either everything has, or it is the greater part.
        if self.waiting() <= self.sent {
            drop(self.bytes.drain(..self.sent));
            self.sent = 0;
        }
    }

    /// Nobody will read it any more.
    pub(super) fn clear(&mut self, buffers: &mut Buffers) {
        for piece in self.pieces.drain(..) {
            if let Piece::Data(slice, memory) = piece {
                drop(slice);
                buffers.give(memory);
            }
        }
        self.bytes.clear();
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Outbox;
    use crate::fuzz::Canned;
    use crate::serve::buffers::Buffers;

    /// Its slow twin is one string of bytes.
    #[test]
    fn every_byte_leaves_once_and_in_order_however_little_goes_at_once() {
        for most in [1, 2, 3, 7, 100, 5000, 100_000] {
            let (mut outbox, mut buffers) = (Outbox::default(), Buffers::default());
            let mut stream = Canned::new(Vec::new(), 1, most);
            let mut expected = Vec::new();
            for turn in 0..200_u8 {
                let head = vec![turn; usize::from(turn % 5)];
                outbox.write(|out| out.extend_from_slice(&head));
                expected.extend_from_slice(&head);
                if turn % 3 == 0 {
                    let data = vec![255 - turn; usize::from(turn) * 20 + 1];
                    let memory = buffers.take(data.len()).unwrap();
                    assert!(memory.whole().copy_from(&data));
                    outbox.data(memory, data.len());
                    expected.extend_from_slice(&data);
                }
                if turn % 2 == 0 && !outbox.is_empty() {
                    outbox.send(&mut stream, &mut buffers).unwrap();
                }
            }
            while !outbox.is_empty() {
                outbox.send(&mut stream, &mut buffers).unwrap();
            }
            assert!(*stream.sent().borrow() == expected, "at most {most} at once");
            assert_eq!((buffers.out_bytes(), outbox.waiting()), (0, 0));
        }
    }
}
