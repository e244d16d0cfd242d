//! Snapshots that the kernel has given up, and of which only it knows: their stores failed, and could not be told.
//!
//! What must hold (dm-snapshot.md 1.5):
//! - They are seen while they are live, and written down once they are not, under the VG's lock.
//! - A snapshot that merges is left alone: of a store that failed there its own merge goes on with what is in it.

use super::Kernel;
use crate::commands::Context;
use crate::session::Session;
use foldback_device::Access;
use foldback_dm_table::{DeviceMapper, SnapshotStatus};
use foldback_kernel_dm::KernelDmError;
use foldback_manager::activation::Group;
use foldback_manager::lost::write_lost;
use foldback_manager::store::{DiskSet, discover, select};
use foldback_units::{LvName, VgName};

impl Kernel {
    /// The snapshots of a group that say so. A merging one has no such device.
    pub(super) fn lost(&mut self, group: &Group) -> Result<Vec<LvName>, KernelDmError> {
        let mut lost = Vec::new();
        for snapshot in &group.snapshots {
            let top = &snapshot.top.name;
            if !self.there.iter().any(|info| info.name == *top && info.live) {
                continue;
            }
            let status = self.mapper.status(top)?;
            if status.iter().any(|line| SnapshotStatus::parse(line) == Some(SnapshotStatus::Invalid)) {
                lost.push(snapshot.lv.clone());
            }
        }
        Ok(lost)
    }
}

/// Writes down that these snapshots are lost, and says of which that could not be done. The VG is locked, and their devices
/// are gone.
pub(super) fn write_down(context: &Context, vg: &VgName, lost: &[LvName]) {
    if lost.is_empty() {
        return;
    }
    let unwritten = |lv: &LvName, why: &str| {
        context.console.warn(&format!(
            "Snapshot {vg}/{lv} is lost, and its store could not be told so: {why}. Once its disk works again it looks good, and \
             is not. Remove it with: lvremove {vg}/{lv}"
        ));
    };
    let mut session = match Session::open_unlocked(&context.options, &[], Access::Write) {
        Ok(session) => session,
        Err(error) => return lost.iter().for_each(|lv| unwritten(lv, &error.message)),
    };
    let mut set = DiskSet::new(&mut *session.disks, &session.paths);
    let discovery = discover(&mut set, session.config.system_id.as_deref());
    for lv in lost {
        let written = select::to_change(&discovery, vg)
            .map_err(|error| error.to_string())
            .and_then(|found| write_lost(&mut set, found, lv).map_err(|error| error.to_string()));
        match written {
            Ok(false) => {}
            Ok(true) => context.console.detail(&format!("{vg}/{lv} is lost; its store says so now.")),
            Err(why) => unwritten(lv, &why),
        }
    }
}
