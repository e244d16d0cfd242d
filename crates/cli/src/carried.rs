//! Live volumes of a VG for the commands that change it, whoever carries them: the daemon, or the kernel, whose devices this
//! process switches itself.
//!
//! What must hold:
//! - A command asks here what is live, and hands its change over whole; it does not know who carries it out.
//! - LVs are found by UUID: names may have changed since they were activated.
//! - What is in use is refused before anything is suspended, in LVM2's words where the kernel carries it.

use crate::backend::Kernel;
use crate::commands::Context;
use crate::error::CliError;
use crate::live::{LiveVg, RemoteMapper};
use crate::session::Session;
use foldback_daemon::Terms;
use foldback_daemon::api::ApiError;
use foldback_daemon::api::types::{LvInfo, MergeInfo};
use foldback_dm_table::{DeviceMapper, DmName, SnapshotStatus, Stage, Table, Target, Transaction};
use foldback_kernel_dm::KernelDm;
use foldback_lvm2_format::vg::{Lv, Vg};
use foldback_manager::activation::{Change as GroupChange, Group, Tables, claimed_and_changed, tables};
use foldback_manager::job::first_open;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, Sectors, VgName};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who carries them.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// The daemon that serves the VG.
    Daemon(Box<LiveVg>),
    /// The kernel.
    Kernel(KernelDm),
}

/// A live LV.
#[derive(Debug)]
pub(crate) struct LiveLv {
    /// As the metadata calls it.
    pub(crate) name: LvName,
    /// What users open.
    pub(crate) device: DmName,
    pub(crate) table: Table,
    pub(crate) status: Vec<String>,
    /// A snapshot merges into it, and that has begun.
    pub(crate) merges: bool,
    /// How much of the merge is done, where that is known.
    pub(crate) merged_percent: Option<u64>,
    /// Writes wait for room in its store.
    waits: bool,
    /// Its block device, where the daemon made one.
    pub(crate) block: Option<String>,
    /// With hyphens.
    id: String,
}

/// The live volumes of a VG.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) vg: VgName,
    pub(crate) by: Carrier,
    lvs: Vec<LiveLv>,
}

/// How a change of live devices did not go as it should.
#[derive(Debug)]
pub(crate) enum NotSwitched {
    /// It is committed, and a device did not follow.
    Half(String),
    /// It is done, but not written down for the next daemon.
    Unwritten(CliError),
    /// It is not, as far as the error does not say otherwise.
    Refused(CliError),
}

impl Live {
    /// Those that the daemon serves.
    pub(crate) fn in_daemon(served: LiveVg, found: &FoundVg) -> Self {
        let live = |lv: &Lv| served.lv(&lv.id.to_string()).map(|info| of_info(&lv.name, info));
        let lvs = found.vg.lvs.iter().filter_map(live).collect();
        Self { vg: found.vg.name.clone(), by: Carrier::Daemon(Box::new(served)), lvs }
    }

    fn in_kernel(kernel: Kernel, found: &FoundVg) -> Result<Self, CliError> {
        let Kernel { mut mapper, there } = kernel;
        let mut lvs = Vec::new();
        for (lv, info) in crate::backend::live_lvs(found, &there) {
            let table = mapper.table(&info.name)?.unwrap_or_default();
            lvs.push(LiveLv {
                name: lv.name.clone(),
                device: info.name.clone(),
                status: mapper.status(&info.name)?,
                merges: table.lines.iter().any(|line| matches!(line.target, Target::SnapshotMerge(_))),
                table,
                merged_percent: None,
                waits: false,
                block: None,
                id: lv.id.to_string(),
            });
        }
        Ok(Self { vg: found.vg.name.clone(), by: Carrier::Kernel(mapper), lvs })
    }

    /// What is live of a VG, for who only looks.
    pub(crate) fn find(
        context: &Context,
        session: &Session,
        found: &FoundVg,
    ) -> Result<Option<Self>, CliError> {
        if let Some(served) = LiveVg::find(&found.vg.name, &session.paths)? {
            return Ok(Some(Self::in_daemon(served, found)));
        }
        Self::find_in_kernel(context, session, found)
    }

    /// What the kernel carries of a VG.
    pub(crate) fn find_in_kernel(
        context: &Context,
        session: &Session,
        found: &FoundVg,
    ) -> Result<Option<Self>, CliError> {
        let kernel = Kernel::that_carries(context, session, found)?;
        kernel.map(|kernel| Self::in_kernel(kernel, found)).transpose()
    }

