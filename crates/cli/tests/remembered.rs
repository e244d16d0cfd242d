//! What a daemon leaves for the next one (architecture.md, "Processes"): that it is there before a command is answered, and what
//! becomes of a command where it cannot be written.
//!
//! Method: the real program and its daemon, killed, or in a directory on a small tmpfs that somebody fills.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "a test")]

mod lab;

use foldback_daemon::RunDir;
use foldback_daemon::api::Client;
use foldback_daemon::api::types::MergeInfo;
use lab::live::{Live, sh};
use lab::random;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The merge under way, as the daemon that runs now has it.
fn merge(live: &Live) -> MergeInfo {
    let mut client = Client::connect(&RunDir::at(&live.lab.path("run"))).unwrap();
    let lvs = client.list().unwrap().remove(0).lvs;
    lvs.into_iter().find_map(|lv| lv.merge).unwrap()
}

/// An origin of 64 MiB into which a snapshot that differs from it everywhere merges, slowly.
fn merging(live: &Live, rate: &str) {
    live.ok("lvcreate -L 64M -n root VG");
    live.ok("vgchange -ay VG");
    live.ok("lvcreate -s -l 100%ORIGIN -n snap VG/root");
    let root = live.open("root");
    root.write_all_at(&random(1, 64 << 20), 0).unwrap();
    root.sync_all().unwrap();
    drop(root);
    live.ok(&format!("lvconvert --merge -b --rate {rate} VG/snap"));
}

/// `--pause` and `--rate` outlive the daemon: the next one begins no window of a paused merge, not even its first.
#[test]
fn a_merge_stays_paused_and_paced_when_the_daemon_is_killed() {
    let Some(live) = Live::as_root("steered", 256) else { return };
    merging(&live, "1m");
    live.ok("lvconvert --pause VG/root");
    let before = merge(&live);
    assert!(before.paused && before.chunks_left > 0 && before.limit == Some(1 << 20), "{before:?}");
    for _ in 0..2 {
        live.kill_daemon();
        live.ok("lvs");
        let after = merge(&live);
        assert!(after.paused && after.limit == Some(1 << 20), "{after:?}");
        // What was under way when it was paused may have ended after the look.
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(merge(&live).chunks_left, after.chunks_left);
    }
    live.ok("lvconvert --resume VG/root");
    live.kill_daemon();
    live.ok("lvs");
    let paced = merge(&live);
    assert!(!paced.paused && paced.limit == Some(1 << 20), "{paced:?}");
    std::thread::sleep(Duration::from_millis(1500));
    let later = merge(&live);
    let moved = (paced.chunks_left - later.chunks_left) * paced.chunk_sectors * 512;
    assert!(moved > 0 && moved < 16 << 20, "{moved} bytes in a second and a half");
    // A renamed one goes on, at its rate.
    live.ok("lvrename VG/root kept");
    let renamed = merge(&live);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(merge(&live).chunks_left < renamed.chunks_left && renamed.limit == Some(1 << 20), "{renamed:?}");
    live.ok("lvconvert --rate none VG/kept");
    live.wait_until_merged();
}

