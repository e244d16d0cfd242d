//! Live volumes as other people's NBD clients see them: libnbd's, QEMU's and fio's.
//!
//! Goal: each reads what is there, writes what is asked for, and is told the truth about holes. Method: the tools themselves,
//! on a real image with the real program and its daemon; what a tool wrote is read from the image afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
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

use lab::random;
use nbd_lab::{Live, SIZE};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// An exported volume, and where.
struct Exported {
    live: Live,
    uri: String,
}

/// 1 MiB of data in front of zeros.
fn half_empty(seed: u64) -> Vec<u8> {
    let mut content = random(seed, SIZE);
    content[1 << 20..].fill(0);
    content
}

/// `None`, and said so, where one of these programs is missing.
fn exported(test: &str, tools: &[(&str, &str)], content: &[u8]) -> Option<Exported> {
    for (tool, package) in tools {
        if Command::new(tool).arg("--version").output().is_err() {
            lab::skip(test, &format!("{tool} is not installed (apt install {package})"));
            return None;
        }
    }
    let live = Live::with_content(content);
    let said = live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/root"]);
    let uri = said.trim().rsplit(' ').next().unwrap().to_owned();
    Some(Exported { live, uri })
}

impl Exported {
    /// Runs a tool in the lab's folder; what it printed.
    #[track_caller]
    fn ok(&self, tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool).args(arguments).current_dir(self.live.lab.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {said}{why}\n{}", self.live.log());
        said
    }

    /// Takes the volume down; it holds `content`.
    #[track_caller]
    fn ends_with(&self, content: &[u8]) {
        self.live.end();
        assert!(self.live.lab.content("vg/root") == content, "other content");
    }
}

#[test]
fn nbdinfo_sees_what_the_export_can_and_where_its_holes_are() {
    let content = half_empty(1);
    let test = "nbdinfo_sees_what_the_export_can_and_where_its_holes_are";
    let Some(exported) = exported(test, &[("nbdinfo", "libnbd-bin")], &content) else { return };
    let told = exported.ok("nbdinfo", &["--json", &exported.uri]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["protocol"], &told["structured"]), (&"newstyle-fixed".into(), &true.into()), "{told}");
    let export = &told["exports"][0];
    assert_eq!(export["export-size"], SIZE);
    for can in ["can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn", "can_df"] {
        assert_eq!(export[can], true, "{can}");
    }
    assert_eq!((&export["is_read_only"], &export["block_size_minimum"]), (&false.into(), &512.into()));
    let map = exported.ok("nbdinfo", &["--map", "--json", &exported.uri]);
    let map: Vec<serde_json::Value> = serde_json::from_str(&map).unwrap();
    // Type 3 is hole and zero.
    let (mut at, mut holes) = (0, 0);
    for extent in &map {
        let (offset, length) = (extent["offset"].as_u64().unwrap(), extent["length"].as_u64().unwrap());
        assert_eq!(offset, at);
        at += length;
        if extent["type"] == 3 {
            let (from, to) = (offset as usize, at as usize);
            assert!(content[from..to].iter().all(|byte| *byte == 0), "data at {from}..{to}");
            holes += length;
        } else {
            assert_eq!(extent["type"], 0);
        }
    }
    assert_eq!(at, SIZE as u64);
    assert!(holes >= 2 << 20, "import leaves holes, and they are told: {map:?}");
    let list = exported.ok("nbdinfo", &["--list", &exported.uri]);
    assert!(list.contains("export=\"root\""), "{list}");
    exported.ends_with(&content);
}

#[test]
fn nbdcopy_copies_both_ways_and_keeps_holes() {
    let content = half_empty(2);
    let test = "nbdcopy_copies_both_ways_and_keeps_holes";
    let Some(exported) = exported(test, &[("nbdcopy", "libnbd-bin")], &content) else { return };
    exported.ok("nbdcopy", &["--connections=4", "--requests=32", &exported.uri, "out.raw"]);
    assert!(exported.live.lab.read("out.raw") == content);
    let blocks = exported.live.lab.path("out.raw").metadata().unwrap().blocks();
    assert!(blocks * 512 <= 2 << 20, "{blocks} blocks of a copy that is mostly hole");
    let mut fresh = half_empty(3);
    fresh[3 << 20..].copy_from_slice(&random(4, 1 << 20));
    exported.live.lab.write("in.raw", &fresh);
    exported.ok("nbdcopy", &["--connections=4", "--flush", "in.raw", &exported.uri]);
    exported.ends_with(&fresh);
}

