//! Loop devices on served files: attached, used with a file system, claimed, detached.
//!
//! Goal: a volume is a block device as any other, no discard comes through that is not wanted, and nobody loses a device that he uses.
//! Method: volumes in memory, mounted; mkfs, mount and dd on one side, what reached the volumes on the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests: a panic is the verdict"
)]

mod lab;

use foldback_engine::RequestKind;
use foldback_frontend_fuse::{FuseErrorKind, LoopOptions, Opener, Stale, User, detach_stale};
use lab::{Lab, id, run, skip};
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A mount that goes when the test does.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &Path, on: PathBuf) -> Self {
        std::fs::create_dir_all(&on).unwrap();
        run("mount", &[device.to_str().unwrap(), on.to_str().unwrap()]);
        Self(on)
    }

    fn unmount(&self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nothing to do where the test has unmounted it.
        drop(Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status());
    }
}

fn lab(test: &str) -> Option<Lab> {
    if !Path::new("/dev/loop-control").exists() {
        skip(test, "/dev/loop-control is missing (modprobe loop)");
        return None;
    }
    Lab::new(test)
}

/// The kernel lets go of the device of a file system some time after `umount` has returned; on a loaded machine that is
/// longer than a claim is patient.
fn wait_until_free(device: &Path) {
    let begun = Instant::now();
    while let Err(error) = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(device) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}: {error}", device.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_file_system_lives_on_a_volume() {
    let Some(mut lab) = lab("a file system on a loop device") else { return };
    if !Path::new("/usr/sbin/mkfs.ext4").exists() && !Path::new("/sbin/mkfs.ext4").exists() {
        return skip("a file system on a loop device", "e2fsprogs is not installed (apt install e2fsprogs)");
    }
    let device = lab.attach("root", LoopOptions::default());
    assert!(device.is_direct().unwrap());
    run("mkfs.ext4", &["-q", text(&device.path())]);
    let mounted = Mounted::new(&device.path(), lab.dir.path().join("mnt"));
    std::fs::write(mounted.0.join("hello"), vec![42; 300_000]).unwrap();
    rustix::fs::sync();
    assert!(lab.asked().iter().any(|asked| asked.kind == RequestKind::Flush), "a flush comes through");
    let refused = device.claim().unwrap_err();
    let users = &refused.in_use().unwrap().users;
    assert!(users.contains(&User::Mount(mounted.0.clone())), "{refused}");
    mounted.unmount();
    let mounted = Mounted::new(&device.path(), lab.dir.path().join("mnt"));
    assert_eq!(std::fs::read(mounted.0.join("hello")).unwrap(), vec![42; 300_000]);
    mounted.unmount();
    run("e2fsck", &["-fn", text(&device.path())]);
    wait_until_free(&device.path());
    device.claim().unwrap().detach().unwrap();
    run("e2fsck", &["-fn", text(&lab.path("root"))]);
}

#[test]
fn a_discard_is_refused_and_zeros_come_through() {
    let Some(mut lab) = lab("discards of a loop device") else { return };
    let device = lab.attach("home", LoopOptions::default());
    let file = OpenOptions::new().read(true).write(true).open(device.path()).unwrap();
    file.write_all_at(&vec![5; 65536], 0).unwrap();
    file.sync_all().unwrap();
    lab.asked();
    let discarded = Command::new("blkdiscard").arg(device.path()).output().unwrap();
    assert!(!discarded.status.success(), "{discarded:?}");
    assert!(lab.asked().iter().all(|asked| asked.kind == RequestKind::Read), "nothing changes");
    run("blkdiscard", &["--zeroout", "--offset", "4096", "--length", "8192", text(&device.path())]);
    let zeros = |kind| matches!(kind, RequestKind::WriteZeroes { .. } | RequestKind::Write { .. });
    assert!(lab.asked().iter().any(|asked| zeros(asked.kind)));
    let bytes = lab.bytes(11);
    assert!(
        bytes[4096..12288] == [0; 8192]
            && bytes[..4096] == [5; 4096]
            && bytes[12288..65536] == vec![5; 53248]
    );
    drop(file);
    let number = device.number();
    device.claim().unwrap().detach().unwrap();
    // The next one may discard again.
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(1 << 20).unwrap();
    let node = format!("/dev/loop{number}");
    if Command::new("losetup").args([&node, text(image.path())]).status().unwrap().success() {
        let most = std::fs::read_to_string(format!("/sys/block/loop{number}/queue/discard_max_bytes"));
        run("losetup", &["-d", &node]);
        assert_ne!(most.unwrap().trim(), "0");
    }
}