/// What an activation's `--config` says of stores that fill holds before its volumes are resumed, though others of the VG were
/// active before; one that says nothing of them changes nothing, and the next daemon knows.
#[test]
fn a_full_store_is_held_as_the_activation_of_its_volume_says() {
    let Some(live) = Live::as_root("later", 77) else { return };
    live.ok("lvcreate -L 4M -n first VG");
    live.ok("lvcreate -L 64M -n root VG");
    live.ok("lvcreate -s -L 8M -n snap VG/root");
    assert_eq!(live.ok("vgs --noheadings -o vg_free_count").trim(), "0");
    live.ok("lvchange -ay VG/first");
    let config = "activation/snapshot_autoextend_threshold=70 foldback/hold_seconds=600";
    live.lab.ok(&["lvchange", "-ay", "--config", config, &format!("{}/root", live.vg)]);
    live.ok("lvchange -ay VG/first");
    live.kill_daemon();
    live.ok("lvs");
    let root = live.open("root");
    let writer = std::thread::spawn(move || root.write_all_at(&random(91, 16 << 20), 0).unwrap());
    let begun = Instant::now();
    while !live.run("lvs").stderr.contains("Insufficient free space") {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not held\n{}", live.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let attributes = live.run("lvs --noheadings -o lv_attr VG/snap").stdout;
    assert_eq!(attributes.trim(), "swi-a-s---", "it is not lost");
    assert_eq!(live.run("lvremove -y VG/snap").code, Some(0), "{}", live.log());
    writer.join().unwrap();
}

/// A tmpfs in place of the daemon's directory, until this is dropped.
struct Small(PathBuf);

impl Small {
    fn at(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        sh(&format!("mount -t tmpfs -o size=256k,mode=700 none {}", path.display()));
        Self(path)
    }

    /// Takes all room that there is.
    fn fill(&self) {
        let filled = Command::new("dd")
            .args(["if=/dev/zero", "bs=4k"])
            .arg(format!("of={}", self.0.join("filler").display()))
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&filled.stderr).contains("No space left"), "{filled:?}");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The daemon may have something open there still.
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

/// The daemon ends before its directory does.
struct Room {
    live: Live,
    small: Small,
}

fn is_written(run: &Path, id: &str) -> bool {
    std::fs::read_to_string(run.join("active.json")).is_ok_and(|text| text.contains(id))
}

/// architecture.md: "replaced atomically before a verb is answered". What cannot be written down is not activated; what cannot
/// be taken back is said to be done, and written down as soon as there is room.
#[test]
fn what_cannot_be_written_down_is_an_error_and_an_activation_is_taken_back() {
    let Some(live) = Live::as_root("room", 128) else { return };
    let run = live.lab.path("run");
    let full = Room { small: Small::at(run.clone()), live };
    let (live, small) = (&full.live, &full.small);
    live.ok("lvcreate -L 16M -n root VG");
    live.ok("lvcreate -L 16M -n other VG");
    live.ok("lvchange -ay VG/root");
    small.fill();
    let refused = live.run("lvchange -ay VG/other");
    refused.failed_with(5, &["active.json: No space left on device", "nothing was brought up"]);
    assert_eq!(live.ok("lvs --noheadings -o lv_name,lv_active -S lv_active=active").trim(), "root active");
    let root = live.open("root");
    root.write_all_at(&[7; 4096], 0).unwrap();
    root.sync_all().unwrap();
    let done = live.run("lvcreate -s -L 8M -n snap VG/root");
    done.failed_with(5, &["active.json: No space left on device", "is done all the same"]);
    assert!(live.file("snap").exists(), "it was taken");
    let id = live.ok("lvs --noheadings -o lv_uuid VG/snap").trim().to_owned();
    assert!(!is_written(&run, &id));
    // A merge goes on, and jobs do although they cannot say what they do.
    drop(root);
    small.make_room();
    let begun = Instant::now();
    while !is_written(&run, &id) {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is not tried again");
        std::thread::sleep(Duration::from_millis(50));
    }
    live.ok("lvchange -ay VG/other");
    live.kill_daemon();
    live.ok("lvs");
    assert!(live.file("other").exists() && live.file("snap").exists());
    live.ok("vgchange -an VG");
}

/// Where the volumes of the daemon that runs now are served over NBD.
fn nbd(live: &Live) -> Vec<String> {
    let mut client = Client::connect(&RunDir::at(&live.lab.path("run"))).unwrap();
    client.list().unwrap().into_iter().flat_map(|vg| vg.lvs).flat_map(|lv| lv.nbd).collect()
}

/// A VG with a live volume that is served over NBD as well; the LV's UUID.
fn exported(live: &Live) -> String {
    live.ok("lvcreate -L 16M -n root VG");
    assert_eq!(live.run("lvchange -ay --export nbd VG/root").code, Some(0), "{}", live.log());
    live.ok("lvs --noheadings -o lv_uuid VG/root").trim().to_owned()
}

fn wait_for_end(live: &Live) {
    let begun = Instant::now();
    while live.lab.path("run/api.sock").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the daemon does not end\n{}", live.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A disk that is not there when the next daemon starts: nothing is forgotten, commands say so, no daemon lives on for it, and
/// it goes on as it was when the disk is back. A deactivation gives it up.
#[test]
fn what_cannot_be_taken_up_is_kept_and_tried_again() {
    let Some(live) = Live::as_root("kept", 64) else { return };
    let id = exported(&live);
    let (run, addresses) = (live.lab.path("run"), nbd(&live));
    assert_eq!(addresses.len(), 1);
    let (here, away) = (live.lab.path("disk.img"), live.lab.path("away.img"));
    let warning = format!("VG {} was active and could not be taken up again", live.vg);
    let lose = || {
        live.kill_daemon();
        std::fs::rename(&here, &away).unwrap();
        live.run("lvs").failed_with(5, &[&warning, "disk.img", "vgchange -an"]);
    };
    lose();
    assert!(is_written(&run, &id), "{}", live.log());
    wait_for_end(&live);
    assert!(is_written(&run, &id), "{}", live.log());
    std::fs::rename(&away, &here).unwrap();
    live.ok("lvs");
    assert!(live.file("root").exists(), "{}", live.log());
    assert_eq!(nbd(&live), addresses);
    // The same while one daemon runs.
    lose();
    std::fs::rename(&away, &here).unwrap();
    live.ok("lvs");
    assert_eq!(nbd(&live), addresses, "{}", live.log());
    lose();
    assert_eq!(live.run("vgchange -an VG").code, Some(0), "{}", live.log());
    assert!(!run.join("active.json").exists());
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(live.ok("lvs --noheadings -o lv_name,lv_active").trim(), "root");
}

/// "PVs as path + dev:inode": a copy that lies at the path by now is neither served nor written.
#[test]
fn a_copy_in_the_place_of_the_disk_is_not_taken_up() {
    let Some(live) = Live::as_root("copied", 64) else { return };
    let id = exported(&live);
    live.kill_daemon();
    let (here, away) = (live.lab.path("disk.img"), live.lab.path("away.img"));
    std::fs::rename(&here, &away).unwrap();
    std::fs::copy(&away, &here).unwrap();
    let copy = live.lab.fingerprint();
    let said = live.run("lvs").stderr;
    assert!(said.contains("disk.img is not the disk that was served"), "{said}\n{}", live.log());
    assert!(!live.file("root").exists() && live.lab.fingerprint() == copy);
    assert!(is_written(&live.lab.path("run"), &id));
    std::fs::rename(&away, &here).unwrap();
    live.ok("lvs");
    assert!(live.file("root").exists(), "{}", live.log());
}
