//! What an administrator does to a group in mid-run: hold it, merge, pause, take and remove snapshots.
//!
//! What must hold:
//! - A held group becomes quiet, whatever is going on.
//! - A snapshot taken in mid-run holds what its origin held when the group was quiet.

use super::drive::{Drive, Purpose, Stop};
use super::judge::{MergeFacts, StoreFacts};
use crate::report::{Failure, Scene};
use foldback_engine::{Group, Space, StoreId, StoreStatus, Volume};
use foldback_testkit::cow::load;
use foldback_testkit::{SimOp, VolumeModel};
use std::collections::BTreeSet;

/// Store 0 is the one that is merged.
pub(crate) const MERGED: StoreId = StoreId(0);

impl Drive {
    /// Something, perhaps.
    pub(crate) fn control(&mut self) {
        if self.holding.is_some() {
            return;
        }
        if self.scenario.pauses && self.facts.merge.is_some() && self.rng.one_in(2) {
            if self.paused {
                self.resume();
            } else {
                self.paused = true;
                self.scenes.saw(Scene::Pause);
                self.note(|_| "pause the merge".to_owned());
                self.group.iter_mut().for_each(Group::pause_merge);
            }
            return;
        }
        if let Some(purpose) = self.any_purpose() {
            self.hold(purpose);
        }
    }

    fn any_purpose(&mut self) -> Option<Purpose> {
        let mut choices = Vec::new();
        if self.scenario.holds {
            choices.push(Purpose::Nothing);
        }
        if self.scenario.merge && self.facts.merge.is_none() && !self.merge_is_over() {
            choices.push(Purpose::StartMerge);
        }
        if self.facts.merge.is_none() || self.may_take_view() {
            choices.extend(self.absent.iter().map(|store| Purpose::Attach(*store)));
        }
        if self.scenario.detaches {
            let merging = self.facts.merge.as_ref().map(|merge| merge.store);
            let others =
                self.facts.stores.keys().filter(|store| Some(**store) != merging && **store != MERGED);
            choices.extend(others.map(|store| Purpose::Detach(*store)));
            if merging.is_some() && self.merge_is_finished() {
                choices.push(Purpose::EndMerge);
            }
        }
        (!choices.is_empty()).then(|| *self.rng.pick(&choices))
    }

    /// The merged view can be frozen: no error has left a chunk different in its two places.
    fn may_take_view(&self) -> bool {
        let progress = self.group.as_ref().and_then(Group::merge_progress);
        progress.is_some_and(|progress| !progress.failed)
    }

    pub(crate) fn hold(&mut self, purpose: Purpose) {
        self.scenes.saw(Scene::Hold);
        self.note(|_| format!("hold for {purpose:?}"));
        self.holding = Some(purpose);
        self.group.iter_mut().for_each(Group::hold);
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
        self.note(|_| "resume the merge".to_owned());
        self.group.iter_mut().for_each(Group::resume_merge);
    }

    pub(crate) fn merge_is_finished(&self) -> bool {
        let progress = self.group.as_ref().and_then(Group::merge_progress);
        progress.is_some_and(|progress| progress.finished)
    }

    /// The merged store has gone.
    pub(crate) fn merge_is_over(&self) -> bool {
        self.scenario.merge && !self.facts.stores.contains_key(&MERGED)
    }

    /// A held group with nothing under way: does what the hold was for.
    pub(crate) fn quiet(&mut self, purpose: Purpose) -> Result<Option<Stop>, Failure> {
        if !self.group.as_ref().is_some_and(Group::is_quiet) {
            return Err(Failure::new("liveness", "held, nothing under way, and not quiet"));
        }
        // Requests that come now are taken and wait.
        if self.requests_left > 0 && self.outstanding.len() < self.scenario.outstanding && self.rng.one_in(2)
        {
            self.submit();
            return Ok(None);
        }
        let stop = match purpose {
            Purpose::Nothing => None,
            Purpose::StartMerge if self.merged_is_invalid() => {
                // Nobody would mark it; the error that invalidated it was excused before.
                self.scenario.merge = false;
                None
            }
            Purpose::StartMerge => {
                self.mark_merge()?;
                self.start_merge()?;
                None
            }
            // An error has stopped the merge meanwhile.
            Purpose::Attach(_) if self.facts.merge.is_some() && !self.may_take_view() => None,
            Purpose::Attach(store) => self.take_snapshot(store)?,
            Purpose::Detach(store) => {
                self.scenes.saw(Scene::Detach);
                self.detach(store)?;
                None
            }
            Purpose::EndMerge => {
                self.end_merge()?;
                None
            }
        };
        if stop.is_none() {
            self.holding = None;
            self.note(|_| "release".to_owned());
            self.group.iter_mut().for_each(Group::release);
        }
        Ok(stop)
    }

