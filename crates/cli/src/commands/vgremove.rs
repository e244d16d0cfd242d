//! `vgremove`: a volume group with everything in it.
//!
//! What must hold (compared with 2.03.16):
//! - A VG with volumes is asked for first, and then each of them that is active; nothing that is in use is removed.
//! - Its PVs stay PVs, of no VG.

use super::Context;
use super::lvremove::{Asks, remove_from};
use crate::changing::{Change, archive, refused, vg_to_change};
use crate::choosing::selected;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::{Target, vg_name};
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_lvm2_format::vg::Segment;
use foldback_manager::ops::Refusal;
use foldback_manager::report::Report;
use foldback_manager::store::{DiskSet, remove_vg};
use foldback_units::{LvName, VgName};
use std::collections::BTreeSet;

/// Remove volume groups
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vgremove vg\n  vgremove -f vg")]
pub(crate) struct VgRemove {
    /// What to remove
    #[arg(value_name = "VG|@TAG", required_unless_present = "select")]
    names: Vec<String>,
    /// Of these, those for which this holds; of all where nothing is named
    #[arg(short = 'S', long, value_name = "SELECTION", allow_hyphen_values = true)]
    select: Option<String>,
}

impl VgRemove {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut exit = Exit::Success;
        let names = match &self.select {
            Some(select) => selected(context, Report::Vgs, select, &self.names)?,
            None => self.names.clone(),
        };
        let mut vgs: Vec<VgName> = Vec::new();
        for name in &names {
            let meant = match Target::parse(name) {
                Ok(Target::Vg(vg)) => Ok(vec![vg]),
                Ok(Target::Tag(tag)) => {
                    let found = Session::open(&context.options, Access::Read)?.discover();
                    let tagged = found.vgs.iter().filter(|found| found.vg.tags.contains(&tag));
                    Ok(tagged.map(|found| found.vg.name.clone()).collect())
                }
                _ => vg_name(name).map(|vg| vec![vg]),
            };
            match meant {
                Ok(meant) => vgs.extend(meant),
                Err(error) => {
                    error.tell(context.console);
                    exit = exit.max(error.exit);
                }
            }
        }
        // One that is named and has a named tag is removed once.
        let mut done = BTreeSet::new();
        for vg in vgs.into_iter().filter(|vg| done.insert(vg.clone())) {
            let one = remove(context, &vg);
            exit = exit.max(one.unwrap_or_else(|error| {
                error.tell(context.console);
                error.exit
            }));
        }
        Ok(exit)
    }
}

fn remove(context: &Context, vg: &VgName) -> Result<Exit, CliError> {
    let not_removed = || CliError::failed(format!("Volume group \"{vg}\" not removed"));
    let mut change = Change::of_vg(context, vg, &[])?;
    let discovery = change.discover();
    let found = vg_to_change(&discovery, vg)?;
    if let Some(lv) = found.vg.lvs.iter().find(|lv| !lv.is_understood()) {
        let type_text = lv.segments.first().map(Segment::type_text).unwrap_or_default();
        let refusal = Refusal::NotUnderstood { vg: vg.clone(), lv: lv.name.clone(), type_text };
        return Err(refused(context, &refusal));
    }
    let links = found.vg.snapshots();
    // What merges goes with its origin.
    let merging = |lv: &LvName| links.of_cow(lv).is_some_and(|snapshot| snapshot.segment.merging);
    let seen = |lv: &&foldback_lvm2_format::vg::Lv| {
        lv.snapshot().is_none() && !merging(&lv.name) && !lv.name.as_str().ends_with("_vorigin")
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
    drop(change);
    if !lvs.is_empty() {
        let mut failed = false;
        remove_from(context, vg, (&lvs, false), Asks::Active, &mut |error| {
            error.tell(context.console);
            failed = true;
        })?;
        if failed {
            return Ok(Exit::Failed);
        }
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
    Ok(Exit::Success)
}
