//! Judges what lies on disks after a power cut, a kill, or the end: every volume, read by the loader.
//!
//! What must hold (dm-snapshot.md 3.5):
//! - A volume holds what the model allows, whatever state the VG's text is in: a plain one on its extents (I1), a snapshot
//!   in its store over its origin (I3), a merging origin as the merging store over it, a snapshot of the merged view over
//!   that.
//! - A store says that it is invalid only where it may.

use super::facts::{Facts, Volume};
use crate::report::Failure;
use crate::volume::vg_world::lv_content;
use foldback_testkit::cow::{Loaded, State, load};
use foldback_testkit::{Image, Sector};
use foldback_units::LvmUuid;
use std::collections::BTreeMap;

/// What was found in each volume that can be read.
pub(crate) type Contents = BTreeMap<LvmUuid, Vec<Sector>>;

impl Facts {
    /// Judges all of it; what is dead or lost is told.
    pub(crate) fn judge(&mut self, image: &Image) -> Result<Contents, Failure> {
        let mut contents = Contents::new();
        for origin in self.origins() {
            self.judge_group(&origin, image, &mut contents)?;
        }
        for (id, seen) in &contents {
            let name = self.name(id)?;
            let volume = self.volume(id)?;
            let invariant = if volume.origin.is_none() { "I1" } else { "I3" };
            if let Some(what) = differs(volume, seen) {
                return Err(Failure::new(invariant, format!("{name}: {what}")));
            }
        }
        Ok(contents)
    }

    fn judge_group(
        &mut self,
        origin: &LvmUuid,
        image: &Image,
        contents: &mut Contents,
    ) -> Result<(), Failure> {
        let raw = lv_content(&self.found, &self.name(origin)?, image)?;
        let mut merged = raw.clone();
        if let Some(merging) = self.merges.get(origin).filter(|merging| merging.begun).cloned() {
            match self.store(&merging.store, merging.len, image)? {
                Ok((device, loaded)) => merged = loaded.view(&device, &raw),
                Err(()) if merging.mortal => self.volume(origin)?.lost = true,
                Err(()) => {
                    return Err(Failure::new("I3", format!("the merging store of {origin} is invalid")));
                }
            }
        }
        let is_lost = self.volume(origin)?.lost;
        for id in self.snapshots_of(origin) {
            let Volume { view, mortal, dead, .. } = *self.volume(&id)?;
            let len = self.volume(&id)?.model.len();
            if view && is_lost {
                self.volume(&id)?.lost = true;
            }
            match self.store(&id, len, image)? {
                Ok((device, loaded)) => {
                    let base = if view { &merged } else { &raw };
                    contents.insert(id, loaded.view(&device, &base[..len as usize]));
                }
                Err(()) if mortal || dead => self.volume(&id)?.dead = true,
                Err(()) => {
                    let name = self.name(&id)?;
                    return Err(Failure::new("I3", format!("the store of {name} is invalid")));
                }
            }
        }
        contents.insert(*origin, merged);
        contents.retain(|id, _| self.volumes.get(id).is_some_and(|volume| !volume.lost));
        Ok(())
    }

    /// A store and what is in it; `Err` in it where it says that it is invalid.
    fn store(
        &self,
        id: &LvmUuid,
        len: u64,
        image: &Image,
    ) -> Result<Result<(Vec<Sector>, Loaded), ()>, Failure> {
        let name = self.name(id)?;
        let device = lv_content(&self.found, &name, image)?;
        let loaded = load(&device)
            .map_err(|refusal| Failure::new("I5", format!("the store of {name}: {refusal:?}")))?;
        match loaded.state {
            State::Valid => {}
            State::Invalid => return Ok(Err(())),
            State::Blank => return Err(Failure::new("I3", format!("the store of {name} is blank"))),
        }
        match loaded.structural_faults(device.len() as u64, len).first() {
            Some(fault) => Err(Failure::new("I5", format!("the store of {name}: {fault}"))),
            None => Ok(Ok((device, loaded))),
        }
    }
}

fn differs(volume: &Volume, seen: &[Sector]) -> Option<String> {
    if seen.len() as u64 != volume.model.len() {
        return Some(format!("{} sectors, not {}", seen.len(), volume.model.len()));
    }
    let known = volume.unknown.unwrap_or(volume.model.len());
    let (sector, seen) =
        (0..known).zip(seen).find(|(sector, seen)| !volume.model.may_survive(*sector, seen))?;
    let legal = volume.model.survivors(sector);
    Some(format!("sector {sector} holds {seen:?}, which may only be {legal:?}"))
}