#[test]
fn discards_that_are_wanted_come_through_as_zeros_until_they_are_not() {
    let Some(mut lab) = lab("wanted discards of a loop device") else { return };
    let device = lab.attach("home", LoopOptions { discards: true, ..LoopOptions::default() });
    let file = OpenOptions::new().read(true).write(true).open(device.path()).unwrap();
    file.write_all_at(&vec![5; 65536], 0).unwrap();
    file.sync_all().unwrap();
    lab.asked();
    let discard = |at: &str| {
        let range = ["--offset", at, "--length", "8192"];
        Command::new("blkdiscard").args(range).arg(device.path()).output().unwrap().status.success()
    };
    assert!(discard("4096"));
    assert!(lab.asked().iter().any(|asked| matches!(asked.kind, RequestKind::WriteZeroes { .. })));
    device.set_discards(false).unwrap();
    device.set_discards(false).unwrap();
    assert!(!discard("16384"));
    let bytes = lab.bytes(11);
    assert!(bytes[4096..12288] == [0; 8192] && bytes[12288..65536] == vec![5; 53248]);
    // A kernel that cannot says so, and changes nothing.
    match device.set_discards(true) {
        Ok(()) => assert!(discard("16384")),
        Err(error) => {
            assert!(matches!(error.kind, FuseErrorKind::NoDiscard(_)), "{error}");
            assert!(!discard("16384"));
        }
    }
    drop(file);
    device.claim().unwrap().detach().unwrap();
}

#[test]
fn a_read_only_volume_is_a_read_only_device_and_blocks_can_be_larger() {
    let Some(mut lab) = lab("read-only loop devices") else { return };
    let device = lab.attach("old", LoopOptions { read_only: true, ..LoopOptions::default() });
    let file = OpenOptions::new().write(true).open(device.path());
    assert!(file.and_then(|file| file.write_at(&[1; 512], 0)).is_err());
    let mut bytes = vec![0; 4096];
    File::open(device.path()).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, vec![7; 4096]);
    let large = lab.attach("home", LoopOptions { block_size: 4096, ..LoopOptions::default() });
    let size = std::fs::read_to_string(format!("/sys/block/loop{}/queue/logical_block_size", large.number()));
    assert_eq!(size.unwrap().trim(), "4096");
}

#[test]
fn a_volume_that_grew_is_a_device_that_grew() {
    let Some(mut lab) = lab("resizing loop devices") else { return };
    let device = lab.attach("home", LoopOptions::default());
    lab.volumes.state().volumes.get_mut(&id(11)).unwrap().bytes.resize(2 << 20, 3);
    lab.session().invalidate(id(11)).unwrap();
    device.resize(&lab.path("home")).unwrap();
    let sectors = std::fs::read_to_string(format!("/sys/block/loop{}/size", device.number())).unwrap();
    assert_eq!(sectors.trim(), "4096");
    let mut last = [0; 512];
    File::open(device.path()).unwrap().read_exact_at(&mut last, (2 << 20) - 512).unwrap();
    assert_eq!(last, [3; 512]);
}

#[test]
fn a_device_in_use_is_not_claimed_and_a_claim_keeps_mounts_out() {
    let Some(mut lab) = lab("claiming loop devices") else { return };
    let device = lab.attach("home", LoopOptions::default());
    // The loop device keeps the file open, and is no user of it.
    assert!(lab.session().users(id(11)).is_empty());
    assert!(lab.volumes.state().openings.contains(&(id(11), Opener::Own)));
    drop(lab.session().claim(id(11)).unwrap());
    let mut child = Command::new("sh")
        .args(["-c", "exec 3<\"$0\"; echo ready; exec sleep 60"])
        .arg(device.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let refused = device.claim().unwrap_err();
    let pid = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    let users = &refused.in_use().unwrap().users;
    assert!(matches!(users.as_slice(), [User::Process { pid: found, .. }] if *found == pid), "{refused}");
    let claim = device.claim().unwrap();
    claim.flush_buffers().unwrap();
    let mounting = Command::new("mount").arg(device.path()).arg(lab.dir.path()).output().unwrap();
    assert!(!mounting.status.success());
    assert!(device.claim().unwrap_err().in_use().is_some(), "one claim at a time");
    // What changed below is read anew.
    lab.volumes.state().volumes.get_mut(&id(11)).unwrap().bytes[..512].fill(8);
    claim.flush_buffers().unwrap();
    drop(claim);
    let mut first = [0; 512];
    File::open(device.path()).unwrap().read_exact(&mut first).unwrap();
    assert_eq!(first, [8; 512]);
}

#[test]
fn a_detached_device_is_gone_for_good_and_another_file_is_never_detached() {
    let Some(mut lab) = lab("detaching loop devices") else { return };
    let device = lab.attach("home", LoopOptions::default());
    let number = device.number();
    device.claim().unwrap().detach().unwrap();
    let gone = device.claim().unwrap_err();
    assert!(matches!(gone.kind, FuseErrorKind::Gone), "{gone}");
    assert_eq!(detach_stale(number, &lab.path("home")).unwrap(), Stale::NotOurs);
    let left = lab.attach("home", LoopOptions::default());
    assert_eq!(detach_stale(left.number(), Path::new("/some/other/file")).unwrap(), Stale::NotOurs);
    assert!(left.users().unwrap().is_empty());
    // Its server goes without a word.
    let path = lab.path("home");
    drop(lab.session.take());
    let found = std::fs::read_to_string(format!("/sys/block/loop{}/loop/backing_file", left.number()));
    let found = PathBuf::from(found.unwrap().trim());
    assert!(found == path || found == Path::new("/home"), "{}", found.display());
    assert_eq!(detach_stale(left.number(), &found).unwrap(), Stale::Detached);
    assert_eq!(detach_stale(left.number(), &found).unwrap(), Stale::NotOurs);
}
