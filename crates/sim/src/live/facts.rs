//! What the volumes of a VG must read as, for one state of the VG's text: by UUID, since names change hands.
//!
//! What must hold:
//! - A change of the VG is one step from one state to the next; what it makes of each volume is said here, in the words of
//!   architecture.md, "Merging", and with nothing of the manager's plans.
//! - A volume of which nobody can say what it holds (extended and not yet written, on a store that failed) is not judged,
//!   and says so.

use crate::report::Failure;
use crate::volume::reader::Text;
use crate::volume::vg_world::EXTENT;
use foldback_lvm2_format::vg::Lv;
use foldback_manager::store::FoundVg;
use foldback_testkit::{Sector, VolumeModel};
use foldback_units::{LvName, LvmUuid};
use std::collections::BTreeMap;

/// A volume that users see.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) model: VolumeModel,
    /// Of what it is a snapshot.
    pub(crate) origin: Option<LvmUuid>,
    /// It is a snapshot of the merged view.
    pub(crate) view: bool,
    /// Its store waits for room when it is full.
    pub(crate) hold: bool,
    /// Its store may say that it is invalid: it ran full where that is allowed, met an error, or was given up.
    pub(crate) mortal: bool,
    /// Its store says so.
    pub(crate) dead: bool,
    /// Nobody knows what it holds any more.
    pub(crate) lost: bool,
    /// From this sector on nobody knows what it holds until it is written.
    pub(crate) unknown: Option<u64>,
    /// Taken to undo a merge, and nothing but the merge was copied out to it.
    pub(crate) undo: bool,
}

impl Volume {
    pub(crate) fn new(model: VolumeModel, origin: Option<LvmUuid>) -> Self {
        Self {
            model,
            origin,
            view: false,
            hold: false,
            mortal: false,
            dead: false,
            lost: false,
            unknown: None,
            undo: false,
        }
    }

    /// Whether it can be asked for what it must answer.
    pub(crate) fn is_sound(&self) -> bool {
        !self.dead && !self.lost && self.unknown.is_none()
    }
}

/// A merge that the text knows.
#[derive(Clone, Debug)]
pub(crate) struct Merging {
    /// The LV of the store.
    pub(crate) store: LvmUuid,
    /// Sectors of the snapshot.
    pub(crate) len: u64,
    /// The origin shows the merged view; until then both show what they showed before the mark.
    pub(crate) begun: bool,
    /// The store may be found invalid.
    pub(crate) mortal: bool,
}

/// One state of the VG.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) found: FoundVg,
    pub(crate) text: Text,
    pub(crate) volumes: BTreeMap<LvmUuid, Volume>,
    /// By origin.
    pub(crate) merges: BTreeMap<LvmUuid, Merging>,
}

impl Facts {
    pub(crate) fn lv(&self, id: &LvmUuid) -> Result<&Lv, Failure> {
        let lv = self.found.vg.lvs.iter().find(|lv| lv.id == *id);
        lv.ok_or_else(|| Failure::new("setup", format!("no LV {id}")))
    }

    pub(crate) fn name(&self, id: &LvmUuid) -> Result<LvName, Failure> {
        self.lv(id).map(|lv| lv.name.clone())
    }

    /// The origin in whose group a volume is.
    pub(crate) fn group_of(&self, id: &LvmUuid) -> LvmUuid {
        self.volumes.get(id).and_then(|volume| volume.origin).unwrap_or(*id)
    }

    /// Volumes that are no snapshots.
    pub(crate) fn origins(&self) -> Vec<LvmUuid> {
        self.volumes.iter().filter(|(_, volume)| volume.origin.is_none()).map(|(id, _)| *id).collect()
    }

    /// Snapshots of an origin that users see.
    pub(crate) fn snapshots_of(&self, origin: &LvmUuid) -> Vec<LvmUuid> {
        let of = |(_, volume): &(&LvmUuid, &Volume)| volume.origin == Some(*origin);
        self.volumes.iter().filter(of).map(|(id, _)| *id).collect()
    }

    pub(crate) fn has_begun(&self, origin: &LvmUuid) -> bool {
        self.merges.get(origin).is_some_and(|merging| merging.begun)
    }

    /// The snapshot whose merge is marked and has not begun.
    pub(crate) fn deferred(&self, origin: &LvmUuid) -> Option<LvmUuid> {
        self.merges.get(origin).filter(|merging| !merging.begun).map(|merging| merging.store)
    }

    pub(crate) fn volume(&mut self, id: &LvmUuid) -> Result<&mut Volume, Failure> {
        self.volumes.get_mut(id).ok_or_else(|| Failure::new("setup", format!("no volume {id}")))
    }

