//! The store check, finding by finding: each kind, its severity (architecture.md, "When things go wrong") and its
//! place, on stores with exactly one thing wrong.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use foldback_dm_snapshot_format::check::{MAX_FINDINGS, MAX_READ};
use foldback_dm_snapshot_format::{
    BadRecord, Checker, FeedError, FindingKind, FirstChunk, Header, HeaderError, Layout, Place, Record,
    Report, Severity, StoreGeometry,
};
use foldback_units::{Bytes, Chunk, ChunkSize, SectorRange, Sectors};

/// A store in memory.
struct Store {
    layout: Layout,
    image: Vec<u8>,
    /// Sectors of zeros behind the image.
    zeros: u64,
    origin: Sectors,
    expected: Option<ChunkSize>,
}

fn size(sectors: u32) -> ChunkSize {
    ChunkSize::from_sectors(sectors).unwrap()
}

impl Store {
    /// With a header, zeroed areas and an origin of 1000 chunks.
    fn new(sectors: u32, chunks: u64) -> Self {
        let layout = Layout::new(size(sectors));
        let mut image = vec![0; (chunks * layout.chunk_size().bytes().0) as usize];
        image[..16].copy_from_slice(&Header::new(layout.chunk_size()).encode());
        Self { layout, image, zeros: 0, origin: Sectors(1000 * u64::from(sectors)), expected: None }
    }

    /// With `count` sound records: origin chunks 0, 3, 6, ...
    fn filled(sectors: u32, chunks: u64, count: u64) -> Self {
        let mut store = Self::new(sectors, chunks);
        for index in 0..count {
            let new = store.layout.hole_free_chunk(index).unwrap().0;
            store.put(index, index * 3, new);
        }
        store
    }

    fn put(&mut self, index: u64, old: u64, new: u64) {
        let place = self.layout.record_place(index).unwrap();
        let at = place.sector.0 as usize * 512 + usize::from(place.offset);
        self.image[at..at + 8].copy_from_slice(&old.to_le_bytes());
        self.image[at + 8..at + 16].copy_from_slice(&new.to_le_bytes());
    }

    fn checker(&self) -> Checker {
        let store = Sectors(self.image.len() as u64 / 512 + self.zeros);
        Checker::new(StoreGeometry { store, origin: self.origin, expected_chunk: self.expected })
    }

    fn bytes(&self, range: SectorRange) -> Vec<u8> {
        let byte = |sector: Sectors| sector.0 as usize * 512;
        let start = self.image.len().min(byte(range.start()));
        let mut bytes = self.image[start..self.image.len().min(byte(range.end()))].to_vec();
        bytes.resize(byte(range.len()), 0);
        bytes
    }

    fn check(&self) -> Report {
        let mut checker = self.checker();
        while let Some(range) = checker.next_read() {
            checker.feed(&self.bytes(range)).unwrap();
        }
        checker.finish().unwrap()
    }

    /// The only finding, if it is of this severity.
    fn only(&self, severity: Severity) -> (FindingKind, Option<Place>) {
        let report = self.check();
        assert_eq!(report.findings.len(), 1, "{report:?}");
        assert_eq!(report.worst(), Some(severity));
        assert_eq!(report.store.is_none(), severity == Severity::Refuse);
        (report.findings[0].kind.clone(), report.findings[0].place)
    }
}

fn record(old: u64, new: u64) -> Record {
    Record::new(Chunk(old), Chunk(new)).unwrap()
}

fn at(area: u64, slot: u64) -> Option<Place> {
    Some(Place { area, slot })
}

#[test]
fn a_sound_store_has_no_findings() {
    for count in [0, 1, 31, 32, 33, 64, 100] {
        let report = Store::filled(1, 140, count).check();
        assert_eq!((report.worst(), report.visible), (None, count));
        let store = report.store.unwrap();
        assert_eq!((store.records.len() as u64, store.stale), (count, None));
        assert_eq!(Some(store.next_free), Layout::new(size(1)).hole_free_chunk(count));
    }
}

#[test]
fn a_bad_header_refuses() {
    let mut store = Store::new(8, 4);
    store.image[0] = 0;
    assert_eq!(store.only(Severity::Refuse), (FindingKind::Header(HeaderError::Magic(0x7041_6e00)), None));
    let mut store = Store::new(8, 4);
    store.image[8] = 2;
    assert_eq!(store.only(Severity::Refuse), (FindingKind::Header(HeaderError::Version(2)), None));
    let mut store = Store::new(8, 4);
    store.image[12] = 7;
    let bad = ChunkSize::from_sectors(7).unwrap_err();
    assert_eq!(store.only(Severity::Refuse), (FindingKind::Header(HeaderError::ChunkSize(bad)), None));
    assert_eq!(Store::new(8, 1).check().worst(), Some(Severity::Refuse), "there is no area 0");
}

