//! From what was found on the disks to the facts that reports show.
//!
//! What must hold:
//! - Order is the metadata's; sorting is the report's business.
//! - Fictional LVs are left out, and every index counts without them.
//! - Extents that a segment of an unknown kind may use are not counted as free.

use super::facts::{
    AreaFacts, Facts, LvFacts, LvKind, PvFacts, PvSegmentFacts, SegmentArea, SegmentFacts, VgFacts,
};
use crate::store::{Discovery, FoundArea, FoundPv, FoundVg};
use foldback_lvm2_format::extents::ExtentMap;
use foldback_lvm2_format::mda_header::MdaHeader;
use foldback_lvm2_format::text::{Node, Scalar, Value};
use foldback_lvm2_format::vg::{
    AllocationPolicy, AreaOn, Lv, LvFlag, LvStatus, PvKey, PvStatus, Segment, SegmentKind, SnapshotLinks,
    Striped, Vg, VgFlag, VgStatus,
};
use foldback_units::{Bytes, LvName, Sectors, TagName};

/// What LVM2 calls a PV that was not found.
const UNKNOWN: &str = "[unknown]";

/// What has to be asked of the machine.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// Seconds since 1970 as local time.
    pub local_time: &'a dyn Fn(i64) -> String,
    /// Major and minor number of a block device.
    pub device_number: &'a dyn Fn(&str) -> Option<(u32, u32)>,
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Machine")
    }
}

impl Facts {
    /// The facts of everything that was found.
    pub fn of(found: &Discovery, machine: Machine<'_>) -> Self {
        let orphans = found.pvs.iter().filter(|pv| found.vg_of(pv).is_none());
        Self {
            vgs: found.vgs.iter().map(|vg| vg_facts(found, vg, machine)).collect(),
            orphans: orphans.map(|pv| orphan_facts(pv, machine)).collect(),
        }
    }
}

fn sorted(tags: &[TagName]) -> Vec<String> {
    let mut tags: Vec<String> = tags.iter().map(TagName::to_string).collect();
    tags.sort();
    tags
}

/// How much longer the text in an area may become: old and new lie in the ring side by side (lvm2.md 1.5).
fn room(header: &MdaHeader) -> Bytes {
    let used = header.committed.text.map_or(0, |text| text.place.size());
    header.ring.max_text().saturating_sub(Bytes(used))
}

fn areas<'a>(areas: impl Iterator<Item = &'a FoundArea>) -> AreaFacts {
    let mut facts = AreaFacts::default();
    for area in areas {
        facts.count = facts.count.saturating_add(1);
        let Some(header) = area.header().filter(|header| !header.committed.is_ignored()) else { continue };
        let (size, free) = (area.area.size.to_sectors_floor(), room(header).to_sectors_floor());
        let first = facts.used == 0;
        facts.used = facts.used.saturating_add(1);
        facts.size = if first { size } else { facts.size.min(size) };
        facts.free = if first { free } else { facts.free.min(free) };
    }
    facts
}

fn labelled(pv: &FoundPv, machine: Machine<'_>) -> PvFacts {
    let extension = pv.label.pv.extension.as_ref();
    let bootloader = extension.and_then(|extension| extension.bootloader_areas.first());
    let data = pv.label.pv.data_areas.first().map_or(Bytes::ZERO, |area| area.offset);
    PvFacts {
        name: pv.path.clone(),
        uuid: pv.label.pv.id.to_string(),
        device: (machine.device_number)(&pv.path),
        device_size: pv.size.to_sectors_floor(),
        areas: areas(pv.areas.iter()),
        extension_version: extension.map_or(0, |extension| extension.version.into()),
        pe_start: data.to_sectors_floor(),
        in_use: extension.is_some_and(foldback_lvm2_format::pv_header::Extension::is_used),
        bootloader: bootloader.map_or_else(Default::default, |area| {
            (area.offset.to_sectors_floor(), area.size.to_sectors_floor())
        }),
        ..PvFacts::default()
    }
}

fn orphan_facts(pv: &FoundPv, machine: Machine<'_>) -> PvFacts {
    let size = pv.size.to_sectors_floor();
    PvFacts { size, free: size, segments: vec![PvSegmentFacts::default()], ..labelled(pv, machine) }
}

