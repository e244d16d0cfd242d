//! `freeze`: the helper of `lvcreate --freeze`, which holds file systems frozen until its standard input ends.
//!
//! What must hold (architecture.md, "Freezing"):
//! - Whatever becomes of the command that asked, file systems are thawed: when its end of the pipe closes, or after
//!   [`PATIENCE`], which the exit code tells.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use clap::Args;
use foldback_frontend_fuse::Frozen;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
use std::path::PathBuf;

/// How long anything stays frozen.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Hold file systems frozen until standard input ends, or for five seconds
#[derive(Args, Debug)]
#[command(hide = true)]
pub(crate) struct Freeze {
    /// Where they are mounted
    #[arg(value_name = "DIRECTORY", required = true)]
    points: Vec<PathBuf>,
}

impl Freeze {
    pub(crate) fn run(&self, _: &Context) -> Result<Exit, CliError> {
        let frozen = Frozen::freeze(&self.points)
            .map_err(|(point, error)| CliError::failed(format!("freezing {}: {error}.", point.display())))?;
        let mut stdout = std::io::stdout();
        // With nobody to read it, standard input has ended, too.
        stdout.write_all(b"frozen\n").and_then(|()| stdout.flush()).ok();
        let stdin = std::io::stdin();
        let mut ends = [PollFd::new(&stdin, PollFlags::IN)];
        // Readable, closed, late or interrupted: all end it.
        let late = matches!(poll(&mut ends, Some(&PATIENCE)), Ok(0));
        drop(frozen);
        Ok(if late { Exit::Failed } else { Exit::Success })
    }
}
