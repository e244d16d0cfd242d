//! `metrics`: numbers of live volumes, for Prometheus.
//!
//! What must hold: without a daemon that is an answer too, and no daemon is started for it.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use clap::Args;
use foldback_daemon::RunDir;
use foldback_daemon::api::{ApiError, Client};

/// What is said where no daemon runs: nothing is active.
const NOBODY: &str =
    "# HELP foldback_up 1 where the daemon answers.\n# TYPE foldback_up gauge\nfoldback_up 0\n";

/// Print metrics of active volumes in Prometheus's text format
#[derive(Args, Debug)]
#[command(
    after_help = "For node_exporter's textfile collector, from a timer:\n  foldback metrics > foldback.prom.new && mv \
                  foldback.prom.new foldback.prom\n\nThe daemon's API has the same text: the method Metrics of \
                  org.foldback.Daemon."
)]
pub(crate) struct Metrics {}

impl Metrics {
    #[expect(clippy::unused_self, reason = "every command is run so")]
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match Client::connect(&RunDir::of_user()) {
            Ok(mut client) => context.console.result(&client.metrics()?),
            Err(ApiError::NoDaemon) => context.console.result(NOBODY),
            Err(error) => return Err(error.into()),
        }
        Ok(Exit::Success)
    }
}
