//! The API's side of the daemon.

use super::listening::Listening;
use super::types::{
    ActivationInfo, CountedInfo, DeviceInfo, EventInfo, LvInfo, MapInfo, MergeInfo, MetricsText,
    StoreWaitInfo, TransactionText, VerbText, VgInfo,
};
use crate::own_waits;
use crate::served::{Daemon, DaemonError};
use crate::vg::{ChangeError, LvStatus, Setting, Terms, Vg};
use foldback_dm_table::{DeviceMapper, DmName, Stage, Transaction, Verb};
use foldback_manager::job::Counted;
use foldback_units::{LvName, Sectors, VgName};
use rustix::process::geteuid;
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use zlink::futures_util::Stream;
use zlink::introspect::{ReplyError as IntrospectError, Type};
use zlink::tokio::unix;
use zlink::{Connection, Listener, Reply, ReplyError, Server, service};

/// How long a daemon without volumes stays: the next command may need it.
const LINGER: Duration = Duration::from_secs(3);
/// How often it is looked at.
const LINGER_LOOK: Duration = Duration::from_millis(250);

/// How long a daemon that was killed may take to be gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonStopped {
    /// A system call.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The API.
    #[error("serving the API: {0}")]
    Api(#[from] zlink::Error),
}

/// What the service answers when it does not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, ReplyError, IntrospectError)]
#[zlink(interface = "org.foldback.Daemon")]
pub(super) enum Refused {
    /// The VG has no live volume here.
    NotActive { message: String },
    /// A value is not understood.
    BadRequest { message: String },
    /// Somebody uses the volume.
    InUse { device: String, by: String },
    /// It is done, or taken back, as the message says; what is active could not be written down for the next daemon.
    NotRemembered { message: String },
    /// It was tried and failed; `stage` says how far a transaction came, empty where it was none.
    Failed { message: String, stage: String },
}

/// Who is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub(super) struct Info {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// All VGs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub(super) struct VgList {
    /// Those with live volumes.
    pub vgs: Vec<VgInfo>,
}

/// All devices of a VG.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub(super) struct DeviceList {
    /// In the order in which they were made.
    pub devices: Vec<DeviceInfo>,
}

/// Where a volume is served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub(super) struct Place {
    /// `unix:PATH` or `tcp:ADDRESS:PORT`.
    pub address: String,
}

/// How many LVs are still active.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub(super) struct Left {
    /// So many.
    pub active: u64,
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Preload => "preload",
        Stage::Suspend => "suspend",
        Stage::Commit => "commit",
        Stage::Resume => "resume",
        Stage::Clean => "clean",
    }
}

