//! Sessions over sockets.
//!
//! What must hold:
//! - Every command does to the volume what it says, with simple and with structured replies.
//! - Answers come in the order of completion.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing
)]

mod rig;

use foldback_engine::RequestKind;
use foldback_frontend_nbd::fuzz::{Reply, option, option_replies};
use foldback_frontend_nbd::{End, State};
use foldback_user_dm::{Fault, IoError};
use rig::{BLOCK_STATUS, DISC, FLUSH, FUA, Played, READ, TRIM, WRITE, WRITE_ZEROES, both};

#[test]
fn a_whole_session() {
    both(|mut played| {
        let data: Vec<u8> = (0..8192_u32).map(|at| (at / 7) as u8).collect();
        played.request(WRITE, FUA, 1, 4096, 8192, &data);
        assert!(played.volumes.disk.iter().all(|byte| *byte == 0), "before it is carried out");
        played.complete();
        played.succeeds(1, &[]);
        assert!(played.volumes.disk[4096..12288] == data);
        played.request(READ, 0, 2, 4608, 4096, &[]);
        played.complete();
        played.succeeds(2, &data[512..4608]);
        for (cookie, command, flags) in [(3, WRITE_ZEROES, FUA), (4, TRIM, 0), (5, FLUSH, 0)] {
            played.request(command, flags, cookie, if command == FLUSH { 0 } else { 4096 }, 512, &[]);
            played.complete();
            played.succeeds(cookie, &[]);
        }
        assert!(played.volumes.disk[4096..4608].iter().all(|byte| *byte == 0));
        let kinds: Vec<RequestKind> = played.volumes.seen.iter().map(|(kind, _)| *kind).collect();
        let fua = true;
        let expected = [
            RequestKind::Write { fua },
            RequestKind::Read,
            RequestKind::WriteZeroes { fua },
            RequestKind::Discard,
            RequestKind::Flush,
        ];
        assert_eq!(kinds, expected);
        played.request(DISC, 0, 6, 0, 0, &[]);
        assert_eq!(played.ends().unwrap(), End::Disconnected.to_string());
    });
}

#[test]
fn block_status_needs_structured_replies_and_tells_extents() {
    both(|mut played| {
        played.request(BLOCK_STATUS, 0, 9, 4096, 8192, &[]);
        if !played.structured {
            return played.fails(9, 22);
        }
        let (Reply::Chunk { cookie: 9, flags: 1, kind: 5, payload }, _) = played.reply(0) else {
            panic!("not a status")
        };
        assert_eq!(payload, b"\0\0\0\x01\0\0\x10\0\0\0\0\x03\0\0\x10\0\0\0\0\0");
        played.request(BLOCK_STATUS, 1 << 3, 9, 4096, 8192, &[]);
        let (Reply::Chunk { payload, .. }, _) = played.reply(0) else { panic!("not a status") };
        assert_eq!(payload.len(), 12);
    });
}

/// A request that moves no data may be longer than any that does; the volume sees pieces, one after the other, and the client
/// one answer.
#[test]
fn what_moves_no_data_reaches_the_volume_in_bounded_pieces() {
    const PIECE: u64 = 65_536;
    for structured in [false, true] {
        for (command, flags, kind) in
            [(WRITE_ZEROES, FUA, RequestKind::WriteZeroes { fua: true }), (TRIM, 0, RequestKind::Discard)]
        {
            let mut played = Played::entered(3 * PIECE, "vg/lv", structured);
            played.volumes.disk.fill(7);
            played.request(command, flags, 1, 4096, ((2 * PIECE + 8) * 512) as u32, &[]);
            played.request(READ, 0, 2, 0, 512, &[]);
            for piece in 0..3 {
                assert_eq!(played.volumes.unanswered(), if piece == 0 { 2 } else { 1 });
                played.receive();
                assert_eq!(played.got.is_empty(), piece == 0, "the read alone is answered");
                played.complete();
                if piece == 0 {
                    played.complete();
                }
            }
            let seen: Vec<_> = played.volumes.seen.iter().filter(|(other, _)| *other == kind).collect();
            let ranges: Vec<_> =
                seen.iter().map(|(_, range)| (range.start().get(), range.len().get())).collect();
            assert_eq!(ranges, [(8, PIECE), (8 + PIECE, PIECE), (8 + 2 * PIECE, 8)]);
            let (second, data) = played.reply(512);
            assert_eq!((second.cookie(), data), (2, vec![7; 512]));
            let (first, _) = played.reply(0);
            assert_eq!(first.cookie(), 1);
            assert!(played.got.is_empty());
        }
    }
}

