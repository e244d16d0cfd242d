//! Real PVs of LVM2 2.03.16: decoded, and encoded back to the same bytes (lvm2.md 1.1 to 1.9).
//!
//! What is not compared: the three comments of a text that depend on machine and time are taken from the original.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic: that is how it fails"
)]

mod support;

use foldback_lvm2_format::check::check;
use foldback_lvm2_format::metadata::{Metadata, MetadataError};
use foldback_lvm2_format::text::{self, Dialect, Notes};
use foldback_units::LvName;
use support::{
    Comments, IMAGES, RING_HISTORY, WRAPPED, committed_text, fixture, header_of, label_of, texts_in_ring,
};

#[test]
fn labels_encode_to_the_same_sector() {
    for name in IMAGES {
        let image = fixture(name);
        let label = label_of(&image);
        assert_eq!(label.sector, 1, "{name}");
        assert_eq!(label.encode().unwrap(), image[512..1024], "{name}");
        assert!(label.pv.is_used(), "{name}");
    }
}

#[test]
fn headers_encode_to_the_same_sector() {
    for name in IMAGES {
        let image = fixture(name);
        let header = header_of(&image);
        assert_eq!(header.encode(), image[4096..4608], "{name}");
        assert_eq!(header.precommitted.text, None, "{name}");
    }
}

/// Byte for byte, but told by the first line that differs.
fn assert_same_text(written: &[u8], original: &[u8], what: &str) {
    let lines = |text: &[u8]| text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    for (number, (ours, theirs)) in lines(written).iter().zip(lines(original)).enumerate() {
        let (ours, theirs) = (String::from_utf8_lossy(ours), String::from_utf8_lossy(&theirs).into_owned());
        assert_eq!(ours, theirs, "{what}, line {}", number + 1);
    }
    assert_eq!(written.len(), original.len(), "{what}");
}

fn assert_text_survives(original: &[u8], what: &str) -> Metadata {
    let comments = Comments::of(original);
    let tree = text::parse(original).unwrap();
    assert_eq!(tree.duplicates, [], "{what}");
    let imported = Metadata::parse(original, Dialect::Disk).unwrap();
    let written = imported.metadata.write(Dialect::Disk, &comments.notes()).unwrap();
    assert_same_text(&written, original, what);
    imported.metadata
}

#[test]
fn all_46_texts_of_a_ring_survive_reading_and_writing() {
    let texts = texts_in_ring(&fixture(RING_HISTORY));
    assert_eq!(texts.len(), 46);
    for (number, text) in (1_u32..).zip(&texts) {
        let metadata = assert_text_survives(text, &format!("copy {number}"));
        assert_eq!(metadata.vg.seqno, number);
    }
}

#[test]
fn the_text_that_holds_survives_in_every_image_also_wrapped() {
    for name in IMAGES {
        assert_text_survives(&committed_text(&fixture(name)), name);
    }
    let image = fixture(WRAPPED);
    let header = header_of(&image);
    let pieces = header.ring.pieces(header.committed.text.unwrap().place);
    assert_eq!(pieces.second.unwrap().offset, 512);
    assert_eq!(pieces.second.unwrap().len, 2812);
}

#[test]
fn a_vg_with_most_things_survives_on_the_device() {
    let mut text = fixture("rich.disk.txt");
    text.push(0);
    let metadata = assert_text_survives(&text, "rich.disk.txt");
    // Written with WRITE hidden, since the VG has an owner; read as what it means.
    assert!(metadata.vg.hides_write() && metadata.vg.is_writable());
    let names: Vec<&str> =
        metadata.vg.lvs.iter().filter(|lv| !lv.is_understood()).map(|lv| lv.name.as_str()).collect();
    assert_eq!(names, ["tp", "th", "r1", "r0", "mir"]);
    assert_eq!(check(&metadata.vg), []);
}

#[test]
fn a_backup_file_survives_with_its_comments() {
    let original = fixture("rich.backup.txt");
    let comments = Comments::of(&original);
    let lv_time = |time: i64| match time {
        1_795_423_891 => "2026-11-23 08:51:31 +0000".to_owned(),
        1_795_423_892 => "2026-11-23 08:51:32 +0000".to_owned(),
        other => panic!("no LV was made at {other}"),
    };
    let notes = Notes { lv_time: Some(&lv_time), ..comments.notes() };
    let imported = Metadata::parse(&original, Dialect::Backup).unwrap();
    let written = imported.metadata.write(Dialect::Backup, &notes).unwrap();
    assert_same_text(&written, &original, "rich.backup.txt");
}

#[test]
fn both_dialects_say_the_same() {
    let mut disk = fixture("rich.disk.txt");
    disk.push(0);
    let on_device = Metadata::parse(&disk, Dialect::Disk).unwrap().metadata;
    let in_backup = Metadata::parse(&fixture("rich.backup.txt"), Dialect::Backup).unwrap().metadata;
    assert_eq!(on_device.vg, in_backup.vg);
    // A backup does not start with the VG's name, which a device's text must.
    let refused = Metadata::parse(&fixture("rich.backup.txt"), Dialect::Disk);
    assert!(matches!(refused, Err(MetadataError::NoName)));
}

/// lvm2.md 1.9, the table of one snapshot's life, read from the ring in which it happened.
#[test]
fn every_stage_of_a_snapshots_life_is_understood() {
    let texts = texts_in_ring(&fixture(RING_HISTORY));
    let name = |text: &str| LvName::new(text).unwrap();
    let (root, snap) = (name("root"), name("snap"));
    let mut stages = Vec::new();
    for text in &texts {
        let vg = Metadata::parse(text, Dialect::Disk).unwrap().metadata.vg;
        assert_eq!(check(&vg), [], "seqno {}", vg.seqno);
        let links = vg.snapshots();
        let merging = links.merging_into(&root).map(|snapshot| snapshot.segment.cow.as_str().to_owned());
        let visible: Vec<&str> =
            vg.lvs.iter().filter(|lv| links.is_visible(lv)).map(|lv| lv.name.as_str()).collect();
        stages.push((links.of_origin(&root).count(), links.is_cow(&snap), merging, visible.join(" ")));
    }
    let stage = |seqno: usize| stages[seqno - 1].clone();
    assert_eq!(stage(2), (0, false, None, "root".to_owned()));
    assert_eq!(stage(3), (0, false, None, "root snap".to_owned()));
    assert_eq!(stage(4), (1, true, None, "root snap".to_owned()));
    assert_eq!(stage(6), (2, true, None, "root snap snap2".to_owned()));
    assert_eq!(stage(7), (2, true, Some("snap".to_owned()), "root snap2".to_owned()));
    assert_eq!(stage(10), (1, false, None, "root snap2 snap".to_owned()));
    assert_eq!(stage(12), (1, false, Some("snap2".to_owned()), "root".to_owned()));
    assert_eq!(stage(14), (0, false, None, "root".to_owned()));
    assert_eq!(stage(46), (0, false, None, String::new()));
}
