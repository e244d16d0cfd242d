//! A client and a server over a pair of sockets, in one thread.
//!
//! What must hold:
//! - Every command does to the volume what it says, with simple and with structured replies.
//! - Answers come in the order of completion.
//! - Bounds stop the reading, and nothing is lost by that.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing
)]

use foldback_engine::RequestKind;
use foldback_frontend_nbd::fuzz::{FakeVolumes, Reply, greeted, option, option_replies, reply};
use foldback_frontend_nbd::wire::{Cookie, Request};
use foldback_frontend_nbd::{Connection, End, Interest, MAX_BYTES, MAX_REQUESTS, Ready, State};
use foldback_user_dm::{Fault, IoError, Ticket};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISC: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;
const BLOCK_STATUS: u16 = 7;
const FUA: u16 = 1;

/// Both sides. The client's side never waits, either: what it sends must fit, or be pushed.
struct Played {
    client: UnixStream,
    connection: Connection<UnixStream>,
    volumes: FakeVolumes,
    /// What the client has received.
    got: Vec<u8>,
    structured: bool,
}

const EVENTS: Ready = Ready { read: true, write: true, hangup: false };

impl Played {
    fn connected(sectors: u64) -> Self {
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let connection = Connection::new(server);
        let volumes = FakeVolumes::new(sectors);
        Self { client, connection, volumes, got: Vec::new(), structured: false }
    }

    /// In the export of this name.
    fn entered(sectors: u64, name: &str, structured: bool) -> Self {
        let mut played = Self::connected(sectors);
        played.structured = structured;
        let mut bytes = Vec::new();
        greeted(&mut bytes, name, structured);
        played.client.write_all(&bytes).unwrap();
        assert_eq!(played.drive(), State::Open);
        played.receive();
        let (_, rest) = option_replies(&played.got).unwrap();
        assert!(rest.is_empty());
        played.got.clear();
        played
    }

    fn drive(&mut self) -> State {
        self.connection.drive(EVENTS, &mut self.volumes)
    }

    /// Sends all of it, driving the server while the socket is full.
    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.client.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    assert!(self.connection.interest().read, "nobody reads any more");
                    self.drive();
                }
                Err(error) => panic!("{error}"),
            }
        }
        self.drive();
    }

    fn request(&mut self, command: u16, flags: u16, cookie: u64, offset: u64, length: u32, data: &[u8]) {
        let request = Request { flags, command, cookie: Cookie(cookie), offset, length };
        self.send(&[&request.encode()[..], data].concat());
    }

    fn receive(&mut self) {
        let mut piece = vec![0; 1 << 20];
        while let Ok(len) = self.client.read(&mut piece)
            && len > 0
        {
            self.got.extend_from_slice(&piece[..len]);
        }
    }

    /// Completes the request that waits longest.
    fn complete(&mut self) {
        let (ticket, outcome) = self.volumes.complete(0).expect("a request waits");
        assert!(self.connection.answer(ticket, outcome));
        self.drive();
    }

    /// One reply; with simple replies `read` bytes of data follow a success.
    fn reply(&mut self, read: usize) -> (Reply, Vec<u8>) {
        self.receive();
        let (one, rest) = reply(&self.got).expect("a whole reply");
        let (one, data, rest) = match one {
            Reply::Simple { error: 0, .. } => (one, rest[..read].to_vec(), &rest[read..]),
            Reply::Chunk { kind: 1, ref payload, .. } => {
                let data = payload[8..].to_vec();
                (one, data, rest)
            }
            _ => (one, Vec::new(), rest),
        };
        self.got = rest.to_vec();
        (one, data)
    }

    /// The request succeeds, and its reply carries this.
    fn succeeds(&mut self, cookie: u64, data: &[u8]) {
        let (reply, got) = self.reply(data.len());
        assert_eq!(reply.cookie(), cookie);
        match reply {
            Reply::Simple { error, .. } => assert_eq!(error, 0),
            Reply::Chunk { flags, kind, .. } => assert_eq!((flags, kind), (1, 1)),
        }
        assert!(got == data, "other data");
        assert!(self.got.is_empty());
    }

    /// The request fails by this number.
    fn fails(&mut self, cookie: u64, number: u8) {
        let (reply, _) = self.reply(0);
        assert_eq!(reply.cookie(), cookie);
        match reply {
            Reply::Simple { error, .. } => assert!(!self.structured && error == u32::from(number)),
            Reply::Chunk { flags, kind, payload, .. } => {
                assert_eq!((flags, kind >> 15, payload[3]), (1, 1, number));
            }
        }
        assert!(self.got.is_empty());
    }

    fn ends(mut self) -> Option<String> {
        assert_eq!(self.drive(), State::Ended);
        assert_eq!((self.volumes.users(), self.volumes.unanswered()), (0, 0));
        assert_eq!(self.connection.interest(), Interest::default());
        self.receive();
        assert!(self.got.is_empty());
        self.connection.end().map(ToString::to_string)
    }
}

