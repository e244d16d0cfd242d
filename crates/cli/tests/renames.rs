//! Renaming under whoever has a volume open (lvm2.md 2: a name changes, and nothing else does).
//!
//! Goal: no request fails and no client is lost while a volume is called something else, by a command or by the end of a
//! trial; what has it open afterwards is what had it open before; and a daemon that dies after that leaves nothing. Method:
//! writers that never pause, over every way of serving, and the real program and daemon.
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
mod nbd_lab;

use lab::live::{Live, Mounted, no_block_devices, sh, wait_until_free};
use lab::{random, skip};
use nbd_lab::{Client, SIZE};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const WRITERS: u64 = 3;
const RENAMES: usize = 20;

/// Runs `work` while several writers write to a file and read it back, each its own blocks. How often they did, or what
/// the first of them was told.
fn under_load(open: impl Fn() -> File, work: impl FnOnce()) -> io::Result<u64> {
    let stop = AtomicBool::new(false);
    let write = |file: File, writer: u64| -> io::Result<u64> {
        let mut rounds = 0;
        // Aligned, for a file that was opened with O_DIRECT.
        let mut memory = vec![0; 3 * BLOCK];
        let skew = memory.as_ptr().align_offset(BLOCK);
        while !stop.load(Ordering::Relaxed) {
            let (page, rest) = memory[skew..].split_at_mut(BLOCK);
            page.fill(1 + (rounds % 250) as u8);
            let at = (rounds % 64 * WRITERS + writer) * BLOCK as u64;
            file.write_all_at(page, at)?;
            file.read_exact_at(&mut rest[..BLOCK], at)?;
            assert!(*page == rest[..BLOCK], "what was written is there");
            rounds += 1;
        }
        file.sync_all()?;
        Ok(rounds)
    };
    std::thread::scope(|scope| {
        let begin = |writer| {
            let (file, write) = (open(), &write);
            scope.spawn(move || write(file, writer))
        };
        let writers: Vec<_> = (0..WRITERS).map(begin).collect();
        // A step that fails must not leave the writers behind.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let written = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        worked.unwrap_or_else(|failed| std::panic::resume_unwind(failed));
        written
    })
}

fn back_and_forth(live: &Live) {
    for _ in 0..RENAMES / 2 {
        live.ok("lvrename VG/root other");
        live.ok("lvrename VG/other root");
    }
}

#[test]
fn a_file_that_is_written_is_renamed_without_an_error() {
    let Some(live) = Live::as_root("ren", 64) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    let written = under_load(|| live.open("root"), || back_and_forth(&live));
    assert!(written.expect("no request fails") > RENAMES as u64);
    // It grows under its new name, and so does the device that was attached under the old one.
    live.ok("lvrename VG/root other");
    live.ok("lvextend -L 24M VG/other");
    assert_eq!(live.file("other").metadata().unwrap().len(), 24 << 20);
    if no_block_devices().is_none() {
        assert_eq!(sh(&format!("blockdev --getsize64 {}", live.device("other"))).trim(), "25165824");
    }
}

/// ext4 on the block device of a trial, which gets its old name while a program works on it.
#[test]
fn a_mounted_file_system_is_renamed_without_an_error() {
    if let Some(why) = no_block_devices() {
        return skip("a_mounted_file_system_is_renamed_without_an_error", why);
    }
    let Some(live) = Live::as_root("renext", 256) else { return };
    live.ok("lvcreate -L 64M -n root VG");
    live.ok("vgchange -ay VG");
    sh(&format!("mkfs.ext4 -q {}", live.device("root")));
    live.ok("trial start VG/root");
    let mount = Mounted::new(&live.device("root_trial"), &live.lab.path("mnt"));
    let open = || {
        let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).custom_flags(direct);
        let file = options.open(mount.at.join("file")).unwrap();
        file.set_len(1 << 20).unwrap();
        file
    };
    let written = under_load(open, || {
        live.ok("trial keep VG/root");
        back_and_forth(&live);
    });
    assert!(written.expect("no request fails") > RENAMES as u64);
    // What was mounted is called something else by now.
    drop(mount);
    wait_until_free(&live.device("root"));
    sh(&format!("e2fsck -fn {}", live.device("root")));
}