#[test]
fn a_store_without_any_sector_refuses_without_a_read() {
    let mut store = Store::new(8, 1);
    store.image.clear();
    assert_eq!(store.checker().next_read(), None);
    assert_eq!(store.only(Severity::Refuse), (FindingKind::Header(HeaderError::Short(0)), None));
}

#[test]
fn an_invalidated_store_refuses_and_its_header_is_still_told() {
    let mut store = Store::filled(8, 40, 20);
    store.image[4] = 0;
    assert_eq!(store.only(Severity::Refuse), (FindingKind::Invalidated, None));
    let header = Header::new(size(8)).invalidated();
    assert_eq!(store.check().first_chunk, Some(FirstChunk::Store(header)));
}

/// dm-snapshot.md 1.3: a stale area behind a blank header is never read.
#[test]
fn a_blank_header_is_an_empty_store() {
    let mut store = Store::filled(8, 40, 20);
    store.image[..8].fill(0);
    assert_eq!(store.only(Severity::Pass), (FindingKind::Blank, None));
    let checked = store.check().store.unwrap();
    assert_eq!((checked.header, checked.records, checked.next_free), (None, Vec::new(), Chunk(2)));
}

#[test]
fn the_headers_chunk_size_wins() {
    let mut store = Store::filled(8, 40, 20);
    store.expected = Some(size(16));
    let kind = FindingKind::ChunkSizeDiffers { header: size(8), expected: size(16) };
    assert_eq!(store.only(Severity::Pass), (kind, None));
    assert_eq!(store.check().store.unwrap().records.len(), 20);
    store.expected = Some(size(8));
    assert_eq!(store.check().worst(), None);
}

/// K5: each range, in an area that is not the first.
#[test]
fn a_record_out_of_range_refuses() {
    let mut store = Store::filled(1, 70, 40);
    store.put(33, 99 + 1, 70);
    let kind = FindingKind::NewBeyondStore { record: record(100, 70), chunks: 70 };
    assert_eq!(store.only(Severity::Refuse), (kind, at(1, 1)));

    for metadata in [1, 34, 67] {
        let mut store = Store::filled(1, 70, 40);
        store.put(33, 100, metadata);
        let kind = FindingKind::NewIsMetadata { record: record(100, metadata) };
        assert_eq!(store.only(Severity::Refuse), (kind, at(1, 1)));
    }

    let mut store = Store::filled(1, 70, 40);
    store.put(39, 1000, 43);
    store.origin = Sectors(1000);
    let kind = FindingKind::OldBeyondOrigin { record: record(1000, 43), chunks: 1000 };
    assert_eq!(store.only(Severity::Refuse), (kind, at(1, 7)));
    store.origin = Sectors(1001);
    store.check().store.unwrap();
}

/// The origin's last chunk may be a part of one; the store's may not.
#[test]
fn the_origins_last_chunk_may_be_partial_and_the_stores_may_not() {
    let mut store = Store::new(8, 10);
    store.put(0, 1000, 9);
    store.origin = Sectors(8001);
    assert!(store.check().findings.iter().all(|finding| finding.severity() == Severity::Pass));
    store.image.truncate(store.image.len() - 512);
    let kind = FindingKind::NewBeyondStore { record: record(1000, 9), chunks: 9 };
    assert_eq!(store.only(Severity::Refuse), (kind, at(0, 0)));
}

#[test]
fn each_of_the_top_bits_refuses() {
    for bit in 56..64 {
        let mut store = Store::filled(1, 70, 40);
        store.put(5, 15, 7 | 1 << bit);
        let error = BadRecord::TopBits { old: Chunk(15), new: Chunk(7 | 1 << bit) };
        assert_eq!(store.only(Severity::Refuse), (FindingKind::BadRecord(error), at(0, 5)));
    }
}

