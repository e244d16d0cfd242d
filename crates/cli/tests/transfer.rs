//! Export and import: what goes out and comes in, and what is left when it cannot (issue, items 5).
//!
//! Goal: contents are exact, holes stay holes, only what differs is written, and a failure removes and changes nothing
//! that it should not. Method: the real program on images in temporary folders; limits set on the process itself.
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

use lab::{Lab, random};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

fn lab_with(size: &str, content: &[u8]) -> Lab {
    let lab = Lab::with_vg(256);
    lab.ok(&["lvcreate", "-L", size, "-n", "root", "vg"]);
    lab.write("in.raw", content);
    lab.ok(&["import", "in.raw", "vg/root"]);
    lab
}

#[test]
fn holes_stay_holes_in_both_directions() {
    let mut content = vec![0; 32 << 20];
    content[5 << 20..6 << 20].copy_from_slice(&random(1, 1 << 20));
    let lab = lab_with("32M", &content);
    let image = std::fs::metadata(lab.path("disk.img")).unwrap().blocks() * 512;
    assert!(image < 4 << 20, "import wrote {image} bytes for 1 MiB of data");
    let said = lab.ok(&["export", "vg/root", "out.raw"]);
    assert_eq!(said, "  Exported \"vg/root\" to out.raw: 32.00 MiB, 1.00 MiB of it data.\n");
    assert!(lab.read("out.raw") == content);
    let blocks = std::fs::metadata(lab.path("out.raw")).unwrap().blocks() * 512;
    assert!(blocks <= 2 << 20, "export took {blocks} bytes for 1 MiB of data");
    // Zeros over data are written; data that is the same is not.
    lab.write("in.raw", &vec![0; 32 << 20]);
    let said = lab.ok(&["import", "in.raw", "vg/root"]);
    assert_eq!(said, "  Imported in.raw to \"vg/root\": 32.00 MiB, 1.00 MiB of it differed.\n");
    assert!(lab.content("vg/root") == vec![0; 32 << 20]);
}

#[test]
fn only_what_differs_is_written_so_that_snapshots_copy_little() {
    let content = random(1, 16 << 20);
    let lab = lab_with("16M", &content);
    lab.ok(&["lvcreate", "-s", "-l", "100%ORIGIN", "-n", "snap", "vg/root"]);
    let mut changed = content.clone();
    for place in [0, 5 << 20, (16 << 20) - 1] {
        changed[place] ^= 1;
    }
    lab.write("in.raw", &changed);
    lab.ok(&["import", "in.raw", "vg/root"]);
    let checked: serde_json::Value = serde_json::from_str(&lab.ok(&["check", "--json", "vg/snap"])).unwrap();
    assert_eq!(checked["exceptions"], 3);
    assert!(lab.content("vg/snap") == content && lab.content("vg/root") == changed);
    // Header, area and three chunks of 4 KiB in 20 MiB, rounded; LVM2 itself would show nothing for an inactive snapshot.
    assert_eq!(
        lab.ok(&["lvs", "--noheadings", "-o", "lv_attr,data_percent", "vg/snap"]),
        "  swi---s--- 0.10  \n"
    );
}

#[test]
fn a_snapshot_takes_content_of_its_own() {
    let content = random(1, 8 << 20);
    let lab = lab_with("8M", &content);
    lab.ok(&["lvcreate", "-s", "-l", "100%ORIGIN", "-c", "16k", "-n", "snap", "vg/root"]);
    let own = random(2, 8 << 20);
    lab.write("own.raw", &own);
    lab.ok(&["import", "own.raw", "vg/snap"]);
    assert!(lab.content("vg/snap") == own && lab.content("vg/root") == content);
}

