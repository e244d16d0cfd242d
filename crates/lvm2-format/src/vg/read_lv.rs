//! From tree to LVs and their segments (lvm2.md 1.7 and 1.9).
//!
//! What must hold:
//! - All names are known before the first segment is read: segments refer to LVs anywhere in the text.
//! - Every section inside an LV is a segment, whatever its name, and their number is `segment_count`.
//! - A type that is not exactly one of ours, perhaps with our own flag [`MERGE_VIEW`], is kept unread.

use super::error::{ReadError, Refusal};
use super::fields::Fields;
use super::types::{
    Area, AreaOn, Creation, Lv, MERGE_VIEW, Pv, PvKey, Segment, SegmentKind, SnapshotSegment, Striped,
};
use super::words::LvStatus;
use crate::text::{Scalar, Section};
use foldback_units::{ChunkSize, LvName, Sectors};
use std::collections::HashSet;

/// What a segment may lie on.
struct Names<'a> {
    pvs: HashSet<&'a str>,
    lvs: HashSet<String>,
}

pub(super) fn read_lvs(vg: &Fields, section: Section, pvs: &[Pv]) -> Result<Vec<Lv>, ReadError> {
    let mut list = Fields::new(format!("{}/logical_volumes", vg.place()), section);
    let sections = list.sections();
    if let Some(stray) = list.rest().first() {
        return Err(vg.error(&format!("logical_volumes/{}", stray.key), Refusal::NotA("a section")));
    }
    let names = Names {
        pvs: pvs.iter().map(|pv| pv.key.as_str()).collect(),
        lvs: sections.iter().map(|(name, _)| name.clone()).collect(),
    };
    sections
        .into_iter()
        .map(|(name, section)| {
            read_lv(&name, Fields::new(format!("{}/logical_volumes/{name}", vg.place()), section), &names)
        })
        .collect()
}

fn read_lv(name: &str, mut fields: Fields, names: &Names<'_>) -> Result<Lv, ReadError> {
    let name = LvName::new(name).map_err(|bad| fields.error("", bad))?;
    let said: u32 = fields.needed_number("segment_count")?;
    let sections = fields.sections();
    if usize::try_from(said) != Ok(sections.len()) {
        return Err(fields.error("segment_count", Refusal::SegmentCount { said, found: sections.len() }));
    }
    let mut segments = Vec::with_capacity(sections.len());
    for (key, section) in sections {
        segments.push(read_segment(Fields::new(format!("{}/{key}", fields.place()), section), names)?);
    }
    segments.sort_by_key(|segment| segment.start_extent);
    let (status, flags) = fields.status_and_flags(LvStatus::Write)?;
    Ok(Lv {
        name,
        id: fields.uuid()?,
        status,
        flags,
        tags: fields.tags()?,
        creation: read_creation(&mut fields)?,
        allocation_policy: fields.allocation_policy()?,
        read_ahead: fields.number("read_ahead")?,
        major: fields.number("major")?,
        minor: fields.number("minor")?,
        segments,
        other: fields.rest(),
    })
}

fn read_creation(fields: &mut Fields) -> Result<Option<Creation>, ReadError> {
    match (fields.int("creation_time")?, fields.lossy_string("creation_host")?) {
        (Some(time), Some(host)) => Ok(Some(Creation { time, host })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(fields.error("creation_time", Refusal::Pair("creation_time", "creation_host")))
        }
        (None, Some(_)) => {
            Err(fields.error("creation_host", Refusal::Pair("creation_host", "creation_time")))
        }
    }
}

