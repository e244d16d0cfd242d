//! The kernel as the host of a command's merge: started, followed and ended by the command itself.
//!
//! What must hold:
//! - The VG's lock is never held while the merge is waited for; its end is seen within a tenth of a second.
//! - What is open is not switched.

use super::Kernel;
use crate::error::Cause;
use crate::session::Session;
use foldback_device::{DiskFile, Disks};
use foldback_dm_table::{
    DeviceMapper, DmName, Info, SnapshotStatus, Stage, Table, Target, Transaction, Verb,
};
use foldback_kernel_dm::{KernelDm, KernelDmError};
use foldback_manager::config::Config;
use foldback_manager::host::{LockVgError, LockedVg, lock_vg};
use foldback_manager::job::{Carried, InUse, MergeHost, Progress};
use foldback_units::VgName;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// How often the kernel is asked: it raises no event when a merge is done.
const LOOK: Duration = Duration::from_millis(100);
/// lvm2.md trap 16.
const OPEN_TRIES: u32 = 25;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelHostError {
    /// A device.
    #[error(transparent)]
    Device(#[from] KernelDmError),
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockVgError),
    /// The merge stands; all is still served.
    #[error("the kernel says of {device}: {status}; all is still served")]
    Merge {
        /// Into which device.
        device: DmName,
        /// Its status.
        status: String,
    },
}

impl Cause for KernelHostError {}

/// The kernel's devices, with the host's error.
pub(crate) struct HostMapper(KernelDm);

/// The command's disks, and the kernel's devices.
pub(crate) struct KernelHost {
    mapper: HostMapper,
    files: Vec<Arc<DiskFile>>,
    disks: Box<dyn Disks>,
    pub(crate) paths: Vec<String>,
    pub(crate) config: Config,
    locked: Option<LockedVg>,
}

impl KernelHost {
    /// Over the disks of a session that may write.
    pub(crate) fn new(kernel: Kernel, session: Session) -> Self {
        let Session { files, disks, paths, config, .. } = session;
        Self { mapper: HostMapper(kernel.mapper), files, disks, paths, config, locked: None }
    }

    fn is_open(&mut self, name: &DmName) -> Result<bool, KernelHostError> {
        for _ in 0..OPEN_TRIES {
            let info = self.mapper.list()?.into_iter().find(|info| info.name == *name);
            if info.is_none_or(|info| info.open_count == 0) {
                return Ok(false);
            }
            sleep(OPEN_PAUSE);
        }
        Ok(true)
    }
}

impl DeviceMapper for HostMapper {
    type Error = KernelHostError;

    fn apply(&mut self, verb: &Verb) -> Result<(), KernelHostError> {
        Ok(self.0.apply(verb)?)
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, KernelHostError)> {
        self.0.transact(transaction).map_err(|(stage, error)| (stage, error.into()))
    }

    fn list(&mut self) -> Result<Vec<Info>, KernelHostError> {
        Ok(self.0.list()?)
    }

    fn table(&mut self, name: &DmName) -> Result<Option<Table>, KernelHostError> {
        Ok(self.0.table(name)?)
    }

    fn status(&mut self, name: &DmName) -> Result<Vec<String>, KernelHostError> {
        Ok(self.0.status(name)?)
    }
}

impl MergeHost for KernelHost {
    type Error = KernelHostError;
    type Mapper = HostMapper;

    fn mapper(&mut self) -> &mut HostMapper {
        &mut self.mapper
    }

    fn disks(&mut self) -> Box<dyn Disks + '_> {
        Box::new(&mut *self.disks)
    }

    fn lock(&mut self, vg: &VgName) -> Result<(), KernelHostError> {
        if self.locked.is_none() {
            self.locked = Some(lock_vg(vg, &self.files, &self.config, &mut crate::session::say_waiting)?);
        }
        Ok(())
    }

    fn unlock(&mut self) {
        self.locked = None;
    }

    fn start_live(
        &mut self,
        transaction: &Transaction,
        unless_in_use: &[DmName],
    ) -> Result<Option<InUse>, (Stage, KernelHostError)> {
        for name in unless_in_use {
            if self.is_open(name).map_err(|error| (Stage::Preload, error))? {
                return Ok(Some((name.clone(), "somebody who has it open".to_owned())));
            }
        }
        self.mapper.transact(transaction).map(|()| None)
    }

    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, KernelHostError> {
        let mut most = 0;
        loop {
            let table = self.mapper.table(device)?.unwrap_or_default();
            let Some(Target::SnapshotMerge(params)) = table.lines.first().map(|line| &line.target) else {
                return Ok(Carried::Gone);
            };
            let chunk_size = params.chunk_size;
            let status = self.mapper.status(device)?.concat();
            let Some(SnapshotStatus::Usage { allocated, metadata, .. }) = SnapshotStatus::parse(&status)
            else {
                return Err(KernelHostError::Merge { device: device.clone(), status });
            };
            let left = allocated.saturating_sub(metadata).get();
            let left = left.checked_div(chunk_size.sectors().into()).unwrap_or(0);
            most = left.max(most);
            let enough = look(&Progress { chunks_total: most, chunks_left: left, chunk_size }).is_break();
            if allocated == metadata {
                return Ok(Carried::Finished);
            }
            if enough {
                return Ok(Carried::Stopped);
            }
            sleep(LOOK);
        }
    }
}