    fn merged_is_invalid(&self) -> bool {
        let status = self.group.as_ref().and_then(|group| group.store_status(MERGED));
        status == Some(StoreStatus::Invalid) && self.may_be_invalid(MERGED)
    }

    /// The VG says that the snapshot is merging: from now on the origin is the merged view.
    pub(crate) fn mark_merge(&mut self) -> Result<(), Failure> {
        let image = self.runner.set.visible();
        let device = self.facts.maps[&Space::Store(MERGED)].gather(&image);
        let loaded =
            load(&device).map_err(|refusal| Failure::new("I5", format!("before a merge: {refusal:?}")))?;
        let ceiling = loaded.records.len() as u64;
        self.scenes.saw_if(ceiling > loaded.chunk * 32, Scene::AreaBorder);
        self.facts.merge = Some(MergeFacts { store: MERGED, records: loaded.records, ceiling });
        if let Some(facts) = self.facts.stores.get_mut(&MERGED) {
            facts.clean = false;
        }
        if let Some(model) = self.facts.models.remove(&Volume::Snapshot(MERGED)) {
            self.facts.models.insert(Volume::Origin, model);
        }
        let waiting: Vec<_> = self.outstanding.iter().map(|(id, request)| (*id, request.clone())).collect();
        for (id, request) in waiting {
            if request.volume == Volume::Origin && request.is_write() {
                self.begin_write(id, &request);
            }
        }
        self.want_merge();
        Ok(())
    }

    /// Tells the group that the snapshot is merging.
    pub(crate) fn start_merge(&mut self) -> Result<(), Failure> {
        self.note(|_| "start the merge".to_owned());
        let Some(group) = &mut self.group else { return Ok(()) };
        match group.start_merge(MERGED) {
            Ok(()) => Ok(()),
            Err(refused) => Err(Failure::new("contract", format!("{refused}"))),
        }
    }

    fn detach(&mut self, store: StoreId) -> Result<(), Failure> {
        self.note(|_| format!("detach {}", store.0));
        if let Some(group) = &mut self.group {
            group.detach(store).map_err(|error| Failure::new("contract", format!("{error}")))?;
        }
        self.facts.stores.remove(&store);
        self.facts.models.remove(&Volume::Snapshot(store));
        Ok(())
    }

    /// The merge is over: the store goes, the origin stays.
    pub(crate) fn end_merge(&mut self) -> Result<(), Failure> {
        self.scenes.saw(Scene::MergeFinished);
        self.scenes.saw_if(!self.present(true).is_empty(), Scene::MergedUnderView);
        self.detach(MERGED)?;
        self.facts.merge = None;
        self.facts.stores.values_mut().for_each(|facts| facts.view = false);
        // R9: what the store said is now without meaning, whatever was or was not flushed.
        self.peek()
    }

    /// A new snapshot of the origin as it is; while a merge is there, of the merged view.
    fn take_snapshot(&mut self, store: StoreId) -> Result<Option<Stop>, Failure> {
        // Suspending flushes, as `dmsetup suspend` of a device does.
        for disk in 0..self.runner.set.count() {
            self.runner.set.submit(u64::MAX, disk, SimOp::Flush);
        }
        while self.runner.step()?.is_some() || !self.runner.set.is_idle() {}
        if (0..self.runner.set.count()).any(|disk| self.runner.set.is_poisoned(disk)) {
            self.trouble = true;
            self.facts.models.values_mut().for_each(VolumeModel::distrust);
            self.facts.stores.values_mut().for_each(|facts| facts.may_be_invalid = true);
            return Ok(Some(Stop::Kill));
        }
        self.now += 1;
        let now = self.now;
        for (volume, model) in &mut self.facts.models {
            // What an error hit may have exceptions that no flush of a disk makes durable.
            let hit = |store: &StoreId| self.facts.stores.get(store).is_none_or(|facts| facts.may_be_invalid);
            if !matches!(volume, Volume::Snapshot(store) if hit(store)) {
                model.flushed(now);
            }
        }
        let plan = &self.scenario.stores[store.0 as usize];
        let origin = self.facts.merged(&self.runner.set.visible());
        let frozen = origin[..plan.snapshot_len as usize].to_vec();
        self.facts.models.insert(Volume::Snapshot(store), VolumeModel::new(frozen));
        let view = self.facts.merge.is_some();
        self.facts.stores.insert(store, StoreFacts { view, ..StoreFacts::of(plan) });
        self.absent.remove(&store);
        self.scenes.saw(if view { Scene::ViewTaken } else { Scene::AttachLater });
        let waiting: Vec<_> = self.outstanding.values().cloned().collect();
        if let Some(facts) = self.facts.stores.get_mut(&store) {
            let writes =
                waiting.iter().filter(|request| request.is_write() && request.volume == Volume::Origin);
            writes.for_each(|request| facts.want(request.at, request.len));
        }
        self.open_stores(&BTreeSet::from([store]))
    }
}
