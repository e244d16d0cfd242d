//! `pvremove`: takes the label off disks, so that they are PVs no more.
//!
//! What must hold (compared with 2.03.16):
//! - A PV that a VG uses keeps its label unless forced twice; only the label goes.

use super::Context;
use crate::changing::Change;
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::split_missing;
use clap::Args;
use foldback_manager::store::{Discovery, DiskSet, FoundPv, remove_pv};

/// Take the labels off physical volumes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pvremove disk.img")]
pub(crate) struct PvRemove {
    /// Image files and disks
    #[arg(value_name = "PV", required = true)]
    pvs: Vec<String>,
}

impl PvRemove {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (present, mut exit) = split_missing(context, &self.pvs);
        if present.is_empty() {
            return Ok(exit);
        }
        let mut change = Change::global(context, &present)?;
        let found = change.discover();
        for path in &present {
            if let Err(error) = remove(&mut change, &found, path) {
                error.tell(context.console);
                exit = exit.max(error.exit);
            }
        }
        Ok(exit)
    }
}

/// The VG that uses the PV, by its name where that can be read; `None` where none does.
fn user(found: &Discovery, pv: &FoundPv) -> Option<String> {
    let vg = found.vgs.iter().find(|vg| vg.vg.pv_by_id(&pv.label.pv.id).is_some());
    let unreadable = found.unreadable.iter().find(|vg| vg.path == pv.path);
    vg.map(|vg| vg.vg.name.to_string())
        .or_else(|| unreadable.map(|vg| vg.name.clone().unwrap_or_else(|| "[unknown]".to_owned())))
        .or_else(|| pv.label.pv.is_used().then(|| "[unknown]".to_owned()))
}

fn remove(change: &mut Change<'_>, found: &Discovery, path: &str) -> Result<(), CliError> {
    let context = change.context;
    let mut all = found.pvs.iter().chain(&found.duplicates);
    let pv = all.find(|pv| pv.path == path);
    let pv = pv.ok_or_else(|| CliError::failed(format!("No PV found on device {path}.")))?;
    if let Some(vg) = user(found, pv) {
        let stays = format!("{path}: physical volume label not removed.");
        if context.options.force < 2 {
            return Err(CliError::failed(format!(
                "PV {path} is used by VG {vg} so please use vgreduce first.\n(If you are certain you need pvremove, then confirm by using --force twice.)\n{stays}"
            )));
        }
        context.console.warn(&format!("PV {path} is used by VG {vg}."));
        let question =
            format!("Really WIPE LABELS from physical volume \"{path}\" of volume group \"{vg}\" [y/n]?");
        if !context.options.yes && !context.console.ask_whole(&question) {
            return Err(CliError::failed(stays));
        }
        context.console.warn(&format!("Wiping physical volume label from {path} of volume group \"{vg}\"."));
    }
    if !change.is_test() {
        let _data = change.session.hold_data(path)?;
        let mut set = DiskSet::new(&mut *change.session.disks, &change.session.paths);
        remove_pv(&mut set, pv.disk)?;
    }
    context.console.say(&format!("Labels on physical volume \"{path}\" successfully wiped."));
    Ok(())
}
