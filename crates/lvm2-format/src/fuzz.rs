//! The bodies of the fuzz targets, shared with this crate's property tests: each takes any bytes and asserts what must
//! hold for all of them.
//!
//! What must hold:
//! - Nothing panics, whatever the bytes; checksums are put right first, since a crafted image has them right.
//! - What decodes encodes back, and decodes to the same again.
//! - Every place that a header names lies in its ring, and the next text leaves it alone.
//! - A tree survives being written, in both dialects; so does a VG, and with it its findings and its free extents.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a fuzz target reports by panicking; nothing else calls this module"
)]

use crate::check::check;
use crate::crc::crc;
use crate::extents::ExtentMap;
use crate::label::{LABEL_SEARCH_BYTES, LabelError, LabelSector, SECTOR_BYTES, search};
use crate::mda_header::{MdaHeader, Slot};
use crate::metadata::Metadata;
use crate::pv_header::{DiskArea, PvHeaderError};
use crate::ring::{Pieces, Ring};
use crate::text::{self, Dialect, Item, Node, Notes, Section};
use foldback_units::Bytes;

/// Any bytes as the first sectors of a device: once as they are, once made to look like labels.
pub fn label(bytes: &[u8]) {
    let mut device = bytes.to_vec();
    device.resize(LABEL_SEARCH_BYTES, 0);
    check_search(&device);
    for (number, sector) in (0_u64..).zip(device.chunks_exact_mut(SECTOR_BYTES)) {
        sector[..8].copy_from_slice(b"LABELONE");
        sector[8..16].copy_from_slice(&number.to_le_bytes());
        sector[24..32].copy_from_slice(b"LVM2 001");
        // The offset of the header stays inside the sector more often than not.
        sector[21] &= 1;
        sector[22..24].fill(0);
        let sum = crc(&[&sector[20..]]);
        sector[16..20].copy_from_slice(&sum.to_le_bytes());
    }
    check_search(&device);
}

fn check_search(device: &[u8]) {
    let found = search(device);
    assert!(found.label.is_some() || found.further.is_empty());
    for label in found.label.iter().chain(&found.further) {
        match label.encode() {
            Ok(encoded) => {
                assert_eq!(LabelSector::decode(&encoded, label.sector), Ok(Some(label.clone())));
            }
            Err(error) => {
                assert!(matches!(error, LabelError::Header(PvHeaderError::NewerExtension(_))), "{error}");
            }
        }
        for area in &label.pv.metadata_areas {
            assert!(area.offset.checked_add(area.size).is_some());
            let _unused = MdaHeader::empty(*area).map(|header| header.encode());
        }
    }
}

