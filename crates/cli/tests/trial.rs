//! Trials (architecture.md, "Merging"): a machine runs on a snapshot, and keeps what came of it or drops it.
//!
//! Goal: whoever has the trial mounted never notices; the volume has its old name in the end, whatever was killed on the way.
//! Method: the real program and daemon, as root with ext4 on the block device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

mod lab;

use lab::live::{Live, Mounted, sh, wait_until_free};
use lab::skip;
use std::path::Path;
use std::time::{Duration, Instant};

const NAMES: &str = "lvs -a --noheadings -o lv_name,lv_tags";

fn mounted(live: &Live, lv: &str) -> Mounted {
    Mounted::new(&live.device(lv), &live.lab.path("mnt"))
}

/// A served volume with a file system.
fn with_file_system(test: &str) -> Option<Live> {
    if !Path::new("/dev/loop-control").exists() {
        skip(test, "there are no loop devices");
        return None;
    }
    let live = Live::as_root(test, 512)?;
    live.ok("lvcreate -L 96M -n root VG");
    live.ok("vgchange -ay VG");
    sh(&format!("mkfs.ext4 -q /dev/{}/root", live.vg));
    Some(live)
}

#[test]
fn a_trial_is_kept_while_it_is_mounted() {
    let Some(live) = with_file_system("kept") else { return };
    let said = live.ok("trial start VG/root");
    assert!(said.contains("root_trial"), "{said}");
    let mount = mounted(&live, "root_trial");
    let at = mount.at.display().to_string();
    sh(&format!("head -c 20M /dev/urandom > {at}/upgrade && sync"));
    let sum = sh(&format!("sha256sum < {at}/upgrade"));
    assert!(live.ok("trial status").contains("VG/root_trial of root: on trial, "));
    live.run("trial drop VG/root").failed_with(5, &["in use", "mounted"]);
    live.ok("trial keep VG/root");
    assert_eq!(live.ok(NAMES).trim(), "root", "its old name, and no tag");
    assert_eq!(sh(&format!("sha256sum < {at}/upgrade")), sum);
    sh(&format!("echo more > {at}/more && sync"));
    drop(mount);
    wait_until_free(&live.device("root"));
    sh(&format!("e2fsck -fn /dev/{}/root", live.vg));
    assert!(live.ok("trial status").contains("There is no trial."));
}

#[test]
fn what_is_dropped_has_never_been() {
    let Some(live) = with_file_system("dropped") else { return };
    live.run("trial keep VG/root").failed_with(5, &["is no trial"]);
    let before = sh(&format!("sha256sum < /dev/{}/root", live.vg));
    live.ok("trial start -n test -L 32M VG/root");
    let mount = mounted(&live, "test");
    sh(&format!("echo gone > {}/gone && sync", mount.at.display()));
    mount.unmount();
    live.ok("trial drop VG/test");
    assert_eq!(live.ok(NAMES).trim(), "root");
    assert_eq!(sh(&format!("sha256sum < /dev/{}/root", live.vg)), before);
}

/// The daemon dies while the trial merges: the next one goes on, and gives it its name; the command is not needed.
#[test]
fn a_trial_that_is_kept_has_its_name_also_after_a_crash() {
    let Some(live) = with_file_system("crashed") else { return };
    live.ok("trial start VG/root");
    let device = format!("/dev/{}/root_trial", live.vg);
    sh(&format!(
        "head -c 60M /dev/urandom | dd of={device} bs=1M seek=16 oflag=direct iflag=fullblock status=none"
    ));
    let sum = sh(&format!("sha256sum < {device}"));
    wait_until_free(&device);
    live.ok("trial keep -b VG/root");
    live.kill_daemon();
    let begun = Instant::now();
    while live.ok(NAMES).trim() != "root" {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", live.ok(NAMES));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(sh(&format!("sha256sum < /dev/{}/root", live.vg)), sum);
}

#[test]
fn a_trial_of_volumes_that_nobody_serves_is_kept_at_once() {
    let Some(live) = with_file_system("down") else { return };
    live.ok("trial start VG/root");
    let device = format!("/dev/{}/root_trial", live.vg);
    sh(&format!("head -c 4M /dev/urandom | dd of={device} bs=1M oflag=direct iflag=fullblock status=none"));
    let sum = sh(&format!("sha256sum < {device}"));
    wait_until_free(&device);
    live.ok("vgchange -an VG");
    live.ok("trial keep --no-rename VG/root");
    assert_eq!(live.ok(NAMES).trim(), "root_trial", "as it was asked for, and no tag");
    live.ok("lvrename VG/root_trial root");
    live.ok("vgchange -ay VG");
    assert_eq!(sh(&format!("sha256sum < /dev/{}/root", live.vg)), sum);
}
