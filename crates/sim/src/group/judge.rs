//! What a power cut may leave: I1 to I9 of dm-snapshot.md 3.5, checked on an image by a reader of its own.
//!
//! What must hold:
//! - The judge knows the disks' bytes, the model, and what was asked for; it asks no engine.

use super::world::SpaceMap;
use crate::report::Failure;
use foldback_engine::{Space, StoreId, Volume};
use foldback_testkit::cow::{Loaded, State, is_area, load};
use foldback_testkit::{Image, Sector, VolumeModel};
use std::collections::{BTreeMap, BTreeSet};

/// What the judge knows of a store.
#[derive(Clone, Debug)]
pub(crate) struct StoreFacts {
    pub(crate) chunk: u64,
    pub(crate) snapshot_len: u64,
    /// It was taken while a merge was under way: it is of the merged view, until that merge has ended.
    pub(crate) view: bool,
    /// It was opened for writing at least once: a header is durable.
    pub(crate) created: bool,
    /// It may be invalid: it was from the beginning, or an error hit it.
    pub(crate) may_be_invalid: bool,
    /// Its table ends in zeros (W1), and no truncation was begun since.
    pub(crate) clean: bool,
    /// Records visible when it was opened last.
    pub(crate) records: Vec<(u64, u64)>,
    pub(crate) next_free: u64,
    /// Chunks that may have asked for an exception since.
    pub(crate) wanted: BTreeSet<u64>,
    /// Chunks that copies which met an error may have taken for nothing.
    pub(crate) leaked: u64,
}

/// A merge that was begun.
#[derive(Clone, Debug)]
pub(crate) struct MergeFacts {
    pub(crate) store: StoreId,
    /// The table when it began.
    pub(crate) records: Vec<(u64, u64)>,
    /// At most so many records may ever be visible again (I9).
    pub(crate) ceiling: u64,
}

/// Everything that is known without asking the engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) maps: BTreeMap<Space, SpaceMap>,
    pub(crate) models: BTreeMap<Volume, VolumeModel>,
    pub(crate) stores: BTreeMap<StoreId, StoreFacts>,
    pub(crate) merge: Option<MergeFacts>,
}

/// What each volume reads as on an image; no entry for what is invalid.
pub(crate) type Views = BTreeMap<Volume, Vec<Sector>>;

impl StoreFacts {
    /// Whether it can have run full (C5): what was asked for since it was opened does not fit.
    pub(crate) fn can_overflow(&self, device_len: u64) -> bool {
        let known: BTreeSet<u64> = self.records.iter().map(|(old, _)| *old).collect();
        let more = self.wanted.difference(&known).count() as u64 + self.leaked;
        let per_area = self.chunk * 32;
        let mut next = self.next_free;
        let mut count = self.records.len() as u64;
        for taken in 0..more {
            count += u64::from(taken >= self.leaked);
            let end_area = 1 + (count / per_area) * (per_area + 1);
            if device_len < (next + 1) * self.chunk || device_len < (end_area + 1) * self.chunk {
                return true;
            }
            next += 1;
            next += u64::from(is_area(next, self.chunk));
        }
        false
    }

    /// Something was written to these sectors of the origin, or of the snapshot.
    pub(crate) fn want(&mut self, at: u64, len: u64) {
        let end = (at + len).min(self.snapshot_len);
        if at < end {
            self.wanted.extend(at / self.chunk..=(end - 1) / self.chunk);
        }
    }
}

impl Facts {
    fn is_merging(&self, store: StoreId) -> bool {
        self.merge.as_ref().is_some_and(|merge| merge.store == store)
    }

    /// Judges what a power cut has left, and says what each volume now reads as.
    pub(crate) fn judge(&self, image: &Image) -> Result<Views, Failure> {
        let origin = self.maps[&Space::Origin].gather(image);
        let merged = self.merged(image);
        let mut views = Views::new();
        if self.merge.is_none() {
            views.insert(Volume::Origin, origin.clone());
        }
        for (store, facts) in &self.stores {
            let volume = if self.is_merging(*store) { Volume::Origin } else { Volume::Snapshot(*store) };
            let base = if facts.view { &merged } else { &origin };
            if let Some(view) = self.view(*store, facts, image, base)? {
                views.insert(volume, view);
            }
        }
        for (volume, view) in &views {
            self.compare(*volume, view)?;
        }
        Ok(views)
    }

