//! Truncations and scrubs against an image that is written and read back slot by slot: R6, W1, W6 of dm-snapshot.md
//! 3.3 and 3.4, in every cut.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use foldback_dm_snapshot_format::blocks::encode_block;
use foldback_dm_snapshot_format::{Blocks, BlocksError, Layout, MetadataWrite, Record, Truncation};
use foldback_units::{Chunk, ChunkSize, SectorRange, Sectors};
use proptest::prelude::{any, proptest};

fn layout(sectors: u32) -> Layout {
    Layout::new(ChunkSize::from_sectors(sectors).unwrap())
}

fn blocks(chunk: u32, physical: u64) -> Blocks {
    Blocks::new(layout(chunk), Sectors(physical)).unwrap()
}

fn record(index: u64) -> Record {
    Record::new(Chunk(index * 3), layout(1).hole_free_chunk(index).unwrap()).unwrap()
}

fn byte_range(range: SectorRange) -> std::ops::Range<usize> {
    range.start().0 as usize * 512..range.end().0 as usize * 512
}

/// Sectors that hold the areas of this many records, and one area more.
fn sectors_for(layout: Layout, records: u64) -> u64 {
    layout.area_range(layout.place_of(records).area + 2).unwrap().start().0
}

/// Writes slot by slot, each where the layout says. Data chunks are filled, so that a write into one is seen.
fn image(layout: Layout, records: u64, sectors: u64) -> Vec<u8> {
    let mut image = vec![0; sectors as usize * 512];
    for sector in 0..sectors {
        if layout.is_data_chunk(layout.chunk_size().chunk_of(Sectors(sector))) {
            image[sector as usize * 512..][..512].fill(0xd5);
        }
    }
    for index in 0..records {
        put(layout, &mut image, index);
    }
    image
}

fn put(layout: Layout, image: &mut [u8], index: u64) {
    let place = layout.record_place(index).unwrap();
    let at = place.sector.0 as usize * 512 + usize::from(place.offset);
    image[at..at + 16].copy_from_slice(&record(index).encode());
}

/// Reads slot by slot until the terminator.
fn visible(layout: Layout, image: &[u8]) -> u64 {
    (0..10_000)
        .find(|&index| {
            let place = layout.record_place(index).unwrap();
            let at = place.sector.0 as usize * 512 + usize::from(place.offset);
            image[at + 8..at + 16] == [0; 8]
        })
        .unwrap()
}

fn apply(image: &mut [u8], write: &MetadataWrite) {
    match write {
        MetadataWrite::Zero(range) => image[byte_range(*range)].fill(0),
        MetadataWrite::Boundary { span, keep } => {
            assert_eq!(keep.start, span.first);
            encode_block(keep.clone().map(record), &mut image[byte_range(span.range)]).unwrap();
        }
    }
}

const CHUNKS: [(u32, u64); 5] = [(1, 1), (1, 8), (2, 1), (8, 1), (8, 8)];

/// W6: afterwards the image is that of a store that never had more records.
#[test]
fn a_truncation_leaves_the_image_of_a_shorter_table() {
    for (chunk, physical) in CHUNKS {
        let blocks = blocks(chunk, physical);
        let (layout, per_area) = (blocks.layout(), blocks.layout().exceptions_per_area());
        let sectors = sectors_for(layout, 3 * per_area);
        let ends = [0, 1, 31, 32, 33, per_area - 1, per_area, per_area + 1, 2 * per_area, 3 * per_area - 1];
        for (from, to) in ends.iter().flat_map(|from| ends.map(|to| (*from, to))) {
            let mut image = image(layout, from, sectors);
            for write in Truncation::new(blocks, from, to).unwrap() {
                apply(&mut image, &write);
            }
            assert_eq!(
                image,
                self::image(layout, from.min(to), sectors),
                "{chunk}/{physical}: {from} to {to}"
            );
        }
    }
}

/// W6: highest first, the boundary block last and once, nothing twice.
#[test]
fn writes_descend_and_the_boundary_comes_last() {
    for (chunk, physical) in CHUNKS {
        let blocks = blocks(chunk, physical);
        for (from, to) in [(1, 0), (100, 3), (1000, 0), (513, 511), (1024, 257)] {
            let writes: Vec<MetadataWrite> = Truncation::new(blocks, from, to).unwrap().collect();
            let (last, zeros) = writes.split_last().unwrap();
            let MetadataWrite::Boundary { span, keep } = last else { panic!("{last:?}") };
            assert!(span.first <= to && to < span.end && *keep == (span.first..to));
            assert_eq!(span.range.len(), blocks.sectors());
            let mut above = Sectors(u64::MAX);
            for zero in zeros {
                let MetadataWrite::Zero(range) = zero else { panic!("{zero:?}") };
                assert!(range.end() <= above && range.start() >= span.range.end() && !range.is_empty());
                above = range.start();
            }
        }
    }
}

