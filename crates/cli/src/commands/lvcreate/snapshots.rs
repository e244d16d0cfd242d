//! `lvcreate -s`: snapshots of one LV or of several, at one instant.
//!
//! What must hold (architecture.md, "Merging", "Freezing"):
//! - Several are one change: all of them are taken, at one instant, or none.
//! - While another snapshot merges into a live origin the new one is of the merged view; of an origin that is not live it
//!   is refused in LVM2's words.

use super::{LvCreate, Permission, pv_keys, tags};
use crate::backend::{Monitor, monitor, read_ahead_as_said};
use crate::carried::{Carrier, Live};
use crate::changing::{Change, refused, tell};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::LiveVg;
use crate::names::Target;
use crate::options::YesNo;
use crate::sizes::KibSize;
use crate::switching::{Otherwise, Switch};
use foldback_frontend_fuse::{mounted_on, write_back};
use foldback_lvm2_format::vg::{PvKey, Vg};
use foldback_manager::activation::{Change as GroupChange, take_snapshots};
use foldback_manager::apply::{ApplyError, commit, prepare_stores};
use foldback_manager::ops::names::user_lv_name;
use foldback_manager::ops::snapshot_create::{
    CHUNK_MIN, NewSnapshot, PlannedSnapshots, WhileMerging, chunk_size, plan_several,
};
use foldback_manager::ops::{Refusal, SizeRequest};
use foldback_manager::report::Units;
use foldback_manager::store::{DiskSet, FoundVg};
use foldback_units::{LvName, Sectors, VgName, dm_name};
use std::path::{Path, PathBuf};

impl LvCreate {
    /// Snapshots of one LV or of several, as one change.
    pub(super) fn snapshots(
        &self,
        change: &mut Change<'_>,
        live: Option<Live>,
        found: &FoundVg,
        origin: LvName,
        (name, size): (Option<LvName>, SizeRequest),
    ) -> Result<Exit, CliError> {
        let context = change.context;
        let (more, pvs) = self.origins_and_pvs(context, found)?;
        let origins: Vec<LvName> = std::iter::once(origin).chain(more).collect();
        for (index, origin) in origins.iter().enumerate() {
            let vg = &found.vg.name;
            if found.vg.lv(origin).is_none() {
                return Err(CliError::failed(format!(
                    "Snapshot origin LV {origin} not found in Volume group {vg}."
                )));
            }
            if origins.iter().take(index).any(|other| other == origin) {
                return Err(CliError::usage(&context.command, format!("{vg}/{origin} is named twice.")));
            }
        }
        let chunk = self.chunksize.map_or(Sectors(CHUNK_MIN.into()), |KibSize(size)| size);
        let chunk_sectors = u32::try_from(chunk.get()).unwrap_or(u32::MAX);
        let chunk = chunk_size(chunk_sectors).map_err(|refusal| refused(context, &refusal))?;
        let mut planned =
            PlannedSnapshots { vg: found.vg.clone(), lvs: Vec::new(), notices: Vec::new(), done: Vec::new() };
        for origin in &origins {
            let new = NewSnapshot {
                origin: origin.clone(),
                name: named_after(context, origin, name.as_ref(), origins.len() > 1)?,
                size,
                chunk_sectors,
                layout: self.layout(),
                pvs: pvs.clone(),
                read_only: self.permission == Some(Permission::Read),
                tags: tags(context, &self.addtag)?,
            };
            let merging = while_merging(live.as_ref(), &found.vg, origin);
            let one = plan_several(&planned.vg, &[new], merging, &mut change.machine)
                .map_err(|refusal| in_extents(context, &found.vg, &refusal))?;
            planned.vg = one.vg;
            planned.lvs.extend(one.lvs);
            planned.notices.extend(one.notices);
            planned.done.extend(one.done);
        }
        planned.lvs.iter().for_each(|lv| self.mark(context.console, &mut planned.vg, lv));
        tell(context, &planned.notices);
        if self.freeze {
            change.freeze = mounts(context, live.as_ref(), &found.vg, &origins)?;
        }
        if !change.is_test() {
            let prepare =
                |set: &mut DiskSet<'_>| prepare_stores(set, found, &planned.vg, &planned.lvs, chunk);
            if let Some(mut live) = live {
                let next = snapshots_live(change, &mut live, (found, &planned.vg), &origins, prepare)?;
                if matches!(live.by, Carrier::Kernel(_)) {
                    if self.readahead.is_some() {
                        planned.lvs.iter().for_each(|lv| read_ahead_as_said(context.console, &next, lv));
                    }
                    let wish = match self.ignored.monitor {
                        Some(YesNo::Yes) => Some(Monitor::Yes),
                        Some(YesNo::No) => None,
                        None => Some(Monitor::Configured),
                    };
                    wish.map_or(Ok(()), |wish| monitor(context, &change.session, &planned.vg, wish))?;
                }
            } else {
                // A volume that somebody imports into or merges has no one state that a snapshot could keep.
                let _data = change.session.hold_vg(found)?;
                change.apply(&found.vg, |set, machine| {
                    prepare(set)?;
                    commit(set, found, planned.vg.clone(), machine)
                })?;
            }
        }
        tell(context, &planned.done);
        Ok(Exit::Success)
    }

