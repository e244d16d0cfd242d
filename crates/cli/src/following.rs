//! A merge of volumes that the daemon serves: started by the command, carried by the daemon, watched by the command.
//!
//! What must hold:
//! - The command may end at any time: the merge goes on and is ended by the daemon.
//! - Metadata is read and locked as for every change; the daemon is asked only about devices.

use crate::changing::one_vg;
use crate::commands::Context;
use crate::error::CliError;
use crate::live::{LiveVg, RemoteError, RemoteMapper, setting};
use crate::session::Session;
use foldback_daemon::Terms;
use foldback_daemon::api::ApiError;
use foldback_daemon::api::types::{LvInfo, MergeInfo};
use foldback_device::{DiskFile, Disks};
use foldback_dm_table::{DmName, Stage, Transaction};
use foldback_manager::config::Config;
use foldback_manager::host::{LockedVg, lock_vg};
use foldback_manager::job::{Carried, Counted, InUse, MergeHost, Progress};
use foldback_units::{ChunkSize, LvName, VgName};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// How often the daemon is asked.
const LOOK: Duration = Duration::from_millis(100);

/// The daemon as the host of a command's merge.
pub(crate) struct LiveHost {
    mapper: RemoteMapper,
    disks: Box<dyn Disks>,
    files: Vec<Arc<DiskFile>>,
    pub(crate) paths: Vec<String>,
    pub(crate) config: Config,
    extends_stores: bool,
    locked: Option<LockedVg>,
    /// What the merge may move in a second, in bytes.
    merge_rate: Option<u64>,
}

impl LiveHost {
    /// Over the disks of a session, under the names by which the daemon knows them.
    pub(crate) fn new(session: Session, live: LiveVg, merge_rate: Option<u64>) -> Self {
        let Session { files, disks, paths, config, .. } = session;
        let extends_stores = live.info.extends_stores;
        let mapper = RemoteMapper { client: live.client, vg: live.info.name };
        Self { mapper, disks, files, paths, config, extends_stores, locked: None, merge_rate }
    }

    /// The live volume of that device, `None` where there is none any more.
    fn lv(&mut self, device: &DmName) -> Result<Option<LvInfo>, RemoteError> {
        let vg = self.mapper.client.list()?.into_iter().find(|vg| vg.name == self.mapper.vg);
        Ok(vg.and_then(|vg| vg.lvs.into_iter().find(|lv| lv.device == device.0)))
    }
}

impl MergeHost for LiveHost {
    type Error = RemoteError;
    type Mapper = RemoteMapper;

    fn mapper(&mut self) -> &mut RemoteMapper {
        &mut self.mapper
    }

    fn disks(&mut self) -> Box<dyn Disks + '_> {
        Box::new(&mut *self.disks)
    }

    fn lock(&mut self, vg: &VgName) -> Result<(), RemoteError> {
        if self.locked.is_none() {
            self.locked = Some(lock_vg(vg, &self.files, &self.config, &mut crate::session::say_waiting)?);
            let RemoteMapper { client, vg } = &mut self.mapper;
            match client.verify(vg) {
                // What was live is down by now.
                Ok(()) | Err(ApiError::NotActive(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn unlock(&mut self) {
        self.locked = None;
    }

    fn extends_stores(&self) -> bool {
        self.extends_stores
    }

    fn start_live(
        &mut self,
        transaction: &Transaction,
        unless_in_use: &[DmName],
    ) -> Result<Option<InUse>, (Stage, RemoteError)> {
        self.start(transaction, unless_in_use, None)
    }

    fn start_live_as_counted(
        &mut self,
        transaction: &Transaction,
        unless_in_use: &[DmName],
        counted: &Counted,
    ) -> Result<Option<InUse>, (Stage, RemoteError)> {
        self.start(transaction, unless_in_use, Some(counted.clone()))
    }

    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, RemoteError> {
        loop {
            let Some(merge) = self.lv(device)?.and_then(|lv| lv.merge) else { return Ok(Carried::Gone) };
            if merge.failed {
                return Err(RemoteError::MergeFailed);
            }
            let sectors = u32::try_from(merge.chunk_sectors).unwrap_or_default();
            let chunk_size =
                ChunkSize::from_sectors(sectors).map_err(|_| RemoteError::NoDevice(device.clone()))?;
            let MergeInfo { chunks_total, chunks_left, finished, .. } = merge;
            let enough = look(&Progress { chunks_total, chunks_left, chunk_size }).is_break();
            if finished {
                return Ok(Carried::Finished);
            }
            if enough {
                return Ok(Carried::Stopped);
            }
            sleep(LOOK);
        }
    }
}

impl LiveHost {
    fn start(
        &mut self,
        transaction: &Transaction,
        unless_in_use: &[DmName],
        counted: Option<Counted>,
    ) -> Result<Option<InUse>, (Stage, RemoteError)> {
        let RemoteMapper { client, vg } = &mut self.mapper;
        let terms = Terms { closed: unless_in_use.to_vec(), merge_rate: self.merge_rate, counted };
        match client.transact_on(vg, transaction, &terms) {
            Ok(()) => Ok(None),
            Err(ApiError::InUse { device, by }) => Ok(Some((DmName(device), by))),
            Err(ApiError::Failed { stage: Some(stage), message }) => {
                Err((stage, ApiError::Failed { stage: Some(stage), message }.into()))
            }
            Err(error @ ApiError::NotRemembered(_)) => Err((Stage::Clean, error.into())),
            Err(error) => Err((Stage::Preload, error.into())),
        }
    }
}

/// Brings up volumes that are to be merged, in a VG whose disks the daemon holds for others.
pub(crate) fn bring_up(context: &Context, live: &mut LiveVg, lv: &LvName) -> Result<(), CliError> {
    let setting = setting(&context.options, &live.info.devices)?;
    let vg = VgName::new(&live.info.name).map_err(|error| CliError::failed(format!("{error}.")))?;
    let _unchanged = Session::open_to_activate(&context.options, &vg)?;
    let done = live.client.activate(&live.info.name, &[lv.to_string()], &setting)?;
    done.failed.into_iter().next().map_or(Ok(()), |why| Err(CliError::failed(format!("{why}."))))
}

/// Takes them down again, by the names that they may have now. Whoever has opened one of them keeps it.
pub(crate) fn take_down(
    context: &Context,
    vg: &VgName,
    (snapshot, origin): (&LvName, &LvName),
) -> Result<(), CliError> {
    let Some(mut live) = LiveVg::find(vg, &[])? else { return Ok(()) };
    let mut session = Session::open_to_activate(&context.options, vg)?;
    let discovery = session.discover();
    let there = one_vg(&discovery, vg)?;
    let name = [origin, snapshot].into_iter().find(|name| there.vg.lv(name).is_some());
    if let Some(name) = name
        && let Err(error) = live.client.deactivate(vg.as_str(), &[name.to_string()], false)
    {
        context.console.warn(&format!("{vg}/{name} stays active: {error}."));
    }
    drop(session);
    Ok(())
}
