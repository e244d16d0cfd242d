//! From VG to tree, with keys and LVs in LVM2's order (lvm2.md 1.7).
//!
//! What must hold:
//! - `Vg::from_section(name, vg.to_section())` gives `vg` again, LVs in the order of writing.
//! - Items without a field of ours are written: those that LVM2 knows in their place, the others behind all keys.
//! - Visible LVs come before hidden ones, each group in the VG's order.

use super::fields::WRITE_LOCKED;
use super::snapshots::SnapshotLinks;
use super::types::{AllocationPolicy, Area, AreaOn, Lv, Pv, Segment, SegmentKind, Vg};
use super::words::{Flags, LvStatus, VgStatus, Word};
use crate::text::{Item, Scalar, Section};
use foldback_units::TagName;
use std::collections::BTreeSet;

const VG_KEYS: &[&str] = &[
    "id",
    "seqno",
    "format",
    "status",
    "flags",
    "tags",
    "system_id",
    "lock_type",
    "lock_args",
    "extent_size",
    "max_lv",
    "max_pv",
    "allocation_policy",
    "profile",
    "metadata_copies",
];
const PV_KEYS: &[&str] = &[
    "id",
    "device",
    "device_id_type",
    "device_id",
    "status",
    "flags",
    "tags",
    "dev_size",
    "pe_start",
    "pe_count",
    "ba_start",
    "ba_size",
];
const LV_KEYS: &[&str] = &[
    "id",
    "status",
    "flags",
    "tags",
    "creation_time",
    "creation_host",
    "lock_args",
    "allocation_policy",
    "profile",
    "read_ahead",
    "major",
    "minor",
    "segment_count",
];
const SEGMENT_KEYS: &[&str] = &["start_extent", "extent_count", "reshape_count", "type", "tags"];

/// Puts items into the order of `known`; the others keep theirs, behind.
fn ordered(mut items: Vec<Item>, known: &[&str]) -> Section {
    items.sort_by_key(|item| known.iter().position(|key| *key == item.key).unwrap_or(known.len()));
    Section { items }
}

fn strings<'a>(key: &str, texts: impl Iterator<Item = &'a str>) -> Item {
    Item::array(key, texts.map(Scalar::from).collect())
}

/// `status` and `flags` of what can be written to; see [`Vg::hides_write`].
fn status_and_flags<S: Word, F: Word>(words: &BTreeSet<S>, flags: &Flags<F>, hidden: Option<S>) -> [Item; 2] {
    let hidden = hidden.filter(|write| words.contains(write));
    let words = words.iter().filter(|&&word| Some(word) != hidden).map(|word| word.as_str());
    let known = flags.known.iter().map(|word| word.as_str());
    let unknown = flags.unknown.iter().map(String::as_str);
    let lock = hidden.map(|_| WRITE_LOCKED);
    [strings("status", words), strings("flags", lock.into_iter().chain(known).chain(unknown))]
}

fn put_tags(items: &mut Vec<Item>, tags: &[TagName]) {
    if !tags.is_empty() {
        items.push(strings("tags", tags.iter().map(TagName::as_str)));
    }
}

fn put_policy(items: &mut Vec<Item>, policy: Option<&AllocationPolicy>) {
    items.extend(policy.map(|policy| Item::scalar("allocation_policy", policy.as_str())));
}

fn number(key: &str, number: impl Into<i64>) -> Item {
    Item::scalar(key, Scalar::Int(number.into()))
}

/// Sectors as the text holds them: a signed number. More than fit were never read.
fn sectors(key: &str, sectors: foldback_units::Sectors) -> Item {
    Item::scalar(key, Scalar::Int(i64::try_from(sectors.get()).unwrap_or(i64::MAX)))
}

