//! Clients that ask for much, do not read, vanish, or are sent away.
//!
//! What must hold:
//! - Bounds stop the reading, and nothing is lost by that.
//! - However a connection ends, what was begun is awaited, and then the volume is given back.
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

use foldback_frontend_nbd::fuzz::reply;
use foldback_frontend_nbd::wire::{Cookie, Request};
use foldback_frontend_nbd::{End, Interest, MAX_BYTES, MAX_REQUESTS, Ready, State};
use foldback_user_dm::Ticket;
use rig::{DISC, FLUSH, Played, READ, WRITE, both};
use std::io::Write;

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
    assert_eq!(played.connection.bytes_under_way(), 0);
}

/// What is skipped is bounded, too: a write of 4 GiB ends the connection.
#[test]
fn a_refused_write_is_not_skipped_without_end() {
    let mut played = Played::entered(64, "vg/lv", true);
    played.request(WRITE, 0, 1, 0, u32::MAX, &[]);
    assert_eq!(played.drive(), State::Ended);
    assert!(played.connection.end().is_some_and(|end| end.to_string().contains("4294967295")));
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

/// What had come before the bound was met waits here, where no event tells of it: sending makes room, and takes it.
#[test]
fn requests_that_wait_for_room_are_taken_when_there_is_some() {
    let mut played = Played::entered(64, "vg/lv", true);
    let request = Request { flags: 0, command: 99, cookie: Cookie(1), offset: 0, length: 0 }.encode();
    let many = 2000;
    played.send(&request.repeat(many));
    let mut answered = 0;
    while answered < many {
        played.receive();
        while let Some((_, rest)) = reply(&played.got) {
            answered += 1;
            played.got = rest.to_vec();
        }
        if answered < many {
            assert_eq!(played.connection.interest(), Interest { read: false, write: true });
            played.drive();
        }
    }
    assert_eq!(played.connection.interest(), Interest { read: true, write: false });
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
