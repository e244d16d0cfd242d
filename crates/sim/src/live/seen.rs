//! What LVM2 sees: a reader of the VG's text of its own, and the rules of what it may see (lvm2.md 1.9; architecture.md,
//! "Merging").
//!
//! What must hold:
//! - Every volume that users see is there under its UUID, as long as it is; nothing else but stores that merge and the
//!   fictional LVs.
//! - `merging_store` stands exactly where a merge is marked, and its fictional LV is not VISIBLE.
//! - While a snapshot of a merged view is there, its fictional LV and every segment of its origin have a type that LVM2 does
//!   not know; nothing else has, and nothing at any other time.

use super::facts::Facts;
use crate::report::Failure;
use crate::volume::vg_world::EXTENT;
use foldback_units::LvmUuid;
use std::collections::{BTreeMap, BTreeSet};

/// The flag behind a segment's type.
const FLAG: &str = "+MERGEVIEW";

#[derive(Clone, Default, Debug)]
struct SeenSegment {
    kind: String,
    extents: u64,
    origin: String,
    cow: String,
    merging: String,
}

/// An LV of the text.
#[derive(Clone, Default, Debug)]
struct SeenLv {
    id: String,
    visible: bool,
    segments: Vec<SeenSegment>,
}

impl SeenLv {
    fn extents(&self) -> u64 {
        self.segments.iter().map(|segment| segment.extents).sum()
    }

    fn fiction(&self) -> Option<&SeenSegment> {
        self.segments.first().filter(|segment| segment.kind.starts_with("snapshot"))
    }

    fn flags(&self) -> Vec<bool> {
        self.segments.iter().map(|segment| segment.kind.ends_with(FLAG)).collect()
    }
}

/// Line by line: `name {`, `}`, `key = value`.
fn read(text: &str) -> BTreeMap<String, SeenLv> {
    let mut lvs: BTreeMap<String, SeenLv> = BTreeMap::new();
    let mut way: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim().trim_end_matches('\0');
        if let Some(name) = line.strip_suffix('{') {
            way.push(name.trim().to_owned());
            continue;
        }
        if line == "}" {
            way.pop();
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        let [_, section, lv, rest @ ..] = way.as_slice() else { continue };
        if section != "logical_volumes" {
            continue;
        }
        let lv = lvs.entry(lv.clone()).or_default();
        match (rest, key) {
            ([], "id") => lv.id = value.replace('-', ""),
            ([], "status") => lv.visible = value.contains("VISIBLE"),
            ([_], "start_extent") => lv.segments.push(SeenSegment::default()),
            _ => {}
        }
        let Some(segment) = lv.segments.last_mut().filter(|_| rest.len() == 1) else { continue };
        match key {
            "type" => value.clone_into(&mut segment.kind),
            "extent_count" => segment.extents = value.parse().unwrap_or(0),
            "origin" => value.clone_into(&mut segment.origin),
            "cow_store" => value.clone_into(&mut segment.cow),
            "merging_store" => value.clone_into(&mut segment.merging),
            _ => {}
        }
    }
    lvs
}

/// Whether the text says what it must.
pub(crate) fn check(facts: &Facts) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&facts.text.bytes);
    let lvs = read(&text);
    let wrong = |what: String| Err(Failure::new("text", what));
    let id_of = |name: &str| lvs.get(name).map_or("", |lv| lv.id.as_str()).to_owned();
    let mut expected: BTreeSet<String> = facts.volumes.keys().map(LvmUuid::compact).collect();
    expected.extend(facts.merges.values().map(|merging| merging.store.compact()));
    let real = lvs.values().filter(|lv| lv.fiction().is_none());
    let there: BTreeSet<String> = real.map(|lv| lv.id.clone()).collect();
    if there != expected {
        return wrong(format!("there are the LVs {there:?}, not {expected:?}"));
    }
    let mut flagged: BTreeSet<String> = BTreeSet::new();
    for (name, lv) in
        lvs.iter().filter_map(|(name, lv)| Some((name, lv.fiction()?))).map(|(n, s)| (n, s.clone()))
    {
        let (store, merges) = if lv.merging.is_empty() { (&lv.cow, false) } else { (&lv.merging, true) };
        let (store, origin) = (id_of(store), id_of(&lv.origin));
        let marked = facts
            .merges
            .iter()
            .any(|(to, merging)| to.compact() == origin && merging.store.compact() == store);
        if marked != merges || lvs[name].visible == merges {
            return wrong(format!("{name}: marked {merges}, visible {}", lvs[name].visible));
        }
        let Some((_, volume)) = facts.volumes.iter().find(|(id, _)| id.compact() == store) else { continue };
        if volume.origin.map(|of| of.compact()) != Some(origin.clone())
            || lv.extents * EXTENT != volume.model.len()
        {
            return wrong(format!("{name} is of another origin or another length"));
        }
        if volume.view {
            flagged.extend([lvs[name].id.clone(), origin]);
        }
    }
    for (id, volume) in facts.volumes.iter().filter(|(_, volume)| volume.origin.is_none()) {
        let extents = lvs.values().find(|lv| lv.id == id.compact()).map_or(0, SeenLv::extents);
        if extents * EXTENT != volume.model.len() {
            return wrong(format!("{id} has {extents} extents"));
        }
    }
    let bad = lvs.iter().find(|(_, lv)| lv.flags().iter().any(|flag| *flag != flagged.contains(&lv.id)));
    bad.map_or(Ok(()), |(name, lv)| wrong(format!("{name} has the flags {:?}", lv.flags())))
}
