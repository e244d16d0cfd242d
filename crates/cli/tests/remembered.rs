//! What a daemon leaves for the next one (architecture.md, "Processes").
//!
//! Method: the real program and its daemon, killed.
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
use lab::live::Live;
use lab::random;
use std::os::unix::fs::FileExt;
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