    /// Writes back the file systems that are to be frozen, before anything is locked.
    pub(super) fn write_back(&self, context: &Context, vg: &VgName, origin: &LvName) -> Result<(), CliError> {
        let Some(live) = LiveVg::find(vg, &context.options.disks())? else { return Ok(()) };
        let more = self.pvs.iter().filter_map(|word| match Target::parse(word) {
            Ok(Target::Lv(_, lv)) => Some(lv),
            _ => None,
        });
        let origins: Vec<LvName> = more.chain([origin.clone()]).collect();
        let devices: Vec<String> = origins.iter().map(|lv| dm_name(vg, lv, None)).collect();
        let blocks = live.info.lvs.iter().filter(|lv| devices.contains(&lv.device));
        for block in blocks.filter_map(|lv| lv.block.as_ref()) {
            let points = mounted_on(Path::new(block)).unwrap_or_default();
            write_back(&points).map_err(|(point, error)| {
                CliError::failed(format!("writing back {}: {error}.", point.display()))
            })?;
        }
        Ok(())
    }

    /// What stands behind the first origin: more of them, and PVs.
    fn origins_and_pvs(
        &self,
        context: &Context,
        found: &FoundVg,
    ) -> Result<(Vec<LvName>, Vec<PvKey>), CliError> {
        let (mut origins, mut pvs) = (Vec::new(), Vec::new());
        for word in &self.pvs {
            match Target::parse(word) {
                Ok(Target::Lv(vg, lv)) if vg == found.vg.name && found.vg.lv(&lv).is_some() => {
                    origins.push(lv);
                }
                _ => pvs.push(word.clone()),
            }
        }
        Ok((origins, pv_keys(context, found, &pvs)?))
    }
}

/// A refusal, with LVM2's sizes where it names sectors.
fn in_extents(context: &Context, vg: &Vg, refusal: &Refusal) -> CliError {
    let Refusal::FewerThanThreeChunks(sectors) = refusal else { return refused(context, refusal) };
    let size = Sectors(*sectors);
    let extents = vg.extent_size.to_hold(size).unwrap_or(u32::MAX);
    let words = Units::in_words(vg.extent_size.of(extents));
    CliError::failed(format!("Snapshot volume cannot be smaller than 3 chunks ({extents} extents, {words})."))
}

/// The name of a snapshot; with several origins the one that was given stands behind each one's own.
fn named_after(
    context: &Context,
    origin: &LvName,
    name: Option<&LvName>,
    several: bool,
) -> Result<Option<LvName>, CliError> {
    match name {
        Some(name) if several => {
            user_lv_name(&format!("{origin}_{name}")).map(Some).map_err(|refusal| refused(context, &refusal))
        }
        name => Ok(name.cloned()),
    }
}

/// What a snapshot of `origin` would be of, should another one merge into it.
fn while_merging(live: Option<&Live>, vg: &Vg, origin: &LvName) -> WhileMerging {
    // The kernel has no snapshots of a merged view.
    let live = live.filter(|live| matches!(live.by, Carrier::Daemon(_)));
    match live.and_then(|live| live.of(vg, origin)) {
        None => WhileMerging::Refused,
        Some(lv) if lv.merges => WhileMerging::Running,
        Some(_) => WhileMerging::Pending,
    }
}

/// Where the file systems of these origins are mounted.
fn mounts(
    context: &Context,
    live: Option<&Live>,
    vg: &Vg,
    origins: &[LvName],
) -> Result<Vec<PathBuf>, CliError> {
    let mut points = Vec::new();
    if live.is_some_and(|live| matches!(live.by, Carrier::Kernel(_))) {
        // It freezes what is mounted itself while it suspends.
        return Ok(points);
    }
    for origin in origins {
        let block = live.and_then(|live| live.of(vg, origin)).and_then(|lv| lv.block.clone());
        let here = block.map_or(Ok(Vec::new()), |block| mounted_on(Path::new(&block)));
        let here =
            here.map_err(|error| CliError::failed(format!("looking for mounts of {origin}: {error}.")))?;
        if here.is_empty() {
            context.console.warn(&format!("{}/{origin} is not mounted here: nothing to freeze.", vg.name));
        }
        points.extend(here);
    }
    Ok(points)
}

/// Takes snapshots in a VG that is served; of origins that are not live it is a change of metadata alone.
pub(in crate::commands) fn snapshots_live(
    change: &mut Change<'_>,
    live: &mut Live,
    (found, planned): (&FoundVg, &Vg),
    origins: &[LvName],
    prepare: impl FnOnce(&mut DiskSet<'_>) -> Result<(), ApplyError>,
) -> Result<FoundVg, CliError> {
    let up: Vec<LvName> = origins.iter().filter(|origin| live.has(&found.vg, origin)).cloned().collect();
    change.apply_live(live, (found, planned.clone()), &[], prepare, |live, next, headers| {
        let changes = live.all_as_they_run(GroupChange::all(found, next, &up)?);
        let transaction = take_snapshots(&changes, headers);
        Ok(Switch { transaction, otherwise: Otherwise::Back(changes) })
    })
}
