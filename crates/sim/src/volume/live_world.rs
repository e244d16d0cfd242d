//! The world of a run with live devices, and what its transactions change.
//!
//! What must hold:
//! - The text that a transaction will commit is known before it is carried out: from its headers, not from its outcome.

use super::change::Change;
use super::live_facts::Facts;
use super::meddler::Meddler;
use super::reader::Text;
use super::vg_world::{self, Repeatable, found_on, paths, put_lv, read_text, unexpected};
use crate::report::Failure;
use foldback_dm_table::{DeviceMapper, DmName, Table, Transaction};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::Group;
use foldback_manager::ops::keep::{self, Keep};
use foldback_manager::ops::merge as plan;
use foldback_manager::ops::snapshot_create::{self, NewSnapshot};
use foldback_manager::ops::{Layout, SizeRequest, lv_remove};
use foldback_manager::store::{DiskSet, FoundVg, write_lv};
use foldback_testkit::cow::Builder;
use foldback_testkit::{Cut, FaultKind, Image, InjectedFault, Order, Rng, Sector, SimDisks};
use foldback_units::{LvName, Sectors};
use foldback_user_dm::UserDm;
use std::collections::BTreeMap;

/// One transaction.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Take(LvName),
    Start(LvName),
    /// `--namesnapshot`: from then on the origin is called as the snapshot was.
    Keep(LvName),
    End(LvName),
    Remove(LvName),
}

/// What the only origin is called at first.
pub(crate) fn origin_name() -> Result<LvName, Failure> {
    LvName::new("origin").map_err(|error| unexpected("a name", error))
}

/// What stops a life.
pub(crate) fn trouble(disks: &SimDisks, rng: &mut Rng) {
    if rng.one_in(2) {
        disks.power_off_after(rng.below(400));
    } else {
        let kind = *rng.pick(&[FaultKind::Any, FaultKind::Read, FaultKind::Write, FaultKind::Flush]);
        let (after, times) = (rng.between(30, 300), rng.between(1, 2));
        disks.inject(InjectedFault { kind, disk: None, after, times });
    }
}

/// A VG with an origin and up to four snapshots that have a history.
pub(crate) fn make_world(seed: u64, physical: &[u64], rng: &mut Rng) -> Result<(Image, Facts), Failure> {
    let image = vg_world::used_disks(physical.len() as u64, 130);
    let disks = SimDisks::new(image, physical, Order::Any, seed);
    let mut environment = Repeatable::new(seed);
    let mut meddler = Meddler::new(disks.clone(), None);
    vg_world::make_vg(&mut meddler, &mut environment)?;
    let origin = origin_name()?;
    let mut changes = vec![Change::Create { name: origin.clone(), extents: rng.between(2, 10) as u32 }];
    for index in 0..rng.below(5) {
        let name = LvName::new(&format!("snap{index}")).map_err(|error| unexpected("a name", error))?;
        changes.push(Change::Snapshot {
            name,
            origin: origin.clone(),
            extents: 40,
            chunk: 8 << rng.below(2),
        });
    }
    for change in &changes {
        let made = change.make(&mut meddler, &mut environment);
        made.map_err(|error| unexpected("making the VG", format!("{error:?}")))?;
    }
    let mut image = disks.power_off(Some(Cut::LoseAll));
    let found = found_on(&image)?;
    let len = vg_world::lv_content(&found, &origin, &image)?.len() as u64;
    let content: Vec<Sector> = (0..len).map(|at| Sector::Stamp(0x0100_0000_0000 | at)).collect();
    put_lv(&found, &origin, &content, &mut image)?;
    let mut facts = Facts::new(found, read_text(&image)?, origin, content.clone());
    for change in &changes {
        let Change::Snapshot { name, chunk, .. } = change else { continue };
        let chunk = u64::from(*chunk);
        let device = vg_world::lv_content(&facts.found, name, &image)?.len() as u64;
        let mut builder = Builder::new(device, chunk, rng);
        let mut view = content.clone();
        for old in 0..len / chunk {
            if rng.one_in(3) {
                let data = vec![Sector::Stamp(0x0200_0000_0000 | rng.below(1 << 32)); chunk as usize];
                builder.push(old, &data);
                view[(old * chunk) as usize..((old + 1) * chunk) as usize].clone_from_slice(&data);
            }
        }
        put_lv(&facts.found, name, &builder.finish(true, false), &mut image)?;
        facts.add(name.clone(), view);
    }
    Ok((image, facts))
}

