//! The ring of a metadata area: where texts lie and where the next one goes (lvm2.md 1.5). Arithmetic only.
//!
//! ```text
//! 0      512                                     size
//! | header | .......... text, padded to 512 ....... |      a text that reaches the end goes on at 512
//! ```
//!
//! What must hold:
//! - A [`TextPlace`] lies inside the ring of the [`Ring`] that made it and is at least one byte long.
//! - The next copy never touches a byte of the copy that holds, padding included: the old text stays readable until
//!   the header names the new one (trap 5 of lvm2.md 7).
//! - A text is at most half the ring less one sector, so that old and new always fit.
//! - All offsets count from the area's start, the header included.

use crate::label::SECTOR_BYTES;
use foldback_units::{Bytes, SECTOR};

/// Where the ring starts: behind the header.
const RING_START: u64 = 512;
const _: () = assert!(RING_START == SECTOR && SECTOR_BYTES == 512);
/// No metadata area is larger, so that a position in it always fits memory and a size fits a raw location.
const AREA_MAX: u64 = 1 << 32;
/// No text is longer, whatever the ring would hold: the bound of the text's parser, so that a crafted location cannot
/// make a reader take gigabytes for what it would refuse.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Why a place in a ring cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RingError {
    /// The area is not made of sectors, holds no ring, or is absurdly large.
    #[error("a metadata area of {0} bytes is not a header and a ring made of sectors (at most 4 GiB)")]
    AreaSize(u64),
    /// A location that starts outside the ring.
    #[error("a text at offset {offset} lies outside the ring, which spans 512 to {area_size}")]
    Offset {
        /// As found.
        offset: u64,
        /// Size of the area, header included.
        area_size: u64,
    },
    /// A location of no bytes, or longer than the ring or than any text.
    #[error("a text of {size} bytes cannot lie in a ring of {ring_size} (at most 64 MiB)")]
    Size {
        /// As found.
        size: u64,
        /// Bytes of the ring, without the header.
        ring_size: u64,
    },
    /// More than half the ring: old and new text would not fit both.
    #[error("a text of {size} bytes is too large for the metadata area, which takes at most {max}")]
    TextTooLarge {
        /// Of the text, NUL included.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The new text would touch the one that holds.
    #[error("a text of {size} bytes would overwrite the text that holds")]
    Overlap {
        /// Of the new text.
        size: u64,
    },
}

/// The ring of an area, known by the area's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ring {
    area_size: u64,
}

/// Where a text lies; it may go round the ring's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextPlace {
    offset: u64,
    size: u64,
}

impl TextPlace {
    /// Of the first byte, from the area's start.
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// In bytes, the terminating NUL included.
    pub const fn size(self) -> u64 {
        self.size
    }
}

/// Bytes of the area, from the area's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AreaRange {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// A place as one or two ranges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pieces {
    /// Up to the ring's end at most.
    pub first: AreaRange,
    /// What went on at the ring's start.
    pub second: Option<AreaRange>,
}

impl Pieces {
    /// The ranges in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = AreaRange> {
        std::iter::once(self.first).chain(self.second)
    }
}

impl Ring {
    /// The ring of an area of `area_size` bytes, header included.
    pub fn new(area_size: Bytes) -> Result<Self, RingError> {
        let size = area_size.get();
        // LVM2 makes areas of whole sectors; a crafted 0, 1 or 512 leaves no ring at all.
        if size <= RING_START || !size.is_multiple_of(SECTOR) || size > AREA_MAX {
            return Err(RingError::AreaSize(size));
        }
        Ok(Self { area_size: size })
    }

    /// Size of the whole area, header included.
    pub const fn area_size(self) -> Bytes {
        Bytes(self.area_size)
    }

    const fn ring_size(self) -> u64 {
        self.area_size.saturating_sub(RING_START)
    }

    /// The longest text that may be written, NUL included: half the ring less one sector, and at most 64 MiB.
    pub const fn max_text(self) -> Bytes {
        let half = (self.ring_size() / 2).saturating_sub(SECTOR);
        Bytes(if half < TEXT_BYTES_MAX { half } else { TEXT_BYTES_MAX })
    }

    /// The place a header names, checked: from byte 512 on, inside the area, not longer than the ring or 64 MiB.
    pub fn place(self, offset: Bytes, size: Bytes) -> Result<TextPlace, RingError> {
        let (offset, size) = (offset.get(), size.get());
        if offset < RING_START || offset >= self.area_size {
            return Err(RingError::Offset { offset, area_size: self.area_size });
        }
        if size == 0 || size > self.ring_size() || size > TEXT_BYTES_MAX {
            return Err(RingError::Size { size, ring_size: self.ring_size() });
        }
        Ok(TextPlace { offset, size })
    }

    /// Where the bytes of `place` lie.
    pub const fn pieces(self, place: TextPlace) -> Pieces {
        let to_end = self.area_size.saturating_sub(place.offset);
        if place.size <= to_end {
            Pieces { first: AreaRange { offset: place.offset, len: place.size }, second: None }
        } else {
            Pieces {
                first: AreaRange { offset: place.offset, len: to_end },
                second: Some(AreaRange { offset: RING_START, len: place.size.saturating_sub(to_end) }),
            }
        }
    }

