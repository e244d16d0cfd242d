//! `vgchange -a`: brings the LVs of VGs up and takes them down.
//!
//! What must hold (lvm2.md 3.1):
//! - Repeating it is harmless. One LV that cannot be brought up does not stop the others; the exit code tells.
//! - LVs marked to be skipped come up only with `-K`.

use super::Context;
use crate::activating::{Activation, Wish, activate, deactivate, refresh};
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::exporting::{self, Export};
use crate::live;
use crate::names::Target;
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_units::VgName;

/// Bring the volumes of volume groups up, or take them down
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  foldback --devices disk.img vgchange -ay vg\n  foldback vgchange -an vg"
)]
pub(crate) struct VgChange {
    /// y: bring up; n: take down; ay: bring up what may be brought up by itself
    #[arg(short, long, value_name = "y|n|ay")]
    activate: Option<Activation>,
    /// Bring up what is marked to be skipped, too
    #[arg(short = 'K', long)]
    ignoreactivationskip: bool,
    /// Serve what is brought up over NBD, too, at a Unix socket or the address: tcp:PORT (of this machine alone),
    /// tcp:ADDRESS:PORT, unix:/PATH
    #[arg(long, value_name = "nbd[=ADDRESS]")]
    export: Option<Export>,
    /// Look at what is live again: starts merges that wait for it
    #[arg(long)]
    refresh: bool,
    #[arg(long, hide = true, value_name = "y|n")]
    poll: Option<crate::options::YesNo>,
    #[arg(long, hide = true, value_name = "y|n")]
    monitor: Option<crate::options::YesNo>,
    #[arg(long, hide = true)]
    sysinit: bool,
    /// VGs; all where none is named
    #[arg(value_name = "VG")]
    names: Vec<String>,
}

impl VgChange {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        exporting::check(self.export.as_ref(), self.activate)?;
        if self.activate.is_none() && !self.refresh {
            return Err(CliError {
                exit: Exit::BadCommandLine,
                message: "Need 1 or more of -a or --refresh.".to_owned(),
                hint: None,
            });
        }
        let mut exit = Exit::Success;
        for vg in self.vgs(context)? {
            let one = match self.activate {
                Some(Activation::No) => deactivate(context, &vg, None),
                Some(how) => activate(context, &vg, None, self.wish(how)),
                None => refresh(context, &vg, None),
            };
            exit = exit.max(one.unwrap_or_else(|error| {
                error.tell(context.console);
                error.exit
            }));
        }
        Ok(exit)
    }

    fn vgs(&self, context: &Context) -> Result<Vec<VgName>, CliError> {
        if self.activate == Some(Activation::No) && self.names.is_empty() {
            let live = live::vgs()?;
            return Ok(live.iter().filter_map(|vg| VgName::new(&vg.name).ok()).collect());
        }
        let found = Session::open(&context.options, Access::Read)?.discover();
        if self.names.is_empty() {
            return Ok(found.vgs.iter().map(|found| found.vg.name.clone()).collect());
        }
        let mut vgs = Vec::new();
        for name in &self.names {
            match Target::parse(name)? {
                Target::Vg(vg) => {
                    one_vg(&found, &vg)?;
                    vgs.push(vg);
                }
                Target::Tag(tag) => {
                    let tagged = found.vgs.iter().filter(|found| found.vg.tags.contains(&tag));
                    vgs.extend(tagged.map(|found| found.vg.name.clone()));
                }
                Target::Lv(..) => {
                    let message = format!("Invalid volume group name {name}.");
                    return Err(CliError { exit: Exit::BadCommandLine, message, hint: None });
                }
            }
        }
        Ok(vgs)
    }

    fn wish(&self, how: Activation) -> Wish<'_> {
        Wish { how, skipped_too: self.ignoreactivationskip, export: self.export.as_ref() }
    }
}
