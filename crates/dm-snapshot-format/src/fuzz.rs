//! The bodies of the fuzz targets, shared with this crate's property tests: each takes any bytes and asserts what must
//! hold for all of them.
//!
//! What must hold:
//! - A header that decodes encodes back to the same bytes, but for the blind bits of `valid`.
//! - The check reads inside the store, forwards, and ends.
//! - It hands out a store exactly if nothing refuses; then the records are those that lie there slot by slot, in
//!   range, and no chunk is shared (K5).
//! - A scrubbed or truncated store is accepted with the expected records and without a stale tail (W1, W6), and no
//!   byte of a data chunk was touched.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a fuzz target reports by panicking; nothing else calls this module"
)]

use crate::blocks::{Blocks, MetadataWrite, Truncation, encode_block};
use crate::check::{Checker, MAX_READ, StoreGeometry};
use crate::findings::{CheckedStore, Report, Severity};
use crate::header::{self, FirstChunk, Header, HeaderError};
use crate::layout::Layout;
use crate::record::{self, Record};
use foldback_units::{Chunk, ChunkSize, SectorRange, Sectors};
use std::collections::BTreeMap;
use std::ops::Range;

/// Any bytes as the first bytes of a store.
pub fn cow_header(bytes: &[u8]) {
    match header::decode(bytes) {
        Err(HeaderError::Short(len)) => assert!(len == bytes.len() && len < Header::BYTES),
        Err(_) => assert!(bytes[..4] != [0; 4]),
        Ok(FirstChunk::Blank) => assert!(bytes[..4] == [0; 4]),
        Ok(FirstChunk::Store(header)) => {
            let encoded = header.encode();
            assert!(encoded[..4] == bytes[..4] && encoded[8..] == bytes[8..Header::BYTES]);
            assert!(header.valid == (bytes[4..8] != [0; 4]));
            assert!(header::decode(&encoded) == Ok(FirstChunk::Store(header)));
        }
    }
}

/// Bytes of [`cow_areas`] that choose geometry and mode; what follows is the store's content.
pub const CONTROL: usize = 8;

/// Any bytes as a store: [`CONTROL`] bytes choose the geometry and whether the rest is the raw image behind the header
/// or a list of four-byte instructions, each for one record of a nearly sound table.
pub fn cow_areas(bytes: &[u8]) {
    let Some((control, content)) = bytes.split_at_checked(CONTROL) else { return };
    let sectors = 1 << (control[0] % 4);
    let layout = Layout::new(ChunkSize::from_sectors(sectors).expect("a power of two"));
    let mut image =
        if control[1] % 2 == 0 { raw_image(layout, content) } else { built_image(layout, content) };
    image.resize(image.len().next_multiple_of(512) + usize::from(control[2]) * 512, 0);
    let geometry = StoreGeometry {
        store: sectors_of(&image),
        origin: Sectors(u64::from(u16::from_le_bytes([control[3], control[4]]))),
        expected_chunk: None,
    };
    let blocks = Blocks::new(layout, Sectors(1 << (control[5] % 4))).expect("a power of two");
    let cut = u64::from(u16::from_le_bytes([control[6], control[7]]));
    inspect(&image, geometry, blocks, cut);
}

fn sectors_of(image: &[u8]) -> Sectors {
    Sectors(u64::try_from(image.len() / 512).expect("an image in memory"))
}

fn bytes_of(range: SectorRange) -> Range<usize> {
    let byte = |sector: Sectors| usize::try_from(sector.0 * 512).expect("an image in memory");
    byte(range.start())..byte(range.end())
}

fn header_chunk(layout: Layout) -> Vec<u8> {
    let header = SectorRange::new(Sectors::ZERO, layout.chunk_size().len()).expect("chunk 0");
    let mut image = vec![0; bytes_of(header).len()];
    image[..Header::BYTES].copy_from_slice(&Header::new(layout.chunk_size()).encode());
    image
}

