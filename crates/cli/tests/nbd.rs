//! Live volumes over NBD, as a client and an administrator see them (docs/decisions/0005-daemon.md).
//!
//! Goal: a client reads and writes the volume, keeps it from being taken down while it is connected, and what it wrote is
//! there afterwards; a client that misbehaves or a daemon that dies costs nobody else anything. Method: a real image, the
//! real program and its daemon in a directory of their own, and a small client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
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
mod nbd_lab;

use lab::random;
use nbd_lab::{Client, Live, SIZE};
use rustix::process::{Signal, kill_process};
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn a_client_changes_the_volume_and_holds_it() {
    let mut content = random(1, SIZE);
    let live = Live::with_content(&content);
    let said = live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    assert!(said.contains("nbd+unix:///root?socket=") && said.contains("/run/nbd/vg-root.sock"), "{said}");
    assert_eq!(live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]), said, "again is harmless");
    let mut client = live.connect();
    assert_eq!(client.size, SIZE as u64);
    assert_eq!(client.read(0, SIZE), content);
    let fresh = random(2, 1 << 20);
    client.write(512 << 10, &fresh);
    content[512 << 10..(512 << 10) + fresh.len()].copy_from_slice(&fresh);
    client.flush();
    assert_eq!(client.ask(0, SIZE as u64, 512, &[]), 22, "behind the end");
    assert_eq!(live.connect().read(0, SIZE), content, "another connection sees it");
    let (code, why) = live.run(&["lvchange", "-an", "vg/root"]);
    assert_eq!(code, Some(5));
    let me = format!("in use: an NBD client, process {} (", std::process::id());
    assert!(why.contains(&me), "{why}");
    assert_eq!(client.read(4096, 4096), content[4096..8192], "it is served on");
    drop(client);
    live.end();
    assert!(live.lab.content("vg/root") == content);
}

#[test]
fn a_client_that_misbehaves_is_dropped_alone() {
    let content = random(3, SIZE);
    let live = Live::with_content(&content);
    let said = live.ok(&["vgchange", "-ay", "--export", "nbd=tcp:0", "vg"]);
    let (_, place) = said.split_once("nbd://").unwrap();
    let place = place.split_once("/root").unwrap().0;
    assert!(place.starts_with("127.0.0.1:"), "{said}");
    let mut good = Client::enter(TcpStream::connect(place).unwrap(), "");
    let mut bad = Client::enter(TcpStream::connect(place).unwrap(), "root");
    // A request with a magic that is none.
    bad.stream.write_all(&[0x55; 28]).unwrap();
    let mut rest = Vec::new();
    assert!(matches!(bad.stream.read_to_end(&mut rest), Ok(0) | Err(_)), "it was answered: {rest:?}");
    let mut worse = TcpStream::connect(place).unwrap();
    worse.write_all(&[0xff; 64]).unwrap();
    assert_eq!(good.read(0, SIZE), content);
    // Those that never say what they want make room for those that do.
    let idle: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(place).unwrap()).collect();
    assert_eq!(Client::enter(TcpStream::connect(place).unwrap(), "root").read(0, 512), content[..512]);
    assert_eq!(good.read(0, 512), content[..512]);
    drop(idle);
    let (code, why) = live.run(&["vgchange", "-an", "vg"]);
    let me = format!("an NBD client at {}", good.stream.local_addr().unwrap());
    assert!(code == Some(5) && why.contains(&me), "{why}");
    drop(good);
    live.end();
}

