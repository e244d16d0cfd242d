//! Fields of LVs.
//!
//! What must hold:
//! - Fields about a live device are unknown (-1, blank, `unknown`) while nobody serves the LV, as LVM2 shows them.

use super::{absent, left, right};
use crate::report::attributes;
use crate::report::facts::{Live, LvFacts, LvKind};
use crate::report::field::{Field, Value};
use crate::report::row::Row;

fn flag(word: &'static str, set: bool) -> Value {
    Value::Flag(word, Some(set))
}

fn count(number: usize) -> Value {
    u64::try_from(number).map_or(Value::Blank, Value::count)
}

fn origin(row: &Row<'_>, show: fn(&LvFacts) -> Value) -> Value {
    row.lv.origin.and_then(|index| row.lv_at(index)).map_or_else(|| Value::text(""), show)
}

fn used(row: &Row<'_>) -> Value {
    let stored = || row.lv.store.filter(|_| !row.lv.unknown).and_then(|store| store.used);
    row.lv.live.and_then(|live| live.used).or_else(stored).map_or(Value::Blank, Value::Percent)
}

/// What is known of a live volume.
fn live<T>(row: &Row<'_>, of: impl Fn(&Live) -> Option<T>) -> Option<T> {
    row.lv.live.as_ref().and_then(of)
}

fn node(row: &Row<'_>) -> String {
    if row.lv.hidden || row.vg.name.is_empty() {
        return String::new();
    }
    format!("/dev/{}/{}", row.vg.name, row.lv.name)
}

fn mapper(row: &Row<'_>) -> String {
    if row.vg.name.is_empty() {
        return String::new();
    }
    format!("/dev/mapper/{}-{}", row.vg.name.replace('-', "--"), row.lv.name.replace('-', "--"))
}