    /// What a write of the text at `place` covers: its bytes and zeros to the next sector.
    ///
    /// For a place that [`Ring::place_next`] gave. Its start is aligned, so padding never leaves the ring.
    pub const fn pieces_padded(self, place: TextPlace) -> Pieces {
        self.pieces(TextPlace { offset: place.offset, size: place.size.next_multiple_of(SECTOR) })
    }

    /// Where a new text of `size` bytes (NUL included) goes while `holding` still holds.
    pub fn place_next(self, holding: Option<TextPlace>, size: Bytes) -> Result<TextPlace, RingError> {
        let max = self.max_text().get();
        if size.get() > max {
            return Err(RingError::TextTooLarge { size: size.get(), max });
        }
        let Some(old) = holding else { return self.place(Bytes(RING_START), size) };
        let pieces = self.pieces(old);
        let last = pieces.second.unwrap_or(pieces.first);
        let mut start = last.offset.saturating_add(last.len).next_multiple_of(SECTOR);
        if start >= self.area_size {
            start = RING_START;
        }
        let new = self.place(Bytes(start), size)?;
        if touch(self.pieces_padded(new), pieces) {
            return Err(RingError::Overlap { size: size.get() });
        }
        Ok(new)
    }
}

fn touch(one: Pieces, other: Pieces) -> bool {
    one.iter().any(|a| {
        other
            .iter()
            .any(|b| a.offset < b.offset.saturating_add(b.len) && b.offset < a.offset.saturating_add(a.len))
    })
}

#[cfg(test)]
mod tests {
    use super::{AreaRange, Pieces, Ring, RingError, TEXT_BYTES_MAX, TextPlace};
    use foldback_units::Bytes;
    use proptest::prelude::*;

    fn ring(sectors: u64) -> Ring {
        Ring::new(Bytes(sectors * 512)).unwrap()
    }

    /// The slow twin: walks the ring byte by byte as the prose says, and marks what it passes.
    fn bytes_of(ring: Ring, place: TextPlace) -> Vec<u64> {
        let mut at = place.offset();
        let mut passed = Vec::new();
        for _ in 0..place.size() {
            passed.push(at);
            at += 1;
            if at == ring.area_size().get() {
                at = 512;
            }
        }
        passed
    }

    /// Whether none of `bytes` is one of the old text's: a map of the area, one mark for a byte.
    fn untouched(ring: Ring, old: TextPlace, bytes: &[u64]) -> bool {
        let mut map = vec![false; ring.area_size().get() as usize];
        for byte in bytes_of(ring, old) {
            map[byte as usize] = true;
        }
        bytes.iter().all(|&byte| !map[byte as usize])
    }

    fn bytes_of_pieces(pieces: Pieces) -> Vec<u64> {
        pieces.iter().flat_map(|range| range.offset..range.offset + range.len).collect()
    }

    #[test]
    fn sizes_that_leave_no_ring_are_refused() {
        // lvm2.md 7: areas of 0 and 1 bytes; one sector holds the header and nothing else.
        for size in [0, 1, 511, 512, 513, 1025, (1 << 32) + 512, u64::MAX, u64::MAX - 511] {
            assert_eq!(Ring::new(Bytes(size)), Err(RingError::AreaSize(size)));
        }
        assert!(Ring::new(Bytes(1024)).is_ok());
        assert!(Ring::new(Bytes(1 << 32)).is_ok());
    }

    #[test]
    fn locations_outside_the_ring_are_refused() {
        let ring = ring(72);
        for offset in [0, 1, 511, 36864, 36865, u64::MAX] {
            let refused = RingError::Offset { offset, area_size: 36864 };
            assert_eq!(ring.place(Bytes(offset), Bytes(1)), Err(refused));
        }
        // lvm2.md 7: a size of more than 32 bits.
        for size in [0, 36353, 1 << 32, (1 << 32) + 10, u64::MAX] {
            let refused = RingError::Size { size, ring_size: 36352 };
            assert_eq!(ring.place(Bytes(512), Bytes(size)), Err(refused));
        }
        assert!(ring.place(Bytes(36863), Bytes(36352)).is_ok());
    }

    /// lvm2.md 1.5: the text of 4348 bytes at 35328 of a 36 KiB area goes on for 2812 bytes.
    #[test]
    fn the_wrap_of_a_real_text() {
        let ring = ring(72);
        let place = ring.place(Bytes(35328), Bytes(4348)).unwrap();
        let first = AreaRange { offset: 35328, len: 1536 };
        assert_eq!(ring.pieces(place), Pieces { first, second: Some(AreaRange { offset: 512, len: 2812 }) });
        let next = ring.place_next(Some(place), Bytes(100)).unwrap();
        assert_eq!(next.offset(), 3584);
    }

