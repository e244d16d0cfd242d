//! Live volumes: served, snapshotted, merged and taken up again while they are in use (architecture.md, "Who touches what",
//! "Merging"; I1, I3, R8).
//!
//! Goal: what a program wrote and flushed is there, whatever happens to the daemon; a snapshot is exactly what it was taken
//! of; a merge neither stops nor spoils what goes on. Method: the real program and its real daemon, in a run directory of
//! their own, on image files; files through FUSE, and as root ext4 on the block device.
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

use lab::live::{Live, Mounted, sh, wait_until_free};
use lab::{Lab, random, skip};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const SIZE: usize = 32 << 20;
const BLOCK: usize = 4096;

/// The story of 2008: snapshot, change, second snapshot, fold the first back, look, fold the second back.
#[test]
fn a_volume_goes_back_and_forth_while_it_is_served() {
    let Some(live) = Live::as_root("story", 256) else { return };
    let (old, new) = (random(1, SIZE), random(2, SIZE));
    live.ok("lvcreate -L 32M -n root VG");
    live.ok("vgchange -ay VG");
    let file = live.open("root");
    file.write_all_at(&old, 0).unwrap();
    file.sync_all().unwrap();
    live.ok("lvcreate -s -l 100%ORIGIN -n before VG/root");
    assert!(live.content("before") == old);
    file.write_all_at(&new, 0).unwrap();
    live.ok("lvcreate -s -l 100%ORIGIN -n after VG/root");
    assert!(live.content("before") == old && live.content("root") == new, "C1");
    let attributes = live.ok("lvs --noheadings -o lv_name,lv_attr");
    for line in ["after  swi-a-s---", "before swi-a-s---"] {
        assert!(attributes.contains(line), "{attributes}");
    }
    // In use: marked and not begun (lvm2.md 2.11).
    let said = live.ok("lvconvert --merge VG/before");
    assert!(said.contains("Delaying merge since origin is open."), "{said}");
    assert!(
        said.contains("Merging of snapshot VG/before will occur on next activation of VG/root."),
        "{said}"
    );
    assert!(file.metadata().unwrap().len() == SIZE as u64);
    live.ok("lvchange --refresh VG/root");
    assert!(live.ok("lvs --noheadings -a -o lv_attr VG/root").starts_with("  Owi"), "in use still");
    drop(file);
    live.ok("lvchange --refresh VG/root");
    live.wait_until_merged();
    assert!(live.content("root") == old, "the upgrade is gone");
    assert!(live.content("after") == new, "I3: the other snapshot holds what it held");
    live.ok("lvconvert --merge VG/after");
    assert!(live.content("root") == new, "exactly the upgraded state is back");
    assert_eq!(live.ok("lvs --noheadings -o lv_name,lv_attr"), "  root -wi-a-----\n");
    live.ok("vgchange -an VG");
    assert!(live.lab.content(&format!("{}/root", live.vg)) == new);
}

/// An origin decides for its snapshots (lvm2.md 3.1), whose own mark says nothing; one that merges is no volume any more.
#[test]
fn a_volume_to_be_skipped_stays_down_with_its_snapshots() {
    let live = Live::new("skipped", 64);
    live.ok("lvcreate -L 4M -ky -n root VG");
    live.ok("lvcreate -s -l 1 -kn -n before VG/root");
    live.ok("lvcreate -s -l 1 -kn -n after VG/root");
    live.ok("lvconvert --merge --onactivate VG/before");
    assert_eq!(live.ok("vgchange -ay VG").trim(), "0 logical volume(s) in volume group \"VG\" now active");
    live.ok("vgchange -ay -K VG");
    live.wait_until_merged();
    live.ok("vgchange -an VG");
}

/// Reads and writes go to the merged view from the first moment on (I1); nobody has to ask for its end (K11).
#[test]
fn the_origin_is_written_while_it_merges() {
    let Some(live) = Live::as_root("writes", 256) else { return };
    let (old, new) = (random(3, SIZE), random(4, SIZE));
    live.ok("lvcreate -L 32M -n root VG");
    live.ok("lvcreate -s -l 100%ORIGIN -n snap VG/root");
    live.ok("lvcreate -s -l 100%ORIGIN -c 64k -n other VG/root");
    live.ok("vgchange -ay VG");
    {
        let snap = live.open("snap");
        snap.write_all_at(&old, 0).unwrap();
        let root = live.open("root");
        root.write_all_at(&new, 0).unwrap();
        root.sync_all().unwrap();
    }
    live.ok("lvconvert --merge -b VG/snap");
    let mut expected = old;
    {
        let root = live.open("root");
        for number in 0..200_usize {
            let at = (number * 7919 * BLOCK) % SIZE;
            let bytes = random(100 + number as u64, BLOCK);
            root.write_all_at(&bytes, at as u64).unwrap();
            expected[at..at + BLOCK].copy_from_slice(&bytes);
        }
        let mut found = vec![0; SIZE];
        root.read_exact_at(&mut found, 0).unwrap();
        assert!(found == expected, "the merged view");
        root.sync_all().unwrap();
    }
    live.wait_until_merged();
    assert!(live.content("root") == expected);
    assert!(live.content("other") == vec![0; SIZE], "I3: what the origin was when it was taken");
}