/// The VG after the plan; what must lie on new LVs is written.
pub(crate) fn changed(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    origin: &LvName,
    plan: &Plan,
    environment: &mut Repeatable,
) -> Result<Option<Vg>, Failure> {
    match plan {
        Plan::Take(name) => {
            let new = NewSnapshot {
                origin: origin.clone(),
                name: Some(name.clone()),
                size: SizeRequest::Extents(40),
                chunk_sectors: 8,
                layout: Layout::LINEAR,
                pvs: Vec::new(),
                read_only: false,
                tags: Vec::new(),
            };
            let Ok(planned) = snapshot_create::plan(&found.vg, &new, environment) else { return Ok(None) };
            if let Some(store) = planned.vg.lv(name) {
                // A blank store: the first to open it makes it (C6).
                write_lv(set, found, store, Sectors(0), &[0; 4096])
                    .map_err(|error| unexpected("blanking a store", error))?;
            }
            Ok(Some(planned.vg))
        }
        Plan::Start(name) => {
            let Ok(merge) = plan::check(&found.vg, name) else { return Ok(None) };
            match plan::mark(&found.vg, &merge) {
                plan::Mark::Marked(vg) => Ok(Some(*vg)),
                plan::Mark::Already => Ok(None),
            }
        }
        Plan::Keep(name) => match keep::check(&found.vg, name) {
            Ok(Keep::Fresh(merge)) => Ok(Some(*keep::swap_and_mark(&found.vg, &merge).vg)),
            _ => Ok(None),
        },
        Plan::Remove(name) => {
            let removal = lv_remove::plan_several(&found.vg, std::slice::from_ref(name), &|_| true);
            Ok(removal.ok().map(|removal| removal.vg))
        }
        Plan::End(name) => {
            let Some(id) = found.vg.lv(name).map(|lv| lv.id) else { return Ok(None) };
            match plan::finish(&found.vg, &id) {
                plan::Finish::Finished(vg) => Ok(Some(*vg)),
                plan::Finish::Gone | plan::Finish::NotMerging => Ok(None),
            }
        }
    }
}

/// The text that the transaction's headers commit: put on a copy of the disks, and read.
pub(crate) fn after_text(transaction: &Transaction, image: &Image, seqno: u64) -> Result<Text, Failure> {
    let mut image = image.clone();
    let paths = paths(image.disks.len());
    for header in &transaction.headers {
        let disk = paths.iter().position(|path| *path == header.pv.0).unwrap_or_default();
        image.disks[disk][(header.offset.get() / 512) as usize] = Sector::from_bytes(&header.commit[..]);
    }
    let text = read_text(&image)?;
    if text.seqno == seqno + 1 {
        return Ok(text);
    }
    Err(Failure::new("commit", format!("the headers commit seqno {} after {seqno}", text.seqno)))
}

/// Every live table is the group's; nothing is suspended, nothing is left over.
pub(crate) fn same_tables(dm: &mut UserDm<Meddler>, group: &Group) -> Result<(), Failure> {
    let mut expected: BTreeMap<DmName, Table> = BTreeMap::new();
    expected.insert(group.origin.top.name.clone(), group.origin_table());
    if !group.snapshots.is_empty() {
        expected.insert(group.origin.real.name.clone(), group.origin.table.clone());
    }
    for snapshot in &group.snapshots {
        expected.insert(snapshot.cow.name.clone(), snapshot.cow_table.clone());
        expected.insert(snapshot.top.name.clone(), group.snapshot_table(snapshot));
    }
    let devices = dm.list().map_err(|error| Failure::new("transact", format!("listing: {error}")))?;
    for info in devices {
        if info.suspended || info.inactive {
            return Err(Failure::new("transact", format!("{info:?} after the transaction")));
        }
        let table = dm.table(&info.name).ok().flatten();
        if table.as_ref() != expected.get(&info.name) || table.is_none() {
            return Err(Failure::new("transact", format!("{} has the table {table:?}", info.name)));
        }
        expected.remove(&info.name);
    }
    match expected.keys().next() {
        None => Ok(()),
        Some(name) => Err(Failure::new("transact", format!("there is no device {name}"))),
    }
}
