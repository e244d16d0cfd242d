//! Starting the daemon.
//!
//! What must hold (architecture.md, "Processes"):
//! - Where systemd runs, the daemon is its child and not the session's: by the unit where that is installed, else as a
//!   transient unit.
//! - Where it does not, or `FOLDBACK_RUN_DIR` names a directory that no unit knows, the command starts it itself.

use crate::error::CliError;
use foldback_daemon::RunDir;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// There while systemd is the first process.
const SYSTEMD: &str = "/run/systemd/system";
const UNIT: &str = "foldback.service";

/// A daemon that was started.
#[derive(Debug)]
pub(crate) enum Started {
    /// By systemd, which has seen it ready.
    BySystemd,
    /// By this command.
    Ourselves(Child),
}

impl Started {
    /// Whether it is known to have ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        match self {
            Self::BySystemd => false,
            Self::Ourselves(child) => child.try_wait().ok().flatten().is_some(),
        }
    }
}

/// Starts one that serves the directory.
pub(crate) fn start(run: &RunDir) -> Result<Started, CliError> {
    let program = std::env::current_exe()
        .map_err(|error| CliError::failed(format!("finding this program: {error}.")))?;
    let user = !rustix::process::geteuid().is_root();
    if Path::new(SYSTEMD).exists() && RunDir::is_default() && by_systemd(&program, user) {
        return Ok(Started::BySystemd);
    }
    ourselves(&program, run).map(Started::Ourselves)
}

/// Whether systemd has started it; one after the other is tried, since a unit may not be installed, and an ordinary user
/// may have no manager.
fn by_systemd(program: &Path, user: bool) -> bool {
    manager_commands(program, user).into_iter().any(|words| {
        let mut words = words.into_iter();
        let Some(first) = words.next() else { return false };
        let mut command = Command::new(first);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

fn manager_commands(program: &Path, user: bool) -> [Vec<String>; 2] {
    let scope = if user { "--user" } else { "--system" };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let start = words(&["systemctl", scope, "--no-ask-password", "start", UNIT]);
    let mut run = words(&["systemd-run", scope, "--no-ask-password", "--quiet", "--collect", "--unit", UNIT]);
    for property in ["Type=notify", "Restart=on-failure", "LimitMEMLOCK=infinity", "IgnoreOnIsolate=yes"] {
        run.extend(["--property".to_owned(), property.to_owned()]);
    }
    if !user {
        // File systems on its volumes go first when the machine goes down, as with the installed unit. The usual
        // dependencies would be a cycle: they put it behind all mounts.
        for property in [
            "DefaultDependencies=no",
            "Wants=local-fs-pre.target",
            "Before=local-fs-pre.target",
            "Before=shutdown.target",
            "Conflicts=shutdown.target",
        ] {
            run.extend(["--property".to_owned(), property.to_owned()]);
        }
    }
    run.extend([program.display().to_string(), "daemon".to_owned()]);
    [start, run]
}

fn ourselves(program: &Path, run: &RunDir) -> Result<Child, CliError> {
    run.make().map_err(|error| CliError::failed(format!("making {}: {error}.", run.path().display())))?;
    let log = std::fs::File::options().create(true).append(true).open(run.log());
    let log = log.map_err(|error| CliError::failed(format!("opening {}: {error}.", run.log().display())))?;
    let started = Command::new(program)
        .arg0("foldback")
        .arg("daemon")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .current_dir("/")
        .process_group(0)
        .spawn();
    started.map_err(|error| CliError::failed(format!("starting the daemon: {error}.")))
}

#[cfg(test)]
mod tests {
    use super::manager_commands;
    use std::path::Path;

    #[test]
    fn the_installed_unit_comes_first_and_a_transient_one_stands_in_for_it() {
        let [start, run] = manager_commands(Path::new("/opt/foldback"), false).map(|words| words.join(" "));
        assert_eq!(start, "systemctl --system --no-ask-password start foldback.service");
        assert!(run.starts_with("systemd-run --system") && run.ends_with(" /opt/foldback daemon"), "{run}");
        assert!(run.contains("--collect") && run.contains("Before=local-fs-pre.target"), "{run}");
        assert!(run.contains("DefaultDependencies=no"), "{run}");
        let [start, run] = manager_commands(Path::new("/opt/foldback"), true).map(|words| words.join(" "));
        assert!(start.contains("--user") && !run.contains("local-fs"), "{start} {run}");
    }
}
