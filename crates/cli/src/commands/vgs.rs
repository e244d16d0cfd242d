//! `vgs`: volume groups in columns.
//!
//! What must hold: what `reporting` says.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::reporting::{self, ReportOptions};
use clap::Args;
use foldback_manager::report::Report;

/// Display information about volume groups
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vgs -o +vg_uuid,vg_seqno\n  vgs -o +lv_name vg")]
pub(crate) struct Vgs {
    #[command(flatten)]
    options: ReportOptions,
    /// What to show: everything if nothing is named
    #[arg(value_name = "VG|@TAG")]
    names: Vec<String>,
}

impl Vgs {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        reporting::run(context, &self.options, Report::Vgs, &self.names)
    }
}
