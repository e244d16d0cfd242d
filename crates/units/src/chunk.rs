//! The chunk: the piece in which dm-snapshot copies, and its number.
//!
//! What must hold:
//! - A chunk size is a power of two of at least one sector and at most 2^21 sectors, what the kernel accepts
//!   (dm-snapshot.md 1.4). LVM2's narrower bounds (4 KiB to 512 KiB) are the manager's.
//! - From chunk to sectors never overflows silently.

use crate::{Bytes, SECTOR, SectorRange, Sectors};
use std::fmt;

/// The number of a chunk: an index into the origin or into a store, in units of the store's [`ChunkSize`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Chunk(pub u64);

impl Chunk {
    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The chunk `count` further on, `None` on overflow.
    pub fn checked_add(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk {}", self.0)
    }
}

/// The size of a chunk: a power of two of 512-byte sectors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkSize {
    shift: u32,
}

/// Why a number of sectors is not a chunk size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("chunk size {sectors} sectors is not a power of two from 1 to {max}", max = ChunkSize::MAX_SECTORS)]
pub struct BadChunkSize {
    /// The number that was refused.
    pub sectors: u32,
}

impl ChunkSize {
    /// The largest chunk the kernel takes: 1 GiB.
    pub const MAX_SECTORS: u32 = 1 << 21;

    /// From a count of sectors, as the store's header and the table line hold it.
    pub const fn from_sectors(sectors: u32) -> Result<Self, BadChunkSize> {
        if sectors.is_power_of_two() && sectors <= Self::MAX_SECTORS {
            Ok(Self { shift: sectors.trailing_zeros() })
        } else {
            Err(BadChunkSize { sectors })
        }
    }

    /// In sectors.
    pub const fn sectors(self) -> u32 {
        1 << self.shift
    }

    /// In sectors, as a length.
    pub const fn len(self) -> Sectors {
        Sectors(1 << self.shift)
    }

    /// In bytes.
    pub const fn bytes(self) -> Bytes {
        // At most 2^21 * 512 = 2^30.
        Bytes((1_u64 << self.shift).saturating_mul(SECTOR))
    }

    /// The chunk that holds `sector`.
    pub const fn chunk_of(self, sector: Sectors) -> Chunk {
        Chunk(sector.0 >> self.shift)
    }

    /// The sector's offset inside its chunk.
    pub const fn offset_in_chunk(self, sector: Sectors) -> Sectors {
        Sectors(sector.0 & ((1_u64 << self.shift).saturating_sub(1)))
    }

    /// The first sector of `chunk`, `None` where that does not fit.
    pub fn start_of(self, chunk: Chunk) -> Option<Sectors> {
        chunk.0.checked_mul(1 << self.shift).map(Sectors)
    }

    /// The sectors of `chunk`, `None` where they do not fit.
    pub fn range_of(self, chunk: Chunk) -> Option<SectorRange> {
        SectorRange::new(self.start_of(chunk)?, self.len())
    }

    /// How many chunks it takes to hold `sectors`, the last one perhaps in part.
    pub const fn chunks_to_hold(self, sectors: Sectors) -> u64 {
        sectors.0.div_ceil(1 << self.shift)
    }

    /// How many whole chunks fit into `sectors`.
    pub const fn whole_chunks(self, sectors: Sectors) -> u64 {
        sectors.0 >> self.shift
    }
}

impl fmt::Display for ChunkSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sectors", self.sectors())
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunk, ChunkSize};
    use crate::Sectors;

    #[test]
    fn only_powers_of_two_up_to_the_kernels_limit_exist() {
        for bad in [0, 3, 24, 1 << 22, u32::MAX] {
            assert_eq!(ChunkSize::from_sectors(bad).unwrap_err().sectors, bad);
        }
        for shift in 0..=21 {
            assert_eq!(ChunkSize::from_sectors(1 << shift).unwrap().sectors(), 1 << shift);
        }
    }

    #[test]
    fn chunk_and_sector_agree_with_division() {
        let size = ChunkSize::from_sectors(8).unwrap();
        for sector in 0..100_u64 {
            assert_eq!(size.chunk_of(Sectors(sector)), Chunk(sector / 8));
            assert_eq!(size.offset_in_chunk(Sectors(sector)), Sectors(sector % 8));
        }
        assert_eq!(size.chunks_to_hold(Sectors(17)), 3);
        assert_eq!(size.whole_chunks(Sectors(17)), 2);
        assert_eq!(size.start_of(Chunk(u64::MAX)), None);
    }
}
