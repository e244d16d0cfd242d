//! How much a store is to grow when it fills: the arithmetic of `lvextend --use-policies` (lvm2.md 3.5). Pure.
//!
//! What must hold (as in 2.03.16):
//! - Nothing below the threshold, nothing at 50 % or less, nothing where the threshold is 100: that is off.
//! - One step brings the store under the threshold, however small the configured percentage is.

use foldback_units::Sectors;

/// `activation/snapshot_autoextend_threshold` and `_percent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Per cent of the store above which it is extended; 100 is never. LVM2 takes nothing below 50.
    pub threshold: u32,
    /// By how many per cent of its size, at least.
    pub percent: u32,
}

impl Policy {
    /// LVM2's smallest threshold.
    pub const THRESHOLD_MIN: u32 = 50;
    /// The threshold that turns it off, which is LVM2's default.
    pub const OFF: u32 = 100;

    /// Whether stores are extended at all.
    pub fn is_on(self) -> bool {
        self.threshold < Self::OFF
    }

    /// By how many per cent of its size the store is to grow (`-l +N%LV`), `None` where it need not.
    ///
    /// `used` and `total` as the status line counts them: sectors, header and areas included.
    pub fn growth(self, used: Sectors, total: Sectors) -> Option<u32> {
        let threshold = u128::from(self.threshold.max(Self::THRESHOLD_MIN));
        if !self.is_on() || total.is_zero() || used > total {
            return None;
        }
        // used / total > threshold / 100, without rounding.
        let (used, total) = (u128::from(used.get()), u128::from(total.get()));
        let (share, limit) = (used.saturating_mul(100), threshold.saturating_mul(total));
        if share <= limit {
            return None;
        }
        // The size of which `used` is the threshold: used / threshold * 100, as a percentage of the total, rounded up.
        let least = share.saturating_mul(100).div_ceil(limit).saturating_sub(100);
        Some(self.percent.max(u32::try_from(least).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;
    use foldback_units::Sectors;

    fn growth(threshold: u32, percent: u32, used: u64, total: u64) -> Option<u32> {
        Policy { threshold, percent }.growth(Sectors(used), Sectors(total))
    }

    #[test]
    fn nothing_grows_below_the_threshold_or_when_it_is_off() {
        assert_eq!(growth(70, 20, 700, 1000), None);
        assert_eq!(growth(70, 20, 701, 1000), Some(20));
        assert_eq!(growth(100, 20, 1000, 1000), None);
        assert_eq!(growth(101, 20, 1000, 1000), None);
        // LVM2's minimum.
        assert_eq!(growth(10, 20, 500, 1000), None);
        assert_eq!(growth(10, 20, 501, 1000), Some(20));
        assert_eq!(growth(70, 20, 0, 0), None);
    }

    /// lvm2.md 3.5: "repeating until under it"; newer versions compute it in one step.
    #[test]
    fn one_step_ends_at_or_below_the_threshold() {
        for threshold in 50..100 {
            for percent in [0, 1, 5, 20, 150] {
                for used in (1..=1000).step_by(7) {
                    let Some(growth) = growth(threshold, percent, used, 1000) else { continue };
                    assert!(growth >= percent);
                    let total = 1000 + (1000 * u64::from(growth)).div_ceil(100);
                    assert!(used * 100 <= u64::from(threshold) * total, "{threshold} {percent} {used}");
                }
            }
        }
        assert_eq!(growth(50, 1, 1000, 1000), Some(100));
        assert_eq!(growth(95, 20, u64::MAX, u64::MAX), Some(20), "nothing wraps");
    }
}