#[test]
fn nothing_is_written_where_nothing_goes_away() {
    assert_eq!(Truncation::new(blocks(8, 1), 7, 7).unwrap().next(), None);
    assert_eq!(Truncation::new(blocks(8, 1), 7, 9).unwrap().next(), None);
    assert!(Truncation::new(blocks(8, 1), u64::MAX, 9).is_none());
}

#[test]
fn a_block_is_never_larger_than_a_chunk_and_never_odd() {
    assert_eq!(blocks(1, 8).sectors(), Sectors(1));
    assert_eq!(blocks(8, 8).records_per_block(), 256);
    for bad in [0, 3, 9] {
        assert_eq!(Blocks::new(layout(8), Sectors(bad)), Err(BlocksError::BlockSize(Sectors(bad))));
    }
    let mut image = [0xff; 512];
    assert_eq!(
        encode_block((0..33).map(record), &mut image),
        Err(BlocksError::TooManyRecords { bytes: 512 })
    );
    encode_block([], &mut image).unwrap();
    assert_eq!(image, [0; 512]);
}

/// The twin asks every record for its block. Commits go block by block, ascending (K1), and land slot by slot.
#[test]
fn a_commit_touches_the_blocks_of_its_records_ascending() {
    for (chunk, physical) in CHUNKS {
        let blocks = blocks(chunk, physical);
        let sectors = sectors_for(blocks.layout(), 600);
        for (first, end) in [(0, 0), (0, 1), (31, 33), (5, 300), (250, 257), (0, 600), (511, 513)] {
            let mut expected: Vec<_> = (first..end).map(|index| blocks.span_of(index).unwrap()).collect();
            expected.dedup();
            let touched: Vec<_> = blocks.touched(first..end).collect();
            assert_eq!(touched, expected);
            let mut image = image(blocks.layout(), first, sectors);
            for span in touched {
                let records = span.first..span.end.min(end);
                encode_block(records.map(record), &mut image[byte_range(span.range)]).unwrap();
            }
            assert_eq!(image, self::image(blocks.layout(), end, sectors));
        }
    }
}

proptest! {
    /// R6: whichever of the writes reach the disk, in whichever pieces, the visible prefix lies between the old and
    /// the new end, and is the new end once the boundary block is whole.
    #[test]
    fn any_torn_subset_only_shrinks_the_prefix(
        cell in 0..CHUNKS.len(), from in 1..700_u64, cut in any::<u64>(), kept in any::<[u64; 4]>(),
    ) {
        let (chunk, physical) = CHUNKS[cell];
        let blocks = blocks(chunk, physical);
        let (layout, to) = (blocks.layout(), cut % from);
        let old = image(layout, from, sectors_for(layout, from));
        let mut new = old.clone();
        let mut boundary = 0..0;
        for write in Truncation::new(blocks, from, to).unwrap() {
            apply(&mut new, &write);
            if let MetadataWrite::Boundary { span, .. } = write {
                boundary = span.range.start().0 as usize..span.range.end().0 as usize;
            }
        }
        let mut torn = old.clone();
        for sector in 0..old.len() / 512 {
            if kept[sector / 64 % 4] >> (sector % 64) & 1 == 1 {
                torn[sector * 512..][..512].copy_from_slice(&new[sector * 512..][..512]);
            }
        }
        assert!((to..=from).contains(&visible(layout, &torn)));
        let boundary_bytes = boundary.start * 512..boundary.end * 512;
        torn[boundary_bytes.clone()].copy_from_slice(&new[boundary_bytes]);
        assert_eq!(visible(layout, &torn), to);
    }

    /// W1: a scrub removes whatever lies behind the end, and only that.
    #[test]
    fn a_scrub_leaves_the_table_and_nothing_behind_it(
        cell in 0..CHUNKS.len(), records in 0..600_u64, stale in proptest::collection::vec(1..80_u64, 1..5),
    ) {
        let (chunk, physical) = CHUNKS[cell];
        let blocks = blocks(chunk, physical);
        let layout = blocks.layout();
        let sectors = sectors_for(layout, records + 80);
        let mut image = image(layout, records, sectors);
        for behind in &stale {
            put(layout, &mut image, records + behind);
        }
        let end = records + stale.iter().max().unwrap() + 1;
        for write in Truncation::new(blocks, end, records).unwrap() {
            apply(&mut image, &write);
        }
        assert_eq!(image, self::image(layout, records, sectors));
    }
}