fn vg_facts(found: &Discovery, of: &FoundVg, machine: Machine<'_>) -> VgFacts {
    let vg = &of.vg;
    let links = vg.snapshots();
    let extents = ExtentMap::of(vg);
    let shown: Vec<&Lv> = vg.lvs.iter().filter(|lv| lv.snapshot().is_none()).collect();
    let index_of = |name: &LvName| shown.iter().position(|lv| lv.name == *name);
    let paths = |key: &PvKey| of.place(key).map_or_else(|| UNKNOWN.to_owned(), |place| place.path.clone());
    let on_disk = |pv: &FoundPv| of.places.iter().flatten().any(|place| place.disk == pv.disk);
    let found_areas = found.pvs.iter().filter(|pv| on_disk(pv)).flat_map(|pv| pv.areas.iter());
    let total = vg.pvs.iter().map(|pv| u64::from(pv.pe_count)).fold(0, u64::saturating_add);
    let free = vg.pvs.iter().map(|pv| u64::from(extents.free_count(&pv.key))).fold(0, u64::saturating_add);
    let missing = of.places.iter().filter(|place| place.is_none()).count();
    let marked = with_absent_marked(of);
    let lv = |lv| LvFacts {
        partial: marked.is_partial(lv),
        ..lv_facts(vg, lv, &links, &index_of, &paths, machine)
    };
    VgFacts {
        name: vg.name.to_string(),
        uuid: vg.id.to_string(),
        seqno: vg.seqno.into(),
        extent_size: Sectors(vg.extent_size.sectors().into()),
        extent_count: total,
        free_count: free,
        max_lv: vg.max_lv.into(),
        max_pv: vg.max_pv.into(),
        writable: vg.is_writable(),
        resizeable: vg.status.contains(&VgStatus::Resizeable),
        exported: vg.is_exported(),
        partial: missing > 0,
        clustered: vg.is_clustered(),
        shared: vg.shared_lock_type().is_some(),
        no_autoactivation: vg.flags.contains(VgFlag::NoAutoactivate),
        allocation: vg.allocation_policy.as_ref().map_or("normal", AllocationPolicy::as_str).to_owned(),
        system_id: vg.system_id.clone().unwrap_or_default(),
        lock_type: vg.lock_type.clone().unwrap_or_default(),
        tags: sorted(&vg.tags),
        areas: areas(found_areas),
        area_copies: vg.metadata_copies.into(),
        missing_pvs: u64::try_from(missing).unwrap_or(u64::MAX),
        pvs: pv_facts(found, of, &extents, &shown, machine),
        lvs: shown.iter().copied().map(lv).collect(),
        ..VgFacts::default()
    }
}

/// A PV that was not found is as missing as one that is marked so.
fn with_absent_marked(of: &FoundVg) -> Vg {
    let mut marked = of.vg.clone();
    for (pv, place) in marked.pvs.iter_mut().zip(&of.places) {
        if place.is_none() {
            pv.set_missing(true);
        }
    }
    marked
}

fn pv_facts(
    found: &Discovery,
    of: &FoundVg,
    extents: &ExtentMap<'_>,
    shown: &[&Lv],
    machine: Machine<'_>,
) -> Vec<PvFacts> {
    let extent = of.vg.extent_size;
    let pvs = of.vg.pvs.iter().zip(&of.places);
    pvs.map(|(pv, place)| {
        let on_disk =
            place.as_ref().and_then(|place| found.pvs.iter().find(|found| found.disk == place.disk));
        let unknown = || PvFacts {
            name: UNKNOWN.to_owned(),
            device_size: pv.dev_size.unwrap_or(Sectors::ZERO),
            ..PvFacts::default()
        };
        let free = extents.free_count(&pv.key);
        PvFacts {
            uuid: pv.id.to_string(),
            pe_start: pv.pe_start,
            extent_count: pv.pe_count.into(),
            allocated_count: pv.pe_count.saturating_sub(free).into(),
            size: extent.of(pv.pe_count),
            free: extent.of(free),
            allocatable: pv.status.contains(&PvStatus::Allocatable),
            exported: pv.status.contains(&PvStatus::Exported),
            missing: place.is_none() || pv.is_missing(),
            tags: sorted(&pv.tags),
            segments: pieces(&pv.key, extents, shown),
            ..on_disk.map_or_else(unknown, |on_disk| labelled(on_disk, machine))
        }
    })
    .collect()
}

/// Used and free runs of a PV in order.
fn pieces(pv: &PvKey, extents: &ExtentMap<'_>, shown: &[&Lv]) -> Vec<PvSegmentFacts> {
    let free = extents.free_on(pv).into_iter().map(|run| (run, None));
    let used = extents.used_on(pv).iter().map(|used| {
        let user = shown.iter().position(|lv| lv.name == *used.lv).and_then(|lv| {
            let segments = &shown.get(lv)?.segments;
            Some((lv, segments.iter().position(|segment| segment.start_extent == used.segment_start)?))
        });
        (used.run, user)
    });
    let mut pieces: Vec<_> = free.chain(used).collect();
    pieces.sort_by_key(|(run, _)| *run);
    pieces
        .into_iter()
        .map(|(run, user)| PvSegmentFacts { start: run.start.into(), len: run.count.into(), user })
        .collect()
}

