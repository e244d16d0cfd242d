//! What the kernel says of volumes that it carries, for reports.
//!
//! What must hold (lvm2.md 3.4):
//! - A report only asks: it makes no node and loads no module, and without device-mapper, or without the right to it, what
//!   is live stays unknown.
//! - A snapshot that merges has an error device; what is known of it is its origin's, also who has it open.
//! - A device without a table is told as one: a process was killed while it brought it up.

use super::devices_of;
use crate::polling::{Task, Turn};
use crate::reporting::used;
use crate::session::Session;
use foldback_daemon::RunDir;
use foldback_dm_table::{DeviceMapper, Info, SnapshotStatus};
use foldback_kernel_dm::KernelDm;
use foldback_manager::activation::{Device, Layer};
use foldback_manager::report::{Facts, Live, LvFacts, LvKind, Needs};
use foldback_manager::store::{Discovery, FoundVg};
use foldback_units::Sectors;

/// Fills in what is known of LVs that the kernel carries.
pub(crate) fn look_at_kernel(session: &Session, found: &Discovery, facts: &mut Facts, needs: Needs) {
    if found.vgs.is_empty() || !KernelDm::is_there() {
        return;
    }
    let Ok(mut mapper) = KernelDm::open(&session.paths) else { return };
    for vg in &found.vgs {
        let watched = || Turn::is_taken(&RunDir::of_user(), Task::Monitor, &vg.vg.id.compact());
        let monitored = session.config.monitoring.then(watched);
        look_at_vg(&mut mapper, vg, facts, (monitored, needs));
    }
}

/// `monitored`: whether a process watches its snapshots, where one should.
fn look_at_vg(
    mapper: &mut KernelDm,
    found: &FoundVg,
    facts: &mut Facts,
    (monitored, needs): (Option<bool>, Needs),
) {
    let id = found.vg.id.to_string();
    let Some(vg) = facts.vgs.iter_mut().find(|vg| vg.uuid == id) else { return };
    let there = devices_of(mapper, &found.vg.id).unwrap_or_default();
    if there.is_empty() {
        return;
    }
    for index in 0..vg.lvs.len() {
        let Some(known) = vg.lvs.get(index) else { break };
        let Some(lv) = found.vg.lvs.iter().find(|lv| lv.id.to_string() == known.uuid) else { continue };
        let uuid = Device::of(found, lv, Layer::Top).uuid;
        let Some(info) = there.iter().find(|info| info.uuid == uuid) else { continue };
        let (live, merges) = live(mapper, info, needs);
        let live = Live { monitored: monitored.filter(|_| lv_is_watched(known)), ..live };
        let merging =
            |lv: &LvFacts| lv.origin == Some(index) && lv.kind == LvKind::Snapshot { merging: true };
        let of_merging = if merges { vg.lvs.iter().position(merging) } else { None };
        // An error device knows nothing of its own; it may come before or after its origin.
        let errors = matches!(known.kind, LvKind::Snapshot { merging: true }) && known.live.is_some();
        if !errors && let Some(lv) = vg.lvs.get_mut(index) {
            lv.live = Some(live);
        }
        if let Some(lv) = of_merging.and_then(|index| vg.lvs.get_mut(index)) {
            lv.live = Some(live);
        }
    }
}

/// Whether it has a store that fills by itself.
fn lv_is_watched(lv: &LvFacts) -> bool {
    lv.kind == LvKind::Snapshot { merging: false }
}

/// And whether something merges into it.
fn live(mapper: &mut KernelDm, info: &Info, needs: Needs) -> (Live, bool) {
    let status = mapper.status(&info.name).unwrap_or_default();
    let status = status.iter().find_map(|line| SnapshotStatus::parse(line));
    let merges = mapper
        .table(&info.name)
        .ok()
        .flatten()
        .is_some_and(|table| table.lines.iter().any(|line| line.target.kind() == "snapshot-merge"));
    let (dev, read_only) = mapper.number(&info.name).ok().flatten().unzip();
    let number = dev.map(|dev| (rustix::fs::major(dev), rustix::fs::minor(dev)));
    let left = match status {
        Some(SnapshotStatus::Usage { allocated, metadata, .. }) if merges => {
            Some(allocated.saturating_sub(metadata))
        }
        _ => None,
    };
    let live = Live {
        used: status.and_then(used),
        invalid: status == Some(SnapshotStatus::Invalid),
        open: info.open_count > 0,
        open_count: u64::from(info.open_count),
        suspended: info.suspended,
        read_only: read_only.unwrap_or(false),
        live_table: info.live,
        inactive_table: info.inactive,
        monitored: None,
        merge_failed: status == Some(SnapshotStatus::MergeFailed),
        merge_state: status.filter(|_| merges).and_then(merge_state),
        merge_left: left,
        merge_rate: None,
        merge_seconds: None,
        store_seconds: None,
        kernel_number: number,
        kernel_read_ahead: number.filter(|_| needs.read_ahead).and_then(read_ahead),
    };
    (live, merges)
}

/// How a merge is, where the kernel says so.
fn merge_state(status: SnapshotStatus) -> Option<&'static str> {
    match status {
        SnapshotStatus::MergeFailed => Some("failed"),
        // All that is left in the store are its header and its areas.
        SnapshotStatus::Usage { allocated, metadata, .. } if allocated == metadata => Some("finished"),
        SnapshotStatus::Usage { .. } => Some("running"),
        SnapshotStatus::Invalid | SnapshotStatus::Overflow | SnapshotStatus::Unknown => None,
    }
}

/// In `/sys` it stands in KiB.
fn read_ahead((major, minor): (u32, u32)) -> Option<Sectors> {
    let file = format!("/sys/dev/block/{major}:{minor}/queue/read_ahead_kb");
    let kib: u64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    kib.checked_mul(2).map(Sectors)
}

#[cfg(test)]
mod tests {
    use super::merge_state;
    use foldback_dm_table::SnapshotStatus;

    #[test]
    fn a_merge_in_the_kernel_is_told_by_the_daemons_words_where_it_is_known() {
        let state = |line: &str| SnapshotStatus::parse(line).and_then(merge_state);
        assert_eq!(state("48/4096 16"), Some("running"));
        assert_eq!(state("16/4096 16"), Some("finished"));
        assert_eq!(state("Merge failed"), Some("failed"));
        assert_eq!(state("Invalid"), None);
        assert_eq!(state("Unknown"), None);
    }
}
