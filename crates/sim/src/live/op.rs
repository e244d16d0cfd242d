//! Operations on live volumes: what is asked of the manager, and what that makes of the volumes.
//!
//! What must hold:
//! - The VG comes from the manager's own plans, what it makes of the volumes from [`Facts`]: neither knows the other.

use super::bug::LiveBug;
use super::facts::Facts;
use crate::report::{Failure, Scene};
use crate::volume::vg_world::{Repeatable, unexpected};
use foldback_dm_table::{HeaderWrite, Transaction};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::{self, Change};
use foldback_manager::check;
use foldback_manager::ops::extend::{self, Amount, Extension, Situation};
use foldback_manager::ops::keep::{self, Keep};
use foldback_manager::ops::merge::{self, Begun, Finish, Mark};
use foldback_manager::ops::snapshot_create::{self, NewSnapshot, WhileMerging};
use foldback_manager::ops::undo::{self, Undo};
use foldback_manager::ops::{Layout, SizeRequest, lv_remove, lv_rename};
use foldback_manager::store::{DiskSet, FoundVg};
use foldback_manager::{apply, ops};
use foldback_units::{ChunkSize, LvName, LvmUuid};

/// A snapshot that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) origin: LvmUuid,
    pub(crate) name: LvName,
    pub(crate) extents: u32,
    pub(crate) chunk: u32,
    pub(crate) hold: bool,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Snapshots at one instant.
    Take(Vec<Wish>),
    /// The snapshot that undoes the merge of the first, before that begins.
    TakeUndo(LvmUuid, LvName),
    /// `--nameorigin`.
    Start(LvmUuid),
    /// `--namesnapshot`.
    Keep(LvmUuid),
    /// `--onactivate`.
    Mark(LvmUuid),
    Cancel(LvmUuid),
    End(LvmUuid),
    Remove(LvmUuid),
    ExtendStore(LvmUuid, u32),
    Extend(LvmUuid, u32),
    Rename(LvmUuid, LvName),
}

/// What the manager made of an operation.
pub(crate) struct Made {
    pub(crate) vg: Vg,
    /// Origins of the groups that it changes.
    pub(crate) touched: Vec<LvmUuid>,
    /// Stores that have to be made before the commit, and their chunk size.
    pub(crate) stores: Vec<(LvName, u32)>,
}

fn name_of(found: &FoundVg, id: &LvmUuid) -> Option<LvName> {
    found.vg.lvs.iter().find(|lv| lv.id == *id).map(|lv| lv.name.clone())
}

impl Op {
    /// The VG after it; `None` where the manager refuses it. `begun` is what the live tables say of the group's merge.
    pub(crate) fn plan(
        &self,
        set: &mut DiskSet<'_>,
        found: &FoundVg,
        facts: &Facts,
        (begun, bug): (bool, Option<LiveBug>),
        environment: &mut Repeatable,
    ) -> Result<Option<Made>, Failure> {
        let vg = &found.vg;
        let named = |id: &LvmUuid| name_of(found, id).ok_or_else(|| unexpected("a volume", "it is gone"));
        let one =
            |id: &LvmUuid, vg: Vg| Some(Made { vg, touched: vec![facts.group_of(id)], stores: Vec::new() });
        Ok(match self {
            Self::Take(wishes) => take(found, wishes, begun, environment)?,
            Self::TakeUndo(id, name) => undo_first(set, found, facts, (id, name), environment)?,
            Self::Start(id) | Self::Mark(id) => match merge::check(vg, &named(id)?) {
                Err(_) => None,
                Ok(merge) => match merge::mark(vg, &merge) {
                    Mark::Marked(vg) => one(id, *vg),
                    Mark::Already => one(id, vg.clone()),
                },
            },
            Self::Keep(id) => match keep::check(vg, &named(id)?) {
                Ok(Keep::Fresh(merge)) => one(id, *keep::swap_and_mark(vg, &merge).vg),
                _ => None,
            },
            Self::Cancel(id) => {
                let said =
                    if begun && bug != Some(LiveBug::CancelTooLate) { Begun::Maybe } else { Begun::No };
                let origin = facts.merges.iter().find(|(_, merging)| merging.store == *id);
                let origin = origin.map_or(*id, |(origin, _)| *origin);
                merge::cancel(vg, &named(id)?, said).ok().and_then(|vg| one(&origin, vg))
            }
            Self::End(id) => {
                let store = facts.merges.get(id).map(|merging| merging.store);
                match store.map(|store| merge::finish(vg, &store)) {
                    Some(Finish::Finished(vg)) => one(id, *vg),
                    _ => None,
                }
            }
            Self::Remove(id) => {
                let planned = lv_remove::plan_several(vg, &[named(id)?], &|_| true);
                planned.ok().and_then(|removal| one(id, removal.vg))
            }
            Self::ExtendStore(id, by) | Self::Extend(id, by) => {
                let amount = Amount::By(SizeRequest::Extents(*by));
                let wish = Extension { lv: named(id)?, amount, pvs: Vec::new(), policy: None };
                let planned = extend::plan(vg, &wish, Situation { active: true, as_lvm2: false });
                planned.ok().filter(|planned| planned.changed).and_then(|planned| one(id, planned.vg))
            }
            Self::Rename(id, new) => {
                let planned = lv_rename::plan(vg, &named(id)?, new.as_str());
                planned.ok().and_then(|planned| one(id, planned.vg))
            }
        })
    }

