//! `lvchange -a`: brings LVs up and takes them down.
//!
//! What must hold (lvm2.md 3.1, 3.3):
//! - An LV comes up and goes down with its whole origin group; that is asked where others go down with it.

use super::Context;
use crate::activating::{Activation, Wish, activate, deactivate, refresh};
use crate::error::CliError;
use crate::exit::Exit;
use crate::exporting::{self, Export};
use crate::names::Target;
use clap::Args;

/// Bring volumes up, or take them down
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  foldback --devices disk.img lvchange -ay vg/root\n  foldback --devices disk.img lvchange -ay --export nbd vg/root\n  foldback lvchange -an vg/root"
)]
pub(crate) struct LvChange {
    /// y: bring up; n: take down; ay: bring up what may be brought up by itself
    #[arg(short, long, value_name = "y|n|ay")]
    activate: Option<Activation>,
    /// Bring up what is marked to be skipped, too
    #[arg(short = 'K', long)]
    ignoreactivationskip: bool,
    /// Serve what is brought up over NBD, too, at a Unix socket or the address: tcp:PORT (of this machine alone),
    /// tcp:ADDRESS:PORT, unix:/PATH
    #[arg(long, value_name = "nbd[=ADDRESS]")]
    export: Option<Export>,
    /// Look at what is live again: starts a merge that waits for it
    #[arg(long)]
    refresh: bool,
    #[arg(long, hide = true, value_name = "y|n")]
    poll: Option<crate::options::YesNo>,
    #[arg(long, hide = true, value_name = "y|n")]
    monitor: Option<crate::options::YesNo>,
    #[arg(long, hide = true)]
    sysinit: bool,
    /// Volumes; of a VG: all of them
    #[arg(value_name = "VG|LV|@TAG", required = true)]
    names: Vec<String>,
}

impl LvChange {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        exporting::check(self.export.as_ref(), self.activate)?;
        if self.activate.is_none() && !self.refresh {
            let message =
                "No command with matching syntax recognised.  Run 'lvchange --help' for more information.";
            return Err(CliError {
                exit: Exit::BadCommandLine,
                message: message.to_owned(),
                hint: Some("to bring a volume up: lvchange -ay VG/LV".to_owned()),
            });
        }
        let mut exit = Exit::Success;
        for name in &self.names {
            let one = Target::parse(name).and_then(|target| {
                let mut worst = Exit::Success;
                for (vg, lvs) in super::resolve(context, &target)? {
                    let done = match self.activate {
                        Some(Activation::No) => deactivate(context, &vg, Some(&lvs)),
                        Some(how) => activate(context, &vg, Some(&lvs), self.wish(how)),
                        None => refresh(context, &vg, Some(&lvs)),
                    }?;
                    worst = worst.max(done);
                }
                Ok(worst)
            });
            exit = exit.max(one.unwrap_or_else(|error| {
                error.tell(context.console);
                error.exit
            }));
        }
        Ok(exit)
    }

    fn wish(&self, how: Activation) -> Wish<'_> {
        Wish { how, skipped_too: self.ignoreactivationskip, export: self.export.as_ref() }
    }
}