fn both(test: impl Fn(Played)) {
    for structured in [false, true] {
        test(Played::entered(4096, "vg/lv", structured));
    }
}

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
fn answers_that_come_together_are_sent_together() {
    both(|mut played| {
        for cookie in 0..MAX_REQUESTS as u64 {
            played.request(READ, 0, cookie, 512 * cookie, 512, &[]);
        }
        while let Some((ticket, outcome)) = played.volumes.complete(0) {
            assert!(played.connection.answer(ticket, outcome));
        }
        played.drive();
        for cookie in 0..MAX_REQUESTS as u64 {
            let (reply, data) = played.reply(512);
            assert_eq!((reply.cookie(), data.len()), (cookie, 512));
        }
        assert!(played.got.is_empty());
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

/// Large data goes straight into its memory, in as many pieces as the socket makes of it.
#[test]
fn large_data_arrives_whole() {
    let len = 32 << 20;
    let mut played = Played::entered(len / 512, "vg/lv", true);
    let data: Vec<u8> = (0..len).map(|at| (at / 1001) as u8).collect();
    played.request(WRITE, 0, 1, 0, len as u32, &data);
    played.complete();
    played.succeeds(1, &[]);
    assert!(played.volumes.disk == data);
    played.request(READ, 0, 2, 0, len as u32, &[]);
    played.complete();
    while played.connection.interest().write {
        played.receive();
        played.drive();
    }
    played.succeeds(2, &data);
}

#[test]
fn bad_magic_ends_the_session_and_what_is_under_way_is_awaited() {
    let mut played = Played::entered(64, "vg/lv", true);
    played.request(READ, 0, 1, 0, 512, &[]);
    played.send(&[0xff; 28]);
    assert_eq!(played.drive(), State::Draining);
    assert!(played.connection.stream().is_none(), "the client sees the end at once");
    assert_eq!(played.volumes.users(), 1);
    let (ticket, outcome) = played.volumes.complete(0).unwrap();
    assert!(played.connection.answer(ticket, outcome) && !played.connection.answer(ticket, outcome));
    assert!(played.ends().unwrap().contains("0xffffffff"));
}

/// "The server MUST handle all outstanding requests [...] and close the TCP session."
#[test]
fn a_disconnect_waits_for_what_is_under_way() {
    both(|mut played| {
        played.request(WRITE, 0, 1, 0, 512, &[7; 512]);
        played.request(DISC, 0, 2, 0, 0, &[]);
        assert_eq!(played.drive(), State::Draining);
        played.complete();
        played.succeeds(1, &[]);
        played.ends();
    });
}

#[test]
fn a_client_that_vanishes_in_a_write_has_not_written() {
    let mut played = Played::entered(64, "vg/lv", true);
    played.request(WRITE, 0, 1, 0, 512, &[7; 512]);
    played.request(WRITE, 0, 2, 512, 512, &[7; 511]);
    played.client.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(played.drive(), State::Draining);
    let (ticket, outcome) = played.volumes.complete(0).unwrap();
    assert!(played.connection.answer(ticket, outcome));
    assert_eq!(played.volumes.seen.len(), 1);
    assert_eq!(played.ends().unwrap(), End::Gone.to_string());
}

#[test]
fn a_hangup_ends_what_is_not_read_from() {
    let mut played = Played::entered(64, "vg/lv", false);
    for cookie in 0..=MAX_REQUESTS as u64 {
        played.request(READ, 0, cookie, 0, 512, &[]);
    }
    assert!(!played.connection.interest().read);
    played.client.shutdown(std::net::Shutdown::Both).unwrap();
    let state = played.connection.drive(Ready { hangup: true, ..Ready::default() }, &mut played.volumes);
    assert_eq!((state, played.connection.stream().is_none()), (State::Draining, true));
    while let Some((ticket, outcome)) = played.volumes.complete(0) {
        assert!(played.connection.answer(ticket, outcome));
    }
    assert_eq!(played.volumes.seen.len(), MAX_REQUESTS);
    played.ends();
}

#[test]
fn requests_under_way_are_bounded_and_those_beyond_wait() {
    let mut played = Played::entered(4096, "vg/lv", true);
    for cookie in 0..MAX_REQUESTS as u64 + 50 {
        played.request(FLUSH, 0, cookie, 0, 0, &[]);
    }
    assert_eq!(played.connection.under_way(), MAX_REQUESTS);
    assert!(!played.connection.interest().read);
    for cookie in 0..MAX_REQUESTS as u64 + 50 {
        played.complete();
        played.succeeds(cookie, &[]);
    }
    assert!(played.connection.interest().read);
}

/// A client that asks and never reads: its memory is bounded, and nothing more is read.
#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let len: u32 = 8 << 20;
    let mut played = Played::entered(u64::from(len) / 512, "vg/lv", true);
    let mut asked = 0;
    while played.connection.interest().read {
        played.request(READ, 0, asked, 0, len, &[]);
        asked += 1;
        while let Some((ticket, outcome)) = played.volumes.complete(0) {
            assert!(played.connection.answer(ticket, outcome));
        }
        played.drive();
    }
    assert_eq!(played.volumes.seen.len(), MAX_BYTES / len as usize);
    assert_eq!(played.connection.interest(), Interest { read: false, write: true });
    // Once it reads, everything comes.
    let mut answered = 0;
    while answered < asked {
        played.receive();
        played.drive();
        while let Some((ticket, outcome)) = played.volumes.complete(0) {
            assert!(played.connection.answer(ticket, outcome));
        }
        played.drive();
        played.receive();
        while let Some((one, rest)) = reply(&played.got) {
            assert_eq!(one.cookie(), answered);
            answered += 1;
            played.got = rest.to_vec();
        }
    }
    assert!(played.got.is_empty());
}

#[test]
fn errors_that_nobody_reads_are_bounded_too() {
    let mut played = Played::entered(64, "vg/lv", true);
    let request = Request { flags: 0, command: 99, cookie: Cookie(1), offset: 0, length: 0 }.encode();
    for _ in 0..1_000_000 {
        if !played.connection.interest().read {
            break;
        }
        if played.client.write(&request).is_err() {
            played.drive();
        }
    }
    assert_eq!(played.connection.interest(), Interest { read: false, write: true });
}

#[test]
fn a_stopped_connection_answers_what_is_under_way_and_ends() {
    let mut played = Played::entered(64, "vg/lv", true);
    played.request(READ, 0, 1, 0, 512, &[]);
    played.connection.stop();
    played.request(READ, 0, 2, 0, 512, &[]);
    assert_eq!(played.drive(), State::Draining);
    played.complete();
    played.succeeds(1, &[0; 512]);
    assert_eq!(played.ends().unwrap(), End::Stopped.to_string());
}

#[test]
fn an_abandoned_connection_gives_back_its_volume_with_its_last_answer() {
    let mut played = Played::entered(64, "vg/lv", true);
    played.request(READ, 0, 1, 0, 512, &[]);
    assert_eq!(played.connection.abandon(&mut played.volumes), State::Draining);
    let (ticket, outcome) = played.volumes.complete(0).unwrap();
    assert!(!played.connection.answer(Ticket(u64::MAX), outcome));
    assert!(played.connection.answer(ticket, outcome));
    played.ends();
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
