//! How full a store is, as a number that people compare with LVM2's.

use foldback_dm_snapshot_format::StoreStatus;
use foldback_dm_table::SnapshotStatus;
use foldback_units::Sectors;

/// LVM2's percentage of a live store.
pub(crate) fn used(status: SnapshotStatus) -> Option<u64> {
    match status {
        SnapshotStatus::Usage { allocated, total, metadata } => {
            share(StoreStatus { allocated, metadata }, total)
        }
        SnapshotStatus::Invalid | SnapshotStatus::Overflow => Some(10_000),
        SnapshotStatus::MergeFailed | SnapshotStatus::Unknown => None,
    }
}

/// In hundredths of a percent as LVM2 counts them: 0 only of a store without an exception, 100 only of a full one.
///
/// LVM2 divides in double precision, cuts after millionths of a percent, and prints that in single precision with two places:
/// 1472/10240 is 14.37 there, 5376/24576 is 21.88. So must this.
pub(crate) fn share(status: StoreStatus, total: Sectors) -> Option<u64> {
    if status.merge_finished() {
        return Some(0);
    }
    if status.allocated >= total {
        return Some(10_000);
    }
    if total.is_zero() {
        return None;
    }
    Some(hundredths(status.allocated.get(), total.get()).clamp(1, 9_999))
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the part is below the whole, so that everything lies between 0 and 1e8; what is lost is what LVM2 loses"
)]
fn hundredths(part: u64, whole: u64) -> u64 {
    let millionths = (1e8 * (part as f64 / whole as f64)) as u32;
    let percent = millionths as f32 / 1e6;
    // Exact: a single has 24 bits, and 100 takes 7.
    (f64::from(percent) * 100.0).round_ties_even() as u64
}

#[cfg(test)]
mod tests {
    use super::share;
    use foldback_dm_snapshot_format::StoreStatus;
    use foldback_units::Sectors;

    /// The last column is what LVM2 showed for the kernel's numbers.
    #[test]
    fn shares_are_lvm2s() {
        for (allocated, metadata, total, shown) in [
            (5152, 32, 40960, 1258),
            (5376, 256, 24576, 2188),
            (192, 32, 6144, 312),
            (1728, 64, 6144, 2812),
            (1472, 64, 10240, 1437),
            (128, 128, 512, 0),
            (512, 128, 512, 10_000),
            (17, 16, 1 << 30, 1),
            ((1 << 30) - 1, 16, 1 << 30, 9_999),
        ] {
            let status = StoreStatus { allocated: Sectors(allocated), metadata: Sectors(metadata) };
            assert_eq!(share(status, Sectors(total)), Some(shown), "{allocated}/{total} {metadata}");
        }
    }
}
