//! Merges that the kernel carries, ended by processes of their own (lvm2.md 2.10).
//!
//! What must hold:
//! - One process for a merge. It outlives the command that started it, holds no lock while it waits, and ends the merge
//!   within a second of the kernel's being done.
//! - The commands that start it return at once. What it has to say is in the log of the run directory.

use crate::backend::live_lvs;
use crate::commands::Context;
use crate::error::CliError;
use foldback_daemon::RunDir;
use foldback_dm_table::{DeviceMapper, Info, Target};
use foldback_lvm2_format::vg::SnapshotSegment;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, VgName};
use std::fs::{File, TryLockError};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Who listens to a poller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listens {
    /// Nobody: it outlives this command.
    Nobody,
    /// This command, which waits for it.
    This,
}

/// The snapshots of a VG whose merges run in the kernel, among the devices that are there; of `lvs`, which are snapshots or
/// origins, where any are named.
pub(crate) fn running<M: DeviceMapper>(
    mapper: &mut M,
    found: &FoundVg,
    there: &[Info],
    lvs: Option<&[LvName]>,
) -> Vec<LvName> {
    let links = found.vg.snapshots();
    let mut running = Vec::new();
    for (lv, info) in live_lvs(found, there) {
        let Some(merging) = links.merging_into(&lv.name) else { continue };
        let SnapshotSegment { cow, origin, .. } = merging.segment;
        if lvs.is_some_and(|lvs| !lvs.contains(cow) && !lvs.contains(origin)) {
            continue;
        }
        let table = mapper.table(&info.name).ok().flatten().unwrap_or_default();
        if table.lines.iter().any(|line| matches!(line.target, Target::SnapshotMerge(_))) {
            running.push(merging.segment.cow.clone());
        }
    }
    running
}

/// Starts a process for each of these merges.
pub(crate) fn start(
    context: &Context,
    paths: &[String],
    vg: &VgName,
    snapshots: &[LvName],
    listens: Listens,
) -> Result<Vec<Child>, CliError> {
    snapshots.iter().map(|snapshot| start_one(context, paths, vg, snapshot, listens)).collect()
}

fn start_one(
    context: &Context,
    paths: &[String],
    vg: &VgName,
    snapshot: &LvName,
    listens: Listens,
) -> Result<Child, CliError> {
    let failed = |what: &str, error: &std::io::Error| CliError::failed(format!("{what}: {error}."));
    let program = std::env::current_exe().map_err(|error| failed("finding this program", &error))?;
    let absolute = |path: &String| std::path::absolute(path).map(|path| path.display().to_string());
    let paths = paths.iter().map(absolute).collect::<Result<Vec<_>, _>>();
    let paths = paths.map_err(|error| failed("finding the working directory", &error))?;
    let mut command = Command::new(program);
    command.arg0("foldback").args(["lvpoll", "--devices", &paths.join(",")]).stdin(Stdio::null());
    if let Some(config) = &context.options.config {
        command.args(["--config", config]);
    }
    command.arg(format!("{vg}/{snapshot}"));
    if listens == Listens::Nobody {
        command.arg("--background").current_dir("/").process_group(0).stdout(Stdio::null()).stderr(log());
    }
    let attempt = format!("starting the process that ends the merge of {vg}/{snapshot}");
    command.spawn().map_err(|error| failed(&attempt, &error))
}

/// Where a process says what nobody listens to.
fn log() -> Stdio {
    let run = RunDir::of_user();
    let log = run.make().and_then(|()| File::options().create(true).append(true).open(run.log()));
    // An initramfs may have no such place; the merge is ended all the same.
    log.map_or_else(|_| Stdio::null(), Stdio::from)
}

/// That a merge has its poller.
#[derive(Debug)]
pub(crate) struct Turn(Option<(File, PathBuf)>);

impl Turn {
    /// `None` where another process watches the merge of that LV already. Where the run directory cannot be used every
    /// process has its turn: two that end one merge do no harm.
    pub(crate) fn take(lv_id: &str) -> Option<Self> {
        let run = RunDir::of_user();
        if run.make().is_err() {
            return Some(Self(None));
        }
        let path = run.path().join(format!("poll-{lv_id}"));
        let Ok(file) = File::create(&path) else { return Some(Self(None)) };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(_)) => Some(Self(None)),
            Ok(()) => Some(Self(Some((file, path)))),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.0 {
            std::fs::remove_file(path).ok();
        }
    }
}