/// An NBD client stays, and so does its socket; the export is called as the LV is. In the end the device knows that it has
/// no user left.
#[test]
fn an_nbd_client_stays_connected_while_its_volume_is_renamed() {
    let content = random(21, SIZE);
    let live = nbd_lab::Live::with_content(&content);
    live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    let mut client = live.connect();
    live.ok(&["lvrename", "vg/root", "other"]);
    assert_eq!(client.read(0, SIZE), content, "it is served on");
    client.write(0, &[9; 512]);
    client.flush();
    let uri = live.ok(&["lvs", "--noheadings", "-o", "lv_nbd", "vg/other"]);
    let socket = live.socket();
    assert!(uri.trim().ends_with(&format!("///other?socket={}", socket.display())), "{uri}");
    let mut second = Client::enter(UnixStream::connect(&socket).unwrap(), "other");
    assert_eq!(second.read(0, 512), [9; 512]);
    // A volume of the old name finds the usual socket taken, and gets one all the same.
    live.ok(&["lvcreate", "-L", "4M", "-n", "root", "vg"]);
    live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    let uri = live.ok(&["lvs", "--noheadings", "-o", "lv_nbd", "vg/root"]);
    let (_, beside) = uri.trim().split_once("///root?socket=").unwrap();
    assert_eq!(Client::enter(UnixStream::connect(beside).unwrap(), "root").read(0, 512), [0; 512]);
    live.ok(&["lvchange", "-an", "vg/root"]);
    assert!(!Path::new(beside).exists(), "its socket goes with it");
    let (code, why) = live.run(&["lvchange", "-an", "vg/other"]);
    assert!(code == Some(5) && why.contains("in use: an NBD client"), "{why}");
    drop((client, second));
    live.ok(&["lvchange", "-an", "vg/other"]);
    assert!(!socket.exists());
    assert!(live.lab.content("vg/other")[512..] == content[512..]);
}

/// The number of the loop device behind a link.
fn loop_of(live: &Live, lv: &str) -> String {
    let device = std::fs::read_link(live.device(lv)).unwrap();
    device.file_name().unwrap().to_str().unwrap().to_owned()
}

fn wait_until_detached(device: &str, log: &str) {
    let begun = Instant::now();
    while Path::new("/sys/block").join(device).join("loop").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{device} stays attached\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The kernel goes on calling the file behind a loop device as it was called when it was attached.
#[test]
fn a_daemon_that_dies_after_a_rename_leaves_no_block_device() {
    if let Some(why) = no_block_devices() {
        return skip("a_daemon_that_dies_after_a_rename_leaves_no_block_device", why);
    }
    let Some(live) = Live::as_root("rendead", 64) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    live.ok("lvrename VG/root other");
    let left = loop_of(&live, "other");
    live.kill_daemon();
    live.ok("lvs");
    // What was let go of may be taken again at once.
    if loop_of(&live, "other") != left {
        wait_until_detached(&left, &live.log());
    }
}

/// What is mounted when the daemon dies is dead. It has to be unmounted, and then nothing of it is left.
#[test]
fn a_block_device_that_was_mounted_when_the_daemon_died_goes_with_the_mount() {
    if let Some(why) = no_block_devices() {
        return skip("a_block_device_that_was_mounted_when_the_daemon_died_goes_with_the_mount", why);
    }
    let Some(live) = Live::as_root("rendeadmnt", 128) else { return };
    live.ok("lvcreate -L 64M -n root VG");
    live.ok("vgchange -ay VG");
    sh(&format!("mkfs.ext4 -q {}", live.device("root")));
    let mount = Mounted::new(&live.device("root"), &live.lab.path("mnt"));
    let at = mount.at.display().to_string();
    sh(&format!("echo kept > {at}/kept && sync"));
    live.ok("lvrename VG/root other");
    let left = loop_of(&live, "other");
    live.kill_daemon();
    let said = live.run("lvs");
    assert!(said.stderr.contains(&live.vg) && said.stderr.contains("has died"), "{}", said.stderr);
    assert!(!live.run("lvs").stderr.contains("has died"), "it is said once");
    let (log, told) = (live.log(), format!("/dev/{left} of {} is dead", live.vg));
    assert!(log.contains(&told) && log.contains(&format!("mounted on {at}; unmount")), "{log}");
    assert_ne!(loop_of(&live, "other"), left, "a device that is used is left to its user");
    drop(mount);
    wait_until_detached(&left, &log);
    let mount = Mounted::new(&live.device("other"), &live.lab.path("mnt"));
    assert_eq!(sh(&format!("cat {at}/kept")), "kept\n");
    mount.unmount();
    sh(&format!("e2fsck -fn {}", live.device("other")));
}