    #[test]
    fn a_text_that_ends_with_the_ring_is_one_piece() {
        let ring = ring(72);
        let place = ring.place(Bytes(36352), Bytes(512)).unwrap();
        let first = AreaRange { offset: 36352, len: 512 };
        assert_eq!(ring.pieces(place), Pieces { first, second: None });
        let one_more = ring.place(Bytes(36352), Bytes(513)).unwrap();
        let second = Some(AreaRange { offset: 512, len: 1 });
        assert_eq!(ring.pieces(one_more), Pieces { first, second });
    }

    #[test]
    fn the_first_text_goes_behind_the_header_and_a_full_ring_starts_over() {
        let ring = ring(72);
        assert_eq!(ring.place_next(None, Bytes(100)).unwrap().offset(), 512);
        let at_the_end = ring.place(Bytes(36352), Bytes(512)).unwrap();
        assert_eq!(ring.place_next(Some(at_the_end), Bytes(100)).unwrap().offset(), 512);
    }

    /// A sparse image of some GiB costs nothing to make; reading "its text" must cost no more than a VG's can.
    #[test]
    fn no_location_is_longer_than_a_text_can_be() {
        assert_eq!(usize::try_from(TEXT_BYTES_MAX), Ok(crate::text::TEXT_MAX));
        let ring = Ring::new(Bytes(1 << 30)).unwrap();
        assert!(ring.place(Bytes(512), Bytes(TEXT_BYTES_MAX)).is_ok());
        let refused = RingError::Size { size: TEXT_BYTES_MAX + 1, ring_size: (1 << 30) - 512 };
        assert_eq!(ring.place(Bytes(512), Bytes(TEXT_BYTES_MAX + 1)), Err(refused));
        assert_eq!(ring.max_text(), Bytes(TEXT_BYTES_MAX));
        assert!(ring.place_next(None, ring.max_text()).is_ok());
    }

    #[test]
    fn a_text_is_at_most_half_the_ring_less_a_sector() {
        let ring = ring(72);
        let max = (36864 - 512) / 2 - 512;
        assert_eq!(ring.max_text(), Bytes(max));
        assert!(ring.place_next(None, Bytes(max)).is_ok());
        assert_eq!(
            ring.place_next(None, Bytes(max + 1)),
            Err(RingError::TextTooLarge { size: max + 1, max })
        );
    }

    #[test]
    fn an_old_text_that_fills_the_ring_leaves_no_room() {
        let ring = ring(8);
        let all = ring.place(Bytes(512), Bytes(3584)).unwrap();
        assert_eq!(ring.place_next(Some(all), Bytes(10)), Err(RingError::Overlap { size: 10 }));
    }

    proptest! {
        #[test]
        fn pieces_are_the_bytes_one_passes(sectors in 2_u64..40, at in any::<u64>(), size in any::<u64>()) {
            let ring = ring(sectors);
            let in_ring = (sectors - 1) * 512;
            let place = ring.place(Bytes(512 + at % in_ring), Bytes(1 + size % in_ring)).unwrap();
            prop_assert_eq!(bytes_of_pieces(ring.pieces(place)), bytes_of(ring, place));
        }

        /// Texts one after the other, each while the last one holds, for as long as one likes.
        #[test]
        fn the_text_that_holds_is_never_touched(
            sectors in 6_u64..40,
            sizes in proptest::collection::vec(any::<u64>(), 1..30),
        ) {
            let ring = ring(sectors);
            let mut holding: Option<TextPlace> = None;
            for size in sizes {
                let size = 1 + size % ring.max_text().get();
                let next = ring.place_next(holding, Bytes(size)).unwrap();
                prop_assert!(next.offset().is_multiple_of(512));
                let padded = bytes_of_pieces(ring.pieces_padded(next));
                prop_assert!(padded.len().is_multiple_of(512));
                prop_assert_eq!(padded[..size as usize].to_vec(), bytes_of(ring, next));
                prop_assert!(padded.iter().all(|&byte| byte >= 512 && byte < sectors * 512));
                if let Some(old) = holding {
                    prop_assert!(untouched(ring, old, &padded));
                    let old = bytes_of(ring, old);
                    // The next sector after the old text: nowhere else.
                    let behind = old.last().unwrap() + 1;
                    let expected = behind.next_multiple_of(512);
                    let expected = if expected == sectors * 512 { 512 } else { expected };
                    prop_assert_eq!(next.offset(), expected);
                }
                holding = Some(next);
            }
        }

        /// Whatever old location a crafted header names, the new text does not touch it or is refused.
        #[test]
        fn any_old_text_is_left_alone(
            sectors in 6_u64..20, at in any::<u64>(), old in any::<u64>(), new in any::<u64>(),
        ) {
            let ring = ring(sectors);
            let in_ring = (sectors - 1) * 512;
            let old = ring.place(Bytes(512 + at % in_ring), Bytes(1 + old % in_ring)).unwrap();
            if let Ok(next) = ring.place_next(Some(old), Bytes(1 + new % in_ring)) {
                prop_assert!(untouched(ring, old, &bytes_of_pieces(ring.pieces_padded(next))));
            }
        }
    }
}
