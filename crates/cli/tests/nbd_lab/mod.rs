//! A live volume with an NBD export, and a small client that does one thing after the other.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(clippy::big_endian_bytes, reason = "the protocol is big-endian")]

use crate::lab::Lab;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) const SIZE: usize = 4 << 20;
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A lab whose daemon is its own, and gone with it.
pub(crate) struct Live {
    pub(crate) lab: Lab,
}

impl Live {
    pub(crate) fn with_content(content: &[u8]) -> Self {
        let lab = Lab::with_vg(64);
        lab.ok(&["lvcreate", "-L", "4M", "-n", "root", "vg"]);
        lab.write("content.raw", content);
        lab.ok(&["import", "content.raw", "vg/root"]);
        Self { lab }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.lab.command(arguments);
        let output = command.env("FOLDBACK_RUN_DIR", self.lab.path("run")).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}\n{said}\n{}", self.log());
        said
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.lab.path("run/daemon.log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.lab.path("run/daemon.lock")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.lab.path("run/nbd/vg-root.sock")
    }

    pub(crate) fn connect(&self) -> Client<UnixStream> {
        Client::enter(UnixStream::connect(self.socket()).unwrap(), "root")
    }

    /// Takes the volume down, and waits for the daemon to end by itself.
    #[track_caller]
    pub(crate) fn end(&self) {
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
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    pub(crate) size: u64,
    cookie: u64,
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn enter(mut stream: S, name: &str) -> Self {
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

    /// Asks, and does not wait for an answer.
    pub(crate) fn request(&mut self, command: u16, offset: u64, len: u32, data: &[u8]) {
        self.cookie += 1;
        let mut request = vec![0x25, 0x60, 0x95, 0x13, 0, 0];
        request.extend(command.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(len.to_be_bytes());
        request.extend(data);
        self.stream.write_all(&request).unwrap();
    }

    /// A command, and the error number of its answer.
    pub(crate) fn ask(&mut self, command: u16, offset: u64, len: u32, data: &[u8]) -> u32 {
        self.request(command, offset, len, data);
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..4], [0x67, 0x44, 0x66, 0x98]);
        assert_eq!(reply[8..], self.cookie.to_be_bytes());
        u32::from_be_bytes(reply[4..8].try_into().unwrap())
    }

    pub(crate) fn read(&mut self, offset: usize, len: usize) -> Vec<u8> {
        assert_eq!(self.ask(0, offset as u64, len as u32, &[]), 0);
        let mut data = vec![0; len];
        self.stream.read_exact(&mut data).unwrap();
        data
    }

    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        assert_eq!(self.ask(1, offset as u64, data.len() as u32, data), 0);
    }

    pub(crate) fn flush(&mut self) {
        assert_eq!(self.ask(3, 0, 0, &[]), 0);
    }
}
