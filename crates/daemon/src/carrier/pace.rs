//! Merges that may move only so much in a second.
//!
//! What must hold:
//! - What is allowed is handed out in small parts, so that a slow merge is an even one: a burst would be a stall for
//!   whoever uses the volume.
//! - No fraction of a sector is lost between two parts.

use super::Mapper;
use foldback_dm_table::DmName;
use foldback_units::{Bytes, SECTOR};
use foldback_user_dm::DmError;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two parts.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// After a longer pause the merge is not owed more than this.
const MOST: Duration = Duration::from_secs(1);

const NANOS: u128 = 1_000_000_000;

/// Of one merge.
#[derive(Clone, Copy, Debug)]
struct Paced {
    /// Bytes in a second; not zero.
    rate: u64,
    /// Up to when it has got its part.
    since: Instant,
}

/// The merges that are paced, by the device that they merge into.
#[derive(Debug, Default)]
pub(crate) struct Paces(BTreeMap<DmName, Paced>);

impl Paces {
    /// Lets the merge into `device` move `rate` bytes in a second from now on; without one as fast as it can.
    ///
    /// # Errors
    /// Nothing merges into the device.
    pub(super) fn set(
        &mut self,
        dm: &mut Mapper,
        device: &DmName,
        rate: Option<u64>,
        now: Instant,
    ) -> Result<(), DmError> {
        dm.set_merge_pace(device, rate.map(|_| Bytes(0)))?;
        match rate {
            Some(rate) => drop(self.0.insert(device.clone(), Paced { rate, since: now })),
            None => drop(self.0.remove(device)),
        }
        Ok(())
    }

    /// The device is called otherwise from now on.
    pub(super) fn rename(&mut self, device: &DmName, new: &DmName) {
        if let Some(paced) = self.0.remove(device) {
            self.0.insert(new.clone(), paced);
        }
    }

    /// What a merge may move in a second.
    pub(super) fn rate(&self, device: &DmName) -> Option<u64> {
        self.0.get(device).map(|paced| paced.rate)
    }

    /// Hands out what is due. Merges that have ended are forgotten.
    pub(super) fn top_up(&mut self, dm: &mut Mapper, now: Instant) {
        self.0.retain(|device, paced| {
            let due = paced.take(now);
            // Without a merge there is nothing to pace any more.
            due == Bytes(0) || dm.add_merge_budget(device, due).is_ok()
        });
    }

    /// How long nothing is due.
    pub(super) fn rest(&self) -> Option<Duration> {
        (!self.0.is_empty()).then_some(TICK)
    }
}

impl Paced {
    /// Whole sectors that are due by `now`.
    fn take(&mut self, now: Instant) -> Bytes {
        let waited = now.saturating_duration_since(self.since);
        let sector = u128::from(SECTOR);
        let rate = u128::from(self.rate.max(1));
        // A merge that is slower than that needs longer for its next sector.
        let two_sectors = sector.saturating_mul(2).saturating_mul(NANOS).div_euclid(rate);
        let most = MOST.max(Duration::from_nanos(u64::try_from(two_sectors).unwrap_or(u64::MAX)));
        if waited > most {
            self.since = now.checked_sub(most).unwrap_or(now);
        }
        let nanos = waited.min(most).as_nanos();
        let bytes = nanos.saturating_mul(rate).div_euclid(NANOS);
        let whole = bytes.saturating_sub(bytes.rem_euclid(sector));
        // Time is used up only for what is handed out.
        let used = whole.saturating_mul(NANOS).div_euclid(rate);
        let used = Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX));
        self.since = self.since.checked_add(used).unwrap_or(now);
        Bytes(u64::try_from(whole).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::Paced;
    use std::time::{Duration, Instant};

    fn handed_out(rate: u64, every: Duration, times: u32) -> u64 {
        let start = Instant::now();
        let mut paced = Paced { rate, since: start };
        (1..=times).map(|time| paced.take(start + every * time).0).sum()
    }

    #[test]
    fn what_is_handed_out_is_the_rate_whatever_the_parts_are() {
        for rate in [600, 4096, 1_000_000, 10 << 20] {
            let seconds = 20;
            for millis in [7_u32, 50, 333] {
                let times = seconds * 1000 / millis;
                let all = handed_out(rate, Duration::from_millis(millis.into()), times);
                let most = rate * u64::from(times * millis) / 1000;
                assert!(all <= most && all + 512 + rate / 1000 >= most, "{rate} {millis}: {all} of {most}");
                assert_eq!(all % 512, 0);
            }
        }
    }

    #[test]
    fn a_merge_that_was_held_up_does_not_make_good_for_hours() {
        assert_eq!(handed_out(1 << 20, Duration::from_hours(1), 1), 1 << 20);
    }
}