/// kill -9 of the daemon under load, round after round: nothing acknowledged by a flush is lost, a merge goes on, other
/// snapshots stay bit for bit.
#[test]
fn nothing_flushed_is_lost_when_the_daemon_is_killed() {
    let Some(live) = Live::as_root("killed", 256) else { return };
    live.ok("lvcreate -L 32M -n root VG");
    live.ok("vgchange -ay VG");
    let mut expected = random(5, SIZE);
    {
        let root = live.open("root");
        root.write_all_at(&expected, 0).unwrap();
        root.sync_all().unwrap();
    }
    live.ok("lvcreate -s -l 100%ORIGIN -n other VG/root");
    let frozen = expected.clone();
    for round in 0..5_u64 {
        if round == 2 {
            // From here on a merge is under way, or has to go on. It changes nothing: the snapshot is as the origin is.
            live.ok("lvcreate -s -l 100%ORIGIN -n snap VG/root");
            let snap = live.open("snap");
            for (at, block) in expected.chunks(BLOCK).enumerate().step_by(3) {
                snap.write_all_at(block, (at * BLOCK) as u64).unwrap();
            }
            snap.sync_all().unwrap();
            drop(snap);
            live.ok("lvconvert --merge -b VG/snap");
        }
        let root = live.open("root");
        let flushed = 20 + round as usize * 13;
        for number in 0..flushed {
            let at = (number * 104_729 * BLOCK + round as usize * 12_289 * BLOCK) % SIZE;
            let bytes = random(1000 * (round + 1) + number as u64, BLOCK);
            root.write_all_at(&bytes, at as u64).unwrap();
            expected[at..at + BLOCK].copy_from_slice(&bytes);
        }
        root.sync_all().unwrap();
        live.kill_daemon();
        drop(root);
        // The next command finds out, and a new daemon takes the volumes up.
        let said = live.ok("lvs --noheadings -a -o lv_name,lv_active");
        assert!(said.contains("root") && said.contains("active"), "{said}");
        assert!(live.content("root") == expected, "round {round}");
        assert!(live.content("other") == frozen, "round {round}: I3");
    }
    live.wait_until_merged();
    assert!(live.content("root") == expected && live.content("other") == frozen);
}

/// ext4 on the block device: snapshot under a mounted file system, merge right before the mount, end under it.
#[test]
fn a_file_system_goes_back_to_its_snapshot() {
    let Some(live) = Live::as_root("ext", 512) else { return };
    if !Path::new("/dev/loop-control").exists() {
        return skip("a_file_system_goes_back_to_its_snapshot", "there are no loop devices");
    }
    live.ok("lvcreate -L 128M -n root VG");
    live.ok("vgchange -ay VG");
    let (device, mount) = (format!("/dev/{}/root", live.vg), live.lab.path("mnt"));
    sh(&format!("mkfs.ext4 -q {device}"));
    let mounted = Mounted::new(&device, &mount);
    let at = mounted.at.display().to_string();
    sh(&format!("cp -r /usr/share/perl5 {at}/ && sync"));
    let sums = format!("cd {at} && find . -type f | sort | xargs -d '\\n' sha256sum");
    let before = sh(&sums);
    live.ok("lvcreate -s -L 64M -n snap VG/root");
    sh(&format!("rm -rf {at}/perl5/[A-M]* && date > {at}/upgraded && sync"));
    assert!(sh(&sums) != before);
    let busy = live.run("vgchange -an VG");
    busy.failed_with(5, &["in use", "mounted"]);
    let said = live.ok("lvconvert --merge VG/snap");
    assert!(said.contains("Delaying merge since origin is open."), "{said}");
    mounted.unmount();
    live.ok("lvconvert --merge -b VG/snap");
    let mounted = Mounted::new(&device, &mount);
    assert_eq!(sh(&sums), before, "mounted at once, and every file is back");
    live.wait_until_merged();
    assert_eq!(sh(&sums), before, "the table was swapped under it");
    mounted.unmount();
    sh(&format!("e2fsck -fn {device}"));
    wait_until_free(&device);
    live.ok("vgchange -an VG");
    assert!(!Path::new(&device).exists());
}

