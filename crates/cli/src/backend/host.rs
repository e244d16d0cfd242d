//! The kernel as the host of a command's merge: started, followed and ended by the command itself.
//!
//! What must hold:
//! - The VG's lock is never held while the merge is waited for; its end is seen within a tenth of a second.
//! - What is open is not switched.

use super::devices_of;
use crate::changing::one_vg;
use crate::commands::Context;
use crate::error::{Cause, CliError};
use crate::polling::{Listens, running, start};
use crate::session::Session;
use foldback_device::{DiskFile, Disks};
use foldback_dm_table::{DeviceMapper, DmName, Info, Stage, Table, Transaction, Verb};
use foldback_kernel_dm::{KernelDm, KernelDmError};
use foldback_manager::config::Config;
use foldback_manager::host::{LockVgError, LockedVg, lock_vg};
use foldback_manager::job::{Carried, InUse, MergeHost, Progress, WatchError, first_open, watch_merge};
use foldback_manager::store::{DiskSet, discover};
use foldback_units::{LvName, VgName};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelHostError {
    /// A device.
    #[error(transparent)]
    Device(#[from] KernelDmError),
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockVgError),
    /// The merge.
    #[error(transparent)]
    Watch(#[from] WatchError<KernelDmError>),
}

impl Cause for KernelHostError {
    fn wait_for(&self) -> Option<String> {
        let Self::Watch(WatchError::Stands { .. }) = self else { return None };
        Some("when the cause is gone and nobody uses the origin".to_owned())
    }
}

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
    pub(crate) fn new(mapper: KernelDm, session: Session) -> Self {
        let Session { files, disks, paths, config, .. } = session;
        Self { mapper: HostMapper(mapper), files, disks, paths, config, locked: None }
    }
}

impl KernelHost {
    /// Says what could not be done beside the verbs.
    pub(crate) fn tell_notes(&mut self, context: &Context) {
        for note in self.mapper.0.take_notes() {
            context.console.warn(&format!("{note}."));
        }
    }

    /// Starts the process that ends the running merge of which `lv` is the snapshot or the origin.
    pub(crate) fn start_pollers(
        &mut self,
        context: &Context,
        (vg, lv): (&VgName, &LvName),
    ) -> Result<(), CliError> {
        let system_id = self.config.system_id.as_deref();
        let discovery = discover(&mut DiskSet::new(&mut *self.disks, &self.paths), system_id);
        let found = one_vg(&discovery, vg)?;
        let there = devices_of(&mut self.mapper.0, &found.vg.id)?;
        let merging = running(&mut self.mapper, found, &there, Some(std::slice::from_ref(lv)));
        start(context, &self.paths, vg, &merging, Listens::Nobody).map(drop)
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
        let open = first_open(&mut self.mapper, unless_in_use).map_err(|error| (Stage::Preload, error))?;
        if let Some(name) = open {
            return Ok(Some((name, "somebody who has it open".to_owned())));
        }
        self.mapper.transact(transaction).map(|()| None)
    }

    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, KernelHostError> {
        Ok(watch_merge(&mut self.mapper.0, device, look)?)
    }
}
