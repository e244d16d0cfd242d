//! `lvchange -a`: brings LVs up and takes them down.
//!
//! What must hold (lvm2.md 3.1, 3.3):
//! - An LV comes up and goes down with its whole origin group. Of a snapshot that is named it is asked whether the others
//!   are to go down with it, and under LVM2's names, as LVM2 asks, also whether they are to come up; only `-y` answers.

use super::Context;
use super::lvremove::refuse_zeros;
use super::properties::Properties;
use crate::activating::{Activation, ActivationOptions};
use crate::changing::{one_vg, refused};
use crate::choosing::selected;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::{Target, lv_named};
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_lvm2_format::vg::{Lv, LvStatus};
use foldback_manager::ops::Refusal;
use foldback_manager::report::Report;
use foldback_units::{LvName, VgName};

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
    #[arg(value_name = "VG|LV|@TAG", value_parser = lv_named, required_unless_present = "select")]
    names: Vec<String>,
    /// Of these, those for which this holds; of all where nothing is named
    #[arg(short = 'S', long, value_name = "SELECTION", allow_hyphen_values = true)]
    select: Option<String>,
}

impl LvChange {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (properties, activation) = (self.properties.wants(), self.options.wants(context)?);
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
                if let Target::Lv(vg, lv) = &target {
                    self.look_at(context, vg, lv)?;
                }
                let mut worst = Exit::Success;
                for (vg, lvs) in super::resolve(context, &target)? {
                    if properties {
                        let kept = match target {
                            Target::Lv(..) => lvs.clone(),
                            Target::Vg(_) | Target::Tag(_) => without_merging(context, &vg, &lvs)?,
                        };
                        worst = worst.max(self.properties.carry_out(context, &vg, &kept)?);
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

    /// Asks whether what belongs to a snapshot is to go with it. Under LVM2's names one that merges can only be taken down.
    fn look_at(&self, context: &Context, vg: &VgName, lv: &LvName) -> Result<(), CliError> {
        let down = self.options.activate == Some(Activation::No);
        let asks = (down || (context.as_lvm2 && self.options.activate.is_some())) && !context.options.yes;
        if !asks && !context.as_lvm2 {
            return Ok(());
        }
        let discovery = Session::open(&context.options, Access::Read)?.discover();
        // One that is served may be gone from the metadata.
        let Ok(found) = one_vg(&discovery, vg) else { return Ok(()) };
        if context.as_lvm2 {
            refuse_zeros(context, &found.vg, lv)?;
        }
        let links = found.vg.snapshots();
        let Some(snapshot) = links.of_cow(lv).map(|snapshot| snapshot.segment) else { return Ok(()) };
        if snapshot.merging && context.as_lvm2 && !down {
            return Err(refused(context, &Refusal::HiddenLv { vg: vg.clone(), lv: lv.clone() }));
        }
        if !asks || found.vg.lv(&snapshot.origin).is_none_or(is_hidden) {
            return Ok(());
        }
        let others = links.of_origin(&snapshot.origin).count().saturating_sub(1);
        let others = if others == 0 { String::new() } else { format!(" and {others} other snapshot(s)") };
        let origin = &snapshot.origin;
        let question = format!(
            "Change of snapshot {vg}/{lv} will also change its origin {vg}/{origin}{others}. Proceed?"
        );
        if context.console.ask(&question) {
            return Ok(());
        }
        Err(CliError::failed(format!("Logical volume {vg}/{lv} not changed.")))
    }
}

/// Of all LVs of a VG, or of those with a tag, the ones that a change is for.
fn without_merging(context: &Context, vg: &VgName, lvs: &[LvName]) -> Result<Vec<LvName>, CliError> {
    let discovery = Session::open(&context.options, Access::Read)?.discover();
    let links = one_vg(&discovery, vg)?.vg.snapshots();
    let merges = |lv: &LvName| links.of_cow(lv).is_some_and(|snapshot| snapshot.segment.merging);
    Ok(lvs.iter().filter(|lv| !merges(lv)).cloned().collect())
}

/// The origin of a sparse volume, which nobody sees.
fn is_hidden(lv: &Lv) -> bool {
    !lv.status.contains(&LvStatus::Visible)
}
