//! File systems that are frozen while a snapshot is taken (`lvcreate --freeze`).
//!
//! What must hold (architecture.md, "Freezing"):
//! - They are frozen by a process of its own: one that is killed would leave them frozen.
//! - They are thawed before anything is written that may lie on one of them: backups above all.
//! - They are written back before anything is locked: what is written may wait for room in a store, and who makes that
//!   room needs the lock. What is left to write when they freeze has [`PATIENCE`].

use crate::error::CliError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How long freezing may take while the VG is locked.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Frozen file systems; thawed when this goes.
#[derive(Debug)]
pub(crate) struct Freezing(Child);

impl Freezing {
    /// Writes back and freezes what is mounted at these places; `None` where nothing is.
    pub(crate) fn begin(points: &[PathBuf]) -> Result<Option<Self>, CliError> {
        if points.is_empty() {
            return Ok(None);
        }
        let failed = |error: std::io::Error| CliError::failed(format!("freezing file systems: {error}."));
        let program = std::env::current_exe().map_err(failed)?;
        let mut helper = Command::new(program);
        helper.arg("freeze").args(points).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = helper.spawn().map_err(failed)?;
        let Some(stdout) = child.stdout.take() else { return Ok(Some(Self(child))) };
        let mut says = [PollFd::new(&stdout, PollFlags::IN)];
        if !matches!(poll(&mut says, Some(&PATIENCE)), Ok(1..)) {
            // It thaws by itself when it has frozen, since its standard input is closed then.
            return Err(CliError::failed(
                "The file systems could not be frozen within 5 s; nothing was changed.",
            )
            .hint("they write too much, or their writes wait: lvs says for what"));
        }
        let mut said = String::new();
        let read = BufReader::new(stdout).read_line(&mut said);
        let freezing = Self(child);
        match read {
            Ok(_) if said.trim_end() == "frozen" => Ok(Some(freezing)),
            // It has said itself why.
            _ => Err(CliError::failed("The file systems could not be frozen; nothing was changed.").hint(
                "without --freeze the snapshot is what a power cut would leave, which file systems repair",
            )),
        }
    }
}

impl Freezing {
    /// Thaws them; whether they were frozen until now. The helper does not wait for ever for a change that takes long.
    pub(crate) fn end(mut self) -> bool {
        self.thaw()
    }

    fn thaw(&mut self) -> bool {
        drop(self.0.stdin.take());
        self.0.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Freezing {
    fn drop(&mut self) {
        self.thaw();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::Freezing;
    use std::process::Command;

    #[test]
    fn a_helper_that_was_late_is_noticed() {
        let ended = |helper: &str| Freezing(Command::new(helper).spawn().unwrap()).end();
        assert!(ended("true") && !ended("false"));
    }
}
