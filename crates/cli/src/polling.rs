//! Processes for what the kernel carries and nobody would end or watch otherwise (lvm2.md 2.10, 3.5).
//!
//! What must hold:
//! - One for a merge. It outlives the command that started it, holds no lock while it waits, and ends the merge within a
//!   second of the kernel's being done.
//! - One for a VG with live snapshots, where lvm.conf wants them to be monitored.
//! - The commands that start it return at once. What it has to say is in the log of the run directory.

use crate::backend::live_lvs;
use crate::commands::Context;
use crate::error::CliError;
use crate::options::{Options, YesNo};
use foldback_daemon::RunDir;
use foldback_dm_table::{DeviceMapper, Info, Target};
use foldback_lvm2_format::vg::SnapshotSegment;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, VgName};
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
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
    let mut command = helper(context, paths, "lvpoll")?;
    command.arg(format!("{vg}/{snapshot}"));
    if listens == Listens::Nobody {
        detach(command.arg("--background"));
    }
    spawn(command, &format!("starting the process that ends the merge of {vg}/{snapshot}"))
}

/// Starts the process that watches the stores of a VG's snapshots.
pub(crate) fn start_monitor(context: &Context, paths: &[String], vg: &VgName) -> Result<(), CliError> {
    let mut command = helper(context, paths, "lvmonitor")?;
    detach(command.arg(vg.as_str()));
    spawn(command, &format!("starting the process that watches the snapshots of {vg}")).map(drop)
}

/// Has the store of a snapshot extended as lvm.conf says; whether that was done.
pub(crate) fn extend(context: &Context, vg: &VgName, snapshot: &LvName) -> Result<bool, CliError> {
    let mut command = helper(context, &context.options.disks(), "lvextend")?;
    command.arg("--use-policies").arg(format!("{vg}/{snapshot}")).stdout(Stdio::null());
    let mut child = spawn(command, &format!("extending {vg}/{snapshot}"))?;
    Ok(child.wait().is_ok_and(|status| status.success()))
}

/// This program with another command, on the same disks with the same settings. Where PVs were found it finds them anew: by
/// then there may be more.
fn helper(context: &Context, paths: &[String], word: &str) -> Result<Command, CliError> {
    let failed = |what: &str, error: &std::io::Error| CliError::failed(format!("{what}: {error}."));
    let program = std::env::current_exe().map_err(|error| failed("finding this program", &error))?;
    let absolute = |path: &String| std::path::absolute(path).map(|path| path.display().to_string());
    let paths = paths.iter().map(absolute).collect::<Result<Vec<_>, _>>();
    let paths = paths.map_err(|error| failed("finding the working directory", &error))?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    if context.as_lvm2 && context.options.scans() {
        command.arg0("lvm").arg(word);
    } else {
        command.arg0("foldback").args([word, "--devices", &paths.join(",")]);
    }
    command.args(settings(&context.options));
    Ok(command)
}

/// The options that hold for what a process does for this command later: which settings and disks are meant, and how it goes
/// about a change. Not those about words, questions and `--test`: it has nobody to ask.
fn settings(options: &Options) -> Vec<String> {
    let ignored = &options.ignored;
    let texts = [
        ("--config", &options.config),
        ("--profile", &ignored.profile),
        ("--commandprofile", &ignored.commandprofile),
        ("--devicesfile", &ignored.devicesfile),
    ];
    let answers = [("--autobackup", options.autobackup), ("--driverloaded", ignored.driverloaded)];
    let mut words = Vec::new();
    for (name, value) in texts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        // In one word: a value may be empty, or look like an option.
        words.push(format!("{name}={value}"));
    }
    for (name, value) in answers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        words.push(format!("{name}={}", if value == YesNo::Yes { "y" } else { "n" }));
    }
    if ignored.noudevsync {
        words.push("--noudevsync".to_owned());
    }
    words
}

fn detach(command: &mut Command) {
    command.current_dir("/").process_group(0).stdout(Stdio::null()).stderr(log());
}

fn spawn(mut command: Command, attempt: &str) -> Result<Child, CliError> {
    command.spawn().map_err(|error| CliError::failed(format!("{attempt}: {error}.")))
}

/// Where a process says what nobody listens to.
fn log() -> Stdio {
    let run = RunDir::of_user();
    let log = run.make().and_then(|()| File::options().create(true).append(true).open(run.log()));
    // An initramfs may have no such place; the merge is ended all the same.
    log.map_or_else(|_| Stdio::null(), Stdio::from)
}