impl From<DaemonError> for Refused {
    fn from(error: DaemonError) -> Self {
        let message = error.to_string();
        match error {
            DaemonError::NotActive(_) => Self::NotActive { message },
            DaemonError::NotRemembered { .. } => Self::NotRemembered { message },
            DaemonError::InUse { device, by } => Self::InUse { device: device.0, by },
            DaemonError::Change(ChangeError::Verb { stage: Some(stage), .. }) => {
                Self::Failed { message, stage: stage_name(stage).to_owned() }
            }
            _ => Self::Failed { message, stage: String::new() },
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "errors are handed over by map_err")]
fn bad(message: impl ToString) -> Refused {
    Refused::BadRequest { message: message.to_string() }
}

fn not_nothing(rate: Option<u64>) -> Result<Option<u64>, Refused> {
    if rate == Some(0) { Err(bad("a rate of nothing would be a pause")) } else { Ok(rate) }
}

fn vg_name(text: &str) -> Result<VgName, Refused> {
    VgName::new(text).map_err(bad)
}

fn lv_names(texts: &[String]) -> Result<Vec<LvName>, Refused> {
    texts.iter().map(|text| LvName::new(text).map_err(bad)).collect()
}

fn lv_info(vg: &Vg, lv: LvStatus) -> LvInfo {
    let places = vg.places(&lv.id);
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let merge = lv.merge.map(|merge| MergeInfo {
        chunks_total: merge.chunks_total,
        chunks_left: merge.chunks_left,
        chunk_sectors: merge.chunk.get(),
        paused: merge.paused,
        failed: merge.failed,
        finished: merge.finished,
        rate: merge.rate,
        limit: merge.limit,
    });
    LvInfo {
        file: places.file.map(text),
        block: places.block.map(text),
        links: places.links.into_iter().map(text).collect(),
        nbd: places.nbd,
        id: lv.id.to_string(),
        device: lv.device.0,
        sectors: lv.size.get(),
        suspended: lv.suspended,
        open_count: lv.open_count.saturating_add(u32::from(vg.is_open(&lv.id))),
        table: lv.table,
        status: lv.status,
        merge,
        fill_rate: lv.fill_rate,
        wait: lv.wait.map(|wait| StoreWaitInfo {
            seconds: wait.seconds,
            seconds_left: wait.seconds_left,
            why: wait.why,
        }),
    }
}

pub(super) fn vg_info(vg: &Vg) -> VgInfo {
    VgInfo {
        name: vg.name().to_string(),
        id: vg.id.to_string(),
        devices: vg.ground.setting.paths.clone(),
        trouble: vg.trouble(),
        lvs: vg.lvs().unwrap_or_default().into_iter().map(|lv| lv_info(vg, lv)).collect(),
        no_files: vg.no_files(),
        extends_stores: vg.extends_stores(),
    }
}

fn devices(vg: &Vg) -> Result<Vec<DeviceInfo>, Refused> {
    let all = |carrier: &mut crate::carrier::Carrier| -> Vec<DeviceInfo> {
        let infos = carrier.dm.list().unwrap_or_default();
        let info = |info: foldback_dm_table::Info| DeviceInfo {
            table: carrier
                .dm
                .table(&info.name)
                .ok()
                .flatten()
                .map(|table| table.to_string())
                .unwrap_or_default(),
            status: carrier.dm.status(&info.name).unwrap_or_default(),
            name: info.name.0,
            uuid: info.uuid,
            suspended: info.suspended,
            inactive: info.inactive,
            open_count: info.open_count,
            event: info.event,
        };
        infos.into_iter().map(info).collect()
    };
    vg.carrier.call(all).map_err(|gone| Refused::Failed { message: gone.to_string(), stage: String::new() })
}

struct Service(Arc<Daemon>);

/// Live volumes of LVM2 volume groups, carried in user space.
#[expect(
    clippy::unused_async,
    reason = "calls are answered one by one, as Varlink orders them; none takes long"
)]
#[service(
    interface = "org.foldback.Daemon",
    vendor = "Foldback",
    product = "foldback daemon",
    version = env!("CARGO_PKG_VERSION")
)]
impl Service {
    /// Who is there.
    async fn get_info(&self) -> Info {
        Info { version: super::VERSION.to_owned(), pid: std::process::id() }
    }

    /// The VGs with live volumes.
    async fn list(&self) -> VgList {
        VgList { vgs: self.0.vgs().iter().map(|vg| vg_info(vg)).collect() }
    }

    /// Brings LVs of a VG up, each with its snapshots or its origin.
    async fn activate(
        &self,
        vg: String,
        lvs: Vec<String>,
        devices: Vec<String>,
        system_dir: Option<String>,
        config: Option<String>,
    ) -> Result<ActivationInfo, Refused> {
        let setting = Setting { paths: devices, system_dir: system_dir.map(PathBuf::from), config };
        let done = self.0.activate(&vg_name(&vg)?, setting, &lv_names(&lvs)?)?;
        Ok(ActivationInfo {
            now: done.now.iter().map(ToString::to_string).collect(),
            failed: done.failed.into_iter().map(|(_, why)| why).collect(),
            active: u64::try_from(done.active).unwrap_or(u64::MAX),
            merging: u64::try_from(done.merging).unwrap_or(u64::MAX),
        })
    }