fn lv_facts(
    vg: &Vg,
    lv: &Lv,
    links: &SnapshotLinks<'_>,
    index_of: &dyn Fn(&LvName) -> Option<usize>,
    paths: &dyn Fn(&PvKey) -> String,
    machine: Machine<'_>,
) -> LvFacts {
    let as_cow = links.of_cow(&lv.name);
    let kind = match as_cow {
        Some(snapshot) => LvKind::Snapshot { merging: snapshot.segment.merging },
        None if links.is_origin(&lv.name) => {
            LvKind::Origin { merging: links.merging_into(&lv.name).is_some() }
        }
        None => LvKind::Plain,
    };
    let chunk = as_cow.map_or(Sectors::ZERO, |snapshot| snapshot.segment.chunk_size.len());
    let fixed = lv.status.contains(&LvStatus::FixedMinor);
    let created = lv.creation.as_ref();
    LvFacts {
        name: lv.name.to_string(),
        uuid: lv.id.to_string(),
        hidden: !links.is_visible(lv),
        snapshot_size: as_cow.map(|snapshot| vg.extent_size.of(snapshot.extent_count)),
        kind,
        size: vg.extent_size.of(lv.extent_count()),
        origin: as_cow.and_then(|snapshot| index_of(&snapshot.segment.origin)),
        snapshots: links.of_origin(&lv.name).filter_map(|snapshot| index_of(&snapshot.segment.cow)).collect(),
        writable: lv.is_writable(),
        allocation: lv.allocation_policy.as_ref().map(|policy| policy.as_str().to_owned()),
        allocation_locked: lv.status.contains(&LvStatus::Locked),
        fixed_device: fixed.then(|| (lv.major.unwrap_or(-1).into(), lv.minor.unwrap_or(-1).into())),
        skip_activation: lv.flags.contains(LvFlag::ActivationSkip),
        no_autoactivation: lv.flags.contains(LvFlag::NoAutoactivate),
        read_ahead: lv
            .read_ahead
            .filter(|&ahead| ahead != 0)
            .map(|ahead| Sectors(ahead.max(0).unsigned_abs().into())),
        tags: sorted(&lv.tags),
        created: created.map(|made| (machine.local_time)(made.time)).unwrap_or_default(),
        host: created.map(|made| made.host.clone()).unwrap_or_default(),
        zeroes: zeroes(vg, lv),
        segments: lv.segments.iter().map(|segment| segment_facts(segment, chunk, paths)).collect(),
        ..LvFacts::default()
    }
}

/// What a segment of a kind that is not carried says.
fn said<'l>(lv: &'l Lv, key: &str) -> Option<&'l Scalar> {
    let item = lv.segments.first()?.other.iter().find(|item| item.key == key)?;
    match &item.node {
        Node::Value(Value::Scalar(scalar)) => Some(scalar),
        _ => None,
    }
}

fn zeroes(vg: &Vg, lv: &Lv) -> bool {
    let pool = match said(lv, "thin_pool") {
        Some(Scalar::Str(pool)) => vg.lvs.iter().find(|lv| lv.name.as_str() == pool),
        _ => Some(lv),
    };
    pool.and_then(|pool| said(pool, "zero_new_blocks")) == Some(&Scalar::Int(1))
}

/// As LVM2 names it: the flags that are glued to a type are not shown.
fn kind_of(segment: &Segment) -> String {
    let text = segment.kind.type_text();
    let plain = text.split('+').next().unwrap_or(text);
    if OWN_KINDS.contains(&plain) { text } else { plain }.to_owned()
}

/// Kinds on which a flag is one that LVM2 does not know.
const OWN_KINDS: &[&str] = &["striped", "snapshot", "error", "zero"];

fn segment_facts(segment: &Segment, chunk_size: Sectors, paths: &dyn Fn(&PvKey) -> String) -> SegmentFacts {
    let facts = SegmentFacts {
        kind: kind_of(segment),
        start: segment.start_extent.into(),
        len: segment.extent_count.into(),
        chunk_size,
        tags: sorted(&segment.tags),
        ..SegmentFacts::default()
    };
    let SegmentKind::Striped(Striped { stripe_size, areas }) = &segment.kind else { return facts };
    let len = segment.area_extents().unwrap_or(segment.extent_count).into();
    let named = areas.iter().map(|area| SegmentArea {
        name: match &area.on {
            AreaOn::Pv(key) => paths(key),
            AreaOn::Lv(name) => name.to_string(),
        },
        start: area.start_extent.into(),
        len,
    });
    SegmentFacts {
        kind: if areas.len() == 1 { "linear".to_owned() } else { facts.kind },
        stripes: u64::try_from(areas.len()).unwrap_or(u64::MAX),
        stripe_size: stripe_size.unwrap_or(Sectors::ZERO),
        areas: named.collect(),
        ..facts
    }
}
