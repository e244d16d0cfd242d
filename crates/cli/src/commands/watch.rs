//! `watch`: volumes, snapshots and merges as they are, twice a second.
//!
//! What must hold: on a terminal it stays until it is told to go; otherwise it reports once.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::map::Signs;
use crate::names::vg_name;
use crate::watch::{Gatherer, report, run};
use clap::Args;
use std::io::{IsTerminal, stdout};

/// Watch volumes, snapshots and merges in the terminal
#[derive(Args, Debug)]
#[command(
    after_help = "Keys: up and down choose a volume, whose map is shown; ? help, q quits. Where standard output is no \
                  terminal, what there is now is printed once.\n\nExamples:\n  foldback watch\n  foldback watch vg\n  \
                  foldback watch vg | cat"
)]
pub(crate) struct Watch {
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
        let mut gatherer = Gatherer::new(&context.options, only);
        if stdout().is_terminal() {
            run(&mut gatherer, if self.ascii { Signs::Ascii } else { Signs::of_locale() })?;
        } else {
            context.console.result(&report(&gatherer.look()?));
        }
        Ok(Exit::Success)
    }
}