/// Stores and volumes grow, are renamed and go, under who has them open.
#[test]
fn live_volumes_are_extended_renamed_and_removed() {
    let Some(live) = Live::as_root("grow", 256) else { return };
    live.ok("lvcreate -L 32M -n root VG");
    live.ok("vgchange -ay VG");
    live.ok("lvcreate -s -L 8M -n snap VG/root");
    let root = live.open("root");
    root.write_all_at(&random(6, 4 << 20), 0).unwrap();
    live.ok("lvextend -L +24M VG/snap");
    live.ok("lvextend -L 48M VG/root");
    assert_eq!(root.metadata().unwrap().len(), 48 << 20);
    root.write_all_at(&[7; BLOCK], (48 << 20) - BLOCK as u64).unwrap();
    live.ok("lvrename VG/snap kept");
    assert!(live.content("kept") == vec![0; SIZE], "a snapshot keeps its length (trap 8) and its content");
    let reader = live.open("kept");
    live.run("lvremove -y VG/kept").failed_with(5, &["in use", "nothing was changed"]);
    drop(reader);
    live.ok("lvremove -y VG/kept");
    assert!(!live.file("kept").exists());
    let mut last = [0; BLOCK];
    root.read_exact_at(&mut last, (48 << 20) - BLOCK as u64).unwrap();
    assert_eq!(last, [7; BLOCK]);
}

/// Two images may hold VGs of one name: a command works on the disks that it was given.
#[test]
fn a_live_vg_of_the_same_name_on_other_disks_is_left_alone() {
    let Some(live) = Live::as_root("twin", 128) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    let other = live.lab.path("other.img");
    File::create(&other).unwrap().set_len(128 << 20).unwrap();
    let run = |words: &str| {
        let words = words.replace("VG", &live.vg);
        let words: Vec<&str> = words.split(' ').collect();
        let output = live.lab.command(&words).env("FOLDBACK_DEVICES", &other).output().unwrap();
        assert!(output.status.success(), "{words:?} {}", String::from_utf8_lossy(&output.stderr));
    };
    run("vgcreate VG other.img");
    run("lvcreate -L 16M -n root VG");
    let words = format!("lvchange -ay {}/root", live.vg);
    let words: Vec<&str> = words.split(' ').collect();
    let refused = live.lab.command(&words).env("FOLDBACK_DEVICES", &other).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(5) && said.contains("on other disks is active"), "{said}");
    run("lvremove -y VG/root");
    let said = live.ok("lvs --noheadings -o lv_name,lv_attr");
    assert_eq!(said, "  root -wi-a-----\n");
    assert!(live.file("root").exists());
}

/// Somebody who takes no locks puts older metadata back: the volume that they do not know is held within a second or two,
/// the other goes on; with the right metadata both go on, and nothing was lost.
#[test]
fn a_volume_whose_metadata_somebody_changed_is_held_and_no_other() {
    let Some(live) = Live::as_root("foreign", 128) else { return };
    live.ok("lvcreate -L 16M -n stays VG");
    let image = OpenOptions::new().read(true).write(true).open(live.lab.path("disk.img")).unwrap();
    let mut older = vec![0; 1 << 20];
    image.read_exact_at(&mut older, 0).unwrap();
    live.ok("lvcreate -L 16M -n goes VG");
    live.ok("lvcreate -s -L 8M -n snap VG/goes");
    live.ok("vgchange -ay VG");
    let mut newer = older.clone();
    image.read_exact_at(&mut newer, 0).unwrap();
    let (stays, goes) = (live.open("stays"), live.open("goes"));
    goes.write_all_at(&[1; BLOCK], 0).unwrap();
    image.write_all_at(&older, 0).unwrap();
    image.sync_all().unwrap();
    let begun = Instant::now();
    while !live.run("lvs").stderr.contains("requests of its volumes wait") {
        assert!(begun.elapsed() < Duration::from_secs(20), "not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    stays.write_all_at(&[2; BLOCK], 0).unwrap();
    stays.sync_all().unwrap();
    let (told, answered) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        goes.write_all_at(&[3; BLOCK], 0).unwrap();
        goes.sync_all().unwrap();
        told.send(()).unwrap();
    });
    assert!(answered.recv_timeout(Duration::from_secs(1)).is_err(), "its write waits");
    live.run("vgchange -an VG").failed_with(5, &["in use"]);
    image.write_all_at(&newer, 0).unwrap();
    image.sync_all().unwrap();
    answered.recv_timeout(Duration::from_secs(20)).unwrap();
    writer.join().unwrap();
    drop(stays);
    let block = |lv: &str| live.content(lv)[..BLOCK].to_vec();
    assert_eq!(
        (block("stays"), block("goes"), block("snap")),
        (vec![2; BLOCK], vec![3; BLOCK], vec![0; BLOCK])
    );
}

