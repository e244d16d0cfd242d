//! `daemon`: serves live volumes until none is left.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use clap::Args;
use foldback_daemon::{Daemon as Serving, RunDir, api};

/// Serve active volumes; started by itself when one is activated
#[derive(Args, Debug)]
#[command(
    after_help = "It ends when nothing is active any more. Its socket is api.sock in /run/foldback, in \
                        $XDG_RUNTIME_DIR/foldback for other users, or in $FOLDBACK_RUN_DIR. Where systemd runs, it is foldback.service, installed or transient; \
                        stopping it by hand takes the disk from mounted file systems, so deactivate the volumes \
                        instead.\n\nExamples:\n  foldback \
                        daemon\n  varlinkctl introspect /run/foldback/api.sock org.foldback.Daemon"
)]
pub(crate) struct Daemon {}

impl Daemon {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, _: &Context) -> Result<Exit, CliError> {
        api::serve(Serving::new(RunDir::of_user()))
            .map(|()| Exit::Success)
            .map_err(|error| CliError::failed(format!("{error}.")))
    }
}
