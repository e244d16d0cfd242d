//! `lvchange -a`: brings LVs up and takes them down.
//!
//! What must hold (lvm2.md 3.1, 3.3):
//! - An LV comes up and goes down with its whole origin group; that is asked where others go down with it.

use super::Context;
use super::properties::Properties;
use crate::activating::ActivationOptions;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::Target;
use clap::Args;

/// Bring volumes up, or take them down
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  foldback --devices disk.img lvchange -ay vg/root\n  foldback --devices disk.img lvchange -ay --export nbd vg/root\n  foldback lvchange --unexport nbd vg/root\n  foldback lvchange -an vg/root"
)]
pub(crate) struct LvChange {
    #[command(flatten)]
    options: ActivationOptions,
    #[command(flatten)]
    properties: Properties,
    /// Volumes; of a VG: all of them
    #[arg(value_name = "VG|LV|@TAG", required = true)]
    names: Vec<String>,
}

impl LvChange {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (properties, activation) = (self.properties.wants(), self.options.wants()?);
        if !properties && !activation {
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
                    if properties {
                        worst = worst.max(self.properties.carry_out(context, &vg, &lvs)?);
                    }
                    if activation {
                        worst = worst.max(self.options.carry_out(context, &vg, Some(&lvs))?);
                    }
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
}
