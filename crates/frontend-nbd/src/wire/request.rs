//! The head of a request, as it lies on the stream.
//!
//! ```text
//! | magic | flags | command | cookie | offset | length | data of a write ... |
//! ```
//!
//! What must hold:
//! - Without its magic nothing of it is believed: where the next one begins is unknown then.

use super::numbers::{self, cmd};
use super::violation::Violation;
use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The length of a request without its data, in bytes.
pub const REQUEST_BYTES: usize = size_of::<RawRequest>();

/// The client's number of a request, given back in its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cookie(pub u64);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawRequest {
    magic: U32,
    flags: U16,
    command: U16,
    cookie: U64,
    offset: U64,
    length: U32,
}
const _: () = assert!(size_of::<RawRequest>() == 28);
const _: () = assert!(std::mem::offset_of!(RawRequest, offset) == 16);

/// A request whose numbers were not looked at yet ([`super::Session::admit`] does).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// `NBD_CMD_FLAG_*`.
    pub flags: u16,
    /// `NBD_CMD_*`.
    pub command: u16,
    /// The client's number of it.
    pub cookie: Cookie,
    /// Bytes from the export's start.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

impl Request {
    /// Decodes the first [`REQUEST_BYTES`] of `input`; `None` asks for more bytes.
    ///
    /// # Errors
    /// Bytes that are no request.
    pub fn decode(input: &[u8]) -> Result<Option<Self>, Violation> {
        let Ok((raw, _)) = RawRequest::read_from_prefix(input) else { return Ok(None) };
        if raw.magic.get() != numbers::REQUEST {
            return Err(Violation::RequestMagic(raw.magic.get()));
        }
        Ok(Some(Self {
            flags: raw.flags.get(),
            command: raw.command.get(),
            cookie: Cookie(raw.cookie.get()),
            offset: raw.offset.get(),
            length: raw.length.get(),
        }))
    }

    /// As it lies on the stream, for whoever plays a client.
    pub fn encode(&self) -> [u8; REQUEST_BYTES] {
        zerocopy::transmute!(RawRequest {
            magic: U32::new(numbers::REQUEST),
            flags: U16::new(self.flags),
            command: U16::new(self.command),
            cookie: U64::new(self.cookie.0),
            offset: U64::new(self.offset),
            length: U32::new(self.length),
        })
    }

    /// How many bytes of data follow, whether the request is admitted or not.
    pub fn payload(&self) -> u32 {
        if self.command == cmd::WRITE { self.length } else { 0 }
    }

    /// Whether its answer carries data: such an answer is structured wherever that was negotiated.
    pub(crate) fn is_read(&self) -> bool {
        self.command == cmd::READ
    }
}

#[cfg(test)]
mod tests {
    use super::{Cookie, REQUEST_BYTES, Request};
    use crate::wire::Violation;

    const REQUEST: Request = Request {
        flags: 0x0102,
        command: 1,
        cookie: Cookie(0x0304_0506_0708_090a),
        offset: 1 << 40,
        length: 513,
    };

    /// "C: 32 bits, 0x25609513, magic; C: 16 bits, command flags; C: 16 bits, type; C: 64 bits, handle; C: 64 bits, offset
    /// (unsigned); C: 32 bits, length (unsigned)".
    #[test]
    fn golden_bytes() {
        let bytes = REQUEST.encode();
        let golden =
            b"\x25\x60\x95\x13\x01\x02\x00\x01\x03\x04\x05\x06\x07\x08\x09\x0a\0\0\x01\0\0\0\0\0\0\0\x02\x01";
        assert_eq!(&bytes, golden);
        assert_eq!(Request::decode(&bytes), Ok(Some(REQUEST)));
        assert_eq!(REQUEST.payload(), 513);
    }

    #[test]
    fn cut_short_it_asks_for_more() {
        for len in 0..REQUEST_BYTES {
            assert_eq!(Request::decode(&REQUEST.encode()[..len]), Ok(None));
        }
    }

    /// Every flip of a bit is noticed in the magic, and elsewhere changes what was asked for: a stream has no checksum.
    #[test]
    fn flips_of_every_bit() {
        for bit in 0..REQUEST_BYTES * 8 {
            let mut bytes = REQUEST.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match Request::decode(&bytes) {
                Err(Violation::RequestMagic(_)) => assert!(bit < 32),
                decoded => assert!(bit >= 32 && decoded.unwrap().unwrap() != REQUEST),
            }
        }
    }
}