#[test]
fn differing_duplicates_refuse_and_name_the_first() {
    let mut store = Store::filled(1, 110, 70);
    store.put(69, 3, 73);
    let first = Place { area: 0, slot: 1 };
    let kind = FindingKind::DuplicateOld { record: record(3, 73), first, first_new: Chunk(3) };
    assert_eq!(store.only(Severity::Refuse), (kind, at(2, 5)));

    let mut store = Store::filled(1, 110, 70);
    store.put(69, 999, 3);
    let kind = FindingKind::DuplicateNew { record: record(999, 3), first, first_old: Chunk(3) };
    assert_eq!(store.only(Severity::Refuse), (kind, at(2, 5)));
}

/// A slot move leaves the same record twice (dm-snapshot.md 3.3); the kernel takes it, and so do we.
#[test]
fn identical_duplicates_pass_and_stay_in_the_table() {
    let mut store = Store::filled(1, 110, 70);
    store.put(10, 207, 73);
    let report = store.check();
    let kinds: Vec<FindingKind> = report.findings.into_iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::IdenticalDuplicates { records: 1 }, FindingKind::Holes { chunks: 1 }]);
    assert_eq!(report.store.unwrap().records.len(), 70);
}

/// dm-snapshot.md 1.2: holes are counted without the areas between, and leaked for good.
#[test]
fn holes_pass_and_are_counted() {
    let mut store = Store::filled(1, 110, 20);
    store.put(20, 500, 75);
    assert_eq!(store.only(Severity::Pass), (FindingKind::Holes { chunks: 72 - 21 }, None));
    assert_eq!(store.check().store.unwrap().next_free, Chunk(76));
}

/// dm-snapshot.md 1.2: after a load the allocator goes on behind the highest chunk, wherever in the table that stands.
#[test]
fn the_highest_chunk_need_not_be_the_last() {
    let mut store = Store::filled(1, 110, 3);
    store.put(0, 0, 33);
    store.put(1, 3, 2);
    store.put(2, 6, 3);
    let checked = store.check().store.unwrap();
    assert_eq!(checked.next_free, Chunk(35), "behind chunk 33 comes area 1");
}

/// K1: a torn commit can leave records in any later sector of the area.
#[test]
fn a_stale_tail_in_any_sector_is_repaired() {
    for sector in 0..8 {
        let mut store = Store::filled(8, 600, 20);
        let slot = sector * 32 + 25;
        store.put(slot, 77, 200);
        let kind = FindingKind::StaleTail { slots: slot..slot + 1 };
        assert_eq!(store.only(Severity::Repair), (kind, at(0, slot)));
        let checked = store.check().store.unwrap();
        assert_eq!((checked.records.len(), checked.stale), (20, Some(slot..slot + 1)));
    }
    // The terminator's own old chunk, which nobody looks at, is scrubbed with the rest.
    let mut store = Store::filled(8, 600, 20);
    store.put(20, 77, 0);
    assert_eq!(store.only(Severity::Repair).0, FindingKind::StaleTail { slots: 20..21 });
}

/// W1: whatever the area behind the last one holds is zeroed too, but it is nothing to report as damage: `lvcreate`
/// leaves old data there, and whoever fills the last area zeroes it first.
#[test]
fn the_next_area_passes_and_is_scrubbed() {
    let mut store = Store::filled(8, 600, 20);
    store.put(300, 77, 200);
    assert_eq!(store.only(Severity::Pass), (FindingKind::NextAreaNotZero { area: 1 }, None));
    assert_eq!(store.check().store.unwrap().stale, Some(300..301));
    // Areas further on are not looked at.
    let mut store = Store::filled(1, 140, 20);
    store.put(70, 77, 100);
    assert_eq!(store.check().worst(), None);
}

/// K7: an area without a terminator, and no room for the next one.
#[test]
fn a_table_that_runs_out_of_the_store_refuses() {
    let store = Store::filled(1, 34, 32);
    assert_eq!(store.only(Severity::Refuse), (FindingKind::NoEnd { area: 1 }, None));
    assert_eq!(Store::filled(1, 35, 32).check().worst(), None);
}

/// Areas that are longer than one read: the terminator in any piece, the tail in a later one.
#[test]
fn an_area_is_read_in_bounded_pieces() {
    let sectors = 2 * MAX_READ.0;
    let piece = MAX_READ.0 * 32;
    let mut store = Store::new(sectors as u32, 3);
    // Chunks enough for records that fill more than a piece.
    store.zeros = sectors * piece;
    store.put(0, 0, 2);
    store.put(piece + 7, 1, 2);
    let kind = FindingKind::StaleTail { slots: piece + 7..piece + 8 };
    assert_eq!(store.only(Severity::Repair), (kind, at(0, piece + 7)));

    store.put(piece, 1, 2);
    assert_eq!(store.check().visible, 1, "a record that starts a piece behind the end is stale all the same");
    assert_eq!(store.check().store.unwrap().stale, Some(piece..piece + 8));

    for index in 0..=piece {
        store.put(index, 0, 2);
    }
    let report = store.check();
    assert_eq!(report.visible, piece + 1, "the table goes on in the second piece");
    assert_eq!(report.store.unwrap().stale, Some(piece + 7..piece + 8));
}

