//! `daemon`: serves live volumes until none is left.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use clap::Args;
use foldback_daemon::{Daemon as Serving, RunDir, api};

/// Serve active volumes; started by itself when one is activated
#[derive(Args, Debug)]
#[command(
    after_help = "It ends when nothing is active any more. Killed, it loses nothing that was flushed: the next command starts \
                  another, which takes the volumes up again, but file systems on them have to be mounted anew. Its directory is \
                  /run/foldback, $XDG_RUNTIME_DIR/foldback for other users, or $FOLDBACK_RUN_DIR:\n  api.sock     its API \
                  (Varlink), for its own user and root\n  active.json  what is active, for the daemon that comes after\n  \
                  daemon.log   what it said, where systemd does not keep that\n  VG/LV        the volumes as files\n  \
                  nbd/         sockets of NBD servers\n\nSettings of lvm.conf, or of vgchange's --config:\n  \
                  activation/snapshot_autoextend_threshold, _percent  when stores are extended\n  foldback/hold_seconds  \
                  how long writes wait for room in a full store (30)\n\nExamples:\n  foldback daemon\n  varlinkctl \
                  introspect /run/foldback/api.sock org.foldback.Daemon"
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
