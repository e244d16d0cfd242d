//! What a job needs around it: who carries the devices, who holds the locks, who listens.
//!
//! What must hold:
//! - The job never keeps the VG's lock while it only waits: others must be able to report and change meanwhile, as with
//!   LVM2's poller. The hold on the data is the host's, and stays.

use crate::ops::Notice;
use foldback_device::Disks;
use foldback_dm_table::{DeviceMapper, DmName, SnapshotStatus, Stage, Transaction};
use foldback_units::{Bytes, ChunkSize, Sectors, VgName};
use std::error::Error;
use std::ops::ControlFlow;

/// How far a merge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Chunks that were to be merged when this run began.
    pub chunks_total: u64,
    /// Chunks that are still to be merged.
    pub chunks_left: u64,
    /// What each is.
    pub chunk_size: ChunkSize,
}

impl Progress {
    /// What is merged already.
    pub fn chunks_done(&self) -> u64 {
        self.chunks_total.saturating_sub(self.chunks_left)
    }

    /// The same in bytes.
    pub fn bytes_done(&self) -> Bytes {
        Bytes(self.chunk_size.bytes().get().saturating_mul(self.chunks_done()))
    }

    /// All there is to merge, in bytes.
    pub fn bytes_total(&self) -> Bytes {
        Bytes(self.chunk_size.bytes().get().saturating_mul(self.chunks_total))
    }
}

/// How the carrying of a merge ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carried {
    /// The store is durably empty.
    Finished,
    /// The observer has had enough; the merge can be taken up again at any time.
    Stopped,
    /// Of live devices: nothing merges into the device any more; somebody else has ended it.
    Gone,
}

/// What lay in the store of a live snapshot when room for it was sought elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// The snapshot's device.
    pub snapshot: DmName,
    /// Sectors of its store that hold data.
    pub data: Sectors,
}

impl Counted {
    /// What is said of whoever wrote meanwhile.
    pub const GREW: &str = "somebody has written to it meanwhile";

    /// Whether a status line of the snapshot says more. One that is lost cannot be merged either, which others say.
    pub fn has_grown(&self, status: &[String]) -> bool {
        let used = |line: &String| match SnapshotStatus::parse(line)? {
            SnapshotStatus::Usage { allocated, metadata, .. } => {
                Some(allocated.get().saturating_sub(metadata.get()))
            }
            _ => None,
        };
        status.iter().find_map(used).is_some_and(|data| data > self.data.get())
    }
}

/// A device that somebody uses, and who.
pub type InUse = (DmName, String);

/// Who carries the devices of a job, and holds its locks.
pub trait MergeHost {
    /// What can go wrong with devices and locks.
    type Error: Error + Send + Sync + 'static;
    /// Who carries out verbs.
    type Mapper: DeviceMapper<Error = Self::Error>;

    /// The executor of verbs.
    fn mapper(&mut self) -> &mut Self::Mapper;

    /// The disks on which the VG's metadata lies, in the order of the paths given to the job.
    fn disks(&mut self) -> Box<dyn Disks + '_>;

    /// Locks the VG exclusively; nothing happens where it is locked already.
    fn lock(&mut self, vg: &VgName) -> Result<(), Self::Error>;

    /// Gives the lock back.
    fn unlock(&mut self);

    /// Carries out a transaction that starts a merge in live devices, unless one of these is in use; nothing is changed
    /// then, and the first that is, with who uses it, is returned.
    fn start_live(
        &mut self,
        transaction: &Transaction,
        unless_in_use: &[DmName],
    ) -> Result<Option<InUse>, (Stage, Self::Error)>;

    /// The same, unless more lies in a snapshot's store than was counted: whoever wrote there since is told of as if he
    /// still had it open.
    ///
    /// A host that can look while nobody can open the devices does so. This looks right before, which is enough for the
    /// kernel's devices only as far as nobody writes between the look and the switch.
    fn start_live_as_counted(
        &mut self,
        transaction: &Transaction,
        unless_in_use: &[DmName],
        counted: &Counted,
    ) -> Result<Option<InUse>, (Stage, Self::Error)> {
        let status = self.mapper().status(&counted.snapshot).map_err(|error| (Stage::Preload, error))?;
        if counted.has_grown(&status) {
            return Ok(Some((counted.snapshot.clone(), Counted::GREW.to_owned())));
        }
        self.start_live(transaction, unless_in_use)
    }

    /// Whether stores of live volumes are extended before they are full.
    fn extends_stores(&self) -> bool {
        false
    }

    /// Works on the merge into `device` until it is finished, or until `look` breaks off.
    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, Self::Error>;
}

/// Who listens to a job.
pub trait Observer {
    /// Something to tell.
    fn notice(&mut self, notice: Notice);

    /// Asked before the first byte is written: whether the job is to stop, leaving everything as it was.
    fn stops(&self) -> bool {
        false
    }

    /// How far it is, often; breaking off stops the job where it can be taken up again.
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()>;

    /// The VG is about to be marked, or its mark to be ended: the place to archive it as it is. Not called for what is refused.
    fn changing(&mut self, _: &foldback_lvm2_format::vg::Vg) {}

    /// The VG was committed: the place to write its backup.
    fn committed(&mut self, vg: &foldback_lvm2_format::vg::Vg);
}

#[cfg(test)]
mod tests {
    use super::Counted;
    use foldback_dm_table::DmName;
    use foldback_units::Sectors;

    /// What the merge copies out to the snapshot that undoes it is what was counted, not more.
    #[test]
    fn a_store_has_grown_when_it_holds_more_data_than_was_counted() {
        let counted = Counted { snapshot: DmName("vg-snap".to_owned()), data: Sectors(24) };
        let grown = |line: &str| counted.has_grown(&[line.to_owned()]);
        assert!(!grown("40/4096 16") && !grown("16/4096 16"));
        assert!(grown("48/4096 16"));
        assert!(!grown("48/4096 24"), "more metadata");
        assert!(!grown("Invalid"));
    }
}
