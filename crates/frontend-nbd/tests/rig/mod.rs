//! A client and a server over a pair of sockets, in one thread.
//!
//! What must hold:
//! - Neither side waits: a client that would have to is an error of its test.
//! - A reply that does not come, or has more in it than was asked for, fails the test.
#![allow(dead_code, reason = "each test file uses a part of it")]

use foldback_frontend_nbd::fuzz::{FakeVolumes, Reply, greeted, option_replies, reply};
use foldback_frontend_nbd::wire::{Cookie, Request};
use foldback_frontend_nbd::{Connection, Interest, Ready, State};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;
pub(crate) const WRITE_ZEROES: u16 = 6;
pub(crate) const BLOCK_STATUS: u16 = 7;
pub(crate) const FUA: u16 = 1;

/// Both sides. The client's side never waits, either: what it sends must fit, or be pushed.
pub(crate) struct Played {
    pub(crate) client: UnixStream,
    pub(crate) connection: Connection<UnixStream>,
    pub(crate) volumes: FakeVolumes,
    /// What the client has received.
    pub(crate) got: Vec<u8>,
    pub(crate) structured: bool,
}

pub(crate) const EVENTS: Ready = Ready { read: true, write: true, hangup: false };

impl Played {
    pub(crate) fn connected(sectors: u64) -> Self {
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let connection = Connection::new(server);
        let volumes = FakeVolumes::new(sectors);
        Self { client, connection, volumes, got: Vec::new(), structured: false }
    }

    /// In the export of this name.
    pub(crate) fn entered(sectors: u64, name: &str, structured: bool) -> Self {
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

    pub(crate) fn drive(&mut self) -> State {
        self.connection.drive(EVENTS, &mut self.volumes)
    }

    /// Sends all of it, driving the server while the socket is full.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) {
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

    pub(crate) fn request(
        &mut self,
        command: u16,
        flags: u16,
        cookie: u64,
        offset: u64,
        length: u32,
        data: &[u8],
    ) {
        let request = Request { flags, command, cookie: Cookie(cookie), offset, length };
        self.send(&[&request.encode()[..], data].concat());
    }

    pub(crate) fn receive(&mut self) {
        let mut piece = vec![0; 1 << 20];
        while let Ok(len) = self.client.read(&mut piece)
            && len > 0
        {
            self.got.extend_from_slice(&piece[..len]);
        }
    }

    /// Completes the request that waits longest.
    pub(crate) fn complete(&mut self) {
        let (ticket, outcome) = self.volumes.complete(0).expect("a request waits");
        assert!(self.connection.answer(ticket, outcome));
        self.drive();
    }

    /// One reply; with simple replies `read` bytes of data follow a success.
    pub(crate) fn reply(&mut self, read: usize) -> (Reply, Vec<u8>) {
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
    pub(crate) fn succeeds(&mut self, cookie: u64, data: &[u8]) {
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
    pub(crate) fn fails(&mut self, cookie: u64, number: u8) {
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

    pub(crate) fn ends(mut self) -> Option<String> {
        assert_eq!(self.drive(), State::Ended);
        assert_eq!((self.volumes.users(), self.volumes.unanswered()), (0, 0));
        assert_eq!(self.connection.interest(), Interest::default());
        self.receive();
        assert!(self.got.is_empty());
        self.connection.end().map(ToString::to_string)
    }
}

/// With simple replies, and with structured ones.
pub(crate) fn both(test: impl Fn(Played)) {
    for structured in [false, true] {
        test(Played::entered(4096, "vg/lv", structured));
    }
}
