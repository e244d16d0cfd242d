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

use foldback_lvm2_format::metadata::Metadata;
use foldback_lvm2_format::text::{self, Dialect};
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

fn assert_text_survives(original: &[u8], what: &str) -> Metadata {
    let comments = Comments::of(original);
    let tree = text::parse(original).unwrap();
    assert_eq!(tree.duplicates, [], "{what}");
    let imported = Metadata::parse(original, Dialect::Disk).unwrap();
    let written = imported.metadata.write(Dialect::Disk, &comments.notes()).unwrap();
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(original), "{what}");
    assert_eq!(written, original, "{what}");
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
