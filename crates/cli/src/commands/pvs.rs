//! `pvs`: physical volumes in columns.
//!
//! What must hold: what `reporting` says; a PV goes by the path it was named with.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::reporting::{self, ReportOptions};
use clap::Args;
use foldback_manager::report::Report;

/// Display information about physical volumes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pvs -o +pv_used\n  pvs --segments -o +lv_name,seg_start_pe disk.img")]
pub(crate) struct Pvs {
    #[command(flatten)]
    options: ReportOptions,
    /// One row per piece of a PV
    #[arg(long)]
    segments: bool,
    /// What to show: everything if nothing is named
    #[arg(value_name = "PV|@TAG")]
    names: Vec<String>,
}

impl Pvs {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let kind = if self.segments { Report::PvSegments } else { Report::Pvs };
        reporting::run(context, &self.options, kind, &self.names)
    }
}
