//! Makes what runs be what the live tables say: which groups there are, which stores belong to them, what merges, what is
//! held, and where each device's requests go.
//!
//! What must hold:
//! - A group changes only while it is quiet. A store that another group or a merge takes over moves with its table in
//!   memory, unread (`handover`): all groups let go what they do not want before any takes what it wants.
//! - Where an engine cannot be changed in place, the group is made anew from what lies on the disks: a quiet group and
//!   its disks say the same.
//! - Requests that a vanished group had not begun go where their device leads now.
//!
//! How tables become groups: docs/decisions/0002-user-dm.md.

use crate::error::DmErrorKind;
use crate::group::{Attached, GroupId, OriginGroup, Pacing};
use crate::handover::LetGo;
use crate::map::Map;
use crate::mapped::Lower;
use crate::run::UserDm;
use crate::wanted::{WantedGroup, WantedStore, can_change, is_as_wanted, is_kept, keeps_bases};
use foldback_device::Disks;
use foldback_engine::{
    IoId, MergeRefused, OpenAccess, OpenError, OpenedStore, SpaceGeometry, StoreId, StoreOpen,
};
use foldback_units::{ChunkSize, Sectors};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Stores that were opened when their table was loaded.
pub(crate) type Opened = BTreeMap<Lower, (StoreId, OpenedStore)>;

