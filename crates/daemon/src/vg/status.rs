//! What is known of a VG's live volumes.
//!
//! What must hold:
//! - A volume is a device whose UUID is `LVM-` and those of VG and LV, without a suffix (lvm2.md 2.1), and whose table is
//!   not the stand-in of a snapshot that merges.

use super::{ChangeError, Vg};
use crate::carrier::Carrier;
use foldback_dm_table::{DeviceMapper, DmName, Info, Target};
use foldback_units::{LvmUuid, Sectors};

/// How far a merge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MergeStatus {
    /// Chunks when it began.
    pub chunks_total: u64,
    /// Chunks that are left.
    pub chunks_left: u64,
    /// Of each.
    pub chunk: Sectors,
    /// It stands, for an error.
    pub failed: bool,
    /// Only the metadata's end is missing.
    pub finished: bool,
}

/// A live volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LvStatus {
    /// The LV's UUID.
    pub id: LvmUuid,
    /// Its device.
    pub device: DmName,
    /// Its length.
    pub size: Sectors,
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
}

impl Vg {
    /// The live volumes, in the order in which they were made.
    ///
    /// # Errors
    /// The carrier is gone.
    pub fn lvs(&self) -> Result<Vec<LvStatus>, ChangeError> {
        let vg = self.id.compact();
        let all = move |carrier: &mut Carrier| -> Vec<LvStatus> {
            let infos = carrier.dm.list().unwrap_or_default();
            infos.into_iter().filter_map(|info| lv(carrier, &vg, &info)).collect()
        };
        Ok(self.carrier.call(all)?)
    }
}

/// The LV of a device, where it is the one that users open.
pub(crate) fn lv_of(vg: &str, uuid: &str) -> Option<LvmUuid> {
    LvmUuid::parse(uuid.strip_prefix("LVM-")?.strip_prefix(vg)?).ok()
}

fn lv(carrier: &mut Carrier, vg: &str, info: &Info) -> Option<LvStatus> {
    let id = lv_of(vg, &info.uuid)?;
    let table = carrier.dm.table(&info.name).ok()??;
    if table.lines.iter().all(|line| line.target == Target::Error) {
        return None;
    }
    let merge = carrier.dm.merge_progress(&info.name).map(|progress| MergeStatus {
        chunks_total: progress.chunks_total,
        chunks_left: progress.chunks_left,
        chunk: progress.chunk_size.len(),
        failed: progress.failed,
        finished: progress.finished,
    });
    Some(LvStatus {
        id,
        device: info.name.clone(),
        size: table.len(),
        suspended: info.suspended,
        open_count: info.open_count,
        table: table.to_string(),
        status: carrier.dm.status(&info.name).unwrap_or_default(),
        merge,
    })
}
