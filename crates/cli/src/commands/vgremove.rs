//! `vgremove`: a volume group with everything in it.
//!
//! What must hold (compared with 2.03.16):
//! - A VG with volumes is asked for first; nothing that is active or in use is removed.
//! - Its PVs stay PVs, of no VG.

use super::Context;
use super::lvremove::remove_from;
use crate::changing::{Change, archive, refused, vg_to_change};
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::LiveVg;
use crate::names::{Target, vg_name};
use clap::Args;
use foldback_lvm2_format::vg::Segment;
use foldback_manager::ops::Refusal;
use foldback_manager::store::{DiskSet, remove_vg};
use foldback_units::{LvName, VgName};

/// Remove volume groups
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vgremove vg\n  vgremove -f vg")]
pub(crate) struct VgRemove {
    /// What to remove
    #[arg(value_name = "VG", required = true)]
    names: Vec<String>,
}

impl VgRemove {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut exit = Exit::Success;
        for name in &self.names {
            let vg = match Target::parse(name) {
                Ok(Target::Vg(vg)) => Ok(vg),
                _ => vg_name(name),
            };
            if let Err(error) = vg.and_then(|vg| remove(context, &vg)) {
                error.tell(context.console);
                exit = exit.max(error.exit);
            }
        }
        Ok(exit)
    }
}

fn remove(context: &Context, vg: &VgName) -> Result<(), CliError> {
    let not_removed = || CliError::failed(format!("Volume group \"{vg}\" not removed"));
    let mut change = Change::of_vg(context, vg, &[])?;
    let discovery = change.discover();
    let found = vg_to_change(&discovery, vg)?;
    if LiveVg::find(vg, &change.session.paths)?.is_some() {
        return Err(CliError::failed(format!("Volume group \"{vg}\" has active volumes."))
            .hint(format!("take them down first: vgchange -an {vg}")));
    }
    if let Some(lv) = found.vg.lvs.iter().find(|lv| !lv.is_understood()) {
        let type_text = lv.segments.first().map(Segment::type_text).unwrap_or_default();
        let refusal = Refusal::NotUnderstood { vg: vg.clone(), lv: lv.name.clone(), type_text };
        return Err(refused(context, &refusal));
    }
    let links = found.vg.snapshots();
    let seen = |lv: &&foldback_lvm2_format::vg::Lv| {
        lv.snapshot().is_none() && !lv.name.as_str().ends_with("_vorigin")
    };
    let lvs: Vec<LvName> = found.vg.lvs.iter().filter(seen).map(|lv| lv.name.clone()).collect();
    let visible = found.vg.lvs.iter().filter(|lv| links.is_visible(lv)).count();
    let forced = context.options.yes || context.options.force > 0;
    if !lvs.is_empty() && !forced {
        let question = format!(
            "Do you really want to remove volume group \"{vg}\" containing {visible} logical volumes?"
        );
        if !context.console.ask(&question) {
            return Err(not_removed());
        }
    }
    // Snapshots before their origins: nothing is asked then.
    let (snapshots, others): (Vec<_>, Vec<_>) = lvs.into_iter().partition(|lv| links.is_cow(lv));
    let all: Vec<LvName> = snapshots.into_iter().chain(others).collect();
    drop(change);
    let mut failed = None;
    if !all.is_empty() {
        let forced = Context {
            options: crate::options::Options { yes: true, ..context.options.clone() },
            ..context.clone()
        };
        remove_from(&forced, vg, &all, false, &mut |error| failed = Some(error))?;
    }
    if let Some(error) = failed {
        if context.as_lvm2 {
            return Err(error);
        }
        error.tell(context.console);
        return Err(not_removed());
    }
    let mut change = Change::of_vg(context, vg, &[])?;
    let discovery = change.discover();
    let found = vg_to_change(&discovery, vg)?;
    if !change.is_test() {
        if !found.vg.lvs.is_empty() {
            return Err(CliError::failed(format!("Volume group \"{vg}\" has got new volumes meanwhile.")));
        }
        let _data = change.session.hold_vg(found)?;
        let places = change.session.backup_places();
        archive(context, &places, &found.vg, &mut change.machine);
        let mut set = DiskSet::new(&mut *change.session.disks, &change.session.paths);
        let warnings = remove_vg(&mut set, found).map_err(|error| CliError::failed(format!("{error}.")))?;
        for warning in &warnings {
            context.console.warn(warning);
        }
        if let Err(error) = places.forget(vg) {
            context.console.warn(&format!("{error}."));
        }
    }
    context.console.say(&format!("Volume group \"{vg}\" successfully removed"));
    Ok(())
}
