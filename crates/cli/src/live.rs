//! Volumes that the daemon serves, seen from a command.
//!
//! What must hold:
//! - A command that only reads never starts a daemon.
//! - Whoever changes a VG with live volumes hands the change to the daemon whole; the command writes no header of it.

use crate::backend::{is_in_kernel, pvs_in_kernel};
use crate::commands::Context;
use crate::console::Console;
use crate::error::CliError;
use crate::options::Options;
use crate::starting;
use foldback_daemon::api::types::{LeftInfo, LvInfo, StoreWaitInfo, VgInfo};
use foldback_daemon::api::{ApiError, Client};
use foldback_daemon::{RunDir, Setting};
use foldback_dm_table::{DeviceMapper, DmName, Info, Stage, Table, Transaction, Verb};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::report::VgFacts;
use foldback_units::{LvName, VgName};
use std::borrow::BorrowMut;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried.
const START_PAUSE: Duration = Duration::from_millis(20);

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        Self::failed(format!("{error}."))
    }
}

/// What earlier daemons left is asked for once.
static LEFT: OnceLock<Vec<LeftInfo>> = OnceLock::new();

/// The user's daemon, where one runs, or one should: a daemon that died while volumes were active is replaced. What it could
/// not take up is warned of.
pub(crate) fn daemon() -> Result<Option<Client>, CliError> {
    let found = match connect()? {
        None if RunDir::of_user().was_active() => {
            let mut client = daemon_started()?;
            tell_death(&client.list()?);
            Some(client)
        }
        found => found,
    };
    let Some(mut client) = found else { return Ok(None) };
    if LEFT.get().is_none() {
        let left = client.take_up()?;
        for LeftInfo { name, why } in &left {
            Console::new(0, 0).warn(&format!(
                "VG {name} was active and could not be taken up again: {why}. It is tried again; vgchange -an {name} gives it up"
            ));
        }
        // Nobody else sets it meanwhile.
        LEFT.set(left).ok();
    }
    Ok(Some(client))
}

/// Says of the VGs that a new daemon has taken up what their users have to do.
fn tell_death(again: &[VgInfo]) {
    let names: Vec<&str> = again.iter().map(|vg| vg.name.as_str()).collect();
    if !names.is_empty() {
        Console::new(0, 0).warn(&format!(
            "The daemon that served {} has died, and another one does now. File systems that were mounted on these volumes have to be \
             unmounted and mounted anew.",
            names.join(", ")
        ));
    }
}

/// Gives a VG up that could not be taken up again; `false` where it is live by now.
pub(crate) fn give_up(vg: &str) -> Result<bool, CliError> {
    daemon()?.map_or(Ok(true), |mut client| match client.deactivate(vg, &[], false) {
        // Somebody else has given it up.
        Err(ApiError::NotActive(_)) => Ok(true),
        left => Ok(left? == 0),
    })
}

/// The names of the VGs that could not be taken up again.
pub(crate) fn left_over() -> Result<Vec<String>, CliError> {
    drop(daemon()?);
    Ok(LEFT.get().into_iter().flatten().map(|left| left.name.clone()).collect())
}