impl Vg {
    /// As the VG's section of a text; its key is the VG's name.
    pub fn to_section(&self) -> Section {
        let mut items = vec![
            Item::scalar("id", self.id.to_string().as_str()),
            number("seqno", self.seqno),
            Item::scalar("format", "lvm2"),
            number("extent_size", self.extent_size.sectors()),
            number("max_lv", self.max_lv),
            number("max_pv", self.max_pv),
            number("metadata_copies", self.metadata_copies),
        ];
        let hides_write = self.hides_write();
        let hidden = hides_write.then_some(VgStatus::Write);
        items.extend(status_and_flags(&self.status, &self.flags, hidden));
        put_tags(&mut items, &self.tags);
        items.extend(self.system_id.as_deref().map(|text| Item::scalar("system_id", text)));
        items.extend(self.lock_type.as_deref().map(|text| Item::scalar("lock_type", text)));
        put_policy(&mut items, self.allocation_policy.as_ref());
        items.extend(self.other.iter().cloned());
        let mut section = ordered(items, VG_KEYS);
        let pvs = self.pvs.iter().map(|pv| Item::section(pv.key.as_str(), pv_section(pv))).collect();
        section.items.push(Item::section("physical_volumes", Section { items: pvs }));
        if !self.lvs.is_empty() {
            let lvs = self.lvs_in_writing_order();
            let lvs =
                lvs.iter().map(|lv| Item::section(lv.name.as_str(), lv_section(lv, hides_write))).collect();
            section.items.push(Item::section("logical_volumes", Section { items: lvs }));
        }
        if let Some(historical) = &self.historical {
            section.items.push(Item::section("historical_logical_volumes", historical.clone()));
        }
        section
    }

    /// The LVs as LVM2 writes them: visible ones first.
    pub fn lvs_in_writing_order(&self) -> Vec<&Lv> {
        let links = SnapshotLinks::of(self);
        let mut lvs: Vec<&Lv> = self.lvs.iter().collect();
        lvs.sort_by_key(|lv| !links.is_visible(lv));
        lvs
    }
}

fn pv_section(pv: &Pv) -> Section {
    let mut items = vec![
        Item::scalar("id", pv.id.to_string().as_str()),
        sectors("pe_start", pv.pe_start),
        number("pe_count", pv.pe_count),
    ];
    items.extend(status_and_flags(&pv.status, &pv.flags, None));
    items.extend(pv.device.as_deref().map(|device| Item::scalar("device", device)));
    items.extend(pv.dev_size.map(|size| sectors("dev_size", size)));
    put_tags(&mut items, &pv.tags);
    items.extend(pv.other.iter().cloned());
    ordered(items, PV_KEYS)
}

fn lv_section(lv: &Lv, hides_write: bool) -> Section {
    let count = u32::try_from(lv.segments.len()).unwrap_or(u32::MAX);
    let mut items = vec![Item::scalar("id", lv.id.to_string().as_str()), number("segment_count", count)];
    let hidden = hides_write.then_some(LvStatus::Write);
    items.extend(status_and_flags(&lv.status, &lv.flags, hidden));
    put_tags(&mut items, &lv.tags);
    if let Some(creation) = &lv.creation {
        items.push(number("creation_time", creation.time));
        items.push(Item::scalar("creation_host", creation.host.as_str()));
    }
    put_policy(&mut items, lv.allocation_policy.as_ref());
    items.extend(lv.read_ahead.map(|sectors| number("read_ahead", sectors)));
    items.extend(lv.major.map(|major| number("major", major)));
    items.extend(lv.minor.map(|minor| number("minor", minor)));
    items.extend(lv.other.iter().cloned());
    let mut section = ordered(items, LV_KEYS);
    for (index, segment) in (1_u32..).zip(&lv.segments) {
        section.items.push(Item::section(&format!("segment{index}"), segment_section(segment)));
    }
    section
}

fn segment_section(segment: &Segment) -> Section {
    let mut items = vec![
        number("start_extent", segment.start_extent),
        number("extent_count", segment.extent_count),
        Item::scalar("type", segment.type_text().as_str()),
    ];
    put_tags(&mut items, &segment.tags);
    match &segment.kind {
        SegmentKind::Striped(striped) => {
            items.push(number("stripe_count", u32::try_from(striped.areas.len()).unwrap_or(u32::MAX)));
            items.extend(striped.stripe_size.map(|size| sectors("stripe_size", size)));
            items.push(Item::array("stripes", striped.areas.iter().flat_map(area_scalars).collect()));
        }
        SegmentKind::Snapshot(snapshot) => {
            let store = if snapshot.merging { "merging_store" } else { "cow_store" };
            items.push(number("chunk_size", snapshot.chunk_size.sectors()));
            items.push(Item::scalar("origin", snapshot.origin.as_str()));
            items.push(Item::scalar(store, snapshot.cow.as_str()));
        }
        SegmentKind::Error | SegmentKind::Zero | SegmentKind::Unknown { .. } => {}
    }
    items.extend(segment.other.iter().cloned());
    ordered(items, SEGMENT_KEYS)
}

fn area_scalars(area: &Area) -> [Scalar; 2] {
    let name = match &area.on {
        AreaOn::Pv(key) => key.as_str(),
        AreaOn::Lv(name) => name.as_str(),
    };
    [Scalar::from(name), Scalar::from(area.start_extent)]
}