    /// Takes LVs of a VG down, each with its snapshots or its origin. Requests that wait since somebody changed what a
    /// volume stands on are answered with errors; with `force` also where the volume is in use.
    async fn deactivate(&self, vg: String, lvs: Vec<String>, force: bool) -> Result<Left, Refused> {
        let left = self.0.deactivate(&vg_name(&vg)?, &lv_names(&lvs)?, force)?;
        Ok(Left { active: u64::try_from(left).unwrap_or(u64::MAX) })
    }

    /// Commits a change of a VG, and switches its live devices with it.
    ///
    /// Nothing is done where one of the `closed` devices is in use; none can be opened while it is done. A merge that
    /// begins may move `merge_rate` bytes in a second. Nothing is done either where more lies in a store than was `counted`.
    async fn transact(
        &self,
        vg: String,
        transaction: TransactionText,
        closed: Vec<String>,
        merge_rate: Option<u64>,
        counted: Option<CountedInfo>,
    ) -> Result<(), Refused> {
        let transaction = Transaction::try_from(&transaction).map_err(bad)?;
        let merge_rate = not_nothing(merge_rate)?;
        let counted = counted
            .map(|counted| Counted { snapshot: DmName(counted.device), data: Sectors(counted.sectors) });
        let terms = Terms { closed: closed.into_iter().map(DmName).collect(), merge_rate, counted };
        Ok(self.0.transact(&vg_name(&vg)?, transaction, &terms)?)
    }

    /// Serves a live volume over NBD, by its name or its device's. Asking twice for the same is asking once.
    ///
    /// `address` is `unix:PATH`, `tcp:PORT` (of this machine alone) or `tcp:ADDRESS:PORT`; without one it is a socket in
    /// the daemon's directory.
    async fn export_nbd(&self, vg: String, lv: String, address: Option<String>) -> Result<Place, Refused> {
        Ok(Place { address: self.0.export_nbd(&vg_name(&vg)?, &lv, address.as_deref())? })
    }

    /// Ends that, unless a client is connected.
    async fn unexport_nbd(&self, vg: String, lv: String) -> Result<(), Refused> {
        Ok(self.0.unexport_nbd(&vg_name(&vg)?, &lv)?)
    }

    /// Carries out one verb, for `foldback dm`.
    async fn apply(&self, vg: String, verb: VerbText) -> Result<(), Refused> {
        let verb = Verb::try_from(&verb).map_err(bad)?;
        let vg = self.0.vg(&vg_name(&vg)?)?;
        Ok(vg.apply(vec![verb]).map_err(DaemonError::from)?)
    }

    /// All devices of a VG, lower ones included.
    async fn devices(&self, vg: String) -> Result<DeviceList, Refused> {
        let vg = self.0.vg(&vg_name(&vg)?)?;
        Ok(DeviceList { devices: devices(&vg)? })
    }

    /// Begins no further window of the merge into a device, or goes on with it.
    async fn pause_merge(&self, vg: String, device: String, pause: bool) -> Result<(), Refused> {
        Ok(self.0.pause_merge(&vg_name(&vg)?, &DmName(device), pause)?)
    }

    /// Lets the merge into a device move so many bytes in a second; without a number as fast as it can.
    async fn set_merge_rate(&self, vg: String, device: String, rate: Option<u64>) -> Result<(), Refused> {
        let rate = not_nothing(rate)?;
        Ok(self.0.set_merge_rate(&vg_name(&vg)?, &DmName(device), rate)?)
    }

    /// Looks whether every live volume of a VG stands on what its metadata say: to be asked by whoever has locked the VG,
    /// before he writes anything.
    async fn verify(&self, vg: String) -> Result<(), Refused> {
        Ok(self.0.vg(&vg_name(&vg)?)?.verify().map_err(DaemonError::from)?)
    }

    /// Asks the VG's job to look now instead of within a second.
    async fn look(&self, vg: String) -> Result<(), Refused> {
        self.0.vg(&vg_name(&vg)?)?.look();
        Ok(())
    }

