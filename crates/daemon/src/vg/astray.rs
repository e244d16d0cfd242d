//! Giving up volumes whose extents are somebody else's by now (architecture.md, "Holding and locking").
//!
//! What must hold:
//! - Not one byte is written for it: who waits is answered with an error, and the devices are found from their live tables,
//!   never from the metadata, which are not theirs any more.
//! - One in use is not taken down. Whoever waits in the kernel for an answer cannot close it, though, and cannot be killed:
//!   with force the requests are answered first, and all later ones as they come.

use super::keeper;
use super::standing::{LiveGroup, group_of};
use super::{ChangeError, Vg, locked};
use crate::carrier::Carrier;
use crate::front::{Closed, lv_name};
use foldback_dm_table::{DmName, Verb};
use foldback_manager::store::FoundVg;
use foldback_units::LvName;

impl Vg {
    /// Takes down the groups of those of these LVs that are held; the others. `found` is the VG as it is now, if it is
    /// there still. Whoever calls it is the only one to change the VG's devices.
    ///
    /// # Errors
    /// One is in use: groups before it are down. With force its requests are answered with errors from then on.
    pub(super) fn give_up_astray(
        &self,
        lvs: &[LvName],
        found: Option<&FoundVg>,
        force: bool,
    ) -> Result<Vec<LvName>, ChangeError> {
        let mut others = Vec::new();
        for lv in lvs {
            let device = self.device_now(lv, found)?;
            match device.filter(|device| locked(&self.state).held.contains_key(device)) {
                Some(device) => self.give_up_group(&device, force)?,
                None => others.push(lv.clone()),
            }
        }
        Ok(others)
    }

    /// What is live under a name: as the metadata call it, or else as it is served.
    fn device_now(&self, lv: &LvName, found: Option<&FoundVg>) -> Result<Option<DmName>, ChangeError> {
        let (name, live) = (self.name(), self.lvs()?);
        let id = found.and_then(|found| found.vg.lv(lv)).map(|lv| lv.id);
        let known = live.iter().find(|live| Some(live.id) == id);
        let served = || live.iter().find(|live| lv_name(&name, &live.device).as_deref() == Some(lv.as_str()));
        Ok(known.or_else(served).map(|live| live.device.clone()))
    }

    fn give_up_group(&self, device: &DmName, force: bool) -> Result<(), ChangeError> {
        let LiveGroup { tops, lower } = group_of(&self.id, device, &keeper::tables(self));
        let claimed = locked(&self.front).claim(&tops);
        if let Err((device, by)) = claimed.as_ref().map(|_| ()).map_err(Clone::clone)
            && !force
        {
            let by = format!("{by}; its requests wait, and with --force they are answered with errors");
            return Err(ChangeError::InUse { device, by });
        }
        self.cut_off(&tops, lower)?;
        let closed = claimed.or_else(|_| locked(&self.front).claim(&tops)).map_err(|(device, by)| {
            let by = format!("{by}; its requests fail from now on. Deactivate it again when it is closed");
            ChangeError::InUse { device, by }
        })?;
        self.remove_cut_off(&tops, closed)
    }

    /// Answers all requests to a group with errors, and takes down what it stood on.
    fn cut_off(&self, tops: &[DmName], lower: Vec<DmName>) -> Result<(), ChangeError> {
        let devices = tops.to_vec();
        let cut = self.carrier.call(move |carrier: &mut Carrier| carrier.dm.cut_off(&devices))?;
        cut.map_err(|error| ChangeError::Verb { stage: None, error })?;
        self.apply(lower.into_iter().map(|name| Verb::Remove { name }).collect())
    }

    fn remove_cut_off(&self, tops: &[DmName], closed: Closed) -> Result<(), ChangeError> {
        for name in tops {
            say!(
                "foldback: {name} is given up: its extents are not its own any more, and nothing was written to them"
            );
        }
        self.apply(tops.iter().map(|name| Verb::Remove { name: name.clone() }).collect())?;
        locked(&self.state).held.retain(|device, _| !tops.contains(device));
        self.settle_front(closed)
    }
}
