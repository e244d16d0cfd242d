//! Lengths and places on a device: bytes, 512-byte sectors, and ranges of sectors.
//!
//! What must hold:
//! - A sector is 512 bytes whatever the device's block size (lvm2.md, preamble).
//! - `SectorRange` never wraps: `start + len` fits a `u64`.

use std::fmt;

/// Bytes in one sector.
pub const SECTOR: u64 = 512;

/// A count of bytes, or a byte offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Bytes(pub u64);

/// A count of 512-byte sectors, or a sector offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Sectors(pub u64);

macro_rules! checked_arithmetic {
    ($unit:ident) => {
        impl $unit {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }
            /// Whether this is nothing.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
            /// The sum, `None` on overflow.
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }
            /// The difference, `None` below zero.
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }
            /// The product, `None` on overflow.
            pub fn checked_mul(self, factor: u64) -> Option<Self> {
                self.0.checked_mul(factor).map(Self)
            }
            /// The difference, zero where it would be negative.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
            /// The sum, `u64::MAX` where it would overflow: for limits and progress, never for places on a disk.
            #[must_use]
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
    };
}
checked_arithmetic!(Bytes);
checked_arithmetic!(Sectors);

impl Bytes {
    /// Whole sectors, `None` where the bytes are not a multiple of 512.
    pub fn to_sectors(self) -> Option<Sectors> {
        self.0.is_multiple_of(SECTOR).then_some(Sectors(self.0 / SECTOR))
    }

    /// Sectors, rounded down.
    #[must_use]
    pub const fn to_sectors_floor(self) -> Sectors {
        Sectors(self.0 / SECTOR)
    }

    /// Sectors, rounded up.
    #[must_use]
    pub const fn to_sectors_ceil(self) -> Sectors {
        Sectors(self.0.div_ceil(SECTOR))
    }

    /// As a length in memory, `None` where the machine cannot address it.
    pub fn to_usize(self) -> Option<usize> {
        usize::try_from(self.0).ok()
    }
}

impl Sectors {
    /// The length in bytes, `None` on overflow.
    pub fn to_bytes(self) -> Option<Bytes> {
        self.0.checked_mul(SECTOR).map(Bytes)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sectors", self.0)
    }
}

/// `len` sectors from `start` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SectorRange {
    start: Sectors,
    len: Sectors,
}

impl SectorRange {
    /// The range, `None` where its end does not fit a `u64`.
    pub fn new(start: Sectors, len: Sectors) -> Option<Self> {
        start.checked_add(len)?;
        Some(Self { start, len })
    }

    /// The first sector.
    pub const fn start(self) -> Sectors {
        self.start
    }

    /// How many sectors.
    pub const fn len(self) -> Sectors {
        self.len
    }

    /// Whether it holds no sector.
    pub const fn is_empty(self) -> bool {
        self.len.is_zero()
    }

    /// The sector after the last one. Cannot overflow: checked at construction.
    pub const fn end(self) -> Sectors {
        self.start.saturating_add(self.len)
    }

    /// The first `len` sectors, all where there are fewer, and what is left.
    #[must_use]
    pub fn split_at(self, len: Sectors) -> (Self, Option<Self>) {
        let len = len.min(self.len);
        let rest = self.len.checked_sub(len).filter(|rest| !rest.is_zero());
        // Lies inside this range, so its end fits.
        let rest = rest.map(|rest| Self { start: self.start.saturating_add(len), len: rest });
        (Self { start: self.start, len }, rest)
    }

    /// What both hold, `None` where that is nothing.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end().min(other.end());
        let len = end.checked_sub(start)?;
        (!len.is_zero()).then_some(Self { start, len })
    }

    /// Whether the two share a sector.
    pub fn overlaps(self, other: Self) -> bool {
        self.intersect(other).is_some()
    }

    /// Whether every sector of `other` is in this range.
    pub fn contains(self, other: Self) -> bool {
        other.start >= self.start && other.end() <= self.end()
    }
}

impl fmt::Display for SectorRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sectors {}..{}", self.start.0, self.end().0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, SectorRange, Sectors};

    fn range(start: u64, len: u64) -> SectorRange {
        SectorRange::new(Sectors(start), Sectors(len)).unwrap()
    }

    #[test]
    fn a_range_never_wraps() {
        assert_eq!(SectorRange::new(Sectors(u64::MAX), Sectors(1)), None);
        assert_eq!(range(u64::MAX - 1, 1).end(), Sectors(u64::MAX));
    }

    #[test]
    fn neighbours_do_not_overlap() {
        assert!(!range(0, 8).overlaps(range(8, 8)));
        assert_eq!(range(0, 9).intersect(range(8, 8)), Some(range(8, 1)));
        assert!(range(0, 8).contains(range(7, 1)) && !range(0, 8).contains(range(7, 2)));
    }

    #[test]
    fn a_split_loses_no_sector() {
        assert_eq!(range(5, 10).split_at(Sectors(4)), (range(5, 4), Some(range(9, 6))));
        assert_eq!(range(5, 10).split_at(Sectors(10)), (range(5, 10), None));
        assert_eq!(range(5, 10).split_at(Sectors(11)), (range(5, 10), None));
    }

    #[test]
    fn rounding_is_named() {
        assert_eq!(Bytes(513).to_sectors(), None);
        assert_eq!(Bytes(513).to_sectors_floor(), Sectors(1));
        assert_eq!(Bytes(513).to_sectors_ceil(), Sectors(2));
        assert_eq!(Sectors(u64::MAX).to_bytes(), None);
    }
}
