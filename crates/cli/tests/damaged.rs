//! Disks that are damaged, foreign or half there: refused with the place and the reason, and nothing written
//! (architecture.md, "When things go wrong"; lvm2.md 7, traps 17-20; K1, K5).
//!
//! Method: a good image is damaged at a known place; every command that would change it must refuse, its message must
//! name what is wrong, and not one byte of the image may change.
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

/// `vg/root` with `vg/snap`, whose store holds 40 exceptions.
fn lab() -> Lab {
    let lab = Lab::with_vg(64);
    lab.ok(&["lvcreate", "-L", "4M", "-n", "root", "vg"]);
    lab.ok(&["lvcreate", "-s", "-L", "4M", "-n", "snap", "vg/root"]);
    lab.write("in.raw", &random(1, 40 * 4096));
    lab.ok(&["import", "in.raw", "vg/root"]);
    lab
}

/// Every change must fail with all of `said`, and leave every byte as it is.
#[track_caller]
fn refused(lab: &Lab, said: &[&str]) {
    let before = lab.fingerprint();
    let changes: [&[&str]; 3] = [
        &["lvconvert", "--merge", "vg/snap"],
        &["lvcreate", "-L", "4M", "-n", "new", "vg"],
        &["lvremove", "-y", "vg/snap"],
    ];
    for change in changes {
        lab.run(change).failed_with(5, said);
    }
    assert_eq!(lab.fingerprint(), before);
}

