//! One exception: which chunk of the origin, and which chunk of the store holds what it was.
//!
//! ```text
//! old chunk (in the origin) | new chunk (in the store)      two little-endian u64, packed
//! ```
//!
//! What must hold (dm-snapshot.md 1.1, 1.6):
//! - A new chunk of zero ends the table; the old chunk of such a record is not looked at.
//! - The top eight bits of a new chunk are clear: in the kernel's memory they count a run, and on disk they would
//!   poison its allocator. Both a decoder and [`Record::new`] refuse them.
//! - A record lies within one sector.

use foldback_units::Chunk;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Chunk numbers on disk are below this.
const NEW_LIMIT: u64 = 1 << 56;

/// A record as it lies in an area.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawRecord {
    pub(crate) old_chunk: U64,
    pub(crate) new_chunk: U64,
}
const _: () = assert!(size_of::<RawRecord>() == Record::BYTES);
const _: () = assert!(std::mem::offset_of!(RawRecord, new_chunk) == 8);

impl RawRecord {
    pub(crate) fn is_terminator(self) -> bool {
        self.new_chunk.get() == 0
    }

    pub(crate) fn is_zero(self) -> bool {
        self.old_chunk.get() == 0 && self.new_chunk.get() == 0
    }

    pub(crate) fn check(self) -> Result<Record, BadRecord> {
        Record::new(Chunk(self.old_chunk.get()), Chunk(self.new_chunk.get()))
    }
}

/// An exception. Whether its chunks lie inside the two devices is not known here (see [`crate::check`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Record {
    old: Chunk,
    new: Chunk,
}

/// Why two numbers are not an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRecord {
    /// The end of the table, where an exception was expected.
    #[error("an exception cannot point at chunk 0 of the store, which is its header")]
    Terminator,
    /// A run count of the kernel's memory, or damage.
    #[error("the exception of origin {old} points at store {new}: the top 8 bits must be clear (value {:#x})", .new.0)]
    TopBits {
        /// The origin's chunk.
        old: Chunk,
        /// The store's chunk, as it lies there.
        new: Chunk,
    },
}

impl Record {
    /// Bytes of a record on disk.
    pub const BYTES: usize = 16;

    /// The exception of the origin's chunk `old`, kept in the store's chunk `new`.
    pub const fn new(old: Chunk, new: Chunk) -> Result<Self, BadRecord> {
        if new.0 == 0 {
            Err(BadRecord::Terminator)
        } else if new.0 >= NEW_LIMIT {
            Err(BadRecord::TopBits { old, new })
        } else {
            Ok(Self { old, new })
        }
    }

    /// The chunk of the origin.
    pub const fn old_chunk(self) -> Chunk {
        self.old
    }

    /// The chunk of the store.
    pub const fn new_chunk(self) -> Chunk {
        self.new
    }

    /// The record's bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        zerocopy::transmute!(self.to_raw())
    }

    pub(crate) fn to_raw(self) -> RawRecord {
        RawRecord { old_chunk: U64::new(self.old.0), new_chunk: U64::new(self.new.0) }
    }
}

/// Decodes one record; `None` is the end of the table.
pub fn decode(bytes: [u8; Record::BYTES]) -> Result<Option<Record>, BadRecord> {
    let raw: RawRecord = zerocopy::transmute!(bytes);
    if raw.is_terminator() { Ok(None) } else { raw.check().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::{BadRecord, Record, decode};
    use foldback_units::Chunk;

    #[test]
    fn golden_bytes() {
        let record = Record::new(Chunk(0x0102_0304), Chunk(0x22)).unwrap();
        let golden = *b"\x04\x03\x02\x01\0\0\0\0\x22\0\0\0\0\0\0\0";
        assert_eq!(record.encode(), golden);
        assert_eq!(decode(golden), Ok(Some(record)));
    }

    #[test]
    fn extremes_round_trip() {
        for old in [0, 1, u64::MAX] {
            for new in [1, 2, (1 << 56) - 1] {
                let record = Record::new(Chunk(old), Chunk(new)).unwrap();
                assert_eq!(decode(record.encode()), Ok(Some(record)));
            }
        }
    }

    /// dm-snapshot.md 1.1: only the new chunk ends the table.
    #[test]
    fn a_new_chunk_of_zero_ends_the_table_whatever_the_old_one_is() {
        assert_eq!(decode([0; 16]), Ok(None));
        let mut bytes = [0; 16];
        bytes[..8].fill(0xff);
        assert_eq!(decode(bytes), Ok(None));
        assert_eq!(Record::new(Chunk(5), Chunk(0)), Err(BadRecord::Terminator));
    }

    /// K5: each of the eight top bits.
    #[test]
    fn top_bits_are_refused() {
        for bit in 56..64 {
            let new = Chunk(2 | 1 << bit);
            assert_eq!(Record::new(Chunk(7), new), Err(BadRecord::TopBits { old: Chunk(7), new }));
            let mut bytes = [0; 16];
            bytes[8..].copy_from_slice(&new.0.to_le_bytes());
            assert!(decode(bytes).is_err());
        }
    }
}