fn connect() -> Result<Option<Client>, CliError> {
    match Client::connect(&RunDir::of_user()) {
        Ok(client) => Ok(Some(client)),
        Err(ApiError::NoDaemon) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The user's daemon; started where none runs.
pub(crate) fn daemon_started() -> Result<Client, CliError> {
    let run = RunDir::of_user();
    if let Some(client) = connect()? {
        return Ok(client);
    }
    let mut started = starting::start(&run)?;
    let since = Instant::now();
    loop {
        if let Some(client) = connect()? {
            return Ok(client);
        }
        if started.has_ended() || since.elapsed() > START_PATIENCE {
            let told = std::fs::read_to_string(run.log()).unwrap_or_default();
            let last = told.lines().last().unwrap_or("it said nothing").to_owned();
            return Err(CliError::failed(format!("The daemon did not start: {last}"))
                .hint(format!("all that it said is in {}", run.log().display())));
        }
        sleep(START_PAUSE);
    }
}

/// The VGs with live volumes, none where no daemon runs.
pub(crate) fn vgs() -> Result<Vec<VgInfo>, CliError> {
    daemon()?.map_or_else(|| Ok(Vec::new()), |mut client| Ok(client.list()?))
}

/// Whether two paths lead to one disk.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let real = |path: &str| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|path| Some(path) == real(other))
}

/// A VG with live volumes.
#[derive(Debug)]
pub(crate) struct LiveVg {
    pub(crate) client: Client,
    pub(crate) info: VgInfo,
}

impl LiveVg {
    /// `None` where nothing of the VG is live, or what is live is a VG of the same name on none of the command's disks. A
    /// command that names no disks means the live one.
    pub(crate) fn find(vg: &VgName, paths: &[String]) -> Result<Option<Self>, CliError> {
        let Some(mut client) = daemon()? else { return Ok(None) };
        let on_them = |info: &VgInfo| {
            let is_ours = |path: &String| info.devices.iter().any(|known| is_same(known, path));
            paths.is_empty() || paths.iter().any(is_ours)
        };
        let live = client.list()?;
        let info = live.into_iter().find(|info| info.name == vg.as_str() && on_them(info));
        Ok(info.map(|info| Self { client, info }))
    }

    /// A live volume's name: as these metadata have it, else as it is served. Somebody may have taken it from them.
    pub(crate) fn name_of(&self, lv: &LvInfo, vg: Option<&Vg>) -> Option<String> {
        let known = vg.and_then(|vg| vg.lvs.iter().find(|known| known.id.to_string() == lv.id));
        known.map(|lv| lv.name.to_string()).or_else(|| self.served_name(lv))
    }

    fn served_name(&self, lv: &LvInfo) -> Option<String> {
        let prefix = format!("{}-", self.info.name.replace('-', "--"));
        Some(lv.device.strip_prefix(&prefix)?.replace("--", "-"))
    }

    /// A live volume, by its UUID with hyphens.
    pub(crate) fn lv(&self, id: &str) -> Option<&LvInfo> {
        self.info.lvs.iter().find(|lv| lv.id == id)
    }
}

/// Refuses to read or write the content of a VG beside who carries it, and says where it is to be had.
pub(crate) fn refuse_live(vg: &VgName, lv: &LvName, paths: &[String]) -> Result<(), CliError> {
    let Some(live) = LiveVg::find(vg, paths)? else {
        if !is_in_kernel(vg, lv) {
            return Ok(());
        }
        return Err(CliError::failed(format!("Logical volume {vg}/{lv} is active in the kernel."))
            .hint(format!("read and write /dev/{vg}/{lv}")));
    };
    let file = live
        .info
        .lvs
        .iter()
        .flat_map(|served| &served.file)
        .find(|file| file.rsplit('/').next() == Some(lv.as_str()));
    let hint = match file {
        Some(file) => format!("read and write {file}"),
        None => format!("bring it up with lvchange -ay {vg}/{lv}, then read and write what it is served as"),
    };
    Err(CliError::failed(format!("Volume group {vg} is active: its daemon holds the disks.")).hint(hint))
}

/// What a daemon has to know of the disks that a command was given.
pub(crate) fn setting(options: &Options, paths: &[String]) -> Result<Setting, CliError> {
    let absolute = |path: &String| {
        let path = std::path::absolute(path);
        path.map(|path| path.to_string_lossy().into_owned())
            .map_err(|error| CliError::failed(format!("finding the working directory: {error}.")))
    };
    Ok(Setting {
        paths: paths.iter().map(absolute).collect::<Result<_, _>>()?,
        system_dir: std::env::var_os("LVM_SYSTEM_DIR").map(PathBuf::from),
        config: options.config.clone(),
    })
}

/// The disks of a command: those that it names, else those of the VGs that are live, in the daemon or in the kernel.
pub(crate) fn disks_or_live(options: &Options) -> Result<Vec<String>, CliError> {
    let named = options.disks();
    if !named.is_empty() {
        return Ok(named);
    }
    let mut all: Vec<String> = Vec::new();
    for path in vgs()?.into_iter().flat_map(|vg| vg.devices).chain(pvs_in_kernel()) {
        if !all.iter().any(|known| is_same(known, &path)) {
            all.push(path);
        }
    }
    Ok(all)
}

/// The daemon as the executor of a command's verbs.
#[derive(Debug)]
pub(crate) struct RemoteMapper<C = Client> {
    pub(crate) client: C,
    pub(crate) vg: String,
}

/// What went wrong there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// The daemon refused, failed, or is gone.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What it said is not understood.
    #[error("the daemon names no device {0}")]
    NoDevice(DmName),
    /// The merge stands.
    #[error("the merge met an error and stands; all is still served")]
    MergeFailed,
    /// A lock.
    #[error(transparent)]
    Lock(#[from] foldback_manager::host::LockVgError),
}

impl<C: BorrowMut<Client>> RemoteMapper<C> {
    fn device(&mut self, name: &DmName) -> Result<foldback_daemon::api::types::DeviceInfo, RemoteError> {
        let all = self.client.borrow_mut().devices(&self.vg)?;
        all.into_iter()
            .find(|device| device.name == name.0)
            .ok_or_else(|| RemoteError::NoDevice(name.clone()))
    }
}

impl<C: BorrowMut<Client>> DeviceMapper for RemoteMapper<C> {
    type Error = RemoteError;

    fn apply(&mut self, verb: &Verb) -> Result<(), RemoteError> {
        Ok(self.client.borrow_mut().apply(&self.vg, verb)?)
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, RemoteError)> {
        self.client.borrow_mut().transact(&self.vg, transaction).map_err(|error| match &error {
            ApiError::Failed { stage: Some(stage), .. } => (*stage, error.into()),
            // It is committed, and all devices followed.
            ApiError::NotRemembered(_) => (Stage::Clean, error.into()),
            _ => (Stage::Preload, error.into()),
        })
    }

    fn list(&mut self) -> Result<Vec<Info>, RemoteError> {
        let all = self.client.borrow_mut().devices(&self.vg)?;
        let info = |device: foldback_daemon::api::types::DeviceInfo| Info {
            name: DmName(device.name),
            uuid: device.uuid,
            suspended: device.suspended,
            live: !device.table.is_empty(),
            inactive: device.inactive,
            open_count: device.open_count,
            event: device.event,
        };
        Ok(all.into_iter().map(info).collect())
    }

    fn table(&mut self, name: &DmName) -> Result<Option<Table>, RemoteError> {
        Ok(Table::parse(&self.device(name)?.table).ok().filter(|table| !table.is_empty()))
    }

    fn status(&mut self, name: &DmName) -> Result<Vec<String>, RemoteError> {
        Ok(self.device(name)?.status)
    }
}

/// Warns where requests of live volumes wait.
pub(crate) fn warn_of_trouble(context: &Context, vgs: &[VgInfo]) {
    for vg in vgs {
        if let Some(trouble) = &vg.trouble {
            context.console.warn(&format!("VG {}: requests of its volumes wait: {trouble}", vg.name));
        }
    }
}

/// Warns where writes wait for room in the store of a snapshot, by the names that the metadata has.
pub(crate) fn warn_of_waits(context: &Context, vg: &VgFacts, lvs: &[LvInfo]) {
    for (info, wait) in lvs.iter().filter_map(|info| Some((info, info.wait.as_ref()?))) {
        let Some(lv) = vg.lvs.iter().find(|lv| lv.uuid == info.id) else { continue };
        let StoreWaitInfo { seconds, seconds_left, why } = wait;
        let full = format!("{}/{}", vg.name, lv.name);
        context.console.warn(&format!(
            "Snapshot {full} is full; writes that need room in it have waited for {seconds} s. In {seconds_left} s it becomes \
             invalid, and its content is lost. It was not extended: {why}. Make room with: lvextend -L +SIZE {full}; or give \
             it up with: lvremove {full}"
        ));
    }
}
