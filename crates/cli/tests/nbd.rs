//! Live volumes over NBD, as a client and an administrator see them (docs/decisions/0005-daemon.md).
//!
//! Goal: a client reads and writes the volume, keeps it from being taken down while it is connected, and what it wrote is
//! there afterwards; a client that misbehaves or a daemon that dies costs nobody else anything. Method: a real image, the
//! real program and its daemon in a directory of their own, and a small client.
#![allow(clippy::big_endian_bytes, reason = "the protocol is big-endian")]
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

use lab::{Lab, random};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SIZE: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// A lab whose daemon is its own, and gone with it.
struct Live {
    lab: Lab,
}

impl Live {
    fn with_content(content: &[u8]) -> Self {
        let lab = Lab::with_vg(64);
        lab.ok(&["lvcreate", "-L", "4M", "-n", "root", "vg"]);
        lab.write("content.raw", content);
        lab.ok(&["import", "content.raw", "vg/root"]);
        Self { lab }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.lab.command(arguments);
        let output = command.env("FOLDBACK_RUN_DIR", self.lab.path("run")).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}\n{said}\n{}", self.log());
        said
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.lab.path("run/daemon.log")).unwrap_or_default()
    }

    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.lab.path("run/daemon.lock")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    fn socket(&self) -> PathBuf {
        self.lab.path("run/nbd/vg-root.sock")
    }

    fn connect(&self) -> Client<UnixStream> {
        Client::enter(UnixStream::connect(self.socket()).unwrap(), "root")
    }

    /// Takes the volume down, and waits for the daemon to end by itself.
    #[track_caller]
    fn end(&self) {
        self.ok(&["lvchange", "-an", "vg/root"]);
        assert!(!self.socket().exists(), "its socket stayed");
        let since = Instant::now();
        while self.lab.path("run/api.sock").exists() {
            assert!(since.elapsed() < PATIENCE, "the daemon stays: {}", self.log());
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.lab.path("run/api.sock").exists() {
            return;
        }
        // After a failure: what can be taken down is, then the process ends.
        let _left = self.run(&["lvchange", "-an", "vg/root"]);
        if let Some(pid) = self.pid() {
            kill_process(pid, Signal::TERM).ok();
        }
    }
}

/// A client that does one thing after the other, with simple replies.
struct Client<S> {
    stream: S,
    size: u64,
    cookie: u64,
}

impl<S: Read + Write> Client<S> {
    fn enter(mut stream: S, name: &str) -> Self {
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        // Fixed newstyle without the zeroes; then NBD_OPT_EXPORT_NAME.
        let mut hello = vec![0, 0, 0, 3];
        hello.extend(b"IHAVEOPT");
        hello.extend([0, 0, 0, 1]);
        hello.extend((name.len() as u32).to_be_bytes());
        hello.extend(name.as_bytes());
        stream.write_all(&hello).unwrap();
        let mut export = [0; 10];
        stream.read_exact(&mut export).unwrap();
        let size = u64::from_be_bytes(export[..8].try_into().unwrap());
        Self { stream, size, cookie: 0 }
    }

    /// A command, and the error number of its answer.
    fn ask(&mut self, command: u16, offset: u64, len: u32, data: &[u8]) -> u32 {
        self.cookie += 1;
        let mut request = vec![0x25, 0x60, 0x95, 0x13, 0, 0];
        request.extend(command.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(len.to_be_bytes());
        request.extend(data);
        self.stream.write_all(&request).unwrap();
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..4], [0x67, 0x44, 0x66, 0x98]);
        assert_eq!(reply[8..], self.cookie.to_be_bytes());
        u32::from_be_bytes(reply[4..8].try_into().unwrap())
    }

    fn read(&mut self, offset: usize, len: usize) -> Vec<u8> {
        assert_eq!(self.ask(0, offset as u64, len as u32, &[]), 0);
        let mut data = vec![0; len];
        self.stream.read_exact(&mut data).unwrap();
        data
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        assert_eq!(self.ask(1, offset as u64, data.len() as u32, data), 0);
    }

    fn flush(&mut self) {
        assert_eq!(self.ask(3, 0, 0, &[]), 0);
    }
}

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
    assert!(why.contains("in use by an NBD client"), "{why}");
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
    drop((idle, good));
    live.end();
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
    assert!(code == Some(5) && why.contains("in use by an NBD client"), "{why}");
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
