//! A guest that runs: it ends in time or is ended, with everything that it started.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A started guest; dropping it ends its whole process group, which was made for it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it in a process group of its own.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let program = command.get_program().display().to_string();
        let child = command.process_group(0).spawn().with_context(|| format!("starting {program}"))?;
        Ok(Self { child })
    }

    /// Waits for its kernel to halt, or until the file `ask` asks for its end.
    pub(crate) fn wait(&mut self, limit: Duration, ask: Option<&Path>) -> Result<Ended> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if self.child.try_wait().context("waiting for the guest")?.is_some() {
                return Ok(Ended::Itself);
            }
            if let Some(after) = ask.and_then(asked) {
                std::thread::sleep(after);
                return Ok(Ended::Asked);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(Ended::Late)
    }
}

/// How a guest came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It halted.
    Itself,
    /// It asked to be killed.
    Asked,
    /// It took too long.
    Late,
}

/// The time after which the guest wants its end, once the whole line is there.
fn asked(ask: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(ask).ok()?;
    // A serial port ends its lines with two characters.
    Some(Duration::from_millis(text.strip_suffix('\n')?.trim_end().parse().ok()?))
}

impl Drop for Running {
    fn drop(&mut self) {
        // The kernel's I/O threads and the guest's processes are host processes of the same group, and
        // outlive a killed kernel. Those of a guest that ended are gone, and then there is no such group.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}
