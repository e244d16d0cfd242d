//! `lvchange -a`: brings LVs up and takes them down.
//!
//! What must hold (lvm2.md 3.1, 3.3):
//! - An LV comes up and goes down with its whole origin group; under LVM2's names that is asked of a snapshot that is named.

use super::Context;
use super::properties::Properties;
use crate::activating::ActivationOptions;
use crate::choosing::selected;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::Target;
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_manager::report::Report;

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
    #[arg(value_name = "VG|LV|@TAG", required_unless_present = "select")]
    names: Vec<String>,
    /// Of these, those for which this holds; of all where nothing is named
    #[arg(short = 'S', long, value_name = "SELECTION", allow_hyphen_values = true)]
    select: Option<String>,
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
        let names = match &self.select {
            Some(select) => selected(context, Report::Lvs, select, &self.names)?,
            None => self.names.clone(),
        };
        let mut exit = Exit::Success;
        for name in &names {
            let one = Target::parse(name).and_then(|target| {
                let mut worst = Exit::Success;
                if context.as_lvm2 && self.options.activate.is_some() && !context.options.yes {
                    ask_for_group(context, &target)?;
                }
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

/// A snapshot that is named does not go alone: whether its origin and the others may go along.
fn ask_for_group(context: &Context, target: &Target) -> Result<(), CliError> {
    let Target::Lv(vg, lv) = target else { return Ok(()) };
    let found = Session::open(&context.options, Access::Read)?.discover();
    let Some(found) = found.vgs.iter().find(|found| found.vg.name == *vg) else { return Ok(()) };
    let links = found.vg.snapshots();
    let Some(snapshot) = links.of_cow(lv) else { return Ok(()) };
    let origin = &snapshot.segment.origin;
    if origin.as_str().ends_with("_vorigin") {
        return Ok(());
    }
    let others = links.all().iter().filter(|other| other.segment.origin == *origin).count().saturating_sub(1);
    let others = if others == 0 { String::new() } else { format!(" and {others} other snapshot(s)") };
    let question =
        format!("Change of snapshot {vg}/{lv} will also change its origin {vg}/{origin}{others}. Proceed?");
    if context.console.ask(&question) {
        return Ok(());
    }
    Err(CliError::failed(format!("Logical volume {vg}/{lv} not changed.")))
}
