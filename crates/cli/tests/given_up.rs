//! Live volumes that somebody else has removed, and that are given up (architecture.md, "Holding and locking").
//!
//! Goal: not one byte is written to extents that are somebody else's by now, whoever waits gets an answer, and what is in use is
//! not taken down. Method: the real LVM2 on a loop device over the image removes what the real daemon serves from it, which no
//! lock of its own prevents; the extents are compared on the image.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test code")]

mod lab;

use lab::live::{Live, Mounted, lvm2, no_block_devices, no_lvm2, sh};
use lab::{random, skip};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;

/// The real LVM2 removes LVs.
fn remove_behind(live: &Live, lvs: &[&str]) {
    let names: Vec<String> = lvs.iter().map(|lv| format!("{}/{lv}", live.vg)).collect();
    lvm2(live, &["disk.img"], |_| [vec!["lvremove".to_owned(), "-f".to_owned()], names].concat());
}

/// Waits until requests are held, and what is said then.
fn held(live: &Live) -> String {
    let begun = Instant::now();
    loop {
        let said = live.run("lvs").stderr;
        if said.contains("requests of its volumes wait") {
            return said;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The extents of `lvs` on the disk, as they are while these are there still.
fn extents(live: &Live, lvs: &[(&str, usize)]) -> impl Fn() -> Vec<Vec<u8>> {
    let image = File::open(live.lab.path("disk.img")).unwrap();
    let places: Vec<(u64, usize)> =
        lvs.iter().map(|(lv, len)| (live.lab.start_of(&format!("{}/{lv}", live.vg)), *len)).collect();
    move || {
        let read = |(at, len): &(u64, usize)| {
            let mut bytes = vec![0; *len];
            image.read_exact_at(&mut bytes, *at).unwrap();
            bytes
        };
        places.iter().map(read).collect()
    }
}

/// LVM2 removes an origin with its snapshot behind the daemon's back: they are held, and given up without a write to what is
/// somebody else's by now. In use they are not, unless that is forced.
#[test]
fn a_volume_that_somebody_removed_is_given_up_without_a_write() {
    if no_lvm2("a_volume_that_somebody_removed_is_given_up_without_a_write") {
        return;
    }
    let Some(live) = Live::as_root("given", 128) else { return };
    live.ok("lvcreate -L 16M -n stays VG");
    live.ok("lvcreate -L 16M -n goes VG");
    live.ok("lvcreate -s -L 8M -n snap VG/goes");
    let freed = extents(&live, &[("goes", 16 << 20), ("snap", 8 << 20)]);
    live.ok("vgchange -ay VG");
    let goes = live.open("goes");
    goes.write_all_at(&random(81, 1 << 20), 0).unwrap();
    goes.sync_all().unwrap();
    remove_behind(&live, &["goes"]);
    let said = held(&live);
    let what = format!("lvchange -an {}/", live.vg);
    assert!(said.contains("vgcfgrestore") && said.contains(&what), "{said}");
    let before = freed();
    let (told, answered) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        told.send(goes.write_all_at(&[3; BLOCK], 0).map_err(|error| error.raw_os_error())).unwrap();
        goes
    });
    assert!(answered.recv_timeout(Duration::from_secs(1)).is_err(), "its write waits");
    live.run("lvchange -an VG/goes").failed_with(5, &["in use", "process", "--force"]);
    assert!(answered.try_recv().is_err(), "a refusal ends nobody's wait");
    // Who waits in the kernel cannot close it.
    live.run("lvchange -an --force VG/goes").failed_with(5, &["in use", "process", "fail from now on"]);
    assert_eq!(answered.recv_timeout(Duration::from_secs(20)).unwrap(), Err(Some(5)), "EIO");
    let goes = writer.join().unwrap();
    assert_eq!(goes.sync_all().unwrap_err().raw_os_error(), Some(5));
    live.run("vgchange -an VG").failed_with(5, &["in use"]);
    assert!(live.file("goes").exists() && live.file("stays").exists());
    drop(goes);
    live.run("lvchange -an VG/goes").failed_with(0, &[]);
    assert!(!live.file("goes").exists() && !live.file("snap").exists() && live.file("stays").exists());
    assert!(freed() == before, "freed extents were written");
    let stays = live.open("stays");
    stays.write_all_at(&[2; BLOCK], 0).unwrap();
    stays.sync_all().unwrap();
    drop(stays);
    live.ok("lvcreate -L 16M -n new VG");
    live.ok("vgchange -an VG");
    wait_for_end(&live);
}

/// The daemon ends when nothing is active any more.
fn wait_for_end(live: &Live) {
    let begun = Instant::now();
    while live.lab.path("run/api.sock").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the daemon does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A file system whose unmounting would wait for ever.
#[test]
fn a_mounted_file_system_whose_volume_was_removed_is_given_up_by_force() {
    let test = "a_mounted_file_system_whose_volume_was_removed_is_given_up_by_force";
    if no_lvm2(test) {
        return;
    }
    if let Some(why) = no_block_devices() {
        return skip(test, why);
    }
    let live = Live::new("gone", 128);
    live.ok("lvcreate -L 64M -n goes VG");
    let freed = extents(&live, &[("goes", 64 << 20)]);
    live.ok("vgchange -ay VG");
    let device = live.device("goes");
    sh(&format!("mkfs.ext4 -q {device}"));
    let mounted = Mounted::new(&device, &live.lab.path("mnt"));
    sh(&format!("echo before > {0}/a && sync -f {0}/a", mounted.at.display()));
    remove_behind(&live, &["goes"]);
    held(&live);
    let before = freed();
    // It may wait for the journal, and so in the kernel.
    let script = format!("echo never > {}/b", mounted.at.display());
    let mut writer = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).spawn().unwrap();
    live.run("vgchange -an VG").failed_with(5, &["in use", "mounted"]);
    live.run("vgchange -an --force VG").failed_with(5, &["in use", "mounted"]);
    writer.wait().unwrap();
    mounted.unmount();
    live.run("vgchange -an VG").failed_with(0, &[]);
    assert!(!Path::new(&device).exists());
    assert!(freed() == before, "freed extents were written");
    wait_for_end(&live);
}
