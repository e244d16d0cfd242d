//! Goal: a discard of a block device reaches it, by io_uring where the kernel knows that command and by the ioctl in the
//! blocking backend. Method: a loop device over an image file, which gets holes where it forgets. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

use foldback_device::{
    Access, Backend, DiskId, DiskKind, Op, Tag, open_disks, open_files, read_exact, write_all,
};
use foldback_units::Bytes;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

const SIZE: usize = 4 << 20;
const HALF: usize = SIZE / 2;

/// Detached when it is dropped.
struct Loop(PathBuf);

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("losetup").arg("-d").arg(&self.0).output());
    }
}

/// A skip is loud, and none in CI.
fn skip(test: &str, reason: &str) {
    let strict = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!strict, "{test} must not be skipped in CI: {reason}");
    let line = format!("SKIP {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("FOLDBACK_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn a_block_device_is_told_what_to_forget() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk.img");
    std::fs::File::create(&image).unwrap().set_len(SIZE.try_into().unwrap()).unwrap();
    let attached = Command::new("losetup").args(["-f", "--show"]).arg(&image).output();
    let device = match attached {
        Ok(output) if output.status.success() => {
            Loop(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
        }
        _ => {
            return skip("discards of a block device", "it needs root and loop devices");
        }
    };
    for backend in [Backend::Blocking, Backend::Uring] {
        let files = open_files(std::slice::from_ref(&device.0), Access::Write).unwrap();
        assert!(files.iter().all(|file| file.kind() == DiskKind::Block && !file.makes_holes()));
        let mut disks = open_disks(&files, backend).unwrap();
        write_all(&mut *disks, DiskId(0), Bytes(0), &vec![7; SIZE], true).unwrap();
        let taken = || std::fs::metadata(&image).unwrap().blocks() * 512;
        let full = taken();
        let half = Bytes(HALF.try_into().unwrap());
        disks.submit(Tag(1), DiskId(0), Op::Discard { at: half, len: half });
        disks.reap(true).unwrap().unwrap().outcome.unwrap();
        let mut kept = vec![0; HALF];
        read_exact(&mut *disks, DiskId(0), Bytes(0), &mut kept).unwrap();
        assert!(kept.iter().all(|byte| *byte == 7));
        // Before Linux 6.12 io_uring knows no discard, and nothing is forgotten.
        assert!(backend == Backend::Uring && taken() == full || taken() + half.get() <= full, "{backend:?}");
    }
}