/// What a client asks for wrongly is answered with the protocol's error, and its connection goes on; what it does not finish is
/// not done. Another client, at work all the while, sees none of it.
#[test]
fn wrong_requests_are_refused_and_unfinished_ones_are_not_begun() {
    const END: u64 = SIZE as u64;
    const ALL: u32 = SIZE as u32;
    let content = random(7, SIZE);
    let live = Live::with_content(&content);
    live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    let mut good = live.connect();
    let mut bad = live.connect();
    let long = vec![0x55; 33 << 20];
    for (command, offset, len, data, error) in [
        (0, END - 512, 1024, &[][..], 22),
        (0, 0, 33 << 20, &[], 22),
        (1, END, 512, &long[..512], 28),
        (1, 0, 33 << 20, &long[..], 22),
        (1, 100, 512, &long[..512], 22),
        (4, END, 512, &[], 22),
        (6, u64::MAX - 511, 512, &[], 28),
        (7, 0, ALL, &[], 22),
        (99, 0, 512, &[], 22),
    ] {
        assert_eq!(bad.ask(command, offset, len, data), error, "command {command} at {offset}");
        assert_eq!(good.read(0, 4096), content[..4096]);
    }
    assert_eq!(bad.read(0, SIZE), content, "its connection is whole");
    // Half of a write, and gone.
    bad.request(1, 0, 1 << 20, &long[..512 << 10]);
    drop(bad);
    let mut vanishing = live.connect();
    vanishing.request(0, 0, ALL, &[]);
    drop(vanishing);
    assert_eq!(good.read(0, SIZE), content);
    good.write(512, &[9; 512]);
    good.flush();
    let mut bad = live.connect();
    bad.stream.write_all(b"GET / HTTP/1.1\r\nHost: nbd\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    assert!(matches!(bad.stream.read_to_end(&mut rest), Ok(0) | Err(_)), "it was answered: {rest:?}");
    assert_eq!(good.read(512, 512), [9; 512]);
    drop((good, bad));
    live.end();
    let mut expected = content;
    expected[512..1024].fill(9);
    assert!(live.lab.content("vg/root") == expected);
}

#[test]
fn the_next_daemon_serves_at_the_same_place() {
    let content = random(4, SIZE);
    let live = Live::with_content(&content);
    live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    let mut client = live.connect();
    client.write(0, &[9; 512]);
    client.flush();
    let pid = live.pid().unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let mut rest = Vec::new();
    assert!(matches!(client.stream.read_to_end(&mut rest), Ok(0) | Err(_)));
    live.ok(&["lvs"]);
    assert_ne!(live.pid(), Some(pid));
    let mut client = live.connect();
    assert_eq!(client.read(0, 512), [9; 512]);
    assert_eq!(client.read(512, SIZE - 512), content[512..]);
    drop(client);
    live.end();
}

/// A volume that is served in no other way than over NBD stays served.
#[test]
fn an_export_is_ended_when_nobody_is_connected() {
    let content = random(6, SIZE);
    let live = Live::with_content(&content);
    let unexport = ["lvchange", "--unexport", "nbd", "vg/root"];
    assert!(live.ok(&unexport).contains("vg/root is not exported"));
    let uri = |live: &Live| live.ok(&["lvs", "--noheadings", "-o", "lv_nbd", "vg/root"]).trim().to_owned();
    let said = live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    assert!(
        said.trim().ends_with(&uri(&live)) && uri(&live).starts_with("nbd+unix:///root?socket="),
        "{said}"
    );
    assert!(!live.ok(&["lvs", "-o", "lv_all"]).contains("nbd+unix"), "LVM2's groups have LVM2's fields");
    let mut client = live.connect();
    let (code, why) = live.run(&unexport);
    if !live.lab.path("run/vg/root").exists() {
        lab::skip("an_export_is_ended_when_nobody_is_connected", "without FUSE an export is the only way");
        assert!(code == Some(5) && why.contains("over NBD alone"), "{why}");
        drop(client);
        return live.end();
    }
    assert!(code == Some(5) && why.contains("in use: an NBD client"), "{why}");
    assert_eq!(client.read(0, 4096), content[..4096], "it is served on");
    drop(client);
    assert!(live.ok(&unexport).contains("vg/root no longer exported"));
    assert!(!live.socket().exists());
    assert_eq!(uri(&live), "");
    assert!(live.ok(&unexport).contains("vg/root is not exported"), "again is harmless");
    live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    assert_eq!(live.connect().read(0, SIZE), content);
    live.end();
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let live = Live::with_content(&random(5, SIZE));
    let (code, why) = live.run(&["lvchange", "-an", "--export", "nbd", "vg/root"]);
    assert_eq!(code, Some(3), "{why}");
    let (code, why) = live.run(&["lvchange", "-ay", "--export", "nbd=nowhere", "vg/root"]);
    assert!(code == Some(5) && why.contains("nowhere is no address"), "{why}");
    live.lab.write("file", b"mine");
    let taken = format!("nbd={}", live.lab.path("file").display());
    let (code, why) = live.run(&["lvchange", "-ay", "--export", &taken, "vg/root"]);
    assert!(code == Some(5) && why.contains("listening at unix:"), "{why}");
    assert_eq!(live.lab.read("file"), b"mine");
    live.end();
}