fn read_segment(mut fields: Fields, names: &Names<'_>) -> Result<Segment, ReadError> {
    let start_extent = fields.needed_number("start_extent")?;
    let extent_count = fields.needed_number("extent_count")?;
    let type_text = fields.string("type")?;
    let type_text = fields.need("type", type_text)?;
    let tags = fields.tags()?;
    let plain = type_text.strip_suffix(MERGE_VIEW).and_then(|text| text.strip_suffix('+'));
    let kind = match plain.unwrap_or(&type_text) {
        "striped" => SegmentKind::Striped(read_striped(&mut fields, extent_count, names)?),
        "snapshot" => SegmentKind::Snapshot(read_snapshot(&mut fields, names)?),
        "error" => SegmentKind::Error,
        "zero" => SegmentKind::Zero,
        _ => SegmentKind::Unknown { type_text: type_text.clone() },
    };
    let merge_view = plain.is_some() && !matches!(kind, SegmentKind::Unknown { .. });
    Ok(Segment { start_extent, extent_count, tags, kind, merge_view, other: fields.rest() })
}

fn read_striped(fields: &mut Fields, extents: u32, names: &Names<'_>) -> Result<Striped, ReadError> {
    let said: u32 = fields.needed_number("stripe_count")?;
    let scalars = fields.array("stripes")?;
    let scalars = fields.need("stripes", scalars)?;
    let (pairs, odd) = scalars.as_chunks::<2>();
    if usize::try_from(said) != Ok(pairs.len()) || !odd.is_empty() || pairs.is_empty() {
        return Err(fields.error("stripes", Refusal::StripeCount { said, found: pairs.len() }));
    }
    let stripe_size = fields.number::<u32>("stripe_size")?.map(|sectors| Sectors(u64::from(sectors)));
    // One stripe has no stripe size; more need one, or their data could not be found.
    if said > 1 && stripe_size.is_none_or(Sectors::is_zero) {
        return Err(fields.error("stripe_size", Refusal::Missing));
    }
    if extents.checked_rem(said) != Some(0) {
        return Err(fields.error("stripe_count", Refusal::Stripes { extents, stripes: pairs.len() }));
    }
    let areas = pairs.iter().map(|pair| read_area(fields, pair, names)).collect::<Result<_, _>>()?;
    Ok(Striped { stripe_size, areas })
}

fn read_area(fields: &Fields, pair: &[Scalar; 2], names: &Names<'_>) -> Result<Area, ReadError> {
    let [Scalar::Str(name), Scalar::Int(extent)] = pair else {
        return Err(fields.error("stripes", Refusal::NotA("a list of names and extents")));
    };
    let start_extent =
        u32::try_from(*extent).map_err(|_| fields.error("stripes", Refusal::Range(*extent)))?;
    let unknown = || fields.error("stripes", Refusal::UnknownName(name.escape_debug().to_string()));
    // PVs first, as LVM2 looks them up.
    let on = if names.pvs.contains(name.as_str()) {
        AreaOn::Pv(PvKey::new(name).ok_or_else(unknown)?)
    } else if names.lvs.contains(name) {
        AreaOn::Lv(LvName::new(name).map_err(|bad| fields.error("stripes", bad))?)
    } else {
        return Err(unknown());
    };
    Ok(Area { on, start_extent })
}

fn read_snapshot(fields: &mut Fields, names: &Names<'_>) -> Result<SnapshotSegment, ReadError> {
    let sectors: u32 = fields.needed_number("chunk_size")?;
    let chunk_size = ChunkSize::from_sectors(sectors).map_err(|bad| fields.error("chunk_size", bad))?;
    let merging = fields.has("merging_store");
    if merging == fields.has("cow_store") {
        return Err(fields.error("", Refusal::SnapshotStore));
    }
    let cow = read_lv_name(fields, if merging { "merging_store" } else { "cow_store" }, names)?;
    let origin = read_lv_name(fields, "origin", names)?;
    Ok(SnapshotSegment { chunk_size, origin, cow, merging })
}

fn read_lv_name(fields: &mut Fields, key: &str, names: &Names<'_>) -> Result<LvName, ReadError> {
    let name = fields.string(key)?;
    let name = fields.need(key, name)?;
    if !names.lvs.contains(&name) {
        return Err(fields.error(key, Refusal::UnknownName(name.escape_debug().to_string())));
    }
    LvName::new(&name).map_err(|bad| fields.error(key, bad))
}