impl<D: Disks> UserDm<D> {
    /// Makes what runs be what the live tables say. On an error some groups may be gone until the next call succeeds;
    /// their devices answer with errors, and nothing on the disks is wrong.
    pub(crate) fn settle(&mut self, mut opened: Opened) -> Result<(), DmErrorKind> {
        let wanted = self.wanted()?;
        self.check_bases(&wanted)?;
        let mut stranded = Vec::new();
        let mut let_go = LetGo::default();
        let unwanted: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, group)| !wanted.contains_key(&group.origin))
            .map(|(id, _)| *id)
            .collect();
        for id in unwanted {
            stranded.extend(self.end_group(id, &mut let_go)?);
        }
        let mut outcome = Ok(());
        let mut ready = Vec::new();
        for (origin, wanted) in wanted {
            match self.make_ready(origin, &wanted, &mut let_go, &mut stranded) {
                Ok(Some(id)) => ready.push((id, wanted)),
                Ok(None) => {}
                Err(kind) => outcome = outcome.and(Err(kind)),
            }
        }
        for (id, wanted) in ready {
            outcome = outcome.and(self.attach_wanted(id, wanted, &mut opened, &mut let_go));
        }
        outcome = outcome.and(self.find_routes());
        self.hold_and_release()?;
        for ticket in stranded {
            self.dispatch(ticket);
        }
        outcome
    }

    /// Nothing may turn a snapshot of a merged view into one of something else, or the reverse.
    fn check_bases(&self, wanted: &BTreeMap<Lower, WantedGroup>) -> Result<(), DmErrorKind> {
        for group in self.groups.values() {
            let kept = wanted.get(&group.origin).is_none_or(|wanted| keeps_bases(group, wanted));
            let moved = group.stores.values().filter(|store| store.view).any(|store| {
                let elsewhere = |(origin, other): (&Lower, &WantedGroup)| {
                    *origin != group.origin && other.stores.contains_key(&store.cow)
                };
                wanted.iter().any(elsewhere)
            });
            if !kept || moved {
                return Err(DmErrorKind::MergedView);
            }
        }
        Ok(())
    }

    /// A quiet group that has nothing which is not wanted; `None` where the one that runs is as wanted.
    fn make_ready(
        &mut self,
        origin: Lower,
        wanted: &WantedGroup,
        let_go: &mut LetGo,
        stranded: &mut Vec<u64>,
    ) -> Result<Option<GroupId>, DmErrorKind> {
        if !wanted.stores.values().any(|store| store.merge) {
            // The next merge into this origin is another one.
            self.pacing.remove(&origin);
        }
        let existing = self.groups.iter().find(|(_, group)| group.origin == origin).map(|(id, _)| *id);
        let Some(id) = existing else { return self.new_group(origin, wanted).map(Some) };
        self.grow_stores(id, wanted)?;
        if self.groups.get(&id).is_some_and(|group| is_as_wanted(group, wanted)) {
            self.follow_maps(id, wanted);
            return Ok(None);
        }
        self.hold_until_quiet(id)?;
        if self.groups.get(&id).is_some_and(|group| can_change(group, wanted)) {
            self.detach_unwanted(id, wanted, let_go)?;
            self.follow_maps(id, wanted);
            return Ok(Some(id));
        }
        stranded.extend(self.end_group(id, let_go)?);
        self.new_group(origin, wanted).map(Some)
    }

    fn new_group(&mut self, origin: Lower, wanted: &WantedGroup) -> Result<GroupId, DmErrorKind> {
        let group =
            OriginGroup::new(origin, Rc::clone(&wanted.map), wanted.geometry.clone(), &self.settings)?;
        let id = GroupId(self.next_group);
        self.next_group = self.next_group.saturating_add(1);
        drop(self.groups.insert(id, group));
        Ok(id)
    }

    /// Mappings may move under a group without its noticing: only while it is held, since what lies under it is then
    /// suspended.
    fn follow_maps(&mut self, id: GroupId, wanted: &WantedGroup) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.map = Rc::clone(&wanted.map);
        for store in group.stores.values_mut() {
            if let Some(wanted) = wanted.stores.get(&store.cow) {
                store.map = Rc::clone(&wanted.map);
            }
        }
    }

    fn detach_unwanted(
        &mut self,
        id: GroupId,
        wanted: &WantedGroup,
        let_go: &mut LetGo,
    ) -> Result<(), DmErrorKind> {
        let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
        let unwanted: Vec<StoreId> =
            group.stores.iter().filter(|(_, store)| !is_kept(store, wanted)).map(|(id, _)| *id).collect();
        for store in unwanted {
            let_go.detach(group, store)?;
        }
        Ok(())
    }

    fn attach_wanted(
        &mut self,
        id: GroupId,
        wanted: WantedGroup,
        opened: &mut Opened,
        let_go: &mut LetGo,
    ) -> Result<(), DmErrorKind> {
        let mut merging = None;
        // Snapshots of the merged view join when there is one.
        let (views, others): (Vec<_>, Vec<_>) = wanted.stores.into_iter().partition(|(_, store)| store.view);
        for (cow, wanted) in others {
            let merge = wanted.merge;
            let store = self.attach_once(id, cow, wanted, opened, let_go)?;
            merging = merging.or(merge.then_some(store));
        }
        if let Some(store) = merging {
            self.start_merge(id, store)?;
        }
        for (cow, wanted) in views {
            self.attach_once(id, cow, wanted, opened, let_go)?;
        }
        Ok(())
    }

    fn start_merge(&mut self, id: GroupId, store: StoreId) -> Result<(), DmErrorKind> {
        let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
        let Some(attached) = group.stores.get_mut(&store).filter(|attached| !attached.merging) else {
            return Ok(());
        };
        let new = Pacing { paused: false, pace: self.new_merges };
        let pacing = *self.pacing.entry(group.origin).or_insert(new);
        group.engine.set_merge_pace(pacing.pace);
        match group.engine.start_merge(store) {
            // As in the kernel: the origin is served as it is, and the status line says `Invalid`.
            Ok(()) | Err(MergeRefused::Invalid(_)) => {
                attached.merging = true;
                if pacing.paused {
                    // The group is held: no window has begun.
                    group.engine.pause_merge();
                }
                Ok(())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Attaches a store, unless it is.
    fn attach_once(
        &mut self,
        id: GroupId,
        cow: Lower,
        wanted: WantedStore,
        opened: &mut Opened,
        let_go: &mut LetGo,
    ) -> Result<StoreId, DmErrorKind> {
        if let Some(group) = self.groups.get_mut(&id)
            && let Some(store) = group.store_on(cow)
        {
            if let Some(attached) = group.stores.get_mut(&store) {
                attached.view = wanted.view;
            }
            return Ok(store);
        }
        self.attach(id, cow, wanted, opened, let_go)
    }

    fn attach(
        &mut self,
        id: GroupId,
        cow: Lower,
        wanted: WantedStore,
        opened: &mut Opened,
        let_go: &mut LetGo,
    ) -> Result<StoreId, DmErrorKind> {
        let (store, opened) = match (opened.remove(&cow), let_go.take(&wanted)) {
            // Read when the table was loaded, before it was let go: what was let go is newer.
            (_, Some(handed_over)) => (self.new_store_id(), handed_over),
            (Some(opened), None) => opened,
            (None, None) => self.open_store(&wanted.map, &wanted.geometry, wanted.len, wanted.chunk)?,
        };
        let WantedStore { map, geometry, len, chunk: _, merge: _, view } = wanted;
        let chunk = opened.chunk_size();
        let when_full = self.when_full_of(cow);
        let Some(group) = self.groups.get_mut(&id) else { return Err(DmErrorKind::Missing) };
        if view {
            group.engine.attach_view(store, len, geometry.clone(), opened)?;
        } else {
            group.engine.attach(store, len, geometry.clone(), opened)?;
        }
        group.engine.set_when_full(store, when_full)?;
        let attached = Attached { cow, map, geometry, chunk, len, merging: false, view };
        drop(group.stores.insert(store, attached));
        Ok(store)
    }

    /// Reads, checks and scrubs a store (W1), or makes it where it is blank (C6).
    pub(crate) fn open_store(
        &mut self,
        map: &Rc<Map>,
        geometry: &SpaceGeometry,
        len: Sectors,
        chunk: ChunkSize,
    ) -> Result<(StoreId, OpenedStore), DmErrorKind> {
        let id = self.new_store_id();
        let open = StoreOpen::new(id, geometry.clone(), len, chunk, OpenAccess::ReadWrite, IoId(0));
        self.opener = Some((open, Rc::clone(map)));
        let outcome = loop {
            let over = self.opener.as_mut().and_then(|(open, _)| open.poll_opened());
            match over {
                Some(Err(error @ OpenError::Device { .. })) => {
                    break Err(self.take_disk_failure().map_or(error.into(), DmErrorKind::Disk));
                }
                Some(opened) => break opened.map_err(DmErrorKind::from),
                None => match self.step(true) {
                    Ok(true) => {}
                    Ok(false) => break Err(DmErrorKind::Suspended),
                    Err(error) => break Err(error.kind),
                },
            }
        };
        self.opener = None;
        Ok((id, outcome?))
    }

    /// Holds a group and runs until nothing of it is under way.
    pub(crate) fn hold_until_quiet(&mut self, id: GroupId) -> Result<(), DmErrorKind> {
        if let Some(group) = self.groups.get_mut(&id) {
            group.engine.hold();
            group.held = true;
        }
        while self.groups.get(&id).is_some_and(|group| !group.engine.is_quiet()) {
            if !self.step(true).map_err(|error| error.kind)? {
                return Err(DmErrorKind::Suspended);
            }
        }
        self.collect_answers();
        Ok(())
    }

    /// Ends a group; what it had not begun is returned.
    fn end_group(&mut self, id: GroupId, let_go: &mut LetGo) -> Result<Vec<u64>, DmErrorKind> {
        self.hold_until_quiet(id)?;
        if let Some(group) = self.groups.get_mut(&id) {
            let free: Vec<StoreId> =
                group.stores.iter().filter(|(_, store)| !store.merging).map(|(id, _)| *id).collect();
            for store in free {
                let_go.detach(group, store)?;
            }
        }
        drop(self.groups.remove(&id));
        Ok(self.take_back(id))
    }
}
