//! How fast a merge goes, and stopping it while everything else goes on.
//!
//! What must hold:
//! - A pause stops no request: the windows under way end while the device is served. After that a suspend is short.
//! - Pause and pace belong to the origin: they outlive its group, and a resume of the device ends neither. They end with
//!   the merge.

use crate::error::{DmError, DmErrorKind};
use crate::group::{GroupId, OriginGroup, Pacing};
use crate::mapped::Route;
use crate::run::UserDm;
use foldback_device::Disks;
use foldback_dm_table::DmName;
use foldback_engine::Volume;
use foldback_units::Bytes;

impl<D: Disks> UserDm<D> {
    /// Begins no window of the merge into `device` from now on.
    ///
    /// # Errors
    /// Nothing merges into the device.
    pub fn pause_merge(&mut self, device: &DmName) -> Result<(), DmError> {
        self.pace_merge("pausing the merge into", device, |group, pacing| {
            pacing.paused = true;
            group.engine.pause_merge();
        })
    }

    /// The end of [`UserDm::pause_merge`]; a merge that failed is tried again.
    ///
    /// # Errors
    /// As [`UserDm::pause_merge`].
    pub fn resume_merge(&mut self, device: &DmName) -> Result<(), DmError> {
        self.pace_merge("resuming the merge into", device, |group, pacing| {
            pacing.paused = false;
            group.engine.resume_merge();
        })
    }

    /// Whether the merge into `device` is paused and no window of it is under way: now a suspend waits for requests alone.
    pub fn merge_is_paused_and_idle(&self, device: &DmName) -> bool {
        self.merging_group(device).and_then(|id| self.groups.get(&id)).is_some_and(|group| {
            let pacing = self.pacing.get(&group.origin).copied().unwrap_or_default();
            pacing.paused && group.engine.merge_is_idle()
        })
    }

    /// How much the merge into `device` may move from now on: `None` without limit, else so much until
    /// [`UserDm::add_merge_budget`].
    ///
    /// # Errors
    /// As [`UserDm::pause_merge`].
    pub fn set_merge_pace(&mut self, device: &DmName, allowance: Option<Bytes>) -> Result<(), DmError> {
        self.pace_merge("pacing the merge into", device, |group, pacing| {
            pacing.pace = allowance.map(Bytes::to_sectors_floor);
            group.engine.set_merge_pace(pacing.pace);
        })
    }

    /// The same for merges that begin from now on: a window that was begun is not stopped any more.
    pub fn set_pace_of_new_merges(&mut self, allowance: Option<Bytes>) {
        self.new_merges = allowance.map(Bytes::to_sectors_floor);
    }

    /// Tops up what the merge into `device` may move. Windows are no longer than what is left, so that a low rate is even
    /// when this is called often.
    ///
    /// # Errors
    /// As [`UserDm::pause_merge`].
    pub fn add_merge_budget(&mut self, device: &DmName, more: Bytes) -> Result<(), DmError> {
        self.pace_merge("pacing the merge into", device, |group, _| {
            group.engine.add_merge_budget(more.to_sectors_floor());
        })
    }

    fn pace_merge(
        &mut self,
        verb: &'static str,
        device: &DmName,
        change: impl FnOnce(&mut OriginGroup, &mut Pacing),
    ) -> Result<(), DmError> {
        let id = self.merging_group(device);
        let Some(group) = id.and_then(|id| self.groups.get_mut(&id)) else {
            return Err(Self::failed(verb, &device.0, DmErrorKind::NotMerging));
        };
        change(group, self.pacing.entry(group.origin).or_default());
        Ok(())
    }

    fn merging_group(&self, device: &DmName) -> Option<GroupId> {
        let found = self.devices.get(&self.find(device).ok()?)?;
        match found.route {
            Route::Group(id, Volume::Origin) if found.live_merge().is_some() => Some(id),
            _ => None,
        }
    }
}
