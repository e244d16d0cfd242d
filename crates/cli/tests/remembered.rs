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

use lab::live::Live;
use lab::random;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

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
