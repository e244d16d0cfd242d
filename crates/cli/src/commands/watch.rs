//! `watch`: volumes, snapshots and merges as they are, twice a second.
//!
//! What must hold: on a terminal it stays until it is told to go; otherwise it reports once.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live;
use crate::map::Signs;
use crate::names::vg_name;
use crate::watch::{Gatherer, report, run};
use clap::Args;
use foldback_daemon::api::types::EventInfo;
use foldback_units::VgName;
use std::io::{IsTerminal, stdout};
use std::ops::ControlFlow;

/// Watch volumes, snapshots and merges in the terminal
#[derive(Args, Debug)]
#[command(
    after_help = "Keys: up and down choose a volume, whose map is shown; ? help, q quits. Where standard output is no \
                  terminal, what there is now is printed once.\n\nExamples:\n  foldback watch\n  foldback watch vg\n  \
                  foldback watch vg | cat\n  foldback watch --events"
)]
pub(crate) struct Watch {
    /// Print a line for each thing that happens, until the daemon ends or Ctrl-C
    #[arg(long, conflicts_with = "ascii")]
    events: bool,
    /// Use letters, whatever the terminal can show
    #[arg(long)]
    ascii: bool,
    /// This volume group alone
    #[arg(value_name = "VG")]
    vg: Option<String>,
}

impl Watch {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let only = self.vg.as_deref().map(vg_name).transpose()?;
        if self.events {
            return events(context, only.as_ref());
        }
        let mut gatherer = Gatherer::new(&context.options, only);
        if stdout().is_terminal() {
            run(&mut gatherer, if self.ascii { Signs::Ascii } else { Signs::of_locale() })?;
        } else {
            context.console.result(&report(&gatherer.look()?));
        }
        Ok(Exit::Success)
    }
}

fn events(context: &Context, only: Option<&VgName>) -> Result<Exit, CliError> {
    let Some(mut daemon) = live::daemon()? else {
        return Err(CliError::failed("No daemon runs: nothing is active.").hint("see vgchange -ay"));
    };
    let each = &mut |event: EventInfo| {
        if event.vg.is_empty() || only.is_none_or(|vg| vg.as_str() == event.vg) {
            let device = event.device.as_deref().unwrap_or_default();
            let line = [event.kind.as_str(), &event.vg, device, &event.text];
            let line: Vec<&str> = line.into_iter().filter(|word| !word.is_empty()).collect();
            context.console.result(&format!("  {}\n", line.join("  ")));
        }
        ControlFlow::Continue(())
    };
    daemon.monitor(each)?;
    Ok(Exit::Success)
}
