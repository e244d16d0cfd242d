//! `lvs`: logical volumes in columns.
//!
//! What must hold: what `reporting` says; hidden LVs stand in brackets.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::lv_named;
use crate::reporting::{self, ReportOptions};
use clap::Args;
use foldback_manager::report::Report;

/// Display information about logical volumes
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lvs -a -o +devices vg\n  lvs --reportformat json -o lv_name,lv_size --units b"
)]
pub(crate) struct Lvs {
    #[command(flatten)]
    options: ReportOptions,
    /// One row per segment
    #[arg(long)]
    segments: bool,
    /// What to show: everything if nothing is named
    #[arg(value_name = "VG|LV|@TAG", value_parser = lv_named)]
    names: Vec<String>,
}

impl Lvs {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let kind = if self.segments { Report::Segments } else { Report::Lvs };
        reporting::run(context, &self.options, kind, &self.names)
    }
}
