//! Stores that are full and held: grown, or given up.
//!
//! What must hold:
//! - Only writes wait for room; they are answered once there is some, or the store is given up.
//! - A store that is held is never invalidated for want of room.

use super::drive::Drive;
use super::world::geometry;
use crate::report::{Failure, Scene};
use foldback_engine::{Group, Space, StoreId};

impl Drive {
    /// Stores in which somebody waits for room.
    pub(crate) fn full_stores(&self) -> Vec<StoreId> {
        let Some(group) = &self.group else { return Vec::new() };
        self.facts.stores.keys().copied().filter(|store| group.full_store(*store).is_some()).collect()
    }

    /// Nothing is under way: whoever is not answered waits for room, and says so.
    pub(crate) fn judge_waiting(&self) -> Result<(), Failure> {
        let parked = |group: &Group, id| group.is_parked(id);
        let astray = self.outstanding.iter().find(|(id, request)| {
            !request.is_write() || !self.group.as_ref().is_some_and(|group| parked(group, **id))
        });
        match astray {
            None => Ok(()),
            Some((id, request)) => {
                let what = format!("request {} ({request:?}) waits beside a full store", id.0);
                Err(Failure::new("liveness", what))
            }
        }
    }

    /// One of them is grown, or given up; true where it is grown.
    pub(crate) fn relieve(&mut self) -> bool {
        let full = self.full_stores();
        if full.is_empty() {
            return false;
        }
        let store = *self.rng.pick(&full);
        self.scenes.saw(Scene::StoreHeld);
        let piece = self.extensions.get_mut(&store).and_then(Vec::pop);
        let Some(piece) = piece.filter(|_| self.rng.percent(85)) else {
            self.give_up(store);
            return false;
        };
        self.scenes.saw(Scene::StoreGrown);
        self.note(|_| format!("grow store {} by {piece:?}", store.0));
        let space = Space::Store(store);
        self.runner.grow(space, piece);
        if let Some(map) = self.facts.maps.get_mut(&space) {
            map.grow(piece);
            self.geometries.insert(space, geometry(map, &self.physical));
        }
        let geometry = self.geometries[&space].clone();
        if let Some(group) = &mut self.group {
            drop(group.grow_store(store, geometry));
        }
        true
    }

    fn give_up(&mut self, store: StoreId) {
        self.scenes.saw(Scene::GivenUp);
        self.note(|_| format!("give up store {}", store.0));
        if let Some(facts) = self.facts.stores.get_mut(&store) {
            facts.may_be_invalid = true;
        }
        if let Some(group) = &mut self.group {
            drop(group.give_up(store));
        }
    }
}
