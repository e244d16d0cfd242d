//! `demo`: what Foldback is for, shown on a disk image in a temporary folder.
//!
//! What must hold: what `demo` says.

use super::Context;
use crate::demo::tell;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use clap::Args;

/// Break a made-up system and fold it back, in a temporary folder
#[derive(Args, Debug)]
#[command(after_help = "Needs e2fsprogs (mkfs.ext4, debugfs, e2fsck) and about 800 MB in $TMPDIR; no root.")]
pub(crate) struct Demo {
    /// Leave the folder there to look at
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let interrupt = Interrupt::watch()?;
        let folder = tempfile::Builder::new().prefix("foldback-demo-").tempdir();
        let mut folder = folder.map_err(|error| {
            CliError::failed(format!("making a temporary folder: {error}."))
                .hint("TMPDIR names another place")
        })?;
        let told = tell(context.console, &interrupt, folder.path());
        if self.keep {
            folder.disable_cleanup(true);
            context.console.say(&format!("Everything is in {}.", folder.path().display()));
        }
        let removed = folder.close();
        told?;
        removed.map_err(|error| CliError::failed(format!("removing the temporary folder: {error}.")))?;
        Ok(Exit::Success)
    }
}