#[test]
fn findings_are_bounded_and_the_rest_is_counted() {
    let mut store = Store::new(128, 4);
    store.zeros = 128 * 2000;
    for index in 0..3000 {
        store.put(index, 5000, 2);
    }
    let report = store.check();
    assert_eq!((report.findings.len(), report.unlisted), (MAX_FINDINGS, 3000 - 1000 + 1));
    assert_eq!(report.worst(), Some(Severity::Refuse));
}

#[test]
fn a_caller_that_feeds_something_else_is_told() {
    let store = Store::filled(1, 40, 3);
    let mut checker = store.checker();
    let range = checker.next_read().unwrap();
    let wanted = Bytes(8 * 512);
    assert_eq!(checker.feed(&[0; 512]), Err(FeedError::Length { wanted, got: 512 }));
    assert_eq!(checker.next_read(), Some(range), "nothing was taken");
    assert_eq!(checker.clone().finish(), Err(FeedError::Unfinished(range)));
    while let Some(range) = checker.next_read() {
        checker.feed(&store.bytes(range)).unwrap();
    }
    assert_eq!(checker.feed(&[]), Err(FeedError::NothingToRead));
}

/// The words that people read.
#[test]
fn a_finding_says_where_and_what() {
    let mut store = Store::filled(1, 110, 70);
    store.put(69, 3, 73);
    assert_eq!(
        store.check().findings[0].to_string(),
        "area 2 slot 5: origin chunk 3 points at store chunk 73, but area 0 slot 1 says chunk 3"
    );
    let mut store = Store::filled(1, 70, 40);
    store.put(33, 100, 34);
    let text = store.check().findings[0].to_string();
    assert_eq!(text, "area 1 slot 1: origin chunk 100 points at store chunk 34, which is metadata");
}

/// K5: the chunk size is the header's word, and with it how many records an area has. A store of a few chunks does not
/// make us take memory for all of them.
#[test]
fn records_are_bounded_by_the_chunks_of_the_store() {
    let table = |count: u64| {
        let mut store = Store::new(8, 6);
        (0..count).for_each(|index| store.put(index, 0, 2));
        store
    };
    // As many repeats as a tail that came back to life can leave are passed.
    assert_eq!(table(12).only(Severity::Pass).0, FindingKind::IdenticalDuplicates { records: 11 });
    let report = table(13).check();
    assert!(report.store.is_none() && report.visible == 12);
    assert_eq!(report.findings[0].kind, FindingKind::TooManyRecords { limit: 12 });
}

/// What is read ahead is what is asked for, as long as areas are full and from the table's end on.
#[test]
fn what_is_read_ahead_is_what_is_asked_for_later() {
    for (sectors, count, zeros) in [(1, 0, 4000), (1, 100, 4000), (8, 700, 40_000), (4096, 3, 1 << 33)] {
        let mut store = Store::filled(sectors, 800.min(40_000 / u64::from(sectors)).max(8), count);
        store.zeros = zeros;
        let (mut checker, mut asked, mut told) = (store.checker(), Vec::new(), Vec::new());
        while let Some(range) = checker.next_read() {
            let ahead = checker.reads_ahead(20);
            assert_eq!(ahead.first(), Some(&range));
            assert!(ahead.iter().skip(1).map(|range| range.len().0).sum::<u64>() <= 8192);
            told.push(ahead);
            asked.push(range);
            checker.feed(&store.bytes(range)).unwrap();
        }
        for (at, ahead) in told.iter().enumerate() {
            let later = &asked[at..];
            let same = later.iter().zip(ahead).take_while(|(one, other)| one == other).count();
            assert_eq!(same, later.len().min(ahead.len()), "{sectors} sectors, read {at}");
        }
        assert!(told.iter().any(|ahead| ahead.len() > 1));
        assert_eq!(told.last().unwrap().len(), 1, "nothing is ahead of the last");
    }
}