    pub(crate) fn scene(&self) -> Scene {
        match self {
            Self::Take(_) | Self::TakeUndo(..) => Scene::LiveTaken,
            Self::Start(_) => Scene::LiveStarted,
            Self::Keep(_) => Scene::LiveKept,
            Self::Mark(_) => Scene::LiveMarked,
            Self::Cancel(_) => Scene::LiveCancelled,
            Self::End(_) => Scene::LiveEnded,
            Self::Remove(_) => Scene::LiveRemoved,
            Self::ExtendStore(..) => Scene::LiveStoreExtended,
            Self::Extend(..) => Scene::LiveExtended,
            Self::Rename(..) => Scene::LiveRenamed,
        }
    }

    /// What it makes of the volumes. `after` bears the VG after it already.
    pub(crate) fn apply(&self, before: &Facts, after: &mut Facts) -> Result<(), Failure> {
        match self {
            Self::Take(wishes) => wishes.iter().try_for_each(|wish| {
                let id = new_id(after, &wish.name)?;
                after.take(&wish.origin, id, wish.hold)
            }),
            Self::TakeUndo(id, name) => {
                let new = new_id(after, name)?;
                after.take(&before.group_of(id), new, true)?;
                after.volume(&new)?.undo = true;
                Ok(())
            }
            Self::Start(id) => {
                let origin = before.group_of(id);
                after.mark(id)?;
                after.begin(&origin)
            }
            Self::Mark(id) => after.mark(id),
            Self::Keep(id) => after.keep(id),
            Self::Cancel(id) => {
                after.merges.retain(|_, merging| merging.store != *id);
                Ok(())
            }
            Self::End(id) => {
                after.end(id);
                Ok(())
            }
            Self::Remove(id) => {
                let mut gone = after.snapshots_of(id);
                gone.push(*id);
                let deferred = after.deferred(&before.group_of(id)) == Some(*id);
                if deferred {
                    after.merges.remove(&before.group_of(id));
                }
                after.remove(&gone);
                Ok(())
            }
            Self::ExtendStore(id, _) => after.weigh(id),
            Self::Extend(id, by) => after.extend(id, *by),
            Self::Rename(..) => Ok(()),
        }
    }

    /// The transaction for the groups before and after.
    pub(crate) fn transaction(&self, changes: &[Change], headers: Vec<HeaderWrite>) -> Transaction {
        let pair = changes.first().and_then(|change| Some((&change.before, change.after.as_ref()?)));
        match (self, pair) {
            (Self::Take(_) | Self::TakeUndo(..), _) => activation::take_snapshots(changes, headers),
            (Self::Start(_), Some((before, after))) => activation::start_merge(before, after, headers),
            (Self::Keep(_), Some((before, after))) => activation::keep_snapshot(before, after, headers),
            (Self::End(_), Some((before, after))) => activation::finish_merge(before, after, headers),
            (Self::Remove(_), _) => activation::remove_lvs(changes, headers),
            (Self::ExtendStore(..) | Self::Extend(..), Some((before, after))) => {
                activation::reload(before, after, headers)
            }
            (Self::Rename(..), Some((before, after))) => activation::rename(before, after, headers),
            _ => Transaction { headers, ..Transaction::default() },
        }
    }
}

