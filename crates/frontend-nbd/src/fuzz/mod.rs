//! The bodies of the fuzz targets, shared with this crate's property tests: each takes any bytes and asserts what must
//! hold for all of them.
//!
//! What must hold:
//! - Nothing panics, whatever a client sends.
//! - The handshake comes to the same however its bytes were cut on their way.
//! - What a client may hold is bounded, and given back in the end.
//! - Only ranges inside the volume reach it; every ticket is answered once; a volume that was opened is closed.
//! - A disconnect is reached wherever the bytes before it are requests, and each of them has one answer, with its own number.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a fuzz target reports by panicking; nothing else calls this module"
)]

mod client;
mod fake;

pub use client::{Canned, OptionReply, Reply, greeted, option, option_replies, replies, reply};
pub use fake::FakeVolumes;

use crate::serve::{Connection, End, MAX_BYTES, MAX_REQUESTS, Ready, State};
use crate::wire::{Handshake, Heard, Request, Violation};

/// Turns until everything has ended: far more than any input needs.
const MAX_TURNS: usize = 100_000;
/// `NBD_CMD_DISC`.
const DISCONNECT: u16 = 2;

/// Any bytes as the client's side of a handshake.
pub fn handshake(bytes: &[u8]) {
    let whole = negotiated(bytes, bytes.len().max(1));
    for cut in [1, 7, 100] {
        assert_eq!(negotiated(bytes, cut), whole, "cut every {cut} bytes");
    }
}

/// What a handshake sends, hears and comes to when `cut` more bytes are there each time.
fn negotiated(bytes: &[u8], cut: usize) -> (Vec<u8>, Vec<Heard>, Option<Violation>) {
    let mut volumes = FakeVolumes::new(64);
    let (mut out, mut all) = (Vec::new(), Vec::new());
    let mut handshake = Handshake::new(&mut out);
    let (mut start, mut end) = (0, 0);
    loop {
        match handshake.advance(&bytes[start..end], &mut out) {
            Ok(None) if end == bytes.len() => return (out, all, None),
            Ok(None) => end = (end + cut).min(bytes.len()),
            Ok(Some((used, heard))) => {
                assert!(used > 0 && used <= end - start);
                start += used;
                if fake::answer(&mut handshake, &heard, &mut volumes, &mut out) {
                    all.push(heard);
                    return (out, all, None);
                }
                // How much is skipped at once depends on the cut.
                if heard != Heard::Nothing {
                    all.push(heard);
                }
            }
            Err(violation) => return (out, all, Some(violation)),
        }
    }
}

/// Any bytes as a whole session; the first four say how it is cut and answered, and whether an export is entered before.
pub fn session(bytes: &[u8]) {
    let Some((choices, bytes)) = bytes.split_first_chunk::<4>() else { return };
    let [entered, gives, takes, order] = *choices;
    let mut input = Vec::new();
    if entered & 1 == 1 {
        greeted(&mut input, "vg/lv", entered & 2 == 2);
    }
    let before = input.len();
    input.extend_from_slice(bytes);
    let mut volumes = FakeVolumes::new(64);
    let canned = Canned::new(input.clone(), usize::from(gives) * 37 + 1, usize::from(takes) * 11 + 1);
    let sent = canned.sent();
    let mut connection = Connection::new(canned);
    for turn in 0.. {
        assert!(turn < MAX_TURNS, "it never ends");
        let ready =
            Ready { read: connection.interest().read, write: connection.interest().write, hangup: false };
        if connection.drive(ready, &mut volumes) == State::Ended {
            break;
        }
        assert!(connection.under_way() <= MAX_REQUESTS && connection.bytes_under_way() <= MAX_BYTES);
        // Some are answered late, so that the bounds and the drain are met.
        if turn % 3 == usize::from(order % 3)
            && let Some((ticket, outcome)) = volumes.complete(usize::from(order) % 5)
        {
            assert!(connection.answer(ticket, outcome), "a ticket of nobody");
            assert!(!connection.answer(ticket, outcome), "a ticket is answered twice");
        }
    }
    assert_eq!((volumes.unanswered(), volumes.users()), (0, 0));
    assert_eq!((connection.under_way(), connection.bytes_under_way()), (0, 0));
    if entered & 1 == 0 {
        return;
    }
    let asked = asked(&input[before..]);
    assert_eq!(
        asked.is_some(),
        matches!(connection.end(), Some(End::Disconnected)),
        "{:?}",
        connection.end()
    );
    if let Some(mut asked) = asked.filter(|_| entered & 2 == 2) {
        let sent = sent.borrow();
        let mut answered: Vec<u64> =
            replies(&sent).expect("whole replies").iter().map(Reply::cookie).collect();
        answered.sort_unstable();
        asked.sort_unstable();
        assert_eq!(answered, asked);
    }
}

/// The numbers of all requests before a disconnect; `None` where it does not come to one.
fn asked(mut bytes: &[u8]) -> Option<Vec<u64>> {
    let mut cookies = Vec::new();
    loop {
        let request = Request::decode(bytes).ok()??;
        if request.command == DISCONNECT {
            return Some(cookies);
        }
        cookies.push(request.cookie.0);
        let len = crate::wire::REQUEST_BYTES + usize::try_from(request.payload()).expect("32 bits");
        bytes = bytes.get(len..)?;
    }
}
