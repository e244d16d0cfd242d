//! The VG of a run: one to three origins, some with snapshots that have a history.

use super::bug::LiveBug;
use super::facts::{Facts, Volume};
use super::{Run, seen};
use crate::report::Failure;
use crate::volume::change::Change;
use crate::volume::meddler::Meddler;
use crate::volume::vg_world::{self, Repeatable, found_on, lv_content, put_lv, read_text, unexpected};
use foldback_testkit::cow::Builder;
use foldback_testkit::{Cut, Image, Order, Rng, Sector, SimDisks, VolumeModel};
use foldback_units::{Bytes, LvName};
use foldback_user_dm::Settings;
use std::collections::{BTreeMap, BTreeSet};

/// Extents of each PV.
const EXTENTS: u64 = 150;

pub(crate) fn name(text: &str) -> Result<LvName, Failure> {
    LvName::new(text).map_err(|error| unexpected("a name", error))
}

pub(crate) fn make(
    seed: u64,
    traced: bool,
    bug: Option<LiveBug>,
    rng: &mut Rng,
) -> Result<(Run, SimDisks), Failure> {
    let count = rng.between(1, 2);
    let physical: Vec<u64> = (0..count).map(|_| *rng.pick(&[1, 8])).collect();
    let settings = Settings {
        scratch: Bytes(512 * 32 * rng.between(1, 8)),
        window: Bytes(512 * *rng.pick(&[8, 32, 64])),
        depth: rng.between(1, 8) as u32,
    };
    let disks = SimDisks::new(vg_world::used_disks(count, EXTENTS), &physical, Order::Any, seed);
    let mut environment = Repeatable::new(seed);
    let mut meddler = Meddler::new(disks.clone(), None);
    vg_world::make_vg(&mut meddler, &mut environment)?;
    let changes = changes(rng)?;
    for change in &changes {
        let made = change.make(&mut meddler, &mut environment);
        made.map_err(|error| unexpected("making the VG", format!("{error:?}")))?;
    }
    let mut image = disks.power_off(Some(Cut::LoseAll));
    let facts = fill(&changes, &mut image, rng)?;
    seen::check(&facts)?;
    let run = Run {
        seed,
        bug,
        physical,
        settings,
        facts,
        coming: Vec::new(),
        active: BTreeSet::new(),
        first_verbs: BTreeMap::new(),
        now: 1,
        next_write: 0,
        transactions: 0,
        names: 0,
        steps: 0,
        trace: traced.then(Vec::new),
    };
    let disks = run.disks_on(image, *rng.pick(&[Order::Any, Order::Newest, Order::LateReads]));
    Ok((run, disks))
}

fn changes(rng: &mut Rng) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for origin in 0..rng.between(1, 3) {
        let origin = name(&format!("origin{origin}"))?;
        changes.push(Change::Create { name: origin.clone(), extents: rng.between(1, 6) as u32 });
        for _ in 0..rng.below(3) {
            let name = name(&format!("snap{}", changes.len()))?;
            let (extents, chunk) = (rng.between(6, 14) as u32, 8 << rng.below(3));
            changes.push(Change::Snapshot { name, origin: origin.clone(), extents, chunk });
        }
    }
    Ok(changes)
}

/// Gives all of it content.
fn fill(changes: &[Change], image: &mut Image, rng: &mut Rng) -> Result<Facts, Failure> {
    let found = found_on(image)?;
    let mut facts =
        Facts { text: read_text(image)?, found, volumes: BTreeMap::new(), merges: BTreeMap::new() };
    let mut contents: BTreeMap<LvName, Vec<Sector>> = BTreeMap::new();
    for change in changes {
        let (name, origin) = match change {
            Change::Create { name, .. } => (name, None),
            Change::Snapshot { name, origin, .. } => (name, Some(origin)),
            Change::Remove { .. } | Change::MarkMerge { .. } => continue,
        };
        let id = facts.found.vg.lv(name).map(|lv| lv.id).ok_or_else(|| unexpected("an LV", "missing"))?;
        let content = if let Change::Snapshot { chunk, origin, .. } = change {
            history(&facts, name, &contents[origin], u64::from(*chunk), image, rng)?
        } else {
            let len = lv_content(&facts.found, name, image)?.len() as u64;
            let base = 0x0100_0000_0000 | (contents.len() as u64) << 24;
            let content: Vec<Sector> = (0..len).map(|at| Sector::Stamp(base | at)).collect();
            put_lv(&facts.found, name, &content, image)?;
            content
        };
        contents.insert(name.clone(), content.clone());
        let of = origin.and_then(|origin| facts.found.vg.lv(origin)).map(|lv| lv.id);
        let mut volume = Volume::new(VolumeModel::new(content), of);
        volume.hold = rng.one_in(2);
        facts.volumes.insert(id, volume);
        if of.is_some() {
            facts.weigh(&id)?;
        }
    }
    Ok(facts)
}

fn history(
    facts: &Facts,
    name: &LvName,
    origin: &[Sector],
    chunk: u64,
    image: &mut Image,
    rng: &mut Rng,
) -> Result<Vec<Sector>, Failure> {
    let device = lv_content(&facts.found, name, image)?.len() as u64;
    let mut builder = Builder::new(device, chunk, rng);
    let mut view = origin.to_vec();
    for old in 0..(origin.len() as u64).div_ceil(chunk) {
        if rng.one_in(2) {
            let range = (old * chunk) as usize..((old + 1) * chunk).min(origin.len() as u64) as usize;
            let data = vec![Sector::Stamp(0x0200_0000_0000 | rng.below(1 << 32)); range.len()];
            if !builder.push(old, &data) {
                break;
            }
            view[range].clone_from_slice(&data);
        }
    }
    put_lv(&facts.found, name, &builder.finish(true, false), image)?;
    Ok(view)
}
