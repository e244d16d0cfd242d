//! Fields of PVs, of their labels, and of pieces of PVs.
//!
//! What must hold:
//! - Device numbers are those of a block device; an image file has none, and the field is blank.

use super::{absent, left, right};
use crate::report::attributes;
use crate::report::field::{Field, Value};
use crate::report::row::Row;

fn flag(word: &'static str, set: bool) -> Value {
    Value::Flag(word, Some(set))
}

/// LVM2 keeps device numbers as text.
fn device(row: &Row<'_>, part: fn((u32, u32)) -> u32) -> Value {
    Value::Text(row.pv.device.map_or_else(String::new, |device| part(device).to_string()))
}

/// In LVM2's order.
pub(super) const LABEL_FIELDS: &[Field] = &[
    left("pv_fmt", "Fmt", 0, "Type of metadata", |_| Value::text("lvm2")),
    left("pv_uuid", "PV UUID", 38, "Unique identifier", |row| Value::text(&row.pv.uuid)),
    right("dev_size", "DevSize", 0, "Size of the device", |row| Value::Size(row.pv.device_size)),
    left("pv_name", "PV", 10, "Path", |row| Value::text(&row.pv.name)),
    left("pv_major", "Maj", 0, "Major number of a block device", |row| device(row, |(major, _)| major)),
    left("pv_minor", "Min", 0, "Minor number of a block device", |row| device(row, |(_, minor)| minor)),
    right("pv_mda_free", "PMdaFree", 9, "Free space of its smallest metadata area", |row| {
        Value::Size(row.pv.areas.free)
    }),
    right("pv_mda_size", "PMdaSize", 9, "Size of its smallest metadata area", |row| {
        Value::Size(row.pv.areas.size)
    }),
    right("pv_ext_vsn", "PExtVsn", 0, "Version of the header's extension", |row| {
        Value::count(row.pv.extension_version)
    }),
];

/// In LVM2's order.
pub(super) const FIELDS: &[Field] = &[
    right("pe_start", "1st PE", 7, "Where its first extent is", |row| Value::Size(row.pv.pe_start)),
    right("pv_size", "PSize", 0, "Usable size", |row| Value::Size(row.pv.size)),
    right("pv_free", "PFree", 0, "Size that no LV has", |row| Value::Size(row.pv.free)),
    right("pv_used", "Used", 0, "Size that LVs have", |row| {
        Value::Size(row.pv.size.saturating_sub(row.pv.free))
    }),
    left("pv_attr", "Attr", 0, "Three letters, see foldback-pvs(8)", |row| {
        Value::Text(attributes::pv(row.pv))
    }),
    right("pv_allocatable", "Allocatable", 0, "Set if LVs may be put on it", |row| {
        flag("allocatable", row.pv.allocatable)
    }),
    right("pv_exported", "Exported", 10, "Set if its VG is exported", |row| {
        flag("exported", row.pv.exported)
    }),
    right("pv_missing", "Missing", 10, "Set if it was not found", |row| flag("missing", row.pv.missing)),
    right("pv_pe_count", "PE", 3, "Number of extents", |row| Value::count(row.pv.extent_count)),
    right("pv_pe_alloc_count", "Alloc", 0, "Number of extents that LVs have", |row| {
        Value::count(row.pv.allocated_count)
    }),
    left("pv_tags", "PV Tags", 0, "Tags", |row| Value::list(&row.pv.tags)),
    right("pv_mda_count", "#PMda", 0, "Number of metadata areas", |row| Value::count(row.pv.areas.count)),
    right("pv_mda_used_count", "#PMdaUse", 0, "Number of metadata areas in use", |row| {
        Value::count(row.pv.areas.used)
    }),
    right("pv_ba_start", "BA Start", 0, "Where its bootloader area is", |row| {
        Value::Size(row.pv.bootloader.0)
    }),
    right("pv_ba_size", "BA Size", 0, "Size of its bootloader area", |row| Value::Size(row.pv.bootloader.1)),
    right("pv_in_use", "PInUse", 0, "Set if the label says that a VG uses it", |row| {
        flag("used", row.pv.in_use)
    }),
    right("pv_duplicate", "Duplicate", 0, "Set if it is a second copy of a PV", |_| flag("duplicate", false)),
    absent("pv_device_id", "DeviceID", 0),
    absent("pv_device_id_type", "DeviceIDType", 0),
];

/// In LVM2's order.
pub(super) const SEGMENT_FIELDS: &[Field] = &[
    right("pvseg_start", "Start", 0, "First extent of the piece", |row| Value::count(row.pv_segment.start)),
    right("pvseg_size", "SSize", 0, "Number of extents of the piece", |row| Value::count(row.pv_segment.len)),
];
