//! `vgchange`: brings the LVs of VGs up and takes them down, and changes what the VGs are.
//!
//! What must hold (lvm2.md 3.1):
//! - Repeating it is harmless. One LV that cannot be brought up does not stop the others; the exit code tells.
//! - LVs marked to be skipped come up only with `-K`.

use super::Context;
use super::vg_properties::{VgProperties, set_system_id};
use crate::activating::{Activation, ActivationOptions};
use crate::backend::active_in_kernel;
use crate::changing::one_vg;
use crate::choosing::selected;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::{self, LiveVg};
use crate::names::Target;
use crate::session::{Session, config};
use clap::Args;
use foldback_device::Access;
use foldback_manager::report::Report;
use foldback_units::VgName;

/// Bring the volumes of volume groups up, take them down, or change the groups
#[derive(Args, Debug)]
#[command(
    after_help = "Stores of active snapshots that fill are extended where activation/snapshot_autoextend_threshold in lvm.conf is below 100. Where that fails, writes that need room in a full store wait for foldback/hold_seconds (30); then the snapshot becomes invalid. With a threshold of 100 it becomes invalid at once, as in the kernel.\n\nExamples:\n  foldback --devices disk.img vgchange -ay vg\n  foldback vgchange -ay --config activation/snapshot_autoextend_threshold=70 vg\n  foldback vgchange -an vg"
)]
pub(crate) struct VgChange {
    #[command(flatten)]
    options: ActivationOptions,
    #[command(flatten)]
    properties: VgProperties,
    /// Give the VG to the host of this system ID; empty: to any
    #[arg(long, value_name = "ID", conflicts_with = "activate")]
    systemid: Option<String>,
    /// Called by udev's rules for a PV's event: done only where global/event_activation is on
    #[arg(long, value_name = "event", hide = true)]
    autoactivation: Option<String>,
    /// VGs; all where none is named
    #[arg(value_name = "VG")]
    names: Vec<String>,
    /// Of these, those for which this holds; of all where nothing is named
    #[arg(short = 'S', long, value_name = "SELECTION", allow_hyphen_values = true)]
    select: Option<String>,
}

impl VgChange {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let activation = self.options.wants(context)?;
        if !activation && !self.properties.wants() && self.systemid.is_none() {
            let message =
                "No command with matching syntax recognised.  Run 'vgchange --help' for more information.";
            return Err(CliError {
                exit: Exit::BadCommandLine,
                message: message.to_owned(),
                hint: Some("to bring a group up: vgchange -ay VG".to_owned()),
            });
        }
        if let Some(other) = self.options.named().filter(|_| self.properties.wants() && context.as_lvm2) {
            let message = format!("Command does not accept option: --{other}.");
            return Err(CliError { exit: Exit::BadCommandLine, message, hint: None });
        }
        if self.skips(context)? {
            return Ok(Exit::Success);
        }
        let given_up = self.give_up(context)?;
        if !self.names.is_empty() && self.names.iter().all(|name| given_up.contains(name)) {
            return Ok(Exit::Success);
        }
        let mut exit = Exit::Success;
        for vg in self.vgs(context, &given_up, &mut exit)? {
            let one = self.one(context, &vg, activation);
            exit = exit.max(one.unwrap_or_else(|error| {
                error.tell(context.console);
                error.exit
            }));
        }
        Ok(exit)
    }

    /// Whether nothing is to be done by this caller.
    fn skips(&self, context: &Context) -> Result<bool, CliError> {
        let why = match self.autoactivation.as_deref() {
            None => return Ok(false),
            Some("event") if config(&context.options, &[])?.event_activation => return Ok(false),
            Some("event") => "event and event_activation=0",
            Some(_) => "unknown autoactivation value",
        };
        context.console.say(&format!("Skip vgchange for {why}."));
        Ok(true)
    }

    fn one(&self, context: &Context, vg: &VgName, activation: bool) -> Result<Exit, CliError> {
        let mut exit = Exit::Success;
        if self.properties.wants() {
            exit = exit.max(self.properties.carry_out(context, vg)?);
        }
        if let Some(id) = &self.systemid {
            exit = exit.max(set_system_id(context, vg, id)?);
        }
        if activation {
            exit = exit.max(self.options.carry_out(context, vg, None)?);
        }
        Ok(exit)
    }

    /// Gives up what was active and could not be taken up again: its disks may be gone for good.
    fn give_up(&self, context: &Context) -> Result<Vec<String>, CliError> {
        if self.options.activate != Some(Activation::No) || context.options.test {
            return Ok(Vec::new());
        }
        let mut given_up = Vec::new();
        for vg in live::left_over()? {
            if (self.names.is_empty() || self.names.contains(&vg)) && live::give_up(&vg)? {
                context.console.say(&format!("0 logical volume(s) in volume group \"{vg}\" now active"));
                given_up.push(vg);
            }
        }
        Ok(given_up)
    }

    /// What is meant; what is not there is told, and does not stop the others.
    fn vgs(&self, context: &Context, given_up: &[String], exit: &mut Exit) -> Result<Vec<VgName>, CliError> {
        if let Some(select) = &self.select {
            let names = selected(context, Report::Vgs, select, &self.names)?;
            return Ok(names.iter().filter_map(|name| VgName::new(name).ok()).collect());
        }
        if self.options.activate == Some(Activation::No) && self.names.is_empty() {
            let live = live::vgs()?;
            let mut vgs: Vec<VgName> = live.iter().filter_map(|vg| VgName::new(&vg.name).ok()).collect();
            vgs.extend(active_in_kernel(context)?);
            return Ok(vgs);
        }
        let found = Session::open(&context.options, Access::Read)?.discover();
        if self.names.is_empty() {
            return Ok(found.vgs.iter().map(|found| found.vg.name.clone()).collect());
        }
        let mut vgs = Vec::new();
        for name in self.names.iter().filter(|name| !given_up.contains(name)) {
            match Target::parse(name)? {
                Target::Vg(vg) => {
                    // One that is served may be gone from the metadata.
                    let down = self.options.activate == Some(Activation::No);
                    let served = down && LiveVg::find(&vg, &context.options.disks())?.is_some();
                    match one_vg(&found, &vg) {
                        Err(error) if !served => {
                            error.tell(context.console);
                            *exit = (*exit).max(error.exit);
                        }
                        _ => vgs.push(vg),
                    }
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
}