/// Any bytes as a metadata area's header: once as they are, once with checksum, magic, version and place put right.
pub fn mda_header(bytes: &[u8]) {
    let mut sector = [0; SECTOR_BYTES];
    let len = bytes.len().min(SECTOR_BYTES);
    sector[..len].copy_from_slice(&bytes[..len]);
    let area = DiskArea { offset: Bytes(4096), size: Bytes(1 << 20) };
    check_header(&sector, area);
    sector[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    sector[20..24].copy_from_slice(&1_u32.to_le_bytes());
    sector[24..32].copy_from_slice(&4096_u64.to_le_bytes());
    // Sizes and places that are sometimes possible: at most 64 KiB.
    for at in [34, 42, 50, 66, 74] {
        sector[at..at + 6].fill(0);
    }
    sector[32] = 0;
    sector[33] &= !1;
    let sum = crc(&[&sector[4..]]);
    sector[..4].copy_from_slice(&sum.to_le_bytes());
    check_header(&sector, area);
}

fn check_header(sector: &[u8; SECTOR_BYTES], area: DiskArea) {
    let Ok(header) = MdaHeader::decode(sector, area) else { return };
    assert_eq!(MdaHeader::decode(&header.encode(), area), Ok(header));
    assert_eq!(header.reverted().precommitted, Slot::EMPTY);
    let ring = header.ring;
    for text in [header.committed.text, header.precommitted.text].into_iter().flatten() {
        let pieces = ring.pieces(text.place);
        assert_inside(ring, pieces);
        assert_eq!(pieces.iter().map(|range| range.len).sum::<u64>(), text.place.size());
        for size in [1, text.place.size(), ring.max_text().get()] {
            if let Ok(next) = ring.place_next(Some(text.place), Bytes(size)) {
                let padded = ring.pieces_padded(next);
                assert_inside(ring, padded);
                let apart = padded.iter().all(|new| {
                    pieces
                        .iter()
                        .all(|old| new.offset >= old.offset + old.len || old.offset >= new.offset + new.len)
                });
                assert!(apart, "{padded:?} over {pieces:?}");
            }
        }
    }
}

fn assert_inside(ring: Ring, pieces: Pieces) {
    for range in pieces.iter() {
        assert!(range.offset >= 512 && range.offset + range.len <= ring.area_size().get(), "{pieces:?}");
    }
}

/// Any bytes as a text.
pub fn vg_text(bytes: &[u8]) {
    let _unused = text::first_word(bytes);
    let Ok(document) = text::parse(bytes) else { return };
    check_tree(&document.root);
    for dialect in [Dialect::Disk, Dialect::Backup] {
        if let Ok(imported) = Metadata::parse(bytes, dialect) {
            check_metadata(&imported.metadata);
        }
    }
}

fn check_tree(tree: &Section) {
    let has_vg = tree.items.iter().any(|item| matches!(item.node, Node::Section(_)));
    for dialect in [Dialect::Disk, Dialect::Backup] {
        let written = text::write(tree, dialect, &Notes::NONE);
        assert_eq!(written.is_ok(), has_vg, "what was read can be written");
        let Ok(written) = written else { continue };
        let again = text::parse(&written).expect("what was written can be read");
        assert!(again.duplicates.is_empty());
        assert_eq!(sorted(&again.root), sorted(tree));
        assert_eq!(text::write(&again.root, dialect, &Notes::NONE).as_ref(), Ok(&written));
    }
}

/// The tree without the order of keys, which the dialects change at the top.
fn sorted(section: &Section) -> Section {
    let mut section = section.clone();
    for item in &mut section.items {
        if let Node::Section(inner) = &mut item.node {
            *inner = sorted(inner);
        }
    }
    let kind = |item: &Item| matches!(item.node, Node::Section(_));
    section.items.sort_by(|one, other| (&one.key, kind(one)).cmp(&(&other.key, kind(other))));
    section
}

fn check_metadata(metadata: &Metadata) {
    for dialect in [Dialect::Disk, Dialect::Backup] {
        let written = metadata.write(dialect, &Notes::NONE).expect("what was read can be written");
        let again = Metadata::parse(&written, dialect).expect("what was written can be read").metadata;
        assert_eq!(again.to_tree(), metadata.to_tree());
        assert_eq!(again.header, metadata.header);
        let count = |metadata: &Metadata| check(&metadata.vg).len();
        assert_eq!(count(&again) == 0, count(metadata) == 0);
    }
    let vg = &metadata.vg;
    let map = ExtentMap::of(vg);
    for pv in &vg.pvs {
        let free = map.free_on(&pv.key);
        for run in &free {
            assert!(run.count > 0 && run.end() <= u64::from(pv.pe_count));
            let apart = |used: u64, end: u64| run.end() <= used || end <= u64::from(run.start);
            assert!(map.used_on(&pv.key).iter().all(|used| apart(used.run.start.into(), used.run.end())));
        }
        assert!(free.windows(2).all(|pair| pair[0].end() < u64::from(pair[1].start)));
    }
    for lv in &vg.lvs {
        let _partial = vg.is_partial(lv);
        let _users = vg.users_of(&lv.name).count();
    }
}