/// In LVM2's order.
pub(super) const FIELDS: &[Field] = &[
    left("lv_uuid", "LV UUID", 38, "Unique identifier", |row| Value::text(&row.lv.uuid)),
    left("lv_name", "LV", 4, "Name; in brackets where it is hidden", |row| {
        Value::Bracketed(attributes::shown_name(row.lv), row.lv.name.clone())
    }),
    left("lv_full_name", "LV", 0, "VG/LV", |row| Value::Text(format!("{}/{}", row.vg.name, row.lv.name))),
    left("lv_path", "Path", 0, "Path while it is active; blank where it is hidden", |row| {
        Value::Text(node(row))
    }),
    left("lv_dm_path", "DMPath", 0, "Path by its device-mapper name", |row| Value::Text(mapper(row))),
    absent("lv_parent", "Parent", 0),
    left("lv_layout", "Layout", 10, "Layout: linear, striped and so on", |row| {
        Value::Text(attributes::layout(row))
    }),
    left("lv_role", "Role", 10, "Role: public, origin, snapshot and so on", |row| {
        Value::Text(attributes::role(row.lv))
    }),
    right("lv_initial_image_sync", "InitImgSyn", 0, "Not for this type of volume: never set", |_| {
        flag("", false)
    }),
    right("lv_image_synced", "ImgSynced", 10, "Not for this type of volume: never set", |_| flag("", false)),
    right("lv_merging", "Merging", 10, "Set if it is part of a merge", |row| {
        flag("merging", attributes::merging(row.lv))
    }),
    right("lv_converting", "Converting", 0, "Not for this type of volume: never set", |_| flag("", false)),
    left("lv_allocation_policy", "AllocPol", 10, "Allocation policy of its own", |row| {
        Value::Text(attributes::allocation(row.lv))
    }),
    right("lv_allocation_locked", "AllocLock", 10, "Set if its extents must stay where they are", |row| {
        flag("allocation locked", row.lv.allocation_locked)
    }),
    right("lv_fixed_minor", "FixMin", 10, "Set if it has a fixed device number", |row| {
        flag("fixed minor", row.lv.fixed_device.is_some())
    }),
    right("lv_skip_activation", "SkipAct", 15, "Set if activation passes it by", |row| {
        flag("skip activation", row.lv.skip_activation)
    }),
    right("lv_autoactivation", "AutoAct", 0, "Set if events may activate it", |row| {
        flag("enabled", !row.lv.no_autoactivation)
    }),
    absent("lv_when_full", "WhenFull", 15),
    left("lv_active", "Active", 0, "Set while it is served", |row| {
        Value::text(match attributes::active(row.lv) {
            Some(true) => "active",
            Some(false) => "",
            None => "unknown",
        })
    }),
    right("lv_active_locally", "ActLocal", 10, "Set while this machine serves it", |row| {
        Value::Flag("active locally", attributes::active(row.lv))
    }),
    right("lv_active_remotely", "ActRemote", 10, "Set while another machine serves it", |row| {
        Value::Flag("active remotely", attributes::active(row.lv).map(|_| false))
    }),
    right("lv_active_exclusively", "ActExcl", 10, "Set while only this machine may serve it", |row| {
        Value::Flag("active exclusively", attributes::active(row.lv))
    }),
    right("lv_major", "Maj", 0, "Fixed major number, or -1", |row| {
        Value::Number(row.lv.fixed_device.map_or(-1, |(major, _)| major.into()))
    }),
    right("lv_minor", "Min", 0, "Fixed minor number, or -1", |row| {
        Value::Number(row.lv.fixed_device.map_or(-1, |(_, minor)| minor.into()))
    }),
    right("lv_read_ahead", "Rahead", 0, "Read-ahead, or auto", |row| {
        row.lv.read_ahead.map_or(Value::Word("auto", -1), Value::Size)
    }),
    right("lv_size", "LSize", 0, "Size; of a snapshot: its store's", |row| Value::Size(row.lv.size)),
    absent("lv_metadata_size", "MSize", 0),
    right("seg_count", "#Seg", 0, "Number of segments", |row| count(row.lv.segments.len())),
    left("origin", "Origin", 0, "Origin of a snapshot", |row| {
        origin(row, |origin| Value::text(attributes::shown_name(origin)))
    }),
    left("origin_uuid", "Origin UUID", 38, "The origin's UUID", |row| {
        origin(row, |origin| Value::text(&origin.uuid))
    }),
    right("origin_size", "OSize", 0, "The origin's size", |row| {
        attributes::origin_size(row).map_or(Value::Blank, Value::Size)
    }),
    left("lv_ancestors", "Ancestors", 0, "What it is a snapshot of", |row| {
        origin(row, |origin| Value::text(&origin.name))
    }),
    left("lv_full_ancestors", "FAncestors", 0, "What it is a snapshot of, removed ones as well", |row| {
        origin(row, |origin| Value::text(&origin.name))
    }),
    left("lv_descendants", "Descendants", 0, "Its snapshots", |row| {
        Value::list(&attributes::descendants(row))
    }),
    left("lv_full_descendants", "FDescendants", 0, "Its snapshots, removed ones as well", |row| {
        Value::list(&attributes::descendants(row))
    }),
    absent("raid_mismatch_count", "Mismatches", 0),
    absent("raid_sync_action", "SyncAction", 0),
    absent("raid_write_behind", "WBehind", 0),
    absent("raid_min_recovery_rate", "MinSync", 0),
    absent("raid_max_recovery_rate", "MaxSync", 0),
    absent("raidintegritymode", "IntegMode", 0),
    right("raidintegrityblocksize", "IntegBlkSize", 0, "Not for this type of volume: -1", |_| {
        Value::Number(-1)
    }),
    absent("integritymismatches", "IntegMismatches", 0),
    absent("move_pv", "Move", 0),
    absent("move_pv_uuid", "Move UUID", 38),
    absent("convert_lv", "Convert", 0),
    absent("convert_lv_uuid", "Convert UUID", 38),
    absent("mirror_log", "Log", 0),
    absent("mirror_log_uuid", "Log UUID", 38),
    absent("data_lv", "Data", 0),
    absent("data_lv_uuid", "Data UUID", 38),
    absent("metadata_lv", "Meta", 0),
    absent("metadata_lv_uuid", "Meta UUID", 38),
    absent("pool_lv", "Pool", 0),
    absent("pool_lv_uuid", "Pool UUID", 38),
    left("lv_tags", "LV Tags", 0, "Tags", |row| Value::list(&row.lv.tags)),
    left("lv_profile", "LProfile", 0, "Configuration profile", |row| Value::text(&row.lv.profile)),
    left("lv_lockargs", "LLockArgs", 0, "Arguments of lvmlockd", |row| Value::text(&row.lv.lock_args)),
    left("lv_time", "CTime", 26, "When it was made", |row| Value::text(&row.lv.created)),
    absent("lv_time_removed", "RTime", 26),
    left("lv_host", "Host", 10, "Where it was made", |row| Value::text(&row.lv.host)),
    left("lv_modules", "Modules", 0, "Kernel targets it needs", |row| {
        Value::text(if row.lv.kind == LvKind::Plain { "" } else { "snapshot" })
    }),
    right("lv_historical", "Historical", 0, "Set if only its name is left", |_| flag("historical", false)),
    right("writecache_block_size", "WCacheBlkSize", 0, "Not for this type of volume: -1", |_| {
        Value::Number(-1)
    }),
    right("lv_kernel_major", "KMaj", 0, "Major number while active, or -1", |row| {
        Value::Number(kernel_number(row).map_or(-1, |(major, _)| major.into()))
    }),
    right("lv_kernel_minor", "KMin", 0, "Minor number while active, or -1", |row| {
        Value::Number(kernel_number(row).map_or(-1, |(_, minor)| minor.into()))
    }),
    right("lv_kernel_read_ahead", "KRahead", 0, "Read-ahead while active, or -1", |row| {
        row.lv.live.and_then(|live| live.kernel_read_ahead).map_or(Value::Number(-1), Value::Size)
    }),
    left("lv_permissions", "LPerms", 8, "Permissions", |row| {
        let writable = match row.lv.live {
            Some(live) if live.read_only => "read-only-override",
            Some(_) => "writeable",
            None => "unknown",
        };
        Value::text(match row.lv.name.is_empty() {
            true => "unknown",
            false if row.lv.writable => writable,
            false => "read-only",
        })
    }),
    right("lv_suspended", "Suspended", 10, "Set if it is suspended", |row| {
        Value::Flag("suspended", row.lv.live.map(|live| live.suspended))
    }),
    right("lv_live_table", "LiveTable", 20, "Set if it has a live table", |row| {
        Value::Flag("live table present", row.lv.live.map(|live| live.live_table))
    }),
    right("lv_inactive_table", "InactiveTable", 20, "Set if it has an inactive table", |row| {
        Value::Flag("inactive table present", row.lv.live.map(|live| live.inactive_table))
    }),
    right("lv_device_open", "DevOpen", 10, "Set if somebody has it open", |row| {
        Value::Flag("open", row.lv.live.map(|live| live.open))
    }),
    left("data_percent", "Data%", 6, "How full the store is, in percent, while it is served", |row| {
        used(row)
    }),
    left("snap_percent", "Snap%", 6, "How full the store is, in percent, while it is served", |row| {
        used(row)
    }),
    absent("metadata_percent", "Meta%", 6),
    absent("copy_percent", "Cpy%Sync", 0),
    absent("sync_percent", "Cpy%Sync", 0),
    absent("cache_total_blocks", "CacheTotalBlocks", 0),
    absent("cache_used_blocks", "CacheUsedBlocks", 16),
    absent("cache_dirty_blocks", "CacheDirtyBlocks", 0),
    absent("cache_read_hits", "CacheReadHits", 16),
    absent("cache_read_misses", "CacheReadMisses", 16),
    absent("cache_write_hits", "CacheWriteHits", 16),
    absent("cache_write_misses", "CacheWriteMisses", 0),
    absent("kernel_cache_settings", "KCacheSettings", 18),
    absent("kernel_cache_policy", "KCachePolicy", 18),
    absent("kernel_metadata_format", "KMFmt", 0),
    left("lv_health_status", "Health", 15, "Health", |row| {
        Value::text(if row.lv.partial { "partial" } else { "" })
    }),
    absent("kernel_discards", "KDiscards", 0),
    right("lv_check_needed", "CheckNeeded", 15, "Set if a check is needed", |_| {
        Value::Flag("check needed", None)
    }),
    right("lv_merge_failed", "MergeFailed", 15, "Set if a merge failed", |row| {
        Value::Flag("merge failed", attributes::snapshot_live(row.lv).map(|live| live.merge_failed))
    }),
    right("lv_snapshot_invalid", "SnapInvalid", 15, "Set if the store was invalidated", |row| {
        Value::Flag("snapshot invalid", attributes::snapshot_invalid(row.lv))
    }),
    left("merge_state", "MState", 0, "How a merge is: running, paused, failed or finished", |row| {
        live(row, |live| live.merge_state).map_or(Value::Blank, Value::text)
    }),
    right("merge_left", "MLeft", 0, "What a running merge has still to do", |row| {
        live(row, |live| live.merge_left).map_or(Value::Blank, Value::Size)
    }),
    right("merge_rate", "MRate", 0, "What a running merge does in a second", |row| {
        live(row, |live| live.merge_rate).map_or(Value::Blank, Value::Size)
    }),
    right("merge_seconds", "MSecs", 0, "Seconds until a running merge is done, at its present rate", |row| {
        live(row, |live| live.merge_seconds).map_or(Value::Blank, Value::count)
    }),
    right("store_seconds", "SSecs", 0, "Seconds until the store is full, at its present rate", |row| {
        live(row, |live| live.store_seconds).map_or(Value::Blank, Value::count)
    }),
    left("lv_nbd", "NBD", 0, "URIs at which NBD clients find it", |row| Value::list(&row.lv.nbd)),
    absent("vdo_operating_mode", "VDOOperatingMode", 0),
    absent("vdo_compression_state", "VDOCompressionState", 0),
    absent("vdo_index_state", "VDOIndexState", 0),
    absent("vdo_used_size", "VDOUsedSize", 0),
    absent("vdo_saving_percent", "VDOSaving%", 0),
    absent("writecache_total_blocks", "WCacheTotalBlocks", 0),
    absent("writecache_free_blocks", "WCacheFreeBlocks", 0),
    absent("writecache_writeback_blocks", "WCacheWritebackBlocks", 0),
    absent("writecache_error", "WCacheErrors", 0),
    left("lv_attr", "Attr", 0, "Ten letters, see foldback-lvs(8)", |row| Value::Text(attributes::lv(row))),
];

fn kernel_number(row: &Row<'_>) -> Option<(u32, u32)> {
    row.lv.live?.kernel_number
}