fn raw_image(layout: Layout, content: &[u8]) -> Vec<u8> {
    let mut image = header_chunk(layout);
    image.extend_from_slice(content);
    image
}

/// One record for each four bytes: old chunk (two bytes), what is wrong with the new one, and where.
fn built_image(layout: Layout, content: &[u8]) -> Vec<u8> {
    let count = u64::try_from(content.len() / 4).expect("64 bits");
    let chunks = layout.hole_free_chunk(count).and_then(|end| layout.chunk_size().start_of(end));
    let whole = SectorRange::new(Sectors::ZERO, chunks.expect("a small table")).expect("a small store");
    let mut image = header_chunk(layout);
    // Data is not zero, so that a write into it is seen.
    image.resize(bytes_of(whole).len(), 0xd5);
    for area in 0..=layout.place_of(count).area {
        image[bytes_of(layout.area_range(area).expect("a small area"))].fill(0);
    }
    for (index, instruction) in (0_u64..).zip(content.chunks_exact(4)) {
        let old = u64::from(u16::from_le_bytes([instruction[0], instruction[1]]));
        let sound = layout.hole_free_chunk(index).expect("a small index").0;
        let operand = u64::from(instruction[3]);
        let new = match instruction[2] {
            0 => 0,
            1 => operand,
            2 => sound + operand,
            3 => sound | 1 << (operand % 64),
            4 => layout.area_chunk(operand % 4).expect("a small area").0,
            _ => sound,
        };
        let place = layout.record_place(index).expect("a small index");
        let at = bytes_of(SectorRange::new(place.sector, Sectors(1)).expect("a small sector"));
        let at = at.start + usize::from(place.offset);
        image[at..at + 8].copy_from_slice(&old.to_le_bytes());
        image[at + 8..at + Record::BYTES].copy_from_slice(&new.to_le_bytes());
    }
    image
}

fn check(image: &[u8], geometry: StoreGeometry) -> Report {
    let mut checker = Checker::new(geometry);
    let mut read_up_to = Sectors::ZERO;
    while let Some(range) = checker.next_read() {
        // The header's sectors are read again where chunks are smaller than what is read of it.
        assert!(range.start() >= read_up_to || read_up_to <= Sectors(8), "{range} was read before");
        assert!(range.end() <= geometry.store && range.len() <= MAX_READ && !range.is_empty());
        read_up_to = range.end();
        checker.feed(&image[bytes_of(range)]).expect("the range that was asked for");
    }
    checker.finish().expect("nothing left to read")
}

fn inspect(image: &[u8], geometry: StoreGeometry, blocks: Blocks, cut: u64) {
    let report = check(image, geometry);
    assert_eq!(report.store.is_none(), report.worst() == Some(Severity::Refuse), "{report:?}");
    let Some(store) = report.store else { return };
    assert!(store.header.is_some_and(|header| header.chunk_size == blocks.layout().chunk_size()));
    assert_eq!(u64::try_from(store.records.len()), Ok(report.visible));
    inspect_records(image, geometry, blocks.layout(), &store);

    let mut clean = image.to_vec();
    if let Some(scrub) = store.scrub(blocks) {
        apply(&mut clean, scrub, &store.records);
    }
    let report = check(&clean, geometry);
    assert!(report.worst() < Some(Severity::Repair), "{report:?}");
    assert_eq!(report.store, Some(CheckedStore { stale: None, ..store.clone() }));

    let keep = cut % (report.visible + 1);
    let truncation = Truncation::new(blocks, report.visible, keep).expect("a small table");
    apply(&mut clean, truncation, &store.records);
    let report = check(&clean, geometry);
    assert_eq!(report.visible, keep);
    assert!(report.worst() < Some(Severity::Repair), "{report:?}");
    assert!(report.store.is_some_and(|short| store.records.starts_with(&short.records)));

    for chunk in 0..blocks.layout().chunk_size().whole_chunks(geometry.store) {
        if blocks.layout().is_data_chunk(Chunk(chunk)) {
            let range = bytes_of(blocks.layout().chunk_size().range_of(Chunk(chunk)).expect("in the store"));
            assert!(clean[range.clone()] == image[range], "chunk {chunk} holds data and was written");
        }
    }
}

