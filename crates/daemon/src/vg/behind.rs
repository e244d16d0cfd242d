//! Devices that did not follow a change of their VG, and bringing them on (docs/decisions/0002-user-dm.md).
//!
//! What must hold:
//! - The metadata are committed, and devices run on with old tables: that is no foreign change. They are not held as long as
//!   whoever made the change, and has the VG's lock, may bring them on or take the change back; held devices could not be
//!   switched any more.
//! - Not for longer: old tables may write to extents that are free by now.

use super::{ChangeError, Vg};
use crate::carrier::Carrier;
use foldback_dm_table::{DeviceMapper, DmName, Stage};
use foldback_manager::activation::{Change, Tables, go_on};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long whoever made a change may take to bring devices on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The devices of the last change that was committed and not followed.
#[derive(Debug, Default)]
pub(super) struct Behind(Option<(BTreeSet<DmName>, Instant)>);

impl Behind {
    /// What came of a transaction that named these devices: the stage in which it failed.
    pub(super) fn note(&mut self, devices: Vec<DmName>, failed: Option<Stage>) {
        if matches!(failed, Some(Stage::Resume | Stage::Clean)) {
            self.0 = Some((devices.into_iter().collect(), Instant::now()));
        } else if failed.is_none()
            && let Some((behind, _)) = &mut self.0
        {
            behind.retain(|device| !devices.contains(device));
        }
    }

    /// Whether a device may yet be brought on.
    pub(super) fn has(&self, device: &DmName) -> bool {
        self.0.as_ref().is_some_and(|(devices, since)| devices.contains(device) && since.elapsed() < PATIENCE)
    }
}

impl Vg {
    /// Brings the devices of these groups to what was committed; to be called by whoever committed it, still under the
    /// VG's lock.
    ///
    /// # Errors
    /// As [`Vg::transact`].
    pub(super) fn go_on(&self, changes: &[Change]) -> Result<(), ChangeError> {
        let all = |carrier: &mut Carrier| -> Tables {
            let infos = carrier.dm.list().unwrap_or_default();
            let table = |carrier: &mut Carrier, name: &DmName| carrier.dm.table(name).ok().flatten();
            infos.into_iter().map(|info| (info.name.clone(), table(carrier, &info.name))).collect()
        };
        let there = self.carrier.call(all)?;
        self.transact(go_on(changes, &there))
    }
}

#[cfg(test)]
mod tests {
    use super::Behind;
    use foldback_dm_table::{DmName, Stage};

    #[test]
    fn what_did_not_follow_is_behind_until_it_does() {
        let device = |name: &str| DmName(name.to_owned());
        let mut behind = Behind::default();
        behind.note(vec![device("a")], Some(Stage::Suspend));
        assert!(!behind.has(&device("a")), "nothing was committed");
        behind.note(vec![device("a"), device("b")], Some(Stage::Resume));
        assert!(behind.has(&device("a")) && behind.has(&device("b")) && !behind.has(&device("c")));
        behind.note(vec![device("a"), device("c")], None);
        assert!(!behind.has(&device("a")) && behind.has(&device("b")));
    }
}
