//! Stores that the real kernel wrote (fixtures/cow): decoded to the records it was told to make, encoded back to the
//! very same bytes, with its own status line computed, and truncated to the very bytes of its shorter stores.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use foldback_dm_snapshot_format::blocks::encode_block;
use foldback_dm_snapshot_format::{
    Blocks, Checker, FindingKind, FirstChunk, Header, Layout, MetadataWrite, Record, Report, Severity,
    StoreGeometry, Truncation,
};
use foldback_units::{Chunk, ChunkSize, SectorRange, Sectors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The metadata sectors of a store that are not zero.
type Image = BTreeMap<u64, Vec<u8>>;

/// Bytes of a packed sector: its number and itself.
const PIECE: usize = 8 + 512;

struct Golden {
    name: String,
    chunk_size: ChunkSize,
    valid: bool,
    visible: u64,
    kernel_status: String,
    origin: Sectors,
    records: Vec<Record>,
    image: Image,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/cow")
}

fn goldens() -> Vec<Golden> {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let (rule, stores) = (&expected["rule"], expected["stores"].as_array().unwrap());
    assert!(stores.len() >= 26, "stores are missing from expected.json");
    let golden = |store: &Value| {
        let chunk_size = ChunkSize::from_sectors(number(&store["chunk_sectors"]) as u32).unwrap();
        let per_area = Layout::new(chunk_size).exceptions_per_area();
        let record = |index: u64| {
            let old =
                (index * number(&rule["step"]) + number(&rule["first"])) % number(&rule["origin_chunks"]);
            Record::new(Chunk(old), Chunk(2 + index + index / per_area)).unwrap()
        };
        let visible = number(&store["visible"]);
        let name = store["file"].as_str().unwrap().to_owned();
        let image = unpack(&std::fs::read(folder().join(&name)).unwrap());
        Golden {
            name,
            chunk_size,
            valid: store["valid"].as_bool().unwrap(),
            visible,
            kernel_status: store["kernel_status"].as_str().unwrap().to_owned(),
            origin: Sectors(number(&rule["origin_chunks"]) * chunk_size.len().0),
            records: (0..visible).map(record).collect(),
            image,
        }
    };
    stores.iter().map(golden).collect()
}

fn unpack(bytes: &[u8]) -> Image {
    assert!(bytes.len().is_multiple_of(PIECE));
    let pieces = bytes.chunks_exact(PIECE);
    pieces.map(|piece| (u64::from_le_bytes(piece[..8].try_into().unwrap()), piece[8..].to_vec())).collect()
}

fn read(image: &Image, range: SectorRange) -> Vec<u8> {
    let sector = |number| image.get(&number).cloned().unwrap_or_else(|| vec![0; 512]);
    (range.start().0..range.end().0).flat_map(sector).collect()
}

fn write(image: &mut Image, range: SectorRange, bytes: &[u8]) {
    for (number, sector) in (range.start().0..range.end().0).zip(bytes.chunks_exact(512)) {
        if sector.iter().all(|&byte| byte == 0) {
            image.remove(&number);
        } else {
            image.insert(number, sector.to_vec());
        }
    }
}

fn check(golden: &Golden) -> Report {
    // The devices were larger than the metadata needs; what lies behind that is not kept in the files.
    let chunks = Layout::new(golden.chunk_size).min_chunks(golden.visible).unwrap() + 1;
    let store = golden.chunk_size.start_of(Chunk(chunks)).unwrap();
    let mut checker =
        Checker::new(StoreGeometry { store, origin: golden.origin, expected_chunk: Some(golden.chunk_size) });
    while let Some(range) = checker.next_read() {
        checker.feed(&read(&golden.image, range)).unwrap();
    }
    checker.finish().unwrap()
}

#[test]
fn the_kernels_stores_hold_the_records_it_was_told_to_make() {
    for golden in goldens().into_iter().filter(|golden| golden.valid) {
        let report = check(&golden);
        assert_eq!(report.findings, [], "{}", golden.name);
        let store = report.store.unwrap();
        assert_eq!(store.header, Some(Header::new(golden.chunk_size)), "{}", golden.name);
        assert_eq!(store.records, golden.records, "{}", golden.name);
        assert_eq!(store.stale, None);
    }
}

/// dm-snapshot.md 1.8: `allocated/total metadata` as the kernel printed it, also in the middle of its merge.
#[test]
fn the_status_is_the_kernels() {
    for golden in goldens().into_iter().filter(|golden| golden.valid) {
        let layout = Layout::new(golden.chunk_size);
        let next_free = check(&golden).store.unwrap().next_free;
        let status = layout.status(next_free, golden.visible).unwrap();
        assert_eq!(layout.merge_status(golden.visible), Some(status), "{}", golden.name);
        let (usage, metadata) = golden.kernel_status.split_once(' ').unwrap();
        let (allocated, _total) = usage.split_once('/').unwrap();
        assert_eq!(
            (allocated.parse(), metadata.parse()),
            (Ok(status.allocated.0), Ok(status.metadata.0)),
            "{}",
            golden.name
        );
    }
}

#[test]
fn our_bytes_for_the_same_records_are_the_kernels() {
    for golden in goldens() {
        let layout = Layout::new(golden.chunk_size);
        for physical in [1, 8] {
            let blocks = Blocks::new(layout, Sectors(physical)).unwrap();
            let header = Header { valid: golden.valid, chunk_size: golden.chunk_size };
            let mut image = Image::new();
            let mut sector = [0; 512];
            sector[..Header::BYTES].copy_from_slice(&header.encode());
            write(&mut image, SectorRange::new(Sectors::ZERO, Sectors(1)).unwrap(), &sector);
            for span in blocks.touched(0..golden.visible) {
                let records = &golden.records[span.first as usize..span.end.min(golden.visible) as usize];
                let mut block = vec![0xff; physical.min(golden.chunk_size.len().0) as usize * 512];
                encode_block(records.iter().copied(), &mut block).unwrap();
                write(&mut image, span.range, &block);
            }
            assert!(image == golden.image, "{} with blocks of {physical} sectors", golden.name);
        }
    }
}

/// W6: what we leave of the kernel's largest store is what the kernel wrote when it had fewer exceptions.
#[test]
fn a_truncated_store_is_the_kernels_shorter_one() {
    let goldens = goldens();
    let sized = |sectors: u32| {
        let prefix = format!("cs{sectors}-");
        goldens.iter().filter(move |golden| golden.name.starts_with(&prefix))
    };
    for sectors in [1, 8, 32, 128] {
        let longest = sized(sectors).max_by_key(|golden| golden.visible).unwrap();
        for shorter in sized(sectors) {
            for physical in [1, 8] {
                let blocks = Blocks::new(Layout::new(longest.chunk_size), Sectors(physical)).unwrap();
                let mut image = longest.image.clone();
                for step in Truncation::new(blocks, longest.visible, shorter.visible).unwrap() {
                    let (range, keep) = match step {
                        MetadataWrite::Zero(range) => (range, 0..0),
                        MetadataWrite::Boundary { span, keep } => (span.range, keep),
                    };
                    let records = &longest.records[keep.start as usize..keep.end as usize];
                    let mut bytes = vec![0; range.len().0 as usize * 512];
                    encode_block(records.iter().copied(), &mut bytes).unwrap();
                    write(&mut image, range, &bytes);
                }
                // Truncating to the full length writes nothing.
                assert!(image == shorter.image, "{} to {}", longest.name, shorter.name);
            }
        }
    }
}

/// dm-snapshot.md 1.5: the records of an invalidated store are still there, and it is refused.
#[test]
fn the_kernels_invalidated_store_is_refused() {
    let invalid: Vec<Golden> = goldens().into_iter().filter(|golden| !golden.valid).collect();
    assert_eq!(invalid.len(), 1);
    let report = check(&invalid[0]);
    assert_eq!(report.first_chunk, Some(FirstChunk::Store(Header::new(invalid[0].chunk_size).invalidated())));
    assert_eq!(report.findings[0].kind, FindingKind::Invalidated);
    assert_eq!((report.worst(), report.store), (Some(Severity::Refuse), None));
    assert_eq!(invalid[0].kernel_status, "Invalid");
}