/// The slow twin of the check: slot by slot, with maps.
fn inspect_records(image: &[u8], geometry: StoreGeometry, layout: Layout, store: &CheckedStore) {
    let slot = |index: usize| {
        let place = layout.record_place(u64::try_from(index).expect("64 bits")).expect("a small index");
        let at = bytes_of(SectorRange::new(place.sector, Sectors(1)).expect("a small sector")).start;
        let at = at + usize::from(place.offset);
        image[at..at + Record::BYTES].try_into().expect("a record's bytes")
    };
    let (mut by_old, mut by_new) = (BTreeMap::new(), BTreeMap::new());
    for (index, &record) in store.records.iter().enumerate() {
        assert_eq!(record::decode(slot(index)), Ok(Some(record)));
        let (old, new) = (record.old_chunk(), record.new_chunk());
        assert!(old.0 < layout.chunk_size().chunks_to_hold(geometry.origin));
        assert!(layout.is_data_chunk(new) && layout.can_allocate(new, geometry.store));
        assert!(new < store.next_free && layout.is_data_chunk(store.next_free));
        assert_eq!(*by_old.entry(old).or_insert(new), new, "two records of origin {old}");
        assert_eq!(*by_new.entry(new).or_insert(old), old, "two records on store {new}");
    }
    assert_eq!(record::decode(slot(store.records.len())), Ok(None), "the table goes on");
}

fn apply(image: &mut [u8], writes: Truncation, records: &[Record]) {
    for write in writes {
        match write {
            MetadataWrite::Zero(range) => image[bytes_of(range)].fill(0),
            MetadataWrite::Boundary { span, keep } => {
                let index = |index: u64| usize::try_from(index).expect("64 bits");
                let kept = &records[index(keep.start)..index(keep.end)];
                encode_block(kept.iter().copied(), &mut image[bytes_of(span.range)]).expect("fits a block");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{cow_areas, cow_header};
    use proptest::prelude::{Strategy, any, proptest};

    /// Geometry, then instructions most of which make a sound record.
    fn nearly_sound() -> impl Strategy<Value = Vec<u8>> {
        let control = (0..4_u8, 0..64_u8, 0..4_u8, any::<u16>()).prop_map(|(chunk, more, block, cut)| {
            [[chunk, 1, more, 0xff], [0xff, block, cut as u8, (cut >> 8) as u8]]
        });
        // One record in five hundred is wrong in its old or its new chunk; the others are scattered and distinct.
        let instruction = (any::<u16>(), 0..25_000_u16, any::<u8>());
        let instructions = proptest::collection::vec(instruction, 0..400).prop_map(|list| {
            let encode = |(index, (random, wrong, operand)): (u16, (u16, u16, u8))| {
                let scattered = u32::from(index) * 5003 % 8191;
                let [low, high] = if wrong < 50 { random } else { scattered as u16 }.to_le_bytes();
                [low, high, wrong.min(255) as u8, operand]
            };
            (0..).zip(list).map(encode).collect::<Vec<_>>()
        });
        (control, instructions)
            .prop_map(|(control, list)| [control.as_flattened(), list.as_flattened()].concat())
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_header(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            cow_header(&bytes);
        }

        #[test]
        fn a_header_with_some_bytes_changed(at in 0..16_usize, value in any::<u8>(), sectors in 0..40_u32) {
            let mut bytes = *b"SnAp\x01\0\0\0\x01\0\0\0\0\0\0\0";
            bytes[12..].copy_from_slice(&sectors.to_le_bytes());
            bytes[at] = value;
            cow_header(&bytes);
        }

        #[test]
        fn any_bytes_as_a_store(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            cow_areas(&bytes);
        }

        #[test]
        fn a_nearly_sound_store(bytes in nearly_sound()) {
            cow_areas(&bytes);
        }
    }
}
