//! Replies, byte by byte, by doc/proto.md.
//!
//! What must hold: the layouts are the protocol's, and each length is that of what follows.

use super::{Allocation, MAX_EXTENTS, Session};
use crate::wire::{Cookie, Errno, Request};
use foldback_units::Sectors;

const SIMPLE: Session = Session { size: Sectors(8), read_only: false, structured: false, contexts: false };
const STRUCTURED: Session = Session { structured: true, contexts: true, ..SIMPLE };
const COOKIE: Cookie = Cookie(0x0102_0304_0506_0708);

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// "S: 32 bits, 0x67446698, magic; S: 32 bits, error (MAY be zero); S: 64 bits, handle; S: (length bytes of data if the
/// request is of type `NBD_CMD_READ`)".
#[test]
fn simple_replies() {
    let golden = b"\x67\x44\x66\x98\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08";
    assert_eq!(written(|out| SIMPLE.done(COOKIE, false, out)), golden);
    assert_eq!(written(|out| SIMPLE.done(COOKIE, true, out)), golden);
    assert_eq!(written(|out| SIMPLE.data(COOKIE, 512, 4096, out)), golden);
    let failed = written(|out| SIMPLE.error(COOKIE, Errno::Space, "full", Some(7), out));
    assert_eq!(failed, b"\x67\x44\x66\x98\0\0\0\x1c\x01\x02\x03\x04\x05\x06\x07\x08");
}

/// "S: 32 bits, 0x668e33ef, magic; S: 16 bits, flags; S: 16 bits, type; S: 64 bits, handle; S: 32 bits, length of payload".
#[test]
fn a_read_is_one_final_chunk() {
    let head = written(|out| STRUCTURED.data(COOKIE, 512, 4096, out));
    let golden =
        b"\x66\x8e\x33\xef\0\x01\0\x01\x01\x02\x03\x04\x05\x06\x07\x08\0\0\x10\x08\0\0\0\0\0\0\x02\0";
    assert_eq!(head, golden);
}

/// "the server [...] MUST NOT use a simple reply for `NBD_CMD_READ`"; `NBD_REPLY_TYPE_NONE`: "MUST always be used with the
/// `NBD_REPLY_FLAG_DONE` bit set".
#[test]
fn a_read_of_nothing_is_structured_and_other_successes_are_simple() {
    let golden = b"\x66\x8e\x33\xef\0\x01\0\0\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0";
    assert_eq!(written(|out| STRUCTURED.done(COOKIE, true, out)), golden);
    assert_eq!(written(|out| STRUCTURED.done(COOKIE, false, out)).len(), 16);
}

/// "32 bits: error (MUST be nonzero); 16 bits: message length; *message length* bytes: optional string; 64 bits: offset".
#[test]
fn errors_carry_a_sentence_and_the_place() {
    let without = written(|out| STRUCTURED.error(COOKIE, Errno::Invalid, "no", None, out));
    assert_eq!(without[6..8], [0x80, 1]);
    assert_eq!(without[16..], *b"\0\0\0\x08\0\0\0\x16\0\x02no");
    let with = written(|out| STRUCTURED.error(COOKIE, Errno::Io, "no", Some(513), out));
    assert_eq!(with[6..8], [0x80, 2]);
    assert_eq!(with[16..], *b"\0\0\0\x10\0\0\0\x05\0\x02no\0\0\0\0\0\0\x02\x01");
}

/// "*message length* MUST NOT exceed the 4096 bytes string length limit"; of whole characters.
#[test]
fn a_long_sentence_is_cut() {
    let long = written(|out| STRUCTURED.error(COOKIE, Errno::Io, &"\u{e4}x".repeat(2000), None, out));
    assert_eq!(long.len(), 20 + 6 + 4095);
    assert!(std::str::from_utf8(&long[26..]).is_ok());
}

fn status(length: u32, one: bool, known: &[(Sectors, Allocation)]) -> Vec<(u32, u8)> {
    let request = Request { flags: 0, command: 7, cookie: COOKIE, offset: 0, length };
    let reply = written(|out| STRUCTURED.status(&request, one, known, out));
    assert_eq!(reply[4..8], [0, 1, 0, 5]);
    assert_eq!(reply[20..24], [0, 0, 0, 1], "the number of the context");
    let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    assert_eq!(number(&reply[16..20]) as usize, reply.len() - 20);
    reply[24..].chunks(8).map(|extent| (number(&extent[..4]), extent[7])).collect()
}

const D: Allocation = Allocation::DATA;
const A: Allocation = Allocation::ABSENT;

/// "The server SHOULD use different *status* values between consecutive descriptors"; "32 bits, length of the extent to which
/// the status below applies (unsigned, MUST be nonzero)". The last one might reach behind the request; ours does not.
#[test]
fn extents_are_joined_and_cut() {
    let known = [(Sectors(1), D), (Sectors(1), D), (Sectors(0), A), (Sectors(2), A), (Sectors(9), D)];
    assert_eq!(status(2560, false, &known), [(1024, 0), (1024, 3), (512, 0)]);
    assert_eq!(status(512, false, &[(Sectors(u64::MAX), A)]), [(512, 3)]);
    let only = |hole, zero| status(512, false, &[(Sectors(1), Allocation { hole, zero })]);
    assert_eq!((only(true, false), only(false, true)), (vec![(512, 1)], vec![(512, 2)]));
}

/// `NBD_CMD_FLAG_REQ_ONE`: "every reply chunk MUST contain exactly one descriptor, and that descriptor MUST NOT exceed the
/// *length* of the original request".
#[test]
fn one_extent_where_one_is_asked_for() {
    assert_eq!(status(4096, true, &[(Sectors(1), A), (Sectors(1), A), (Sectors(1), D)]), [(1024, 3)]);
}

/// "a server MAY always safely report a status of 0 for any block".
#[test]
fn where_nothing_is_known_there_may_be_data() {
    assert_eq!(status(4096, false, &[]), [(4096, 0)]);
}

#[test]
fn extents_are_bounded() {
    let known: Vec<_> =
        (0..2 * MAX_EXTENTS).map(|at| (Sectors(1), if at % 2 == 0 { D } else { A })).collect();
    assert_eq!(status(u32::MAX - 511, false, &known).len(), MAX_EXTENTS);
}
