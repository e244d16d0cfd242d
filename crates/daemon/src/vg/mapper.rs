//! The verbs, for the manager's jobs in this process.

use super::{ChangeError, Terms, Vg};
use crate::carrier::Carrier;
use foldback_device::Disks;
use foldback_dm_table::{DeviceMapper, DmName, Info, Stage, Table, Transaction, Verb};
use foldback_manager::host::{LockVgError, LockedVg};
use foldback_manager::job::{Carried, InUse, MergeHost, Progress};
use foldback_units::VgName;
use foldback_user_dm::DmError;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What can go wrong in a job of the daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// A device.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockVgError),
    /// The disks.
    #[error(transparent)]
    Ground(#[from] super::GroundError),
    /// A job that only ends merges was asked to carry one.
    #[error("volumes are carried by their carrier")]
    NotCarried,
}

/// A VG's carrier as an executor of verbs.
#[derive(Debug)]
pub(crate) struct LiveMapper(pub(crate) Arc<Vg>);

impl LiveMapper {
    fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Carrier) -> Result<R, DmError> + Send + 'static,
    ) -> Result<R, JobError> {
        let answer = self.0.carrier.call(question).map_err(ChangeError::from)?;
        Ok(answer.map_err(|error| ChangeError::Verb { stage: None, error })?)
    }
}

impl DeviceMapper for LiveMapper {
    type Error = JobError;

    fn apply(&mut self, verb: &Verb) -> Result<(), JobError> {
        Ok(self.0.apply(vec![verb.clone()])?)
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, JobError)> {
        self.0.transact(transaction.clone()).map_err(staged)
    }

    fn list(&mut self) -> Result<Vec<Info>, JobError> {
        self.ask(|carrier| carrier.dm.list())
    }

    fn table(&mut self, name: &DmName) -> Result<Option<Table>, JobError> {
        let name = name.clone();
        self.ask(move |carrier| carrier.dm.table(&name))
    }

    fn status(&mut self, name: &DmName) -> Result<Vec<String>, JobError> {
        let name = name.clone();
        self.ask(move |carrier| carrier.dm.status(&name))
    }
}

fn staged(error: ChangeError) -> (Stage, JobError) {
    match &error {
        ChangeError::Verb { stage, .. } => (stage.unwrap_or(Stage::Preload), error.into()),
        // A carrier that is gone has written nothing of it, or all of it: whoever reads the VG next knows.
        ChangeError::Gone(_)
        | ChangeError::InUse { .. }
        | ChangeError::Discards { .. }
        | ChangeError::Astray { .. }
        | ChangeError::Unread { .. } => (Stage::Preload, error.into()),
    }
}

/// The daemon as the host of a job.
pub(crate) struct LiveHost {
    mapper: LiveMapper,
    disks: Box<dyn Disks>,
    locked: Option<LockedVg>,
}

impl LiveHost {
    pub(crate) fn new(vg: Arc<Vg>) -> Result<Self, JobError> {
        let disks = vg.ground.disks()?;
        Ok(Self { mapper: LiveMapper(vg), disks, locked: None })
    }
}

impl MergeHost for LiveHost {
    type Error = JobError;
    type Mapper = LiveMapper;

    fn mapper(&mut self) -> &mut LiveMapper {
        &mut self.mapper
    }

    fn disks(&mut self) -> Box<dyn Disks + '_> {
        Box::new(&mut *self.disks)
    }

    fn lock(&mut self, vg: &VgName) -> Result<(), JobError> {
        if self.locked.is_none() {
            self.locked = Some(self.mapper.0.ground.lock_soon(vg)?);
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
    ) -> Result<Option<InUse>, (Stage, JobError)> {
        let terms = Terms { closed: unless_in_use.to_vec(), merge_rate: None, counted: None };
        match self.mapper.0.transact_on(transaction.clone(), &terms) {
            Ok(()) => Ok(None),
            Err(ChangeError::InUse { device, by }) => Ok(Some((device, by))),
            Err(error) => Err(staged(error)),
        }
    }

    fn carry_merge(
        &mut self,
        _: &DmName,
        _: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, JobError> {
        Err(JobError::NotCarried)
    }
}
