//! What is known of a VG's live volumes.
//!
//! What must hold:
//! - A volume is a device whose UUID is `LVM-` and those of VG and LV, without a suffix (lvm2.md 2.1), and whose table is
//!   not the stand-in of a snapshot that merges. One that was cut off from its extents stays one until it is deactivated.

use super::{ChangeError, StoreWait, Vg, locked};
use crate::carrier::Carrier;
use foldback_dm_table::{DeviceMapper, DmName, Info, SnapshotStatus, Table, Target};
use foldback_units::{LvmUuid, Sectors};
use foldback_user_dm::DeviceId;
use std::time::Instant;

/// How far a merge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MergeStatus {
    /// Chunks when it began.
    pub chunks_total: u64,
    /// Chunks that are left.
    pub chunks_left: u64,
    /// Of each.
    pub chunk: Sectors,
    /// Somebody has paused it.
    pub paused: bool,
    /// It stands, for an error.
    pub failed: bool,
    /// Only the metadata's end is missing.
    pub finished: bool,
    /// Chunks merged in a second, where that is known.
    pub rate: Option<u64>,
    /// Bytes that it may move in a second, where that is limited.
    pub limit: Option<u64>,
}

/// A live volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LvStatus {
    /// The LV's UUID.
    pub id: LvmUuid,
    /// Its device's name, which may change.
    pub device: DmName,
    /// Its device's number, which does not.
    pub number: DeviceId,
    /// Its length.
    pub size: Sectors,
    /// Writes are refused.
    pub read_only: bool,
    /// Discards of it reach the disks: it has no snapshots and is none, and nothing merges into it.
    pub discards: bool,
    /// Its requests wait.
    pub suspended: bool,
    /// Users within the daemon.
    pub open_count: u32,
    /// The live table's lines.
    pub table: String,
    /// The live table's status, a text for each line.
    pub status: Vec<String>,
    /// What merges into it.
    pub merge: Option<MergeStatus>,
    /// Sectors of its store that are taken in a second, where that is known.
    pub fill_rate: Option<u64>,
    /// Who waits for room in its store.
    pub wait: Option<StoreWait>,
}

impl Vg {
    /// The live volumes, in the order in which they were made.
    ///
    /// # Errors
    /// The carrier is gone.
    pub fn lvs(&self) -> Result<Vec<LvStatus>, ChangeError> {
        let vg = self.id.compact();
        let all = move |carrier: &mut Carrier| -> (Vec<LvStatus>, Vec<DmName>) {
            let infos = carrier.dm.list().unwrap_or_default();
            let lvs = infos.into_iter().filter_map(|info| lv(carrier, &vg, &info)).collect();
            (lvs, carrier.dm.full_stores())
        };
        let (mut lvs, full) = self.carrier.call(all)?;
        let rates = locked(&self.rates);
        let (merges, fills) = &*rates;
        for lv in &mut lvs {
            lv.wait = full.contains(&lv.device).then(|| self.wait_for_room(&lv.id)).flatten();
            lv.fill_rate = fills.per_second(&lv.device);
            if let Some(merge) = &mut lv.merge {
                merge.rate = merges.per_second(&lv.device);
            }
        }
        Ok(lvs)
    }

    /// Notes how far merges and stores are.
    pub(crate) fn note_rates(&self) {
        let Ok(lvs) = self.lvs() else { return };
        let now = Instant::now();
        let mut rates = locked(&self.rates);
        let (merges, fills) = &mut *rates;
        merges.look(now, lvs.iter().filter_map(|lv| Some((lv.device.clone(), lv.merge?.chunks_left))));
        fills.look(now, lvs.iter().filter_map(|lv| Some((lv.device.clone(), allocated(lv)?))));
    }
}

/// Sectors of an unmerged snapshot's store that are taken.
fn allocated(lv: &LvStatus) -> Option<u64> {
    let usage = lv.status.iter().find_map(|line| SnapshotStatus::parse(line))?;
    match usage {
        SnapshotStatus::Usage { allocated, .. } if lv.merge.is_none() => Some(allocated.get()),
        _ => None,
    }
}

/// The LV of a device, where it is the one that users open.
pub(crate) fn lv_of(vg: &str, uuid: &str) -> Option<LvmUuid> {
    LvmUuid::parse(uuid.strip_prefix("LVM-")?.strip_prefix(vg)?).ok()
}

/// Whether a volume with this table is an origin or a snapshot.
pub(crate) fn is_in_a_group(table: &Table) -> bool {
    let is_in = |target: &Target| {
        matches!(target, Target::SnapshotOrigin { .. } | Target::Snapshot(_) | Target::SnapshotMerge(_))
    };
    table.lines.iter().any(|line| is_in(&line.target))
}

fn lv(carrier: &mut Carrier, vg: &str, info: &Info) -> Option<LvStatus> {
    let id = lv_of(vg, &info.uuid)?;
    let number = carrier.dm.number(&info.name)?;
    let table = carrier.dm.table(&info.name).ok()??;
    let is_error = table.lines.iter().all(|line| line.target == Target::Error);
    if is_error && !carrier.dm.is_cut_off(&info.name) {
        return None;
    }
    let merge = carrier.dm.merge_progress(&info.name).map(|progress| MergeStatus {
        chunks_total: progress.chunks_total,
        chunks_left: progress.chunks_left,
        chunk: progress.chunk_size.len(),
        paused: progress.paused,
        failed: progress.failed,
        finished: progress.finished,
        rate: None,
        limit: carrier.merge_rate(&info.name),
    });
    Some(LvStatus {
        id,
        device: info.name.clone(),
        number,
        size: table.len(),
        read_only: carrier.dm.is_read_only(&info.name),
        discards: !is_in_a_group(&table),
        suspended: info.suspended,
        open_count: info.open_count,
        table: table.to_string(),
        status: carrier.dm.status(&info.name).unwrap_or_default(),
        merge,
        fill_rate: None,
        wait: None,
    })
}
