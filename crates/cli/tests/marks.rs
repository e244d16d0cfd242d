//! What options leave in the metadata, and which locks they pass by (lvm2.md 3.4; docs/lvm2-differences.md, "Locks").
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]
#![allow(clippy::arithmetic_side_effects, reason = "test code")]

mod lab;

use lab::{Lab, lock_metadata};

#[test]
fn a_volume_to_be_skipped_is_marked_and_no_other() {
    let lab = Lab::with_vg(64);
    lab.ok(&["lvcreate", "-L", "4M", "-ky", "-n", "root", "vg"]);
    lab.ok(&["lvcreate", "-L", "4M", "-kn", "-n", "home", "vg"]);
    lab.ok(&["lvcreate", "-s", "-l", "1", "-n", "plain", "vg/root"]);
    lab.ok(&["lvcreate", "-s", "-l", "1", "--setactivationskip", "y", "-n", "skipped", "vg/root"]);
    let shown = lab.ok(&["lvs", "--noheadings", "-o", "lv_name,lv_attr,lv_skip_activation"]);
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["home", "-wi-------"]);
    assert_eq!(lines[1], ["plain", "swi---s---"]);
    assert_eq!(lines[2], ["root", "owi---s--k", "skip", "activation"]);
    assert_eq!(lines[3], ["skipped", "swi---s--k", "skip", "activation"]);
    let image = lab.read("disk.img");
    let text = String::from_utf8_lossy(&image[..1 << 20]);
    assert!(text.contains("flags = [\"ACTIVATION_SKIP\"]"), "LVM2's word");
}

#[test]
fn without_locking_is_read_but_nothing_is_changed() {
    let lab = Lab::with_vg(64);
    let held = lock_metadata(&lab.path("disk.img"));
    assert_eq!(lab.ok(&["vgs", "--noheadings", "--nolocking", "-o", "vg_name"]).trim(), "vg");
    drop(held);
    let run = lab.run(&["lvcreate", "--nolocking", "-L", "4M", "-n", "root", "vg"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("WARNING: --nolocking holds for commands that only read"), "{}", run.stderr);
}
