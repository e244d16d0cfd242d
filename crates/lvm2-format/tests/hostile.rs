//! Hostile bytes: the fuzz bodies on any bytes, on real ones with something changed, and on real ones cut short.
//!
//! The bodies assert; a test here fails when one of them panics.
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

use foldback_lvm2_format::fuzz;
use foldback_lvm2_format::metadata::Metadata;
use foldback_lvm2_format::text::{self, Dialect};
use proptest::prelude::*;
use support::{IMAGES, RING_HISTORY, committed_text, fixture, header_of, texts_in_ring};

/// Somewhere in the bytes, something else.
#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    Bit(usize, u8),
    Cut(usize, usize),
    Double(usize, usize),
    Insert(usize, Vec<u8>),
    Swap(usize, usize, usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<usize>;
    let pieces =
        ["{", "}", "[", "]", "\"", "=", "#", ",", "\\", "\0", "-1", "4294967296", "999999999999999999"];
    let words =
        ["\"WRITE_LOCKED\"", "pv0", "root", "snap", "+X", "segment2 {", "status = []", "a/b = 1", "0"];
    let texts = proptest::sample::select([pieces.as_slice(), words.as_slice()].concat());
    let change = prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (at(), 0_u8..8).prop_map(|(at, bit)| Change::Bit(at, bit)),
        (at(), 0_usize..60).prop_map(|(at, len)| Change::Cut(at, len)),
        (at(), 0_usize..300).prop_map(|(at, len)| Change::Double(at, len)),
        (at(), texts).prop_map(|(at, text)| Change::Insert(at, text.as_bytes().to_vec())),
        (at(), at(), 1_usize..40).prop_map(|(one, other, len)| Change::Swap(one, other, len)),
    ];
    proptest::collection::vec(change, 1..6)
}

fn apply(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            return bytes;
        }
        let len = bytes.len();
        match change {
            Change::Byte(at, byte) => bytes[at % len] = *byte,
            Change::Bit(at, bit) => bytes[at % len] ^= 1 << bit,
            Change::Cut(at, count) => {
                let at = at % len;
                bytes.drain(at..len.min(at + count));
            }
            Change::Double(at, count) => {
                let at = at % len;
                let piece = bytes[at..len.min(at + count)].to_vec();
                bytes.splice(at..at, piece);
            }
            Change::Insert(at, text) => {
                let at = at % len;
                bytes.splice(at..at, text.iter().copied());
            }
            Change::Swap(one, other, count) => {
                for step in 0..*count {
                    bytes.swap((one % len + step) % len, (other % len + step) % len);
                }
            }
        }
    }
    bytes
}

fn rich() -> Vec<u8> {
    let mut text = fixture("rich.disk.txt");
    text.push(0);
    text
}

#[test]
fn real_bytes_pass_the_fuzz_bodies() {
    for name in IMAGES {
        let image = fixture(name);
        fuzz::label(&image[..2048]);
        fuzz::mda_header(&image[4096..4608]);
        fuzz::vg_text(&committed_text(&image));
    }
    for text in texts_in_ring(&fixture(RING_HISTORY)) {
        fuzz::vg_text(&text);
    }
    fuzz::vg_text(&rich());
    fuzz::vg_text(&fixture("rich.backup.txt"));
}

/// A text that ends early is refused, or all of its VG was there.
#[test]
fn a_text_cut_short_is_refused() {
    let text = texts_in_ring(&fixture(RING_HISTORY)).swap_remove(5);
    let whole = Metadata::parse(&text, Dialect::Disk).unwrap().metadata;
    for len in 0..text.len() {
        fuzz::vg_text(&text[..len]);
        if let Ok(imported) = Metadata::parse(&text[..len], Dialect::Disk) {
            // What may be missing is header fields, which no reader needs; never a part of the VG.
            assert_eq!(imported.metadata.vg, whole.vg, "{len} bytes");
        }
    }
}

/// A single changed byte of a text that holds is caught by its checksum before anyone parses it.
#[test]
fn a_changed_text_fails_its_checksum() {
    let image = fixture(RING_HISTORY);
    let location = header_of(&image).committed.text.unwrap();
    let text = committed_text(&image);
    for bit in 0..text.len() * 8 {
        let mut changed = text.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(location.check(&[&changed]).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2100)) {
        fuzz::label(&bytes);
        fuzz::mda_header(&bytes);
        fuzz::vg_text(&bytes);
    }

    #[test]
    fn texts_of_the_grammars_characters(text in "[a-c0-9{}=\\[\\]\"'#,.\\\\\n +-]{0,80}") {
        fuzz::vg_text(text.as_bytes());
        fuzz::vg_text(format!("a {{ {text} }}").as_bytes());
    }

    #[test]
    fn changed_labels_and_headers(changes in changes()) {
        for name in IMAGES {
            let image = fixture(name);
            fuzz::label(&apply(image[..2048].to_vec(), &changes));
            fuzz::mda_header(&apply(image[4096..4608].to_vec(), &changes));
        }
    }

    #[test]
    fn changed_texts(number in 0_usize..46, changes in changes()) {
        let texts = texts_in_ring(&fixture(RING_HISTORY));
        fuzz::vg_text(&apply(texts[number].clone(), &changes));
        fuzz::vg_text(&apply(rich(), &changes));
    }

    /// Reading is exact: what a text says twice it says once, blanks and comments say nothing.
    #[test]
    fn blanks_and_comments_change_nothing(at in any::<usize>()) {
        let text = texts_in_ring(&fixture(RING_HISTORY)).swap_remove(10);
        let lines: Vec<usize> =
            text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        let mut longer = text.clone();
        let at = lines[at % lines.len()];
        longer.splice(at..at, *b" \t# \"a { comment }\n\n");
        prop_assert_eq!(text::parse(&longer).unwrap(), text::parse(&text).unwrap());
    }
}