    /// What the merging store shows over the origin; the origin where nothing merges.
    pub(crate) fn merged(&self, image: &Image) -> Vec<Sector> {
        let origin = self.maps[&Space::Origin].gather(image);
        let Some(merge) = &self.merge else { return origin };
        let device = self.maps[&Space::Store(merge.store)].gather(image);
        let len = self.stores[&merge.store].snapshot_len as usize;
        let mut view =
            load(&device).map_or_else(|_| Vec::new(), |loaded| loaded.view(&device, &origin[..len]));
        view.extend_from_slice(&origin[view.len()..]);
        view
    }

    /// What the store is to a loader; `None` where it is invalid and may be.
    fn view(
        &self,
        store: StoreId,
        facts: &StoreFacts,
        image: &Image,
        origin: &[Sector],
    ) -> Result<Option<Vec<Sector>>, Failure> {
        let map = &self.maps[&Space::Store(store)];
        let device = map.gather(image);
        let origin = &origin[..facts.snapshot_len as usize];
        let loaded = load(&device).map_err(|refusal| {
            Failure::new("I5", format!("store {} is not one any more: {refusal:?}", store.0))
        })?;
        match loaded.state {
            State::Blank if facts.created => {
                return Err(Failure::new("I5", format!("the header of store {} is gone", store.0)));
            }
            State::Blank => return Ok(Some(origin.to_vec())),
            State::Invalid if self.is_merging(store) => {
                return Err(Failure::new("I5", format!("store {} is merging and was made invalid", store.0)));
            }
            State::Invalid if facts.may_be_invalid || facts.can_overflow(map.len()) => return Ok(None),
            State::Invalid => {
                let what = format!("store {} is invalid, though it has room and met no error", store.0);
                return Err(Failure::new("I3", what));
            }
            State::Valid => {}
        }
        if loaded.chunk != facts.chunk {
            let what =
                format!("store {} has chunks of {} sectors, not {}", store.0, loaded.chunk, facts.chunk);
            return Err(Failure::new("I5", what));
        }
        if !facts.created && !loaded.records.is_empty() {
            let what = format!("store {} is new and has {} records", store.0, loaded.records.len());
            return Err(Failure::new("I8", what));
        }
        if let Some(slot) = loaded.stale.first().filter(|_| !facts.created) {
            let what =
                format!("store {} is new, has a header, and slot {slot} of its area is not zero", store.0);
            return Err(Failure::new("I8", what));
        }
        if let Some(fault) = loaded.structural_faults(device.len() as u64, facts.snapshot_len).first() {
            return Err(Failure::new("I5", format!("store {}: {fault}", store.0)));
        }
        let torn = map.disks().iter().any(|disk| image.split_blocks[*disk]);
        if let Some(slot) = loaded.stale.first().filter(|_| facts.clean && !torn) {
            let what = format!(
                "store {} has {} records and a stale one in slot {slot} (K1)",
                store.0,
                loaded.records.len()
            );
            return Err(Failure::new("I5", what));
        }
        self.judge_merge(store, &loaded)?;
        Ok(Some(loaded.view(&device, origin)))
    }

    fn judge_merge(&self, store: StoreId, loaded: &Loaded) -> Result<(), Failure> {
        let Some(merge) = self.merge.as_ref().filter(|merge| merge.store == store) else { return Ok(()) };
        let count = loaded.records.len() as u64;
        if count > merge.ceiling {
            let what = format!(
                "{count} records of the merging store are visible; {} were reported to be left, durably",
                merge.ceiling
            );
            return Err(Failure::new("I9", what));
        }
        let known: BTreeSet<&(u64, u64)> = merge.records.iter().collect();
        match loaded.records.iter().find(|record| !known.contains(record)) {
            None => Ok(()),
            Some((old, new)) => {
                let what =
                    format!("record {old} -> {new} of the merging store was not there when the merge began");
                Err(Failure::new("I9", what))
            }
        }
    }

    fn compare(&self, volume: Volume, view: &[Sector]) -> Result<(), Failure> {
        let Some(model) = self.models.get(&volume) else { return Ok(()) };
        for (sector, seen) in (0..).zip(view) {
            if model.may_survive(sector, seen) {
                continue;
            }
            let invariant = match volume {
                Volume::Origin => "I1",
                Volume::Snapshot(_) => "I3",
            };
            let what = format!(
                "sector {sector} of {volume:?} holds {seen:?} after a power cut, which may only leave {:?}",
                model.survivors(sector)
            );
            return Err(Failure::new(invariant, what));
        }
        Ok(())
    }
}
