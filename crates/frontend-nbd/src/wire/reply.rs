//! Everything that a server sends behind its greeting, appended to a buffer.
//!
//! What must hold:
//! - A length that is sent is the length of what follows: both come from the same value.
//! - Strings are cut at 4096 bytes, between characters.
//! - A read is answered by a structured reply wherever structured replies were negotiated, errors included.

use super::export::{Allocation, Export};
use super::numbers::{
    BASE_ALLOCATION, BLOCK_MAXIMUM, BLOCK_MINIMUM, BLOCK_PREFERRED, CONTEXT_ID, Errno, OPTION_REPLY,
    SIMPLE_REPLY, STATE_HOLE, STATE_ZERO, STRUCTURED_REPLY, chunk, info, opt, rep,
};
use super::option::{ExportWish, MAX_STRING};
use super::request::{Cookie, Request};
use super::session::Session;
use foldback_units::Sectors;
use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

/// The most extents in one answer; a client asks again for what is missing.
pub const MAX_EXTENTS: usize = 1024;

macro_rules! raw {
    ($name:ident { $($field:ident: $type:ty),* } is $bytes:literal) => {
        #[derive(IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
        #[repr(C)]
        struct $name { $($field: $type),* }
        const _: () = assert!(size_of::<$name>() == $bytes);
    };
}
raw!(RawOptionReply { magic: U64, option: U32, kind: U32, len: U32 } is 20);
raw!(RawExportName { size: U64, flags: U16 } is 10);
raw!(RawExportInfo { kind: U16, size: U64, flags: U16 } is 12);
raw!(RawBlockInfo { kind: U16, minimum: U32, preferred: U32, maximum: U32 } is 14);
raw!(RawSimple { magic: U32, error: U32, cookie: U64 } is 16);
raw!(RawChunk { magic: U32, flags: U16, kind: U16, cookie: U64, len: U32 } is 20);
raw!(RawError { error: U32, message_len: U16 } is 6);
raw!(RawExtent { len: U32, flags: U32 } is 8);

/// A length as it is sent. What is sent is bounded far below.
fn sent(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_STRING)).unwrap_or(text)
}

/// A reply to an option.
pub(crate) fn option(option: u32, kind: u32, data: &[u8], out: &mut Vec<u8>) {
    option_of(option, kind, &[data], out);
}

fn option_of(option: u32, kind: u32, data: &[&[u8]], out: &mut Vec<u8>) {
    let len = data.iter().map(|part| part.len()).fold(0, usize::saturating_add);
    let head = RawOptionReply {
        magic: U64::new(OPTION_REPLY),
        option: U32::new(option),
        kind: U32::new(kind),
        len: U32::new(sent(len)),
    };
    out.extend_from_slice(head.as_bytes());
    for part in data {
        out.extend_from_slice(part);
    }
}

/// One export of a list.
pub(crate) fn server(export: &Export, out: &mut Vec<u8>) {
    let (name, description) = (cut(&export.name), cut(&export.description));
    let len = U32::new(sent(name.len()));
    option_of(opt::LIST, rep::SERVER, &[len.as_bytes(), name.as_bytes(), description.as_bytes()], out);
}

/// What is told of an export: its size and blocks always, the rest where it is wanted.
pub(crate) fn infos(option: u32, export: &Export, flags: u16, wish: &ExportWish, out: &mut Vec<u8>) {
    let size = RawExportInfo {
        kind: U16::new(info::EXPORT),
        size: U64::new(export.bytes()),
        flags: U16::new(flags),
    };
    option_of(option, rep::INFO, &[size.as_bytes()], out);
    for (wanted, kind, text) in [
        (wish.with_name, info::NAME, &export.name),
        (wish.with_description, info::DESCRIPTION, &export.description),
    ] {
        if wanted {
            option_of(option, rep::INFO, &[U16::new(kind).as_bytes(), cut(text).as_bytes()], out);
        }
    }
    let blocks = RawBlockInfo {
        kind: U16::new(info::BLOCK_SIZE),
        minimum: U32::new(BLOCK_MINIMUM),
        preferred: U32::new(BLOCK_PREFERRED),
        maximum: U32::new(BLOCK_MAXIMUM),
    };
    option_of(option, rep::INFO, &[blocks.as_bytes()], out);
}

/// The one metadata context; its number only means something where it was selected.
pub(crate) fn context(option: u32, set: bool, out: &mut Vec<u8>) {
    let id = U32::new(if set { CONTEXT_ID } else { 0 });
    option_of(option, rep::META_CONTEXT, &[id.as_bytes(), BASE_ALLOCATION.as_bytes()], out);
}

