//! One area, or the first sectors of one, as records.
//!
//! What must hold (dm-snapshot.md 1.1, 1.4, K1):
//! - The records end at the first one whose new chunk is zero. Bytes behind it are not records, whatever they look
//!   like, but they are *stale*: the kernel keeps them in memory and would bring them back to life.
//! - Bytes without a terminator are full: the table goes on in what follows.
//! - Any bytes decode; only a length that is not made of whole records is refused.

use crate::record::{BadRecord, RawRecord, Record};
use std::ops::Range;
use zerocopy::FromBytes;

/// The records of an area, or of a piece of one that starts at a record.
#[derive(Clone, Copy, Debug)]
pub struct Area<'a> {
    slots: &'a [RawRecord],
    visible: usize,
}

/// A piece of an area must be made of whole records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{bytes} bytes of an area are not whole records of {} bytes", Record::BYTES)]
pub struct RaggedArea {
    /// How many bytes there were.
    pub bytes: usize,
}

impl<'a> Area<'a> {
    /// Looks at the bytes of an area: any piece that starts and ends between records.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RaggedArea> {
        let slots = <[RawRecord]>::ref_from_bytes(bytes).map_err(|_| RaggedArea { bytes: bytes.len() })?;
        let visible = slots.iter().position(|slot| slot.is_terminator()).unwrap_or(slots.len());
        Ok(Self { slots, visible })
    }

    /// How many records come before the terminator (or the end of the bytes).
    pub const fn visible(&self) -> usize {
        self.visible
    }

    /// Whether there is no terminator: the table goes on after these bytes.
    pub const fn is_full(&self) -> bool {
        self.visible == self.slots.len()
    }

    /// The records before the terminator, in table order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Result<Record, BadRecord>> + 'a {
        let visible: &'a [RawRecord] = self.slots.get(..self.visible).unwrap_or_default();
        visible.iter().map(|slot| slot.check())
    }

    /// The slots from the first to the last that is not all zeros, at and after the terminator; `None` where all of
    /// them are. The terminator itself counts if its old chunk is not zero.
    pub fn stale(&self) -> Option<Range<usize>> {
        self.nonzero_from(self.visible)
    }

    /// The same for bytes that lie behind the end of the table altogether: no slot of them is a record.
    pub fn nonzero(&self) -> Option<Range<usize>> {
        self.nonzero_from(0)
    }

    fn nonzero_from(&self, from: usize) -> Option<Range<usize>> {
        let slots = self.slots.get(from..).unwrap_or_default();
        let first = slots.iter().position(|slot| !slot.is_zero())?;
        let last = slots.iter().rposition(|slot| !slot.is_zero())?;
        Some(from.checked_add(first)?..from.checked_add(last)?.checked_add(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Area, RaggedArea};
    use crate::record::Record;
    use foldback_units::Chunk;

    fn bytes(slots: &[(u64, u64)]) -> Vec<u8> {
        slots.iter().flat_map(|(old, new)| [old.to_le_bytes(), new.to_le_bytes()]).flatten().collect()
    }

    fn records(area: &Area<'_>) -> Vec<Record> {
        area.records().map(Result::unwrap).collect()
    }

    #[test]
    fn records_end_at_the_first_new_chunk_of_zero() {
        let bytes = bytes(&[(9, 2), (4, 3), (0, 0), (0, 0)]);
        let area = Area::decode(&bytes).unwrap();
        let expected = [(9, 2), (4, 3)].map(|(old, new)| Record::new(Chunk(old), Chunk(new)).unwrap());
        assert_eq!(records(&area), expected);
        assert_eq!((area.visible(), area.is_full(), area.stale()), (2, false, None));
    }

    #[test]
    fn bytes_without_a_terminator_are_full() {
        for len in [0, 1, 32] {
            let bytes = bytes(&vec![(0, 2); len]);
            let area = Area::decode(&bytes).unwrap();
            assert_eq!((area.visible(), area.is_full(), area.stale()), (len, true, None));
        }
    }

    /// K1: whatever lies behind the terminator is no record, but it is reported, wherever it lies.
    #[test]
    fn what_lies_behind_the_terminator_is_stale() {
        for stale in 3..64 {
            let mut slots = vec![(0, 0); 64];
            slots[..3].fill((1, 2));
            slots[stale] = (0, 77);
            if stale == 3 {
                slots[stale] = (77, 0);
            }
            let bytes = bytes(&slots);
            let area = Area::decode(&bytes).unwrap();
            assert_eq!((area.visible(), area.stale()), (3, Some(stale..stale + 1)));
        }
        let bytes = bytes(&[(0, 0), (1, 2), (0, 0), (0, 5), (0, 0)]);
        assert_eq!(Area::decode(&bytes).unwrap().stale(), Some(1..4));
        assert_eq!(Area::decode(&bytes).unwrap().nonzero(), Some(1..4));
    }

    #[test]
    fn a_broken_record_does_not_hide_those_behind_it() {
        let bytes = bytes(&[(1, 2), (1, 1 << 60), (3, 4), (0, 0)]);
        let results: Vec<bool> =
            Area::decode(&bytes).unwrap().records().map(|record| record.is_ok()).collect();
        assert_eq!(results, [true, false, true]);
    }

    #[test]
    fn half_records_are_refused() {
        for len in [1, 15, 17, 511] {
            assert_eq!(Area::decode(&vec![0; len]).unwrap_err(), RaggedArea { bytes: len });
        }
    }
}