#[test]
fn a_piece_that_fails_is_the_last_and_one_of_a_client_that_is_gone_too() {
    for gone in [false, true] {
        let mut played = Played::entered(3 * 65_536, "vg/lv", true);
        played.request(WRITE_ZEROES, 0, 1, 0, 3 * (32 << 20), &[]);
        played.complete();
        if gone {
            assert_eq!(played.connection.abandon(&mut played.volumes), State::Draining);
            played.complete();
        } else {
            played.volumes.fails = Some(IoError::Fault(Fault::Device));
            played.complete();
            played.fails(1, 5);
        }
        assert_eq!((played.volumes.seen.len(), played.volumes.unanswered()), (2, 0));
        assert_eq!(played.connection.under_way(), 0);
    }
}

/// "Replies need not be sent in the same order as requests".
#[test]
fn answers_come_in_the_order_of_completion() {
    both(|mut played| {
        played.volumes.disk[512] = 7;
        for cookie in [1, 2, 3] {
            played.request(READ, 0, cookie, 512 * (cookie - 1), 512, &[]);
        }
        let mut second = vec![0; 512];
        second[0] = 7;
        for (nth, cookie, data) in [(1, 2, &second), (1, 3, &vec![0; 512]), (0, 1, &vec![0; 512])] {
            let (ticket, outcome) = played.volumes.complete(nth).unwrap();
            assert!(played.connection.answer(ticket, outcome));
            played.drive();
            played.succeeds(cookie, data);
        }
    });
}

#[test]
fn errors_of_the_volume_reach_the_client() {
    both(|mut played| {
        let errors = [
            (IoError::Fault(Fault::Device), 5),
            (IoError::Fault(Fault::Invalid), 5),
            (IoError::Range, 22),
            (IoError::ReadOnly, 1),
            (IoError::NoDevice, 108),
        ];
        for (error, number) in errors {
            played.volumes.fails = Some(error);
            for (command, data) in [(READ, &[][..]), (WRITE, &[7; 512]), (FLUSH, &[])] {
                let length = if command == FLUSH { 0 } else { 512 };
                played.request(command, 0, 77, 0, length, data);
                played.complete();
                played.fails(77, number);
            }
        }
    });
}

/// A refused write is skipped with its data, so that the next request is found.
#[test]
fn refused_requests_leave_the_session_whole() {
    both(|mut played| {
        let data = vec![0xab; 33 << 20];
        for (command, offset, length, number) in [
            (WRITE, 4096 * 512, 512, 28),
            (WRITE, 1, 512, 22),
            (WRITE, 0, 33 << 20, 22),
            (READ, 4096 * 512, 512, 22),
            (WRITE_ZEROES, 4096 * 512, 512, 28),
            (99, 0, 512, 22),
        ] {
            let data = if command == WRITE { &data[..length as usize] } else { &[] };
            played.request(command, 0, 5, offset, length, data);
            played.fails(5, number);
        }
        assert!(played.volumes.seen.is_empty());
        played.request(READ, 0, 6, 0, 0, &[]);
        let (reply, _) = played.reply(0);
        assert_eq!((reply.cookie(), matches!(reply, Reply::Chunk { kind: 0, .. })), (6, played.structured));
        played.request(DISC, 0, 0, 0, 0, &[]);
        played.ends();
    });
}

#[test]
fn a_read_only_export_refuses_writes() {
    let mut played = Played::entered(64, "vg/ro", true);
    played.request(WRITE, 0, 1, 0, 512, &[1; 512]);
    played.fails(1, 1);
    played.request(READ, 0, 2, 0, 512, &[]);
    played.complete();
    played.succeeds(2, &[0; 512]);
}

/// Options before an export is entered, over the socket.
#[test]
fn a_handshake_of_several_options() {
    let mut played = Played::connected(64);
    let mut bytes = vec![0, 0, 0, 3];
    option(3, b"", &mut bytes);
    option(6, b"\0\0\0\x07vg/busy\0\0", &mut bytes);
    option(7, b"\0\0\0\x02no\0\0", &mut bytes);
    option(6, b"\0\0\0\0\0\x01\0\x01", &mut bytes);
    option(2, b"", &mut bytes);
    played.send(&bytes);
    assert_eq!(played.drive(), State::Ended);
    played.receive();
    let (replies, rest) = option_replies(&played.got).unwrap();
    assert!(rest.is_empty());
    let kinds: Vec<(u32, u32)> = replies.iter().map(|(option, kind, _)| (*option, *kind & 0xffff)).collect();
    let expected = [(3, 2), (3, 2), (3, 1), (6, 2), (7, 6), (6, 3), (6, 3), (6, 3), (6, 1), (2, 1)];
    assert_eq!(kinds, expected);
    assert_eq!(replies[6].2, b"\0\x01vg/lv", "the default export has a name");
    assert_eq!(played.volumes.users(), 0);
}

#[test]
fn an_export_that_cannot_be_had_by_its_name_ends_it() {
    let mut played = Played::connected(64);
    let mut bytes = vec![0, 0, 0, 3];
    option(1, b"vg/busy", &mut bytes);
    played.send(&bytes);
    assert_eq!(played.drive(), State::Ended);
    assert!(played.connection.end().is_some_and(|end| end.to_string().contains("EXPORT_NAME")));
}
