//! What was received and not taken yet.
//!
//! What must hold:
//! - It never grows: a stream that is not read from fills the peer's side.
//! - One call receives as much as there is room for, so that many small requests cost one system call.

use super::stream::Stream;
use std::io;

/// How many bytes are received at once. Longer than any message that has to lie here whole.
const INPUT_BYTES: usize = 64 << 10;

/// A buffer between a stream and whoever takes messages from it.
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Input({} bytes)", self.filled().len())
    }
}

/// How much a call received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// All that was asked for: there may be more.
    Full,
    /// Less than that: there is no more now.
    Part,
    /// The stream has ended.
    End,
}

impl Received {
    pub(super) fn of(got: usize, asked: usize) -> Self {
        match got {
            0 => Self::End,
            _ if got < asked => Self::Part,
            _ => Self::Full,
        }
    }
}

impl Input {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; INPUT_BYTES], start: 0, end: 0 }
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Takes bytes from the start.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Receives once.
    pub(super) fn fill(&mut self, stream: &mut impl Stream) -> io::Result<Received> {
        if self.start > 0 {
            // What is left is less than a message: little to move.
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end.saturating_sub(self.start));
        }
        let room = self.bytes.get_mut(self.end..).filter(|room| !room.is_empty());
        let room = room.ok_or(io::ErrorKind::WouldBlock)?;
        let got = stream.receive(room)?.min(room.len());
        let received = Received::of(got, room.len());
        self.end = self.end.saturating_add(got);
        Ok(received)
    }
}
