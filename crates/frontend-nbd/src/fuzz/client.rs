//! The client's side: bytes that it sends, a stream that plays them, and what it reads.
//!
//! What must hold:
//! - It shares no code with the server but the layout of a request: replies are taken apart by their numbers.

use crate::serve::Stream;
use foldback_device::Slice;
use foldback_device::socket::Outgoing;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use zerocopy::FromBytes;
use zerocopy::network_endian::{U16, U32, U64};

/// A stream that has been recorded, given out and taken in pieces.
#[derive(Debug)]
pub struct Canned {
    input: Vec<u8>,
    at: usize,
    receive: usize,
    send: usize,
    sent: Rc<RefCell<Vec<u8>>>,
}

impl Canned {
    /// Gives out `input`, at most `receive` bytes at once, and then ends; takes at most `send` bytes at once.
    pub fn new(input: Vec<u8>, receive: usize, send: usize) -> Self {
        Self { input, at: 0, receive, send, sent: Rc::default() }
    }

    /// What the server has sent.
    pub fn sent(&self) -> Rc<RefCell<Vec<u8>>> {
        Rc::clone(&self.sent)
    }

    fn next(&mut self, room: usize) -> &[u8] {
        let len = room.min(self.receive).min(self.input.len() - self.at);
        self.at += len;
        &self.input[self.at - len..self.at]
    }
}

impl Stream for Canned {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        assert!(!into.is_empty());
        let bytes = self.next(into.len());
        into[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn receive_into(&mut self, into: &Slice) -> io::Result<usize> {
        assert!(!into.is_empty());
        let bytes = self.next(into.len());
        assert!(into.copy_from(bytes));
        Ok(bytes.len())
    }

    fn send(&mut self, pieces: &[Outgoing<'_>]) -> io::Result<usize> {
        let mut sent = self.sent.borrow_mut();
        let before = sent.len();
        for piece in pieces {
            assert!(!piece.is_empty());
            match piece {
                Outgoing::Bytes(bytes) => sent.extend_from_slice(bytes),
                Outgoing::Memory(slice) => sent.extend(slice.to_vec()),
            }
        }
        sent.truncate(before + self.send);
        Ok(sent.len() - before)
    }
}

/// Appends an option.
pub fn option(number: u32, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"IHAVEOPT");
    out.extend_from_slice(&U32::new(number).to_bytes());
    out.extend_from_slice(&U32::new(u32::try_from(data.len()).expect("short")).to_bytes());
    out.extend_from_slice(data);
}

/// Appends a whole handshake that enters an export; with structured replies it selects `base:allocation`, too.
pub fn greeted(out: &mut Vec<u8>, name: &str, structured: bool) {
    let text = |text: &str| {
        let len = u32::try_from(text.len()).expect("short");
        [&U32::new(len).to_bytes()[..], text.as_bytes()].concat()
    };
    out.extend_from_slice(&U32::new(3).to_bytes());
    if structured {
        option(8, &[], out);
        let query = [text(name), U32::new(1).to_bytes().to_vec(), text("base:allocation")].concat();
        option(10, &query, out);
    }
    option(7, &[text(name), vec![0, 0]].concat(), out);
}

/// A reply of the transmission, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Without data.
    Simple {
        /// The request's number.
        cookie: u64,
        /// 0 for success.
        error: u32,
    },
    /// One chunk.
    Chunk {
        /// The request's number.
        cookie: u64,
        /// Its flags.
        flags: u16,
        /// Its type.
        kind: u16,
        /// What it carries.
        payload: Vec<u8>,
    },
}

impl Reply {
    /// The request's number.
    pub fn cookie(&self) -> u64 {
        match self {
            Self::Simple { cookie, .. } | Self::Chunk { cookie, .. } => *cookie,
        }
    }
}

/// Takes one reply without data, or one chunk, from the start.
pub fn reply(bytes: &[u8]) -> Option<(Reply, &[u8])> {
    let (magic, rest) = U32::read_from_prefix(bytes).ok()?;
    match magic.get() {
        0x6744_6698 => {
            let (error, rest) = U32::read_from_prefix(rest).ok()?;
            let (cookie, rest) = U64::read_from_prefix(rest).ok()?;
            Some((Reply::Simple { cookie: cookie.get(), error: error.get() }, rest))
        }
        0x668e_33ef => {
            let (flags, rest) = U16::read_from_prefix(rest).ok()?;
            let (kind, rest) = U16::read_from_prefix(rest).ok()?;
            let (cookie, rest) = U64::read_from_prefix(rest).ok()?;
            let (len, rest) = U32::read_from_prefix(rest).ok()?;
            let (payload, rest) = rest.split_at_checked(usize::try_from(len.get()).ok()?)?;
            let (cookie, payload) = (cookie.get(), payload.to_vec());
            Some((Reply::Chunk { cookie, flags: flags.get(), kind: kind.get(), payload }, rest))
        }
        _ => None,
    }
}

/// All replies behind a handshake of [`greeted`] with structured replies; `None` where they do not come out even.
pub fn replies(sent: &[u8]) -> Option<Vec<Reply>> {
    let mut rest = option_replies(sent)?.1;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (one, behind) = reply(rest)?;
        all.push(one);
        rest = behind;
    }
    Some(all)
}

/// An option's number, its reply's type, and the reply's data.
pub type OptionReply = (u32, u32, Vec<u8>);

/// The replies to options behind the greeting, and what follows them.
pub fn option_replies(sent: &[u8]) -> Option<(Vec<OptionReply>, &[u8])> {
    let mut rest = sent.get(18..)?;
    let mut all = Vec::new();
    while let Ok((magic, behind)) = U64::read_from_prefix(rest)
        && magic.get() == 0x0003_e889_0455_65a9
    {
        let (option, behind) = U32::read_from_prefix(behind).ok()?;
        let (kind, behind) = U32::read_from_prefix(behind).ok()?;
        let (len, behind) = U32::read_from_prefix(behind).ok()?;
        let (data, behind) = behind.split_at_checked(usize::try_from(len.get()).ok()?)?;
        all.push((option.get(), kind.get(), data.to_vec()));
        rest = behind;
    }
    Some((all, rest))
}
