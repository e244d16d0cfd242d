//! What the watch over the stores of live snapshots does and says at each look (lvm2.md 3.5). Pure.
//!
//! What must hold:
//! - A store above lvm.conf's threshold is extended; where that did not help it is tried again when it is fuller, not at
//!   every look.
//! - From 80 % on its fill is told, once for every five more.
//! - That a snapshot is lost is told once.
//! - A merging snapshot is not watched: its store only empties.

use super::autoextend::Policy;
use foldback_dm_table::SnapshotStatus;
use foldback_units::Sectors;
use std::collections::BTreeMap;

/// From how many per cent on the fill of a store is told.
const TELL_FROM: u64 = 80;
/// After how many more it is told, or tried, again.
const STEP: u64 = 5;

/// What is to be done about a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Extend its store (`lvextend --use-policies`).
    Extend,
    /// Tell that the store is full to so many hundredths of a per cent.
    TellFill(u64),
    /// Tell that the snapshot is lost.
    TellLost,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Seen {
    /// Per cent at the last attempt to extend, at the last telling.
    tried: Option<u64>,
    told: Option<u64>,
    lost: bool,
}

/// What earlier looks have done.
#[derive(Debug, Default)]
pub struct FillWatch(BTreeMap<String, Seen>);

impl FillWatch {
    /// What is to be done about the snapshot with this key now.
    pub fn look(&mut self, snapshot: &str, status: &SnapshotStatus, policy: Policy) -> Vec<Act> {
        let seen = self.0.entry(snapshot.to_owned()).or_default();
        match status {
            SnapshotStatus::Usage { allocated, total, .. } => seen.usage(*allocated, *total, policy),
            SnapshotStatus::Invalid | SnapshotStatus::Overflow => {
                let first = !std::mem::replace(&mut seen.lost, true);
                first.then_some(Act::TellLost).into_iter().collect()
            }
            SnapshotStatus::MergeFailed | SnapshotStatus::Unknown => Vec::new(),
        }
    }
}

impl Seen {
    fn usage(&mut self, used: Sectors, total: Sectors, policy: Policy) -> Vec<Act> {
        let share = |whole: u64| used.get().saturating_mul(whole).checked_div(total.get()).unwrap_or(0);
        let percent = share(100);
        // A store that was extended begins anew.
        self.tried = self.tried.filter(|before| percent >= *before);
        self.told = self.told.filter(|before| percent >= *before);
        let is_next =
            |before: Option<u64>| before.is_none_or(|before| percent >= before.saturating_add(STEP));
        let mut acts = Vec::new();
        if policy.growth(used, total).is_some() && is_next(self.tried) {
            self.tried = Some(percent);
            acts.push(Act::Extend);
        }
        if percent >= TELL_FROM && is_next(self.told) {
            self.told = Some(percent);
            acts.push(Act::TellFill(share(10_000)));
        }
        acts
    }
}

#[cfg(test)]
mod tests {
    use super::{Act, FillWatch};
    use crate::ops::autoextend::Policy;
    use foldback_dm_table::SnapshotStatus;
    use foldback_units::Sectors;

    const OFF: Policy = Policy { threshold: 100, percent: 20 };
    const FROM_70: Policy = Policy { threshold: 70, percent: 20 };

    fn fill(percent: u64) -> SnapshotStatus {
        SnapshotStatus::Usage {
            allocated: Sectors(percent * 10),
            total: Sectors(1000),
            metadata: Sectors(16),
        }
    }

    #[test]
    fn a_fill_is_told_from_80_per_cent_on_and_for_every_five_more() {
        let mut watch = FillWatch::default();
        let told: Vec<u64> = (0..=100)
            .filter(|percent| watch.look("s", &fill(*percent), OFF) == [Act::TellFill(percent * 100)])
            .collect();
        assert_eq!(told, [80, 85, 90, 95, 100]);
        assert!(watch.look("s", &fill(100), OFF).is_empty());
        assert_eq!(watch.look("other", &fill(99), OFF), [Act::TellFill(9900)]);
    }

    #[test]
    fn what_could_not_be_extended_is_tried_again_when_it_is_fuller() {
        let mut watch = FillWatch::default();
        let tried: Vec<u64> = (0..=100)
            .filter(|percent| watch.look("s", &fill(*percent), FROM_70).contains(&Act::Extend))
            .collect();
        assert_eq!(tried, [71, 76, 81, 86, 91, 96]);
        // It was extended, and fills again.
        assert!(watch.look("s", &fill(50), FROM_70).is_empty());
        assert_eq!(watch.look("s", &fill(71), FROM_70), [Act::Extend]);
    }

    #[test]
    fn a_lost_snapshot_is_told_of_once() {
        for status in [SnapshotStatus::Invalid, SnapshotStatus::Overflow] {
            let mut watch = FillWatch::default();
            assert_eq!(watch.look("s", &status, OFF), [Act::TellLost]);
            assert!(watch.look("s", &status, OFF).is_empty());
        }
        assert!(FillWatch::default().look("s", &SnapshotStatus::Unknown, OFF).is_empty());
    }
}