    /// What happens to live volumes from now on: an event for each change, the first says that it is listened.
    #[zlink(more)]
    async fn monitor(&self, more: bool) -> impl Stream<Item = Reply<EventInfo>> + Unpin {
        super::seeing::monitor(Arc::clone(&self.0), more)
    }

    /// Metrics of all live volumes, in Prometheus's text format.
    async fn metrics(&self) -> MetricsText {
        super::seeing::metrics(&self.0)
    }

    /// Which chunks of a live volume, by its UUID, are kept in stores; of a merge: which are left, and which were merged.
    async fn map(&self, vg: String, lv: String) -> Result<MapInfo, Refused> {
        let vg = self.0.vg(&vg_name(&vg)?)?;
        super::seeing::map(&vg, &lv)
    }
}

/// Connections of the daemon's own user and of root.
#[derive(Debug)]
struct OwnUser(unix::Listener);

impl Listener for OwnUser {
    type Socket = unix::Stream;

    async fn accept(&mut self) -> zlink::Result<Option<Connection<unix::Stream>>> {
        loop {
            let Some(mut connection) = self.0.accept().await? else { return Ok(None) };
            let peer = connection.peer_credentials().await.map(|peer| peer.unix_user_id().as_raw());
            if peer.is_ok_and(|uid| uid == 0 || uid == geteuid().as_raw()) {
                return Ok(Some(connection));
            }
        }
    }
}

/// Serves until nothing is active any more, or somebody asks the process to end.
///
/// # Errors
/// Another daemon runs, or the socket cannot be served.
pub fn serve(daemon: Daemon) -> Result<(), DaemonStopped> {
    let run = daemon.run_dir().clone();
    run.make()?;
    let mut lock = std::fs::File::options().create(true).truncate(false).write(true).open(run.lock())?;
    take(&lock)
        .map_err(|_| std::io::Error::other(format!("another daemon serves {}", run.path().display())))?;
    // For people and scripts that look for the process.
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    own_waits::prevent();
    let listening = Listening::of(&run)?;
    let to_remove = listening.to_remove();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    daemon.take_up();
    let daemon = Arc::new(daemon);
    let outcome = runtime.block_on(answer(&daemon, listening));
    // A directory that was removed and made anew under this daemon is another one's by now.
    let ours = |path: std::path::PathBuf| -> std::io::Result<bool> {
        let (there, mine) = (std::fs::metadata(path)?, lock.metadata()?);
        Ok((there.dev(), there.ino()) == (mine.dev(), mine.ino()))
    };
    if let Some(socket) = to_remove.filter(|_| ours(run.lock()).unwrap_or(false)) {
        std::fs::remove_file(socket).ok();
    }
    tell_manager(NotifyState::Stopping);
    daemon.abandon();
    outcome
}

/// Locks it, and waits a while for a daemon that was killed: the kernel takes its time to close what a process had open.
fn take(lock: &std::fs::File) -> Result<(), rustix::io::Errno> {
    let since = Instant::now();
    loop {
        match rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE);
            }
            other => return other,
        }
    }
}

async fn answer(daemon: &Arc<Daemon>, listening: Listening) -> Result<(), DaemonStopped> {
    let server = Server::new(OwnUser(listening.begin()?), Service(Arc::clone(daemon)));
    tell_manager(NotifyState::Ready);
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        ended = server.run() => Ok(ended?),
        () = nothing_left(daemon) => Ok(()),
        _ = terminated.recv() => Ok(()),
        _ = interrupted.recv() => Ok(()),
    }
}

/// Tells the service manager, where there is one.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        say!("foldback: telling the service manager: {error}");
    }
}

async fn nothing_left(daemon: &Daemon) {
    let mut since = Instant::now();
    while since.elapsed() < LINGER {
        tokio::time::sleep(LINGER_LOOK).await;
        daemon.remember_again();
        if !daemon.is_idle() {
            since = Instant::now();
        }
    }
}
