//! How large a new LV is to be: `-L`, `-l` and their percentages, once they are read.
//!
//! What must hold:
//! - Sizes are rounded up to whole extents, percentages down, those of an origin up.

use foldback_units::Sectors;

/// Of what a percentage is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PercentOf {
    /// All extents of the VG.
    Vg,
    /// Its free extents.
    Free,
    /// The PVs that were named, or all.
    Pvs,
    /// The origin's length; a new snapshot's store gets room for the tables of a whole origin besides.
    Origin,
    /// The LV itself, which is to be extended.
    Lv,
}

/// A size as asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizeRequest {
    /// `-L`.
    Sectors(Sectors),
    /// `-l N`.
    Extents(u32),
    /// `-l N%...`.
    Percent(u32, PercentOf),
}

/// What a share of the origin comes to, for a new snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfOrigin {
    /// The origin's length, of which the percentage is.
    pub(crate) extents: u32,
    /// What the largest useful store is longer by: added whole, however small the share is.
    pub(crate) tables: u32,
}

/// `percent` of `of`, rounded down or up.
pub(crate) fn percent_of(percent: u32, of: u32, up: bool) -> u64 {
    let product = u64::from(percent).saturating_mul(u64::from(of));
    if up { product.div_ceil(100) } else { product / 100 }
}

#[cfg(test)]
mod tests {
    use super::percent_of;

    #[test]
    fn percentages_are_of_whole_extents() {
        assert_eq!((percent_of(33, 10, false), percent_of(33, 10, true)), (3, 4));
        assert_eq!((percent_of(100, 7, false), percent_of(100, 7, true)), (7, 7));
        let largest = u64::from(u32::MAX).pow(2).div_ceil(100);
        assert_eq!(percent_of(u32::MAX, u32::MAX, true), largest, "nothing wraps");
    }
}
