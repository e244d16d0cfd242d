//! How fast stores fill and merges go: numbers seen a while apart.
//!
//! What must hold:
//! - A rate is what happened over the last seconds, not since the beginning: it follows what the disks do now.
//! - Two looks too close to each other say nothing.

use foldback_dm_table::DmName;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Looks closer than this are not compared.
const LEAST: Duration = Duration::from_millis(500);
/// How much of a new rate goes into the one that is shown, in eighths: one odd second does not throw it about.
const SHARE: u64 = 3;

#[derive(Clone, Copy, Debug)]
struct Seen {
    value: u64,
    at: Instant,
    per_second: Option<u64>,
}

/// Of several numbers that only move on, each known by a device.
#[derive(Debug, Default)]
pub(crate) struct Rates(BTreeMap<DmName, Seen>);

impl Rates {
    /// Takes what is seen now; those that are not there any more are forgotten.
    pub(crate) fn look(&mut self, now: Instant, values: impl Iterator<Item = (DmName, u64)>) {
        let mut seen = BTreeMap::new();
        for (name, value) in values {
            let next = match self.0.get(&name) {
                Some(before) if now.saturating_duration_since(before.at) < LEAST => *before,
                Some(before) => Seen { value, at: now, per_second: smooth(before, value, now) },
                None => Seen { value, at: now, per_second: None },
            };
            seen.insert(name, next);
        }
        self.0 = seen;
    }

    /// Units in a second; `None` until two looks were taken.
    pub(crate) fn per_second(&self, name: &DmName) -> Option<u64> {
        self.0.get(name)?.per_second
    }
}

fn smooth(before: &Seen, value: u64, now: Instant) -> Option<u64> {
    let millis = u64::try_from(now.saturating_duration_since(before.at).as_millis()).ok()?;
    let fresh = value.abs_diff(before.value).saturating_mul(1000).checked_div(millis)?;
    let Some(old) = before.per_second else { return Some(fresh) };
    let mixed = fresh.saturating_mul(SHARE).saturating_add(old.saturating_mul(8_u64.saturating_sub(SHARE)));
    Some(mixed.div_euclid(8))
}

#[cfg(test)]
mod tests {
    use super::Rates;
    use foldback_dm_table::DmName;
    use std::time::{Duration, Instant};

    #[test]
    fn a_rate_follows_what_happens_now() {
        let (mut rates, name, start) = (Rates::default(), DmName("a".to_owned()), Instant::now());
        let mut see = |second: u64, value: u64| {
            rates.look(start + Duration::from_secs(second), std::iter::once((name.clone(), value)));
            rates.per_second(&name)
        };
        assert_eq!(see(0, 1000), None);
        assert_eq!(see(1, 900), Some(100));
        assert_eq!(see(2, 800), Some(100));
        let slower = see(3, 800).unwrap();
        assert!(slower < 100 && slower > 0, "{slower}");
        rates.look(start + Duration::from_secs(4), std::iter::empty());
        assert_eq!(rates.per_second(&name), None, "gone");
    }
}