fn new_id(after: &Facts, name: &LvName) -> Result<LvmUuid, Failure> {
    let lv = after.found.vg.lv(name);
    lv.map(|lv| lv.id)
        .ok_or_else(|| Failure::new("plan", format!("the new snapshot {name} is not in the VG")))
}

fn take(
    found: &FoundVg,
    wishes: &[Wish],
    begun: bool,
    environment: &mut Repeatable,
) -> Result<Option<Made>, Failure> {
    let mut new = Vec::new();
    for wish in wishes {
        new.push(NewSnapshot {
            origin: name_of(found, &wish.origin).ok_or_else(|| unexpected("an origin", "it is gone"))?,
            name: Some(wish.name.clone()),
            size: SizeRequest::Extents(wish.extents),
            chunk_sectors: wish.chunk,
            layout: Layout::LINEAR,
            pvs: Vec::new(),
            read_only: false,
            tags: Vec::new(),
        });
    }
    let merging = if begun { WhileMerging::Running } else { WhileMerging::Pending };
    let Ok(planned) = snapshot_create::plan_several(&found.vg, &new, merging, environment) else {
        return Ok(None);
    };
    let stores = wishes.iter().map(|wish| (wish.name.clone(), wish.chunk)).collect();
    let mut touched: Vec<LvmUuid> = wishes.iter().map(|wish| wish.origin).collect();
    touched.sort();
    touched.dedup();
    Ok(Some(Made { vg: planned.vg, touched, stores }))
}

fn undo_first(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    facts: &Facts,
    (id, name): (&LvmUuid, &LvName),
    environment: &mut Repeatable,
) -> Result<Option<Made>, Failure> {
    let snapshot = name_of(found, id).ok_or_else(|| unexpected("a snapshot", "it is gone"))?;
    let Ok(merge) = merge::check(&found.vg, &snapshot) else { return Ok(None) };
    let report = check::check(set, found, &snapshot).map_err(|error| unexpected("checking", error))?;
    let Some(store) = report.store else { return Ok(None) };
    let exceptions = store.records.len() as u64;
    let wish = Undo { name: Some(name.clone()), size: None, pvs: Vec::new() };
    let Ok(planned) = undo::plan(&found.vg, &merge, &wish, exceptions, environment) else { return Ok(None) };
    let chunk = found.vg.snapshots().of_cow(&snapshot).map_or(8, |s| s.segment.chunk_size.sectors());
    let stores = vec![(name.clone(), chunk)];
    Ok(Some(Made { vg: planned.vg, touched: vec![facts.group_of(id)], stores }))
}

/// Makes the stores that the planned VG has new.
pub(crate) fn prepare(set: &mut DiskSet<'_>, found: &FoundVg, made: &Made) -> Result<(), Failure> {
    for (store, chunk) in &made.stores {
        let chunk = ChunkSize::from_sectors(*chunk).map_err(|error| unexpected("a chunk size", error))?;
        apply::prepare_stores(set, found, &made.vg, std::slice::from_ref(store), chunk)
            .map_err(|error| unexpected("preparing a store", error))?;
    }
    Ok(())
}

/// The VG with the swap of `--namesnapshot` taken back; `store` bears the old origin's UUID.
pub(crate) fn unswapped(found: &FoundVg, store: &LvmUuid) -> Result<Vg, Failure> {
    let merge = name_of(found, store).map(|name| merge::check(&found.vg, &name));
    let merge: ops::merge::Merge = merge
        .and_then(Result::ok)
        .ok_or_else(|| Failure::new("plan", "the swap cannot be taken back: there is no merge"))?;
    Ok(*keep::take_back(&found.vg, &merge))
}