/// lvm.conf's threshold: a store grows before it is full (lvm2.md 3.5).
#[test]
fn a_store_is_extended_before_it_is_full() {
    let Some(live) = Live::as_root("auto", 256) else { return };
    live.lab.write(
        "lvm.conf",
        b"activation {\n snapshot_autoextend_threshold = 70\n snapshot_autoextend_percent = 50\n}\n",
    );
    live.ok("lvcreate -L 32M -n root VG");
    let words = ["vgchange", "-ay", &live.vg];
    let output = live.lab.command(&words).env("LVM_SYSTEM_DIR", live.lab.path("")).output().unwrap();
    assert!(output.status.success());
    live.ok("lvcreate -s -L 8M -n snap VG/root");
    let root = live.open("root");
    for step in 0..6_u64 {
        root.write_all_at(&random(step, 2 << 20), step * (2 << 20)).unwrap();
        root.sync_all().unwrap();
        std::thread::sleep(Duration::from_millis(1200));
    }
    let said = live.ok("lvs --noheadings --nosuffix --units m -o lv_attr,lv_size VG/snap");
    let (attributes, size) = said.trim().split_once(' ').unwrap();
    assert_eq!(attributes, "swi-a-s---");
    assert!(size.trim().parse::<f64>().unwrap() > 12.0, "{said}");
    assert!(live.content("snap") == vec![0; SIZE]);
}

/// architecture.md: "looks every second and before every commit". The command that comes right after a foreign change must
/// not give the extents of a served volume to another one.
#[test]
fn a_command_right_after_a_foreign_change_changes_nothing() {
    let Some(live) = Live::as_root("behind", 128) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("lvcreate -s -L 8M -n s0 VG/root");
    let image = OpenOptions::new().read(true).write(true).open(live.lab.path("disk.img")).unwrap();
    let mut older = vec![0; 1 << 20];
    image.read_exact_at(&mut older, 0).unwrap();
    live.ok("lvcreate -s -L 8M -n s1 VG/root");
    let mut newer = older.clone();
    live.ok("vgchange -ay VG");
    image.read_exact_at(&mut newer, 0).unwrap();
    let mut content = vec![0; 16 << 20];
    content[..2 << 20].copy_from_slice(&random(61, 2 << 20));
    let root = live.open("root");
    root.write_all_at(&content[..2 << 20], 0).unwrap();
    root.sync_all().unwrap();
    let kept = live.content("s1");
    image.write_all_at(&older, 0).unwrap();
    image.sync_all().unwrap();
    live.run("lvcreate -s -L 8M -n s2 VG/root").failed_with(5, &["somebody changed the volume group"]);
    live.run("lvcreate -L 8M -n other VG").failed_with(5, &["somebody changed the volume group"]);
    live.run("lvconvert --merge VG/s0").failed_with(5, &["somebody changed the volume group"]);
    image.write_all_at(&newer, 0).unwrap();
    image.sync_all().unwrap();
    let begun = Instant::now();
    while live.run("lvs").stderr.contains("requests of its volumes wait") {
        assert!(begun.elapsed() < Duration::from_secs(20), "they do not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(live.content("root") == content && live.content("s1") == kept);
    drop(root);
}

/// The first command after the daemon's death may be one that changes something.
#[test]
fn a_change_can_be_the_first_command_after_the_daemons_death() {
    let Some(live) = Live::as_root("first", 128) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    live.kill_daemon();
    live.ok("lvcreate -s -L 8M -n snap VG/root");
    assert!(live.ok("lvs --noheadings -o lv_name,lv_attr").contains("swi-a-s---"));
    live.kill_daemon();
    live.ok("lvconvert --merge VG/snap");
    live.ok("lvchange -an VG/root");
}

/// LVM2's words and code for what is not there; the others are brought up.
#[test]
fn a_volume_that_is_not_there_is_named() {
    let Some(live) = Live::as_root("nope", 64) else { return };
    live.ok("lvcreate -L 16M -n root VG");
    let named = format!("Failed to find logical volume \"{}/nope\"", live.vg);
    live.run("lvchange -ay VG/nope VG/root").failed_with(5, &[&named]);
    assert!(live.file("root").exists());
    for words in ["lvchange -an VG/nope", "lvchange --refresh VG/nope", "lvchange -ay --export nbd VG/nope"] {
        live.run(words).failed_with(5, &[&named]);
    }
}

/// A VG may be called as a file of the daemon's directory is.
#[test]
fn a_vg_may_be_called_as_the_daemons_files() {
    if Live::as_root("names", 64).is_none() {
        return;
    }
    let live = Live { lab: Lab::empty(64), vg: "active.json".to_owned(), died: Cell::new(false) };
    live.ok("vgcreate VG disk.img");
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("vgchange -ay VG");
    assert!(live.lab.path("run/active.json@/root").exists() && live.lab.path("run/active.json").is_file());
    live.kill_daemon();
    live.ok("lvs");
    assert!(live.lab.path("run/active.json@/root").exists(), "it knows what was active");
    live.ok("vgchange -an VG");
}