    /// A snapshot reads as its origin does at the moment when it is taken.
    pub(crate) fn take(&mut self, origin: &LvmUuid, new: LvmUuid, hold: bool) -> Result<(), Failure> {
        let of = self.volume(origin)?;
        let lost = of.lost;
        let mut volume = Volume::new(of.model.clone(), Some(*origin));
        volume.view = self.has_begun(origin);
        (volume.hold, volume.lost) = (hold, lost);
        self.volumes.insert(new, volume);
        self.weigh(&new)
    }

    /// Whether a snapshot may be merged: behind its end its last chunk, where that is not whole, holds nothing that a
    /// longer origin could be given (the job's `Grown`).
    pub(crate) fn can_merge(&self, id: &LvmUuid) -> bool {
        let (Some(volume), Ok(lv)) = (self.volumes.get(id), self.lv(id)) else { return false };
        let origin = volume.origin.and_then(|origin| self.volumes.get(&origin));
        let chunk = self.found.vg.snapshots().of_cow(&lv.name).map_or(1, |s| s.segment.chunk_size.sectors());
        let len = volume.model.len();
        volume.is_sound()
            && origin.is_some_and(|origin| origin.model.len() == len || len.is_multiple_of(u64::from(chunk)))
    }

    /// Whether the store of a snapshot can run full.
    pub(crate) fn weigh(&mut self, id: &LvmUuid) -> Result<(), Failure> {
        let lv = self.lv(id)?;
        let (store, name) = (u64::from(lv.extent_count()) * EXTENT, lv.name.clone());
        let chunk = self.found.vg.snapshots().of_cow(&name).map_or(8, |s| s.segment.chunk_size.sectors());
        let chunk = u64::from(chunk);
        let volume = self.volume(id)?;
        // The header, one area (no volume here has as many chunks as would fill it), and each chunk.
        volume.mortal |= !volume.hold && store / chunk < volume.model.len().div_ceil(chunk) + 2;
        Ok(())
    }

    /// The mark alone changes nothing that is seen.
    pub(crate) fn mark(&mut self, snapshot: &LvmUuid) -> Result<(), Failure> {
        let volume = self.volume(snapshot)?;
        let (len, mortal) = (volume.model.len(), volume.mortal);
        let origin = self.group_of(snapshot);
        self.merges.insert(origin, Merging { store: *snapshot, len, begun: false, mortal });
        Ok(())
    }

    /// A marked merge begins: the origin reads as the snapshot does, which is gone; behind the snapshot's end as before.
    pub(crate) fn begin(&mut self, origin: &LvmUuid) -> Result<(), Failure> {
        let Some(merging) = self.merges.get_mut(origin).filter(|merging| !merging.begun) else {
            return Ok(());
        };
        merging.begun = true;
        let snapshot = self.volumes.remove(&merging.store);
        let mut snapshot = snapshot.ok_or_else(|| Failure::new("setup", "a merge of no snapshot"))?;
        merging.mortal = snapshot.mortal;
        let origin = self.volume(origin)?;
        snapshot.model.grow_from(&origin.model);
        origin.lost |= snapshot.lost || snapshot.dead;
        origin.model = snapshot.model;
        Ok(())
    }

    /// A merge whose result is the snapshot: the store bears the old origin's UUID, and what that showed is gone.
    pub(crate) fn keep(&mut self, snapshot: &LvmUuid) -> Result<(), Failure> {
        let origin = self.group_of(snapshot);
        self.volumes.remove(&origin);
        let volume = self.volume(snapshot)?;
        let merging = Merging { store: origin, len: volume.model.len(), begun: true, mortal: volume.mortal };
        (volume.origin, volume.mortal) = (None, false);
        self.merges.insert(*snapshot, merging);
        Ok(())
    }

    /// The merge has ended: the merged view is the origin.
    pub(crate) fn end(&mut self, origin: &LvmUuid) {
        self.merges.remove(origin);
        for volume in self.volumes.values_mut().filter(|volume| volume.origin == Some(*origin)) {
            (volume.view, volume.undo) = (false, false);
        }
    }

    /// Volumes are gone, origins with what merges into them.
    pub(crate) fn remove(&mut self, ids: &[LvmUuid]) {
        for id in ids {
            self.volumes.remove(id);
            self.merges.remove(id);
        }
    }

    /// A volume that is no snapshot is longer.
    pub(crate) fn extend(&mut self, id: &LvmUuid, extents: u32) -> Result<(), Failure> {
        let volume = self.volume(id)?;
        let end = volume.model.len();
        volume.unknown = Some(volume.unknown.unwrap_or(end));
        volume.model.grow(&vec![Sector::Zero; u64::from(extents) as usize * EXTENT as usize]);
        Ok(())
    }

    /// An error was met: whatever takes copies may have been invalidated.
    pub(crate) fn met_an_error(&mut self, flushes_failed: bool) {
        for volume in self.volumes.values_mut() {
            volume.mortal |= volume.origin.is_some();
            if flushes_failed {
                volume.model.distrust();
            }
        }
        self.merges.values_mut().for_each(|merging| merging.mortal = true);
    }
}
