//! The layout's arithmetic against a twin that is too simple to be wrong: it walks a store chunk by chunk, as the
//! prose of dm-snapshot.md 1.1 and 1.2 says, and writes down what it meets.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use foldback_dm_snapshot_format::{Layout, Place, RecordPlace};
use foldback_units::{Chunk, ChunkSize, Sectors};
use proptest::prelude::{any, proptest};

/// What the walk met, chunk by chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Header,
    Area(u64),
    Data(u64),
}

/// Header, area, as many data chunks as the area has records, area, ...
fn walk(exceptions_per_area: u64, chunks: usize) -> Vec<Kind> {
    let mut kinds = vec![Kind::Header];
    let (mut area, mut data) = (0, 0);
    while kinds.len() < chunks {
        kinds.push(Kind::Area(area));
        area += 1;
        for _ in 0..exceptions_per_area {
            kinds.push(Kind::Data(data));
            data += 1;
        }
    }
    kinds.truncate(chunks);
    kinds
}

fn layout(sectors: u32) -> Layout {
    Layout::new(ChunkSize::from_sectors(sectors).unwrap())
}

/// dm-snapshot.md 1.1: the table of sizes.
#[test]
fn areas_lie_where_the_table_says() {
    for (sectors, per_area, stride) in [
        (1, 32, 33),
        (8, 256, 257),
        (16, 512, 513),
        (32, 1024, 1025),
        (128, 4096, 4097),
        (1024, 32768, 32769),
    ] {
        let layout = layout(sectors);
        assert_eq!((layout.exceptions_per_area(), layout.stride()), (per_area, stride));
        for area in [0, 1, 2, 1000] {
            assert_eq!(layout.area_chunk(area), Some(Chunk(1 + stride * area)));
        }
    }
    assert!(layout(1).is_data_chunk(Chunk(33)), "a multiple of the stride is data");
    assert!(!layout(1).is_data_chunk(Chunk(34)));
}

#[test]
fn every_chunk_is_what_the_walk_meets() {
    for sectors in [1, 2, 8, 16] {
        let layout = layout(sectors);
        let kinds = walk(layout.exceptions_per_area(), 5 * layout.stride() as usize + 3);
        for (number, kind) in kinds.into_iter().enumerate() {
            let chunk = Chunk(number as u64);
            assert_eq!(layout.is_data_chunk(chunk), matches!(kind, Kind::Data(_)), "{chunk}");
            assert_eq!(layout.is_area_chunk(chunk), matches!(kind, Kind::Area(_)), "{chunk}");
            match kind {
                Kind::Header => assert_eq!(layout.data_chunk_index(chunk), None),
                Kind::Area(area) => {
                    assert_eq!(layout.area_chunk(area), Some(chunk));
                    assert_eq!(layout.data_chunk_index(chunk), None);
                }
                Kind::Data(index) => {
                    assert_eq!(layout.hole_free_chunk(index), Some(chunk));
                    assert_eq!(layout.data_chunk_index(chunk), Some(index));
                }
            }
        }
    }
}

/// The twin goes record by record and sector by sector through the areas.
#[test]
fn every_record_lies_where_the_walk_puts_it() {
    for sectors in [1, 4, 8] {
        let layout = layout(sectors);
        let mut index = 0;
        for area in 0..4 {
            let start = layout.area_chunk(area).unwrap().0 * u64::from(sectors);
            let mut slot = 0;
            for sector in 0..u64::from(sectors) {
                for offset in (0..512).step_by(16) {
                    let expected = RecordPlace { sector: Sectors(start + sector), offset };
                    assert_eq!(layout.record_place(index), Some(expected));
                    assert_eq!(layout.place_of(index), Place { area, slot });
                    assert_eq!(layout.index_of(Place { area, slot }), Some(index));
                    index += 1;
                    slot += 1;
                }
            }
            assert_eq!(layout.index_of(Place { area, slot }), None, "there is no slot behind the last one");
        }
    }
}

/// dm-snapshot.md 1.2: allocation in table order gives the data chunks of the walk, also across a reload after every
/// single one (CVE-2013-4299: exactly k * EPA records).
#[test]
fn allocation_never_gives_out_an_area_and_a_reload_changes_nothing() {
    for sectors in [1, 2, 8] {
        let layout = layout(sectors);
        let kinds = walk(layout.exceptions_per_area(), 4 * layout.stride() as usize);
        let mut next = Layout::FIRST_FREE;
        assert_eq!(layout.next_free_after_load(None), Some(next));
        for (number, _) in kinds.iter().enumerate().filter(|(_, kind)| matches!(kind, Kind::Data(_))) {
            assert_eq!(next, Chunk(number as u64));
            let reloaded = layout.next_free_after_load(Some(next));
            next = layout.next_after(next).unwrap();
            assert_eq!(reloaded, Some(next));
        }
    }
    // Observed on a kernel with the fix: 32 records in a store of 512-byte chunks, the next record takes chunk 35.
    assert_eq!(layout(1).next_free_after_load(Some(Chunk(33))), Some(Chunk(35)));
}