    /// Whether an LV of the VG is live.
    pub(crate) fn has(&self, vg: &Vg, lv: &LvName) -> bool {
        self.of(vg, lv).is_some()
    }

    /// A live LV, by the name that the VG has for it.
    pub(crate) fn of(&self, vg: &Vg, lv: &LvName) -> Option<&LiveLv> {
        let id = vg.lv(lv)?.id.to_string();
        self.lvs.iter().find(|live| live.id == id)
    }

    /// Whether a snapshot that is marked for merging cannot be merged: its store is invalid, or the merge has failed.
    pub(crate) fn cannot_merge(&self, vg: &Vg, lv: &LvName) -> bool {
        let links = vg.snapshots();
        let origin = links.of_cow(lv).map(|snapshot| &snapshot.segment.origin);
        // While it merges, its origin's device knows.
        let origin = origin.and_then(|origin| self.of(vg, origin)).filter(|origin| origin.merges);
        let mut status = origin.or_else(|| self.of(vg, lv)).into_iter().flat_map(|live| &live.status);
        status.any(|line| {
            matches!(SnapshotStatus::parse(line), Some(SnapshotStatus::Invalid | SnapshotStatus::MergeFailed))
        })
    }

    /// Whether writes of one of them wait for room: what the command writes may lie on it.
    pub(crate) fn waits(&self) -> bool {
        self.lvs.iter().any(|lv| lv.waits)
    }

    /// A change of a group as it is live: while a merge waits, its origin's table is that of an ordinary origin, and must not
    /// become the merge's by a change of something else.
    pub(crate) fn as_it_runs(&self, change: GroupChange) -> GroupChange {
        let origin = &change.before.origin.top.name;
        let waits = self.lvs.iter().any(|lv| lv.device == *origin && !lv.merges);
        if !waits {
            return change;
        }
        let GroupChange { before, after } = change;
        GroupChange { before: before.while_deferred(), after: after.map(Group::while_deferred) }
    }

    /// The same of several.
    pub(crate) fn all_as_they_run(&self, changes: Vec<GroupChange>) -> Vec<GroupChange> {
        changes.into_iter().map(|change| self.as_it_runs(change)).collect()
    }

    /// Refuses where one of the kernel's devices `closed` is in use, before anything is written.
    pub(crate) fn refuse_open(&mut self, closed: &[DmName]) -> Result<(), CliError> {
        let Carrier::Kernel(mapper) = &mut self.by else { return Ok(()) };
        first_open(mapper, closed)?.map_or(Ok(()), |device| Err(in_use(&self.vg, &self.lvs, &device)))
    }

    /// Refuses a change of what an engine in another process works on, before anything is written.
    pub(crate) fn refuse_claimed(&mut self, before: &FoundVg, after: &Vg) -> Result<(), CliError> {
        let Carrier::Kernel(mapper) = &mut self.by else { return Ok(()) };
        let claimed = claimed_and_changed(before, after, &mapper.list()?);
        claimed.map_or(Ok(()), |(lv, device)| {
            Err(CliError::failed(in_use_words(&format!("{}/{lv}", self.vg), &device)))
        })
    }

    /// Carries a change out, unless one of the devices `closed` is in use.
    pub(crate) fn transact_unless_open(
        &mut self,
        transaction: &Transaction,
        closed: &[DmName],
    ) -> Result<(), NotSwitched> {
        match &mut self.by {
            Carrier::Daemon(served) => {
                let terms = Terms { closed: closed.to_vec(), merge_rate: None, counted: None };
                served.client.transact_on(&served.info.name, transaction, &terms).map_err(of_daemon)
            }
            Carrier::Kernel(mapper) => {
                let open = first_open(mapper, closed).map_err(|error| NotSwitched::Refused(error.into()))?;
                if let Some(device) = open {
                    return Err(NotSwitched::Refused(in_use(&self.vg, &self.lvs, &device)));
                }
                mapper.transact(transaction).map_err(|(stage, error)| match stage {
                    Stage::Resume | Stage::Clean => NotSwitched::Half(error.to_string()),
                    Stage::Preload | Stage::Suspend => {
                        NotSwitched::Refused(CliError::failed(format!("{error}; nothing was changed.")))
                    }
                    // It tells itself what was taken back.
                    Stage::Commit => NotSwitched::Refused(CliError::failed(format!("{error}."))),
                })
            }
        }
    }