#[test]
fn a_snapshot_that_cannot_take_an_import_is_lost_and_the_import_is_not_to_be_repeated() {
    let lab = lab_with("16M", &random(1, 16 << 20));
    lab.ok(&["lvcreate", "-s", "-L", "4M", "-n", "small", "vg/root"]);
    lab.write("own.raw", &random(2, 16 << 20));
    let run = lab.run(&["import", "own.raw", "vg/small"]);
    run.failed_with(5, &["Snapshot vg/small is invalid", "Its content is lost", "lvremove vg/small"]);
    assert!(!run.stderr.contains("repeat"), "{}", run.stderr);
    assert!(lab.content("vg/root") == random(1, 16 << 20));
    // As with the kernel, a write to an origin goes on where a snapshot cannot follow; it is said, and no error.
    lab.ok(&["lvremove", "-y", "vg/small"]);
    lab.ok(&["lvcreate", "-s", "-L", "4M", "-n", "small", "vg/root"]);
    let run = lab.run(&["import", "own.raw", "vg/root"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("WARNING: Snapshot vg/small is invalid"), "{}", run.stderr);
    assert!(lab.content("vg/root") == random(2, 16 << 20));
}

#[test]
fn standard_input_and_output_are_streams() {
    let content = random(3, (8 << 20) - 700);
    let lab = lab_with("8M", &vec![0xee; 8 << 20]);
    let mut command = lab.command(&["import", "-", "vg/root"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&content).unwrap();
    assert!(child.wait().unwrap().success());
    let output = lab.command(&["export", "vg/root", "-"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    // The last, partial piece ends inside a sector: the rest of it, and of the volume, is as it was.
    assert!(output.stdout[..content.len()] == content[..]);
    assert!(output.stdout[content.len()..].iter().all(|&byte| byte == 0xee));
    assert_eq!(output.stdout.len(), 8 << 20);
}

#[test]
fn a_larger_source_is_refused_before_anything_is_written() {
    let lab = lab_with("4M", &random(1, 4 << 20));
    lab.write("large.raw", &random(2, (4 << 20) + 1));
    let before = lab.fingerprint();
    lab.run(&["import", "large.raw", "vg/root"]).failed_with(5, &["nothing was written"]);
    lab.run(&["import", "nosuch.raw", "vg/root"]).failed_with(5, &["opening nosuch.raw"]);
    lab.run(&["import", ".", "vg/root"]).failed_with(5, &["it is a directory"]);
    assert_eq!(lab.fingerprint(), before);
    let mut command = lab.command(&["import", "-", "vg/root"]);
    let output = command.stdin(File::open(lab.path("large.raw")).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("goes on behind the end of vg/root"));
}

#[test]
fn an_existing_file_is_replaced_only_when_forced_and_never_lost() {
    let content = random(1, 8 << 20);
    let lab = lab_with("8M", &content);
    lab.write("out.raw", b"mine");
    lab.run(&["export", "vg/root", "out.raw"]).failed_with(5, &["out.raw exists.", "-f replaces it"]);
    assert_eq!(lab.read("out.raw"), b"mine");
    // A limit on file size stands for a full disk: what was there stays, what was begun goes.
    let limited =
        format!("ulimit -f 4096; exec {} export -f vg/root out.raw", env!("CARGO_BIN_EXE_foldback"));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &limited]).current_dir(lab.path("")).env("FOLDBACK_DEVICES", "disk.img");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("writing out.raw: File too large") && said.contains("not enough room"), "{said}");
    assert_eq!(lab.read("out.raw"), b"mine");
    let files: Vec<_> =
        std::fs::read_dir(lab.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().contains("partial")), "{files:?}");
    lab.ok(&["export", "-f", "vg/root", "out.raw"]);
    assert!(lab.read("out.raw") == content);
}

#[test]
fn the_disks_themselves_are_neither_source_nor_target() {
    let lab = lab_with("4M", &random(1, 4 << 20));
    let fingerprint = lab.fingerprint();
    let disk = lab.path("disk.img");
    let disk = disk.to_str().unwrap();
    let said = "is one of the disks that the volume group lies on";
    lab.run(&["export", "-f", "vg/root", disk]).failed_with(5, &[said]);
    lab.run(&["import", disk, "vg/root"]).failed_with(5, &[said]);
    assert_eq!(lab.fingerprint(), fingerprint);
}

#[test]
fn a_reader_that_goes_away_is_an_error_and_no_panic() {
    let lab = lab_with("8M", &random(1, 8 << 20));
    let mut command = lab.command(&["export", "vg/root", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("standard output"));
}

#[test]
fn a_full_target_behind_standard_output_is_named_as_that() {
    let lab = lab_with("8M", &random(1, 8 << 20));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = lab.command(&["export", "vg/root", "-"]).stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("not enough room where standard output goes"), "{said}");
    assert!(!said.contains("was removed"), "what is behind it is not ours to remove: {said}");
}

#[test]
fn volumes_that_cannot_be_used_are_refused() {
    let lab = lab_with("4M", &random(1, 4 << 20));
    lab.ok(&["lvcreate", "-s", "-l", "2", "-n", "frozen", "-p", "r", "vg/root"]);
    let before = lab.fingerprint();
    lab.run(&["import", "in.raw", "vg/frozen"]).failed_with(5, &["vg/frozen is read-only"]);
    lab.run(&["import", "in.raw", "vg/snapshot0"]).failed_with(5, &["Failed to find logical volume"]);
    lab.run(&["export", "vg/snapshot0", "x"]).failed_with(5, &["Failed to find logical volume"]);
    lab.run(&["export", "vg", "x"]).failed_with(3, &["Name a volume as VG/"]);
    assert_eq!(lab.fingerprint(), before);
}
