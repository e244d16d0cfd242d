//! Fields of VGs.
//!
//! What must hold:
//! - A PV without a VG shows the values of an empty, read-only VG, as LVM2 does.

use super::{left, right};
use crate::report::attributes;
use crate::report::field::{Field, Value};
use crate::report::row::Row;

fn flag(word: &'static str, set: bool) -> Value {
    Value::Flag(word, Some(set))
}

fn count(number: usize) -> Value {
    u64::try_from(number).map_or(Value::Blank, Value::count)
}

fn extents(row: &Row<'_>, extents: u64) -> Value {
    row.vg.extent_size.checked_mul(extents).map_or(Value::Blank, Value::Size)
}

fn copies(row: &Row<'_>) -> Value {
    if row.vg.area_copies == 0 { Value::Word("unmanaged", 0) } else { Value::count(row.vg.area_copies) }
}

/// In LVM2's order.
pub(super) const FIELDS: &[Field] = &[
    left("vg_fmt", "Fmt", 0, "Type of metadata", |_| Value::text("lvm2")),
    left("vg_uuid", "VG UUID", 38, "Unique identifier", |row| Value::text(&row.vg.uuid)),
    left("vg_name", "VG", 0, "Name", |row| Value::text(&row.vg.name)),
    left("vg_attr", "Attr", 0, "Six letters, see foldback-vgs(8)", |row| Value::Text(attributes::vg(row.vg))),
    left("vg_permissions", "VPerms", 10, "Permissions", |row| {
        Value::text(if row.vg.writable { "writeable" } else { "read-only" })
    }),
    right("vg_extendable", "Extendable", 0, "Set if PVs may be added", |row| {
        flag("extendable", row.vg.resizeable)
    }),
    right("vg_exported", "Exported", 10, "Set if it is exported", |row| flag("exported", row.vg.exported)),
    right("vg_autoactivation", "AutoAct", 0, "Set if events may activate it", |row| {
        flag("enabled", !row.vg.no_autoactivation)
    }),
    right("vg_partial", "Partial", 10, "Set if a PV is missing", |row| flag("partial", row.vg.partial)),
    left("vg_allocation_policy", "AllocPol", 10, "Allocation policy", |row| {
        Value::text(if row.vg.allocation.is_empty() { "unknown" } else { &row.vg.allocation })
    }),
    right("vg_clustered", "Clustered", 10, "Set if it is clustered", |row| {
        flag("clustered", row.vg.clustered)
    }),
    right("vg_shared", "Shared", 7, "Set if it is shared through lvmlockd", |row| {
        flag("shared", row.vg.shared)
    }),
    right("vg_size", "VSize", 0, "Size", |row| extents(row, row.vg.extent_count)),
    right("vg_free", "VFree", 0, "Size that no LV has", |row| extents(row, row.vg.free_count)),
    left("vg_sysid", "SYS ID", 0, "System ID of the host that owns it", |row| Value::text(&row.vg.system_id)),
    left("vg_systemid", "System ID", 0, "System ID of the host that owns it", |row| {
        Value::text(&row.vg.system_id)
    }),
    left("vg_lock_type", "LockType", 0, "Lock type of lvmlockd", |row| Value::text(&row.vg.lock_type)),
    left("vg_lock_args", "VLockArgs", 0, "Arguments of lvmlockd", |row| Value::text(&row.vg.lock_args)),
    right("vg_extent_size", "Ext", 0, "Size of an extent", |row| Value::Size(row.vg.extent_size)),
    right("vg_extent_count", "#Ext", 0, "Number of extents", |row| Value::count(row.vg.extent_count)),
    right("vg_free_count", "Free", 0, "Number of extents that no LV has", |row| {
        Value::count(row.vg.free_count)
    }),
    right("max_lv", "MaxLV", 0, "Most LVs it may have; 0: any number", |row| Value::count(row.vg.max_lv)),
    right("max_pv", "MaxPV", 0, "Most PVs it may have; 0: any number", |row| Value::count(row.vg.max_pv)),
    right("pv_count", "#PV", 0, "Number of PVs", |row| count(row.vg.pvs.len())),
    right("vg_missing_pv_count", "#PV Missing", 0, "Number of PVs that are missing", |row| {
        Value::count(row.vg.missing_pvs)
    }),
    right("lv_count", "#LV", 0, "Number of LVs", |row| count(attributes::visible_lvs(row.vg))),
    right("snap_count", "#SN", 0, "Number of snapshots", |row| count(attributes::snapshots(row.vg))),
    right("vg_seqno", "Seq", 0, "Revision of the metadata", |row| Value::count(row.vg.seqno)),
    left("vg_tags", "VG Tags", 0, "Tags", |row| Value::list(&row.vg.tags)),
    left("vg_profile", "VProfile", 0, "Configuration profile", |row| Value::text(&row.vg.profile)),
    right("vg_mda_count", "#VMda", 0, "Number of metadata areas", |row| Value::count(row.vg.areas.count)),
    right("vg_mda_used_count", "#VMdaUse", 0, "Number of metadata areas in use", |row| {
        Value::count(row.vg.areas.used)
    }),
    right("vg_mda_free", "VMdaFree", 9, "Free space of the fullest metadata area", |row| {
        Value::Size(row.vg.areas.free)
    }),
    right("vg_mda_size", "VMdaSize", 9, "Size of the smallest metadata area", |row| {
        Value::Size(row.vg.areas.size)
    }),
    right("vg_mda_copies", "#VMdaCps", 0, "How many metadata areas are to be in use", copies),
];
