//! What the volumes of a live VG must read as, for each state of the VG's text.

use super::reader::Text;
use super::vg_world::lv_content;
use crate::report::Failure;
use foldback_manager::store::FoundVg;
use foldback_testkit::cow::{State, load};
use foldback_testkit::{Image, Sector, VolumeModel};
use foldback_units::LvName;
use std::collections::{BTreeMap, BTreeSet};

/// One state of the VG.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) found: FoundVg,
    pub(crate) text: Text,
    pub(crate) origin: LvName,
    /// Volumes that users see.
    pub(crate) models: BTreeMap<LvName, VolumeModel>,
    pub(crate) merging: Option<LvName>,
    /// An error was met: a snapshot may be invalid.
    pub(crate) excused: bool,
    /// The snapshot that merges is invalid: what the origin holds is not known any more.
    pub(crate) lost: bool,
    /// Stores that nobody has opened yet.
    fresh: BTreeSet<LvName>,
}

impl Facts {
    pub(crate) fn new(found: FoundVg, text: Text, origin: LvName, content: Vec<Sector>) -> Self {
        let models = BTreeMap::from([(origin.clone(), VolumeModel::new(content))]);
        Self {
            found,
            text,
            origin,
            models,
            merging: None,
            excused: false,
            lost: false,
            fresh: BTreeSet::new(),
        }
    }

    pub(crate) fn add(&mut self, snapshot: LvName, view: Vec<Sector>) {
        self.models.insert(snapshot, VolumeModel::new(view));
    }

    fn model(&self, lv: &LvName) -> Result<VolumeModel, Failure> {
        let model = self.models.get(lv).cloned();
        model.ok_or_else(|| Failure::new("setup", format!("no model of {lv}")))
    }

    /// With a snapshot taken now: it reads as the origin does.
    pub(crate) fn with_snapshot(&self, name: &LvName) -> Result<Self, Failure> {
        let mut after = self.clone();
        after.models.insert(name.clone(), self.model(&self.origin)?);
        after.fresh.insert(name.clone());
        Ok(after)
    }

    /// With a merge begun now: the origin reads as the snapshot does.
    pub(crate) fn with_merge(&self, name: &LvName) -> Result<Self, Failure> {
        let mut after = self.clone();
        let model = self.model(name)?;
        after.models.remove(name);
        after.models.insert(self.origin.clone(), model);
        after.merging = Some(name.clone());
        Ok(after)
    }

    /// With a merge begun now whose result is the snapshot: the store bears the old origin's name.
    pub(crate) fn with_kept(&self, name: &LvName) -> Self {
        let mut after = self.clone();
        after.models.remove(&self.origin);
        after.merging = Some(std::mem::replace(&mut after.origin, name.clone()));
        after
    }

    /// With a snapshot removed.
    pub(crate) fn with_removed(&self, name: &LvName) -> Self {
        let mut after = self.clone();
        after.models.remove(name);
        after
    }

    /// With the merge ended.
    pub(crate) fn without(&self, name: &LvName) -> Self {
        let mut after = self.clone();
        after.models.remove(name);
        after.merging = None;
        after
    }

    /// Judges what a power cut has left, and makes it certain.
    pub(crate) fn judge(&mut self, image: &Image) -> Result<(), Failure> {
        let origin = lv_content(&self.found, &self.origin, image)?;
        let mut views = BTreeMap::new();
        if self.merging.is_none() {
            views.insert(self.origin.clone(), origin.clone());
        }
        let snapshots: Vec<LvName> = self.models.keys().filter(|lv| **lv != self.origin).cloned().collect();
        for (store, volume) in
            snapshots.iter().map(|lv| (lv, lv)).chain(self.merging.iter().map(|store| (store, &self.origin)))
        {
            let device = lv_content(&self.found, store, image)?;
            let loaded = load(&device)
                .map_err(|refusal| Failure::new("I5", format!("the store of {store}: {refusal:?}")))?;
            match loaded.state {
                State::Valid => {}
                State::Blank if self.fresh.contains(store) => {}
                // Where an error met the very transaction that began the merge, there is nothing left to merge.
                State::Invalid if self.excused => {
                    self.lost |= self.merging.as_ref() == Some(store);
                    continue;
                }
                state => return Err(Failure::new("I3", format!("the store of {store} is {state:?}"))),
            }
            if let Some(fault) = loaded.structural_faults(device.len() as u64, origin.len() as u64).first() {
                return Err(Failure::new("I5", format!("the store of {store}: {fault}")));
            }
            views.insert(volume.clone(), loaded.view(&device, &origin));
        }
        for (lv, view) in views {
            let invariant = if lv == self.origin { "I1" } else { "I3" };
            let Some(model) = self.models.get_mut(&lv) else { continue };
            for (sector, seen) in (0..).zip(&view) {
                if !model.may_survive(sector, seen) {
                    let legal = model.survivors(sector);
                    let what = format!("sector {sector} of {lv} holds {seen:?}, which may only be {legal:?}");
                    return Err(Failure::new(invariant, what));
                }
            }
            model.collapse(&view);
        }
        Ok(())
    }
}
