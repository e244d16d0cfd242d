//! The kernel's device-mapper as the host of the manager's merge, on the guest's disks.
//!
//! Holds: a merge is looked at ten times a second and never waited for under the VG's lock; a device that is open, after
//! half a second's patience, is not switched.

use std::ops::ControlFlow;
use std::sync::Arc;

use foldback_device::{Access, Backend, DiskFile, Disks, open_disks, open_files};
use foldback_dm_table::{DeviceMapper, DmName, Stage, Transaction};
use foldback_kernel_dm::{KernelDm, KernelDmError};
use foldback_manager::config::Config;
use foldback_manager::host::{LockVgError, LockedVg, lock_vg};
use foldback_manager::job::{Carried, InUse, MergeHost, Progress, WatchError, first_open, watch_merge};
use foldback_manager::store::{Discovery, DiskSet, discover};
use foldback_units::VgName;

/// What can go wrong.
#[derive(Debug)]
pub(super) enum HostError {
    /// A device.
    Device(KernelDmError),
    /// A lock.
    Lock(LockVgError),
    /// The kernel has stopped the merge.
    Merge(WatchError<KernelDmError>),
}

impl std::fmt::Display for HostError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(error) => write!(out, "{error}"),
            Self::Lock(error) => write!(out, "{error}"),
            Self::Merge(error) => write!(out, "{error}"),
        }
    }
}

impl std::error::Error for HostError {}

/// KernelDm with the host's error, and a fault to put into its next transaction.
pub(super) struct Mapper {
    pub(super) kernel: KernelDm,
    pub(super) spoil: Option<fn(&mut Transaction)>,
}

impl DeviceMapper for Mapper {
    type Error = HostError;

    fn apply(&mut self, verb: &foldback_dm_table::Verb) -> Result<(), HostError> {
        self.kernel.apply(verb).map_err(HostError::Device)
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, HostError)> {
        let mut transaction = transaction.clone();
        if let Some(spoil) = self.spoil.take() {
            spoil(&mut transaction);
        }
        let done = self.kernel.transact(&transaction);
        for note in self.kernel.take_notes() {
            println!("NOTE {note}");
        }
        done.map_err(|(stage, error)| (stage, HostError::Device(error)))
    }

    fn list(&mut self) -> Result<Vec<foldback_dm_table::Info>, HostError> {
        self.kernel.list().map_err(HostError::Device)
    }

    fn table(&mut self, name: &DmName) -> Result<Option<foldback_dm_table::Table>, HostError> {
        self.kernel.table(name).map_err(HostError::Device)
    }

    fn status(&mut self, name: &DmName) -> Result<Vec<String>, HostError> {
        self.kernel.status(name).map_err(HostError::Device)
    }
}

/// The disks, the devices, the lock.
pub(super) struct Host {
    pub(super) mapper: Mapper,
    files: Vec<Arc<DiskFile>>,
    disks: Box<dyn Disks>,
    pub(super) paths: Vec<String>,
    config: Config,
    locked: Option<LockedVg>,
}

impl Host {
    /// Opens the PVs and the kernel's device-mapper.
    pub(super) fn open(paths: &[String], spoil: Option<fn(&mut Transaction)>) -> anyhow::Result<Self> {
        let files = open_files(paths, Access::Write)?;
        let disks = open_disks(&files, Backend::Blocking)?;
        let directory = std::env::var_os("LVM_SYSTEM_DIR").map(std::path::PathBuf::from);
        let config = Config::read(directory.as_deref(), None)?;
        let mapper = Mapper { kernel: KernelDm::open(paths)?, spoil };
        Ok(Self { mapper, files, disks, paths: paths.to_vec(), config, locked: None })
    }

    /// Reads every PV.
    pub(super) fn discover(&mut self) -> Discovery {
        discover(&mut DiskSet::new(&mut *self.disks, &self.paths), None)
    }

    /// The PVs, to be written.
    pub(super) fn set(&mut self) -> (DiskSet<'_>, &mut Mapper) {
        (DiskSet::new(&mut *self.disks, &self.paths), &mut self.mapper)
    }
}

impl MergeHost for Host {
    type Error = HostError;
    type Mapper = Mapper;

    fn mapper(&mut self) -> &mut Mapper {
        &mut self.mapper
    }

    fn disks(&mut self) -> Box<dyn Disks + '_> {
        Box::new(&mut *self.disks)
    }

    fn lock(&mut self, vg: &VgName) -> Result<(), HostError> {
        if self.locked.is_none() {
            let locked = lock_vg(vg, &self.files, &self.config, &mut |_| ());
            self.locked = Some(locked.map_err(HostError::Lock)?);
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
    ) -> Result<Option<InUse>, (Stage, HostError)> {
        let open = first_open(&mut self.mapper, unless_in_use).map_err(|error| (Stage::Preload, error))?;
        if let Some(name) = open {
            return Ok(Some((name, "somebody".to_owned())));
        }
        self.mapper.transact(transaction).map(|()| None)
    }

    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, HostError> {
        watch_merge(&mut self.mapper.kernel, device, look).map_err(HostError::Merge)
    }
}
