//! Clients of the daemon's API that do what a client should not (docs/decisions/0005-daemon.md, "Clients").
//!
//! Goal: whatever a client does with its connections, the commands of everybody else are answered. Method: clients that speak
//! to the socket without a library, in this process, and commands beside them. Two seconds is what a person would call an
//! answer; it is a bound on liveness, not a time that is measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod lab;

use lab::live::Live;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Until a command is answered.
const LIVELY: Duration = Duration::from_secs(2);
/// Until anything else has happened.
const PATIENCE: Duration = Duration::from_secs(20);

const WHO: &[u8] = b"{\"method\":\"org.foldback.Daemon.GetInfo\"}\0";
/// The biggest of the answers that are always the same.
const INTERFACE: &[u8] =
    b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\
                           \"org.foldback.Daemon\"}}\0";
const EVENTS: &[u8] = b"{\"method\":\"org.foldback.Daemon.Monitor\",\"more\":true}\0";

fn served(test: &str) -> Live {
    let live = Live::new(test, 64);
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    live
}

fn connect(live: &Live) -> UnixStream {
    let stream = UnixStream::connect(live.lab.path("run/api.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What is answered next, up to its end; empty where the daemon has hung up.
fn answer(stream: &mut UnixStream) -> String {
    let (mut all, mut byte) = (Vec::new(), [0]);
    loop {
        match stream.read(&mut byte) {
            Ok(1) if byte != [0] => all.push(byte[0]),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8(all).unwrap()
}

#[track_caller]
fn is_lively(live: &Live) {
    let begun = Instant::now();
    let lvs = live.ok("lvs --noheadings -o lv_name VG");
    assert!(begun.elapsed() < LIVELY, "{:?}", begun.elapsed());
    assert_eq!(lvs.trim(), "root");
}

/// Sends until the daemon takes no more, since nobody reads what it answers.
fn stuff(stream: &mut UnixStream, call: &[u8]) {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let calls = call.repeat(100);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Err(error) = stream.write_all(&calls) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            return;
        }
    }
    panic!("all was taken");
}

#[test]
fn a_client_that_does_not_read_its_answers_delays_nobody() {
    let live = served("unread");
    let mut deaf: Vec<UnixStream> = (0..3).map(|_| connect(&live)).collect();
    for stream in &mut deaf {
        stuff(stream, INTERFACE);
    }
    is_lively(&live);
    // Changes and the daemon's own jobs go on as well.
    live.ok("lvcreate -s -L 8M -n before VG/root");
    live.ok("lvremove -f VG/before");
    is_lively(&live);
}

#[test]
fn half_a_message_and_then_silence_delays_nobody() {
    let live = served("half");
    let _silent = connect(&live);
    let mut half = connect(&live);
    half.write_all(&WHO[..20]).unwrap();
    is_lively(&live);
    half.write_all(&WHO[20..]).unwrap();
    assert!(answer(&mut half).contains("version"), "who goes on in time is answered");
}

/// It reads what it asks for, so that the daemon never has to wait for it; nothing that it asks is lost, up to the last one
/// before it hangs up on its side alone. (Who hangs up on both sides may find a reset instead of an end, for the daemon then
/// closes with questions unread.)
#[test]
fn a_client_that_asks_without_a_pause_delays_nobody() {
    let live = served("flood");
    let mut asks = connect(&live);
    let mut reads = asks.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut answers, mut some) = (0, vec![0; 1 << 16]);
        loop {
            match reads.read(&mut some).unwrap() {
                0 => return answers,
                length => answers += some[..length].iter().map(|byte| usize::from(*byte == 0)).sum::<usize>(),
            }
        }
    });
    let asker = std::thread::spawn(move || {
        let (begun, mut asked) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(3) {
            asks.write_all(&WHO.repeat(100)).unwrap();
            asked += 100;
        }
        asks.shutdown(std::net::Shutdown::Write).unwrap();
        asked
    });
    is_lively(&live);
    is_lively(&live);
    assert_eq!(reader.join().unwrap(), asker.join().unwrap());
}

#[test]
fn a_message_without_an_end_is_given_up() {
    let live = served("endless");
    let mut endless = connect(&live);
    let part = vec![b' '; 1 << 20];
    let sent = (0..64).take_while(|_| endless.write_all(&part).is_ok()).count();
    assert!((1..32).contains(&sent), "{sent} MiB were taken");
    is_lively(&live);
}

/// Two hundred connections of one process, silent or not: it is told that it has enough of them, and others are served.
#[test]
fn two_hundred_connections_shut_out_their_own_process_alone() {
    let live = served("many");
    let mut many: Vec<UnixStream> = (0..200).map(|_| connect(&live)).collect();
    is_lively(&live);
    // All but the first are refused before they ask, and can read why.
    let told = answer(many.last_mut().unwrap());
    assert!(told.contains("org.foldback.Daemon.Busy") && told.contains("16 connections"), "{told}");
    assert_eq!(answer(many.last_mut().unwrap()), "", "and then it hangs up");
    many[0].write_all(WHO).unwrap();
    assert!(answer(&mut many[0]).contains("version"));
    drop(many);
    may_come_again(&live);
}

/// Waits until a connection of this process is served.
fn may_come_again(live: &Live) {
    let begun = Instant::now();
    loop {
        let mut next = connect(live);
        // It may have been refused already.
        next.write_all(WHO).ok();
        if answer(&mut next).contains("version") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "those who have gone still count");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Somebody who listens for events and has gone does not count until the next event, which may never come.
#[test]
fn who_has_gone_does_not_count() {
    let live = served("gone");
    for _ in 0..16 {
        let mut listener = connect(&live);
        listener.write_all(EVENTS).unwrap();
        assert!(answer(&mut listener).contains("listening"));
    }
    may_come_again(&live);
}