    /// Carries out what brings devices and metadata together again.
    pub(crate) fn mend(&mut self, way: &Transaction) -> Result<(), String> {
        match &mut self.by {
            Carrier::Daemon(served) => remote(served).transact(way).map_err(|(_, error)| error.to_string()),
            Carrier::Kernel(mapper) => mapper.transact(way).map_err(|(_, error)| error.to_string()),
        }
    }

    /// Every device there is, with its live table.
    pub(crate) fn tables(&mut self) -> Result<Tables, String> {
        match &mut self.by {
            Carrier::Daemon(served) => tables(&mut remote(served)).map_err(|error| error.to_string()),
            Carrier::Kernel(mapper) => tables(mapper).map_err(|error| error.to_string()),
        }
    }

    /// What could not be done beside the change.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        match &mut self.by {
            Carrier::Daemon(_) => Vec::new(),
            Carrier::Kernel(mapper) => mapper.take_notes(),
        }
    }
}

impl LiveLv {
    /// Sectors of a snapshot's store that are taken, and all of them.
    pub(crate) fn usage(&self) -> Option<(Sectors, Sectors)> {
        match self.status.iter().find_map(|line| SnapshotStatus::parse(line))? {
            SnapshotStatus::Usage { allocated, total, .. } if !self.merges => Some((allocated, total)),
            _ => None,
        }
    }
}

fn of_info(name: &LvName, info: &LvInfo) -> LiveLv {
    LiveLv {
        name: name.clone(),
        device: DmName(info.device.clone()),
        // What is not understood is no table that a merge could be taken back from.
        table: Table::parse(&info.table).unwrap_or_default(),
        status: info.status.clone(),
        merges: info.merge.is_some(),
        merged_percent: info.merge.as_ref().map(percent),
        waits: info.wait.is_some(),
        block: info.block.clone(),
        id: info.id.clone(),
    }
}

fn percent(merge: &MergeInfo) -> u64 {
    let done = merge.chunks_total.saturating_sub(merge.chunks_left);
    done.saturating_mul(100).checked_div(merge.chunks_total).unwrap_or(100)
}

fn remote(served: &mut LiveVg) -> RemoteMapper<&mut foldback_daemon::api::Client> {
    RemoteMapper { client: &mut served.client, vg: served.info.name.clone() }
}

/// Why the daemon did not carry a change out; only what is known to have left everything as it was says so.
fn of_daemon(error: ApiError) -> NotSwitched {
    if matches!(error, ApiError::NotRemembered(_)) {
        return NotSwitched::Unwritten(error.into());
    }
    let unchanged = || CliError::failed(format!("{error}; nothing was changed."));
    NotSwitched::Refused(match &error {
        ApiError::Failed { stage: Some(Stage::Resume | Stage::Clean), message } => {
            return NotSwitched::Half(message.clone());
        }
        ApiError::InUse { device, by } => {
            CliError::failed(format!("Logical volume {device} in use: {by}; nothing was changed."))
        }
        ApiError::Failed { stage: Some(Stage::Preload | Stage::Suspend), .. } | ApiError::NotActive(_) => {
            unchanged()
        }
        // It tells itself what was taken back.
        ApiError::Failed { stage: Some(_), .. } => CliError::failed(format!("{error}.")),
        ApiError::Failed { stage: None, .. } => unchanged(),
        _ => CliError::failed(format!("{error}; whether the change was committed is not known."))
            .hint("lvs shows the metadata as they are now"),
    })
}

fn in_use(vg: &VgName, lvs: &[LiveLv], device: &DmName) -> CliError {
    let lv = lvs.iter().find(|lv| lv.device == *device).map_or(device.0.as_str(), |lv| lv.name.as_str());
    CliError::failed(in_use_words(&format!("{vg}/{lv}"), device))
}

/// LVM2's words for a device of the kernel's that is in use.
pub(crate) fn in_use_words(lv: &str, device: &DmName) -> String {
    let node: PathBuf = KernelDm::node(device);
    if foldback_frontend_fuse::mounted_on(&node).is_ok_and(|points| !points.is_empty()) {
        return format!("Logical volume {lv} contains a filesystem in use.");
    }
    if has_holders(&node) {
        return format!("Logical volume {lv} is used by another device.");
    }
    format!("Logical volume {lv} in use.")
}

fn has_holders(node: &Path) -> bool {
    let Ok(found) = std::fs::metadata(node) else { return false };
    let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
    let holders = std::fs::read_dir(format!("/sys/dev/block/{major}:{minor}/holders"));
    holders.is_ok_and(|mut holders| holders.next().is_some())
}