/// K7, as observed: with 34 sectors the 32nd exception cannot be committed, with 35 it can.
#[test]
fn the_last_slot_of_an_area_needs_the_next_area() {
    let layout = layout(1);
    assert!(layout.can_allocate(Chunk(33), Sectors(34)));
    assert!(layout.can_commit(30, Sectors(34)) && !layout.can_commit(31, Sectors(34)));
    assert!(layout.can_commit(31, Sectors(35)));
    assert_eq!((layout.min_chunks(31), layout.min_chunks(32)), (Some(33), Some(35)));
}

/// The twin fills a store of every size exception by exception, as far as allocation and commit go.
#[test]
fn capacity_is_what_fits_one_by_one() {
    for sectors in [1, 2] {
        let layout = layout(sectors);
        for store in 0..(3 * layout.stride() + 4) * u64::from(sectors) {
            let store = Sectors(store);
            let mut next = Layout::FIRST_FREE;
            let mut count = 0;
            while layout.can_allocate(next, store) && layout.can_commit(count, store) {
                next = layout.next_after(next).unwrap();
                count += 1;
            }
            let fits_at_all = store.0 >= 2 * u64::from(sectors);
            assert_eq!(layout.capacity(store), fits_at_all.then_some(count), "{store}");
            if fits_at_all {
                let chunks = layout.chunk_size().whole_chunks(store);
                assert!(layout.min_chunks(count).unwrap() <= chunks);
                assert!(layout.min_chunks(count + 1).unwrap() > chunks);
            }
        }
    }
}

/// dm-snapshot.md 1.8: the kernel's numbers, and its sign that a merge is finished.
#[test]
fn status_says_what_the_kernel_says() {
    let layout = layout(8);
    let status = layout.status(layout.hole_free_chunk(2048).unwrap(), 2048).unwrap();
    assert_eq!((status.allocated, status.metadata), (Sectors(16464), Sectors(80)));
    let done = layout.merge_status(0).unwrap();
    assert_eq!((done.allocated, done.metadata), (Sectors(16), Sectors(16)));
    assert!(done.merge_finished() && layout.status(Layout::FIRST_FREE, 0).unwrap().merge_finished());
    // I9: it decreases with every record and is finished only at none.
    for records in 1..2000 {
        let (status, before) =
            (layout.merge_status(records).unwrap(), layout.merge_status(records - 1).unwrap());
        assert!(status.allocated > before.allocated && !status.merge_finished());
        assert_eq!(status.allocated.0 - status.metadata.0, records * 8);
    }
}

/// C3: the twin asks of every record whether it is the last one of its area.
#[test]
fn areas_to_zero_are_those_behind_the_filled_ones() {
    let layout = layout(1);
    for first in 0..100 {
        for end in first..130 {
            let expected: Vec<u64> = (first..end)
                .filter(|&index| layout.place_of(index).slot == 31)
                .map(|index| layout.place_of(index).area + 1)
                .collect();
            assert_eq!(layout.areas_to_zero(first, end).collect::<Vec<_>>(), expected, "{first}..{end}");
        }
    }
}

proptest! {
    /// Any number from a disk: answers or `None`, never a wrapped place.
    #[test]
    fn numbers_without_bound_never_wrap(shift in 0..=21_u32, number in any::<u64>(), small in 0..64_u32) {
        let layout = layout(1 << shift);
        for number in [number, number >> small, u64::MAX, u64::MAX - 1] {
            let (chunk, store) = (Chunk(number), Sectors(number));
            if let Some(range) = layout.area_range(number) {
                assert!(layout.is_area_chunk(layout.chunk_size().chunk_of(range.start())));
            }
            if let Some(next) = layout.next_after(chunk) {
                assert!(next > chunk && !layout.is_area_chunk(next));
            }
            if let Some(place) = layout.record_place(number) {
                assert!(place.offset <= 496 && place.sector >= layout.chunk_size().len());
            }
            if let Some(data) = layout.hole_free_chunk(number) {
                assert!(data > chunk && layout.is_data_chunk(data));
                assert_eq!(layout.data_chunk_index(data), Some(number));
            }
            if let Some(capacity) = layout.capacity(store) {
                assert!(layout.min_chunks(capacity).unwrap() <= layout.chunk_size().whole_chunks(store));
            }
            if let Some(status) = layout.status(chunk, number) {
                assert!(status.allocated >= store);
            }
            assert!(!layout.can_commit(u64::MAX, store));
            assert!(!layout.can_allocate(chunk, store), "a store of n sectors never has a chunk n");
        }
    }
}