/// The reply to `NBD_OPT_EXPORT_NAME`, the one without a head.
pub(crate) fn export_name(export: &Export, flags: u16, zeroes: usize, out: &mut Vec<u8>) {
    let head = RawExportName { size: U64::new(export.bytes()), flags: U16::new(flags) };
    out.extend_from_slice(head.as_bytes());
    out.resize(out.len().saturating_add(zeroes), 0);
}

fn simple(cookie: Cookie, error: u32, out: &mut Vec<u8>) {
    let reply =
        RawSimple { magic: U32::new(SIMPLE_REPLY), error: U32::new(error), cookie: U64::new(cookie.0) };
    out.extend_from_slice(reply.as_bytes());
}

/// The only, and so the last, chunk of a reply.
fn chunk(cookie: Cookie, kind: u16, len: usize, out: &mut Vec<u8>) {
    let head = RawChunk {
        magic: U32::new(STRUCTURED_REPLY),
        flags: U16::new(chunk::DONE),
        kind: U16::new(kind),
        cookie: U64::new(cookie.0),
        len: U32::new(sent(len)),
    };
    out.extend_from_slice(head.as_bytes());
}

impl Session {
    /// The head of a read's answer; its `len` bytes follow. One chunk, so "don't fragment" is kept without being asked for.
    pub fn data(&self, cookie: Cookie, offset: u64, len: usize, out: &mut Vec<u8>) {
        if self.structured {
            chunk(cookie, chunk::OFFSET_DATA, len.saturating_add(size_of::<U64>()), out);
            out.extend_from_slice(U64::new(offset).as_bytes());
        } else {
            simple(cookie, 0, out);
        }
    }

    /// Success without data; `read` where it was a read, of nothing.
    pub fn done(&self, cookie: Cookie, read: bool, out: &mut Vec<u8>) {
        if self.structured && read {
            chunk(cookie, chunk::NONE, 0, out);
        } else {
            simple(cookie, 0, out);
        }
    }

    /// An error, with a sentence where the reply has room for it, and with the place where there is one.
    pub fn error(&self, cookie: Cookie, error: Errno, why: &str, at: Option<u64>, out: &mut Vec<u8>) {
        if !self.structured {
            return simple(cookie, error.code(), out);
        }
        let why = cut(why);
        let head = RawError {
            error: U32::new(error.code()),
            message_len: U16::new(u16::try_from(why.len()).unwrap_or(u16::MAX)),
        };
        let place = at.map(U64::new);
        let kind = if at.is_some() { chunk::ERROR_OFFSET } else { chunk::ERROR };
        let len = [size_of::<RawError>(), why.len(), place.map_or(0, |_| size_of::<U64>())];
        chunk(cookie, kind, len.into_iter().fold(0, usize::saturating_add), out);
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(why.as_bytes());
        if let Some(place) = place {
            out.extend_from_slice(place.as_bytes());
        }
    }

    /// What is known of a request's sectors, from its first on: neighbours that are alike are told as one, and what reaches
    /// behind the request is cut. Where nothing is told, there may be data.
    pub fn status(&self, request: &Request, one: bool, known: &[(Sectors, Allocation)], out: &mut Vec<u8>) {
        let most = if one { 1 } else { MAX_EXTENTS };
        let mut extents: Vec<RawExtent> = Vec::with_capacity(known.len().min(most));
        let mut left = request.length;
        for (len, allocation) in known {
            let bytes = len
                .to_bytes()
                .and_then(|bytes| u32::try_from(bytes.get()).ok())
                .unwrap_or(u32::MAX)
                .min(left);
            let hole = if allocation.hole { STATE_HOLE } else { 0 };
            let flags = hole | if allocation.zero { STATE_ZERO } else { 0 };
            left = left.saturating_sub(bytes);
            if bytes == 0 {
                continue;
            }
            let full = extents.len() == most;
            match extents.last_mut() {
                // Cannot overflow: all of them together are no longer than the request.
                Some(last) if last.flags.get() == flags => {
                    last.len = U32::new(last.len.get().saturating_add(bytes));
                }
                _ if full => break,
                _ => extents.push(RawExtent { len: U32::new(bytes), flags: U32::new(flags) }),
            }
        }
        if extents.is_empty() {
            extents.push(RawExtent { len: U32::new(request.length), flags: U32::new(0) });
        }
        let bytes = extents.as_slice().as_bytes();
        chunk(request.cookie, chunk::BLOCK_STATUS, bytes.len().saturating_add(size_of::<U32>()), out);
        out.extend_from_slice(U32::new(CONTEXT_ID).as_bytes());
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