/// What a process does that others must not do as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// Watch the merge of an LV.
    Poll,
    /// Watch the stores of a VG.
    Monitor,
}

impl Task {
    fn file(self, run: &RunDir, id: &str) -> PathBuf {
        let name = match self {
            Self::Poll => "poll",
            Self::Monitor => "monitor",
        };
        run.path().join(format!("{name}-{id}"))
    }
}

/// That a task has its process. Where the run directory cannot be used every process has its turn: two that do the same do no
/// harm.
#[derive(Debug)]
pub(crate) struct Turn(Option<(File, PathBuf)>);

impl Turn {
    /// `None` where another process does it already, to the LV or the VG of that UUID.
    pub(crate) fn take(run: &RunDir, task: Task, id: &str) -> Option<Self> {
        if run.make().is_err() {
            return Some(Self(None));
        }
        let path = task.file(run, id);
        let Ok(file) = File::create(&path) else { return Some(Self(None)) };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(_)) => Some(Self(None)),
            Ok(()) => Some(Self(Some((file, path)))),
        }
    }

    /// Whether a process has it. Asked without taking it: for that moment nobody else could.
    pub(crate) fn is_taken(run: &RunDir, task: Task, id: &str) -> bool {
        let Ok(file) = std::fs::metadata(task.file(run, id)) else { return false };
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        // proc(5): a line of a lock has `FLOCK` and, in hexadecimal but for the inode, `MAJOR:MINOR:INODE`.
        let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        locks.lines().any(|line| line.split_whitespace().any(|word| word == place))
    }

    /// Takes it away from whoever has it, who ends at the next look.
    pub(crate) fn end(run: &RunDir, task: Task, id: &str) {
        std::fs::remove_file(task.file(run, id)).ok();
    }

    /// Whether it was not taken away.
    pub(crate) fn is_ours(&self) -> bool {
        let Some((file, path)) = &self.0 else { return true };
        let ours = file.metadata().map(|found| found.ino());
        let there = std::fs::metadata(path).map(|found| found.ino());
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((_, path)) = self.0.as_ref().filter(|_| self.is_ours()) {
            std::fs::remove_file(path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Task, Turn, settings};
    use crate::options::Options;
    use clap::{Args, Command, FromArgMatches};
    use foldback_daemon::RunDir;

    fn options(words: &[String]) -> Options {
        let command = Options::augment_args(Command::new("lvpoll")).no_binary_name(true);
        Options::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    /// What the caller was told to use, the process that goes on for it uses, too.
    #[test]
    fn the_callers_settings_reach_the_process_and_say_there_what_they_said_here() {
        let given = [
            "--config=backup { backup = 0 }",
            "--profile=slow",
            "--devicesfile=",
            "--autobackup=n",
            "--driverloaded=y",
            "--noudevsync",
        ]
        .map(str::to_owned);
        let reached = settings(&options(&given));
        assert_eq!(reached, given);
        assert_eq!(settings(&options(&reached)), given);
        let other = ["--commandprofile=quick".to_owned()];
        assert_eq!(settings(&options(&other)), other);
        assert_eq!(settings(&options(&["--yes".to_owned(), "--test".to_owned()])), Vec::<String>::new());
    }

    #[test]
    fn one_process_has_its_turn_until_it_ends_or_it_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(&dir.path().join("run"));
        let take = || Turn::take(&run, Task::Monitor, "vg");
        let first = take().unwrap();
        assert!(take().is_none() && first.is_ours());
        let taken = |task, id| Turn::is_taken(&run, task, id);
        assert!(taken(Task::Monitor, "vg") && !taken(Task::Poll, "vg") && !taken(Task::Monitor, "other"));
        assert!(
            Turn::take(&run, Task::Poll, "vg").is_some()
                && Turn::take(&run, Task::Monitor, "other").is_some()
        );
        drop(first);
        assert!(!taken(Task::Monitor, "vg"));
        let second = take().unwrap();
        Turn::end(&run, Task::Monitor, "vg");
        assert!(!second.is_ours());
        // Who follows is not disturbed by the end of who was sent away.
        let third = take().unwrap();
        drop(second);
        assert!(third.is_ours() && take().is_none());
    }

    /// An initramfs may have no place for it.
    #[test]
    fn where_turns_cannot_be_taken_everybody_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let run = RunDir::at(&file.join("run"));
        let turns = [Turn::take(&run, Task::Poll, "lv"), Turn::take(&run, Task::Poll, "lv")];
        assert!(turns.iter().flatten().all(Turn::is_ours));
        assert_eq!(turns.iter().flatten().count(), 2);
    }
}