/// The store must be refused by those who use it, and `check` must say `finding`.
#[track_caller]
fn store_refused(lab: &Lab, finding: &str) {
    let before = lab.fingerprint();
    let checked = lab.run(&["check", "vg/snap"]);
    assert_eq!(checked.code, Some(11), "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains(finding), "{finding:?} is not in:\n{}", checked.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&lab.run(&["check", "--json", "vg/snap"]).stdout).unwrap();
    assert_eq!(json["findings"][0]["severity"], "refuse");
    lab.run(&["lvconvert", "--merge", "vg/snap"]).failed_with(5, &["Unable to merge"]);
    lab.run(&["export", "vg/snap", "x.raw"]).failed_with(5, &["cannot be used", finding]);
    assert_eq!(lab.run(&["import", "in.raw", "vg/snap"]).code, Some(5));
    assert_eq!(lab.fingerprint(), before);
    // The origin is there all the same.
    lab.ok(&["export", "vg/root", "-f", "x.raw"]);
}

/// A record of the store's first area: slot, origin chunk, store chunk.
fn record(lab: &Lab, slot: u64, old: u64, new: u64) {
    let bytes = [old.to_le_bytes(), new.to_le_bytes()].concat();
    lab.patch(lab.start_of("vg/snap") + 4096 + slot * 16, &bytes);
}

#[test]
fn an_invalid_store_is_told_from_a_damaged_one() {
    let lab = lab();
    lab.patch(lab.start_of("vg/snap") + 4, &0_u32.to_le_bytes());
    store_refused(&lab, "the snapshot was invalidated");
    assert!(lab.run(&["check", "vg/snap"]).stdout.contains("result      invalid"));
}

#[test]
fn a_store_without_its_magic_is_refused() {
    let lab = lab();
    lab.patch(lab.start_of("vg/snap"), b"XnAp");
    store_refused(&lab, "magic");
}

#[test]
fn a_record_behind_the_store_is_refused_with_its_place() {
    let lab = lab();
    record(&lab, 7, 7, 1 << 40);
    store_refused(&lab, "slot 7");
}

#[test]
fn a_record_of_a_chunk_the_origin_does_not_have_is_refused() {
    let lab = lab();
    record(&lab, 3, 5_000_000, 20);
    store_refused(&lab, "origin chunk 5000000");
}

#[test]
fn two_records_for_one_chunk_are_refused() {
    let lab = lab();
    record(&lab, 9, 2, 900);
    store_refused(&lab, "slot 9");
}

/// K1: the kernel would bring it back; we scrub it before the store is used.
#[test]
fn a_stale_tail_is_repaired_by_the_merge() {
    let lab = lab();
    record(&lab, 100, 1, 500);
    let checked = lab.run(&["check", "vg/snap"]);
    assert_eq!(checked.code, Some(10), "{}", checked.stdout);
    assert!(checked.stdout.contains("repair"), "{}", checked.stdout);
    lab.ok(&["lvconvert", "--merge", "vg/snap"]);
    assert!(lab.content("vg/root") == vec![0; 4 << 20]);
}

#[test]
fn a_damaged_text_makes_the_vg_unreadable_and_untouchable() {
    let lab = lab();
    // Somewhere in the committed text: the ring begins at 4608.
    let ring = lab.read("disk.img")[4608..1 << 20].to_vec();
    let last = ring.windows(8).rposition(|window| window == b"seqno = ").unwrap();
    lab.patch(4608 + last as u64, b"SEQNO = ");
    refused(&lab, &["vg"]);
    assert!(lab.run(&["lvs"]).stderr.contains("checksum"), "{}", lab.run(&["lvs"]).stderr);
}

#[test]
fn a_damaged_area_header_is_refused() {
    let lab = lab();
    lab.patch(4096 + 40, &[0xff; 4]);
    let before = lab.fingerprint();
    for change in [&["lvconvert", "--merge", "vg/snap"][..], &["lvremove", "-y", "vg/snap"]] {
        assert_eq!(lab.run(change).code, Some(5));
    }
    assert_eq!(lab.fingerprint(), before);
}

#[test]
fn a_label_that_lost_a_bit_is_no_label() {
    let lab = lab();
    lab.patch(512 + 100, &[0xff]);
    refused(&lab, &["Volume group \"vg\" not found"]);
}

#[test]
fn a_vg_with_a_missing_pv_is_refused_whole() {
    let lab = Lab::empty(64);
    std::fs::File::create(lab.path("two.img")).unwrap().set_len(64 << 20).unwrap();
    let both = ["--devices", "disk.img,two.img"];
    let with = |arguments: &[&'static str]| [arguments, &both].concat();
    lab.ok(&with(&["vgcreate", "vg", "disk.img", "two.img"]));
    lab.ok(&with(&["lvcreate", "-L", "4M", "-n", "root", "vg"]));
    lab.ok(&with(&["lvcreate", "-s", "-L", "4M", "-n", "snap", "vg/root"]));
    // Only disk.img is named now.
    refused(&lab, &["vg", "missing"]);
    assert!(lab.run(&["pvs"]).stdout.contains("[unknown]"));
    assert!(lab.run(&["vgs"]).stdout.contains("wz-pn-"));
}

#[test]
fn a_copy_beside_its_original_is_refused() {
    let lab = lab();
    std::fs::copy(lab.path("disk.img"), lab.path("copy.img")).unwrap();
    let before = lab.fingerprint();
    for change in [&["lvconvert", "--merge", "vg/snap"][..], &["lvremove", "-y", "vg/snap"]] {
        let run = lab.run(&[change, &["--devices", "disk.img,copy.img"]].concat());
        run.failed_with(5, &["duplicate"]);
    }
    assert_eq!(lab.fingerprint(), before);
}

#[test]
fn files_that_are_no_disks_are_named() {
    let lab = lab();
    lab.run(&["lvs", "--devices", "."])
        .failed_with(5, &["opening .", "neither an image file nor a block device"]);
    lab.run(&["lvs", "--devices", "disk.img,disk.img"]).failed_with(5, &["the same disk"]);
    lab.write("small.img", &[0; 1000]);
    lab.run(&["pvcreate", "small.img"]).failed_with(5, &["small.img", "too small"]);
    // Not even room for a label: listed as nothing, and no panic.
    lab.write("small.img", &[0; 1024]);
    assert_eq!(lab.ok(&["pvs", "--devices", "small.img"]), "");
}

/// Whoever asks in JSON is answered in JSON, also where nothing could be looked at.
#[test]
fn an_unchecked_store_is_an_object_too() {
    let lab = lab();
    for (name, said) in [("vg/nosuch", "nosuch"), ("nosuch/snap", "not found"), ("vg/root", "not a snapshot")]
    {
        let run = lab.run(&["check", "--json", name]);
        assert_eq!(run.code, Some(5), "{}", run.stderr);
        let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((&json["snapshot"], &json["result"]), (&name.into(), &"unchecked".into()));
        let error = json["error"].as_str().unwrap();
        assert!(error.contains(said), "{error}");
        assert!(run.stderr.contains(said), "people are told as well: {}", run.stderr);
    }
}

/// Every byte of the metadata, changed one after the other, must end in an answer.
#[test]
fn no_damaged_byte_makes_it_panic() {
    let lab = lab();
    let good = lab.read("disk.img")[..16384].to_vec();
    for at in (512..620).chain(4096..4200).chain((4608..12000).step_by(97)) {
        lab.patch(at, &[good[at as usize] ^ 0x41]);
        let run = lab.run(&["lvs", "-a", "-o", "lv_all,devices"]);
        assert!(matches!(run.code, Some(0 | 5)), "byte {at}: {:?}\n{}", run.code, run.stderr);
        assert!(!run.stderr.contains("panicked"), "byte {at}: {}", run.stderr);
        lab.patch(at, &[good[at as usize]]);
    }
}

#[test]
fn a_disk_with_a_file_system_becomes_a_pv_only_with_a_yes() {
    let lab = Lab::empty(64);
    lab.patch(1080, &[0x53, 0xef]);
    // Extents, without which it would be an ext2.
    lab.patch(1024 + 0x60, &[0x40]);
    let before = lab.fingerprint();
    let question = "WARNING: ext4 signature detected on disk.img at offset 1080. Wipe it? [y/n]: [n]\n";
    let said = format!("{question}  Aborted wiping of ext4.\n  1 existing signature left on the device.\n");
    for command in [&["pvcreate", "disk.img"][..], &["vgcreate", "vg", "disk.img"]] {
        let run = lab.run(command);
        assert_eq!((run.code, run.stderr.as_str()), (Some(5), said.as_str()));
    }
    assert_eq!(lab.fingerprint(), before);
    let told = lab.ok(&["pvcreate", "-y", "disk.img"]);
    let wiped =
        "  Wiping ext4 signature on disk.img.\n  Physical volume \"disk.img\" successfully created.\n";
    assert_eq!(told, wiped);
    assert_eq!(lab.read("disk.img")[1080..1082], [0, 0]);
}

/// lvm2.md 3.4: what lies on a PV that was not found is partial, marked missing or not.
#[test]
fn a_volume_on_an_absent_pv_is_partial() {
    let lab = Lab::empty(32);
    std::fs::File::create(lab.path("more.img")).unwrap().set_len(32 << 20).unwrap();
    let both = ["--devices", "disk.img,more.img"];
    lab.ok(&[&both[..], &["vgcreate", "vg", "disk.img", "more.img"]].concat());
    for (lv, pv) in [("here", "disk.img"), ("there", "more.img")] {
        lab.ok(&[&both[..], &["lvcreate", "-L", "8M", "-n", lv, "vg", pv]].concat());
    }
    lab.ok(&[&both[..], &["lvcreate", "-s", "-l", "2", "-n", "snap", "vg/here", "more.img"]].concat());
    let shown = |lab: &Lab| {
        let fields = ["lvs", "--noheadings", "-o", "lv_name,lv_attr,lv_health_status"];
        let run = lab.run(&fields);
        run.stdout
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&lab), ["here owi---s---", "snap swi---s-p- partial", "there -wi-----p- partial"]);
}
