//! A disk image in a folder of its own, and the program run on it.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]
#![allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "test code")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code"
)]

pub(crate) mod live;

use foldback_device::{Access, DiskFile, HeldPart, Hold, HoldMode};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// The folder, with `disk.img` in it.
pub(crate) struct Lab {
    folder: TempDir,
}

/// What a run came to.
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Run {
    /// Ended with `code`, and said all of `said` on standard error.
    #[track_caller]
    pub(crate) fn failed_with(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        for text in said {
            assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        }
    }
}

impl Lab {
    /// An image of that many MiB, without a label.
    pub(crate) fn empty(mebibytes: u64) -> Self {
        let lab = Self { folder: tempfile::tempdir().unwrap() };
        File::create(lab.path("disk.img")).unwrap().set_len(mebibytes << 20).unwrap();
        lab
    }

    /// The same with the volume group `vg` on it.
    pub(crate) fn with_vg(mebibytes: u64) -> Self {
        let lab = Self::empty(mebibytes);
        lab.ok(&["vgcreate", "vg", "disk.img"]);
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, with the image named.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foldback"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("FOLDBACK_DEVICES", "disk.img")
            .env("FOLDBACK_RUN_DIR", self.path("run"))
            .env("TZ", "UTC")
            .env_remove("LVM_SYSTEM_DIR")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() }
    }

    /// Runs and wants success without a word on standard error.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}\n{}", run.stdout);
        run.stdout
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// A volume's content.
    #[track_caller]
    pub(crate) fn content(&self, volume: &str) -> Vec<u8> {
        self.ok(&["export", "-f", volume, "content.raw"]);
        let content = self.read("content.raw");
        fs::remove_file(self.path("content.raw")).unwrap();
        content
    }

    /// The sum over every byte of the image, to see whether one has changed.
    pub(crate) fn fingerprint(&self) -> u64 {
        let file = File::open(self.path("disk.img")).unwrap();
        let len = file.metadata().unwrap().len();
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        while at < len {
            file.read_exact_at(&mut piece, at).unwrap();
            for word in piece.chunks(8) {
                hash = (hash ^ u64::from_le_bytes(word.try_into().unwrap())).wrapping_mul(0x0100_0000_01b3);
            }
            at += piece.len() as u64;
        }
        hash
    }

    /// Overwrites bytes of the image.
    pub(crate) fn patch(&self, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(self.path("disk.img")).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    /// Where on the image a volume begins, in bytes.
    pub(crate) fn start_of(&self, volume: &str) -> u64 {
        let fields = ["lvs", "-a", "--noheadings", "-o", "seg_pe_ranges", volume];
        let range = self.ok(&fields);
        let extent: u64 =
            range.trim().rsplit_once(':').unwrap().1.split_once('-').unwrap().0.parse().unwrap();
        (1 << 20) + extent * (4 << 20)
    }
}

/// Content that no two seeds share, and that is nowhere zero for long.
pub(crate) fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `content` with many scattered 4 KiB blocks changed.
pub(crate) fn scattered(content: &[u8], seed: u64, blocks: usize) -> Vec<u8> {
    let mut changed = content.to_vec();
    let places = random(seed, blocks * 8);
    for place in places.chunks(8) {
        let block = u64::from_le_bytes(place.try_into().unwrap()) as usize % (content.len() / 4096);
        changed[block * 4096 + 7] ^= 0xff;
    }
    changed
}

/// Says that a test does not run here: past the capture of a passing test's output, and in the file that
/// `FOLDBACK_SKIPS` names, where it is counted. In continuous integration (`CI`, neither empty nor `false`) it fails.
pub(crate) fn skip(test: &str, reason: &str) {
    let strict = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!strict, "{test} must not be skipped in CI: {reason}");
    let line = format!("SKIP {test}: {}\n", reason.trim().replace('\n', " "));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("FOLDBACK_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Holds an image's metadata, as a command that changes it does, until dropped.
pub(crate) fn lock_metadata(image: &Path) -> Hold {
    let disk = Arc::new(DiskFile::open(image, Access::Write).unwrap());
    Hold::take(&disk, HeldPart::Metadata, HoldMode::Exclusive).unwrap()
}
