//! Fields of an LV's segments.
//!
//! What must hold:
//! - A free piece of a PV shows as a segment of type `free` that is as long as the piece.

use super::{absent, left, right};
use crate::report::field::{Field, Value};
use crate::report::row::Row;
use foldback_units::Sectors;

fn extents(row: &Row<'_>, extents: u64) -> Value {
    row.vg.extent_size.checked_mul(extents).map_or(Value::Blank, Value::Size)
}

fn len(row: &Row<'_>) -> u64 {
    if row.is_free() { row.pv_segment.len } else { row.segment.len }
}

fn devices(row: &Row<'_>) -> String {
    let areas = row.segment.areas.iter().map(|area| format!("{}({})", area.name, area.start));
    areas.collect::<Vec<_>>().join(",")
}

fn ranges(row: &Row<'_>, separator: &str) -> String {
    let areas = row.segment.areas.iter().map(|area| {
        let last = area.start.saturating_add(area.len).saturating_sub(1);
        format!("{}:{}-{last}", area.name, area.start)
    });
    areas.collect::<Vec<_>>().join(separator)
}

/// In LVM2's order.
pub(super) const FIELDS: &[Field] = &[
    left("segtype", "Type", 0, "Type", |row| Value::text(&row.segment.kind)),
    right("stripes", "#Str", 0, "Number of stripes", |row| Value::count(row.segment.stripes)),
    right("data_stripes", "#DStr", 0, "Number of stripes that hold data", |row| {
        Value::count(row.segment.stripes)
    }),
    absent("reshape_len", "RSize", 0),
    absent("reshape_len_le", "RSize", 0),
    right("data_copies", "#Cpy", 0, "Number of copies", |row| {
        if row.is_free() { Value::Blank } else { Value::Number(1) }
    }),
    absent("data_offset", "DOff", 0),
    absent("new_data_offset", "NOff", 0),
    absent("parity_chunks", "#Par", 0),
    right("stripe_size", "Stripe", 0, "Size of a stripe's piece", |row| Value::Size(row.segment.stripe_size)),
    right("region_size", "Region", 0, "Size of a region of a mirror", |_| Value::Size(Sectors::ZERO)),
    right("chunk_size", "Chunk", 0, "Chunk size of a snapshot", |row| Value::Size(row.segment.chunk_size)),
    absent("thin_count", "#Thins", 0),
    absent("discards", "Discards", 0),
    absent("cache_metadata_format", "CMFmt", 0),
    absent("cache_mode", "CacheMode", 0),
    right("zero", "Zero", 0, "Set if a pool zeroes new blocks", |_| Value::Flag("zero", None)),
    absent("transaction_id", "TransId", 0),
    absent("thin_id", "ThId", 0),
    right("seg_start", "Start", 0, "Where it starts in the LV", |row| extents(row, row.segment.start)),
    right("seg_start_pe", "Start", 0, "Its first extent in the LV", |row| Value::count(row.segment.start)),
    right("seg_size", "SSize", 0, "Its size", |row| extents(row, len(row))),
    right("seg_size_pe", "SSize", 0, "Number of its extents", |row| Value::count(len(row))),
    left("seg_tags", "Seg Tags", 0, "Tags", |row| Value::list(&row.segment.tags)),
    left("seg_pe_ranges", "PE Ranges", 0, "Where it lies, as a command line takes it", |row| {
        Value::Text(ranges(row, " "))
    }),
    left("seg_le_ranges", "LE Ranges", 0, "Where it lies, as a command line takes it", |row| {
        Value::Text(ranges(row, ","))
    }),
    absent("seg_metadata_le_ranges", "Metadata LE Ranges", 0),
    left("devices", "Devices", 0, "Where it lies: PV(first extent)", |row| Value::Text(devices(row))),
    absent("metadata_devices", "Metadata Devs", 0),
    left("seg_monitor", "Monitor", 0, "Whether somebody watches how its store fills", |row| {
        Value::text(match row.lv.live.and_then(|live| live.monitored) {
            Some(true) => "monitored",
            Some(false) => "not monitored",
            None => "",
        })
    }),
    absent("cache_policy", "CachePolicy", 0),
    absent("cache_settings", "CacheSettings", 0),
    absent("vdo_compression", "VDOCompression", 0),
    absent("vdo_deduplication", "VDODeduplication", 0),
    absent("vdo_use_metadata_hints", "VDOMetadataHints", 0),
    absent("vdo_minimum_io_size", "VDOMinimumIOSize", 0),
    absent("vdo_block_map_cache_size", "VDOBlockMapCacheSize", 0),
    absent("vdo_block_map_era_length", "VDOBlockMapEraLength", 0),
    absent("vdo_use_sparse_index", "VDOSparseIndex", 0),
    absent("vdo_index_memory_size", "VDOIndexMemorySize", 0),
    absent("vdo_slab_size", "VDOSlabSize", 0),
    absent("vdo_ack_threads", "VDOAckThreads", 0),
    absent("vdo_bio_threads", "VDOBioThreads", 0),
    absent("vdo_bio_rotation", "VDOBioRotation", 0),
    absent("vdo_cpu_threads", "VDOCPUThreads", 0),
    absent("vdo_hash_zone_threads", "VDOHashZoneThreads", 0),
    absent("vdo_logical_threads", "VDOLogicalThreads", 0),
    absent("vdo_physical_threads", "VDOPhysicalThreads", 0),
    absent("vdo_max_discard", "VDOMaxDiscard", 0),
    absent("vdo_write_policy", "VDOWritePolicy", 0),
    absent("vdo_header_size", "VDOHeaderSize", 0),
];
