//! Volumes carried in this process: our device-mapper over the command's disks.
//!
//! What must hold:
//! - The content of the disks is held for as long as a volume is carried; the metadata only while it is read or changed. Where
//!   the kernel has device-mapper, a merge holds what it works on by claims there (`backend::claims`), so that others of the VG
//!   may be active.
//! - Devices are taken down again, so that stores are left as a clean stop leaves them.

use crate::backend::Claims;
use crate::error::CliError;
use crate::session::Session;
use foldback_device::{DiskFile, Disks, Hold};
use foldback_dm_table::{DeviceMapper, DmName, Info, Stage, Table, Transaction, Verb};
use foldback_kernel_dm::KernelDmError;
use foldback_manager::activation::{Group, activate, deactivate, device_of};
use foldback_manager::config::Config;
use foldback_manager::host::{LockVgError, LockedVg, lock_vg};
use foldback_manager::job::{Carried, InUse, MergeHost, Progress};
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, VgName};
use foldback_user_dm::{DmError, MergeEnd, Settings, UserDm};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// Our device-mapper over the disks of a command.
pub(crate) type Mapper = UserDm<Box<dyn Disks>>;

/// What can go wrong while a merge is carried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// A device.
    #[error(transparent)]
    Device(#[from] DmError),
    /// A device in the kernel that holds the place of one of ours.
    #[error(transparent)]
    Kernel(#[from] KernelDmError),
    /// The same, which somebody else has opened.
    #[error("holding {}: {error}", node.display())]
    Claim {
        /// Its node.
        node: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockVgError),
}

/// Takes over a session's disks.
fn mapper(disks: Box<dyn Disks>, paths: &[String]) -> Result<Mapper, CliError> {
    Ok(UserDm::new(disks, paths, Settings::default())?)
}

/// An LV with its whole group, readable and writable in this process.
pub(crate) struct Carrier {
    pub(crate) mapper: Mapper,
    pub(crate) device: DmName,
    group: Group,
    _data: Vec<Hold>,
}

impl Carrier {
    /// Brings `lv` up; `data` holds the content since before `found` was read.
    pub(crate) fn bring_up(
        session: Session,
        data: Vec<Hold>,
        found: &FoundVg,
        lv: &LvName,
    ) -> Result<Self, CliError> {
        let failed = |error: &dyn std::fmt::Display| CliError::failed(format!("{error}."));
        let group = Group::of(found, lv).map_err(|error| failed(&error))?;
        let device = device_of(&group, lv).ok_or_else(|| CliError::failed(format!("{lv} has no device.")))?;
        let device = device.name.clone();
        let mut mapper = mapper(session.disks, &session.paths)?;
        for verb in activate(&group) {
            mapper.apply(&verb)?;
        }
        Ok(Self { mapper, device, group, _data: data })
    }

    /// Snapshots of the group that have overflowed or failed.
    pub(crate) fn invalid_snapshots(&mut self) -> Vec<LvName> {
        let mapper = &mut self.mapper;
        let invalid = self.group.snapshots.iter().filter(|snapshot| {
            let status = mapper.status(&snapshot.top.name);
            status.is_ok_and(|lines| lines.iter().any(|line| line == "Invalid"))
        });
        invalid.map(|snapshot| snapshot.lv.clone()).collect()
    }

    /// Takes it down again.
    pub(crate) fn take_down(mut self) -> Result<(), CliError> {
        for verb in deactivate(&self.group) {
            self.mapper.apply(&verb)?;
        }
        Ok(())
    }
}

/// Carries a merge.
pub(crate) struct Host {
    mapper: HostMapper,
    files: Vec<Arc<DiskFile>>,
    pub(crate) paths: Vec<String>,
    pub(crate) config: Config,
    locked: Option<LockedVg>,
    _data: Vec<Hold>,
}

/// Our device-mapper, with the host's error, and what it claims in the kernel.
pub(crate) struct HostMapper {
    ours: Mapper,
    claims: Option<Claims>,
}

impl Host {
    /// Takes over the disks, and holds the content of the VG's.
    pub(crate) fn new(session: Session, found: &FoundVg) -> Result<Self, CliError> {
        let claims = Claims::of(&session, found)?;
        let data = if claims.is_none() { session.hold_vg(found)? } else { Vec::new() };
        let Session { files, disks, paths, config, .. } = session;
        let mapper = HostMapper { ours: mapper(disks, &paths)?, claims };
        Ok(Self { mapper, files, paths, config, locked: None, _data: data })
    }
}

impl DeviceMapper for HostMapper {
    type Error = HostError;

    fn apply(&mut self, verb: &Verb) -> Result<(), HostError> {
        let Self { ours, claims } = self;
        if let Some(claims) = claims {
            claims.before(verb)?;
        }
        ours.apply(verb)?;
        Ok(claims.as_mut().map_or(Ok(()), |claims| claims.after(verb))?)
    }

    /// Only ends merges here: it makes no device that the kernel would have to know.
    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, HostError)> {
        let Self { ours, claims } = self;
        ours.transact(transaction).map_err(|(stage, error)| (stage, error.into()))?;
        for verb in &transaction.clean {
            let gone = claims.as_mut().map_or(Ok(()), |claims| claims.after(verb));
            gone.map_err(|error| (Stage::Clean, error.into()))?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Info>, HostError> {
        Ok(self.ours.list()?)
    }

    fn table(&mut self, name: &DmName) -> Result<Option<Table>, HostError> {
        Ok(self.ours.table(name)?)
    }

    fn status(&mut self, name: &DmName) -> Result<Vec<String>, HostError> {
        Ok(self.ours.status(name)?)
    }
}

impl MergeHost for Host {
    type Error = HostError;
    type Mapper = HostMapper;

    fn mapper(&mut self) -> &mut HostMapper {
        &mut self.mapper
    }

    fn disks(&mut self) -> Box<dyn Disks + '_> {
        Box::new(self.mapper.ours.disks_mut())
    }

    fn lock(&mut self, vg: &VgName) -> Result<(), HostError> {
        if self.locked.is_none() {
            self.locked = Some(lock_vg(vg, &self.files, &self.config, &mut crate::session::say_waiting)?);
        }
        Ok(())
    }

    fn unlock(&mut self) {
        self.locked = None;
    }

    /// Nobody but this process can have its devices open.
    fn start_live(
        &mut self,
        transaction: &Transaction,
        _: &[DmName],
    ) -> Result<Option<InUse>, (Stage, HostError)> {
        self.mapper.transact(transaction).map(|()| None)
    }

    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, HostError> {
        let ended = self.mapper.ours.run_until_merged(device, &mut |progress| {
            look(&Progress {
                chunks_total: progress.chunks_total,
                chunks_left: progress.chunks_left,
                chunk_size: progress.chunk_size,
            })
        })?;
        Ok(match ended {
            MergeEnd::Finished => Carried::Finished,
            MergeEnd::Stopped => Carried::Stopped,
        })
    }
}