/// While a snapshot is there the origin's holes are told still, and the snapshot's are not.
#[test]
fn nbdcopy_copies_a_snapshot_and_its_origin() {
    let content = half_empty(5);
    let test = "nbdcopy_copies_a_snapshot_and_its_origin";
    let Some(exported) = exported(test, &[("nbdcopy", "libnbd-bin")], &content) else { return };
    let live = &exported.live;
    live.ok(&["lvcreate", "-s", "-L", "8M", "-n", "snap", "vg/root"]);
    let mut changed = content.clone();
    changed[2 << 20..3 << 20].copy_from_slice(&random(6, 1 << 20));
    live.lab.write("in.raw", &changed);
    exported.ok("nbdcopy", &["--flush", "in.raw", &exported.uri]);
    let said = live.ok(&["lvchange", "-ay", "--export", "nbd", "vg/snap"]);
    let snap = said.trim().rsplit(' ').next().unwrap();
    exported.ok("nbdcopy", &[snap, "snap.raw"]);
    exported.ok("nbdcopy", &[&exported.uri, "root.raw"]);
    assert!(live.lab.read("snap.raw") == content, "the snapshot is what it was");
    assert!(live.lab.read("root.raw") == changed);
    live.ok(&["lvremove", "-y", "vg/snap"]);
    exported.ends_with(&changed);
}

#[test]
fn qemu_img_converts_compares_and_maps() {
    let content = half_empty(7);
    let test = "qemu_img_converts_compares_and_maps";
    let Some(exported) = exported(test, &[("qemu-img", "qemu-utils")], &content) else { return };
    let uri = exported.uri.as_str();
    let lab = &exported.live.lab;
    exported.ok("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", uri, "out.qcow2"]);
    exported.ok("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", uri, "out.qcow2"]);
    assert!(lab.path("out.qcow2").metadata().unwrap().blocks() * 512 <= 2 << 20, "holes are left out");
    let map = exported.ok("qemu-img", &["map", "-f", "raw", "--output=json", uri]);
    let map: Vec<serde_json::Value> = serde_json::from_str(&map).unwrap();
    let zeros = map.iter().filter(|extent| extent["zero"] == true && extent["data"] == false);
    assert!(zeros.map(|extent| extent["length"].as_u64().unwrap()).sum::<u64>() >= 2 << 20, "{map:?}");
    let fresh = random(8, SIZE);
    lab.write("in.raw", &fresh);
    exported.ok("qemu-img", &["convert", "-n", "-W", "-f", "raw", "-O", "raw", "in.raw", uri]);
    exported.ok("qemu-img", &["compare", "-f", "raw", "-F", "raw", uri, "in.raw"]);
    exported.ends_with(&fresh);
}

#[test]
fn fio_verifies_what_it_wrote() {
    let test = "fio_verifies_what_it_wrote";
    let content = random(9, SIZE);
    let Some(exported) = exported(test, &[("fio", "fio")], &content) else { return };
    if !exported.ok("fio", &["--enghelp"]).lines().any(|engine| engine.trim() == "nbd") {
        lab::skip(test, "this fio was built without libnbd");
        return exported.ends_with(&content);
    }
    let uri = format!("--uri={}", exported.uri);
    let common = ["--ioengine=nbd", uri.as_str(), "--size=4M", "--randrepeat=1", "--output-format=terse"];
    let verified = |name: &str, own: &[&str]| {
        let name = format!("--name={name}");
        let always = ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1", name.as_str()];
        exported.ok("fio", &[&common[..], &always, own].concat());
    };
    verified("random", &["--rw=randwrite", "--bs=4k", "--iodepth=32", "--fsync=16"]);
    verified("odd", &["--rw=randwrite", "--bssplit=512/20:4k/40:68k/40", "--bs_unaligned=0", "--iodepth=8"]);
    verified("large", &["--rw=write", "--bs=1M", "--iodepth=4", "--end_fsync=1"]);
    // Two connections at once, each with its half.
    verified(
        "two",
        &["--rw=randrw", "--bs=4k", "--iodepth=16", "--numjobs=2", "--size=2M", "--offset_increment=2M"],
    );
    exported.live.end();
}
