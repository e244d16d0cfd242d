//! `lvremove`: volumes and snapshots, all of a VG's, or all with a tag.
//!
//! What must hold:
//! - What cannot be undone is asked, unless `-y` or `-f` answered it; where nobody answers it is no. Under LVM2's names only
//!   what LVM2 asks, and whether a merge that may have begun is to be given up.
//! - One that cannot be removed does not stop the others; the exit code tells.

use super::Context;
use crate::carried::Live;
use crate::changing::{Change, refused, tell, vg_to_change};
use crate::choosing::selected;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::{Target, lv_named};
use crate::reporting::no_lv;
use crate::session::Session;
use crate::switching::{Otherwise, Switch};
use clap::Args;
use foldback_device::Access;
use foldback_lvm2_format::vg::{Lv, LvStatus, Segment, SegmentKind, Vg};
use foldback_manager::activation::{Change as GroupChange, Group, device_of, remove_lvs};
use foldback_manager::apply::commit;
use foldback_manager::ops::lv_remove::{Question, Removal, Uses, plan_beside, plan_several};
use foldback_manager::report::Report;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, VgName};

/// Remove logical volumes and snapshots
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lvremove vg/snap\n  lvremove -y vg/root @nightly")]
pub(crate) struct LvRemove {
    /// What to remove; of a VG: everything in it
    #[arg(value_name = "VG|LV|@TAG", value_parser = lv_named, required_unless_present = "select")]
    names: Vec<String>,
    /// Of these, those for which this holds; of all where nothing is named
    #[arg(short = 'S', long, value_name = "SELECTION", allow_hyphen_values = true)]
    select: Option<String>,
}

/// What was answered before, by what was called and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asks {
    /// Nothing.
    All,
    /// That snapshots go with their origin.
    Active,
    /// That what is active goes.
    HalfMerged,
}

impl Asks {
    fn about(self, question: &Question) -> bool {
        match question {
            Question::OriginWithSnapshots { .. } => self == Self::All,
            Question::Active { .. } => self != Self::HalfMerged,
            Question::HalfMerged { .. } => true,
        }
    }
}

/// Removes one LV, for `trial drop`.
pub(crate) fn remove(context: &Context, vg: &VgName, lv: &LvName) -> Result<Exit, CliError> {
    let mut failed = None;
    let lvs = std::slice::from_ref(lv);
    remove_from(context, vg, (lvs, true), Asks::HalfMerged, &mut |error| failed = Some(error))?;
    failed.map_or(Ok(Exit::Success), Err)
}

/// Takes a new LV back that could not be brought up.
pub(super) fn take_back(context: &Context, vg: &VgName, lv: &LvName) -> Result<(), CliError> {
    let mut change = Change::of_vg(context, vg, &[])?;
    let (discovery, live) = change.look(vg)?;
    let found = vg_to_change(&discovery, vg)?;
    let removal = plan_several(&found.vg, std::slice::from_ref(lv), &|_| false)
        .map_err(|refusal| refused(context, &refusal))?;
    match live {
        Some(mut live) => remove_live(&mut change, &mut live, found, &removal).map(drop),
        None => change.apply(&found.vg, |set, machine| commit(set, found, removal.vg, machine)).map(drop),
    }
}

impl LvRemove {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut exit = Exit::Success;
        let mut fail = |error: CliError| {
            error.tell(context.console);
            exit = exit.max(error.exit);
        };
        let names = match &self.select {
            Some(select) => selected(context, Report::Lvs, select, &self.names)?,
            None => self.names.clone(),
        };
        let known = known(context, &names)?;
        for name in &names {
            let asks = if context.as_lvm2 { Asks::Active } else { Asks::All };
            let done = Target::parse(name).and_then(|target| {
                for (vg, lvs) in super::resolve(context, &target)? {
                    // One that goes along with an earlier one is no error.
                    let by_name =
                        matches!(&target, Target::Lv(vg, lv) if !known.contains(&(vg.clone(), lv.clone())));
                    remove_from(context, &vg, (&lvs, by_name), asks, &mut fail)?;
                }
                Ok(())
            });
            if let Err(error) = done {
                fail(error);
            }
        }
        Ok(exit)
    }
}

/// Those of several names that mean LVs, before any of them is removed.
fn known(context: &Context, names: &[String]) -> Result<Vec<(VgName, LvName)>, CliError> {
    if names.len() < 2 {
        return Ok(Vec::new());
    }
    let found = Session::open(&context.options, Access::Read)?.discover();
    let meant = names.iter().filter_map(|name| match Target::parse(name) {
        Ok(Target::Lv(vg, lv)) => Some((vg, lv)),
        _ => None,
    });
    let is_there = |(vg, lv): &(VgName, LvName)| {
        found.vgs.iter().any(|found| found.vg.name == *vg && found.vg.lv(lv).is_some())
    };
    Ok(meant.filter(is_there).collect())
}

/// Whether an LV is the zeros under a sparse volume.
pub(super) fn is_zeros(vg: &Vg, lv: &LvName) -> bool {
    let zero = |segment: &Segment| segment.kind == SegmentKind::Zero;
    let hidden = |known: &Lv| !known.status.contains(&LvStatus::Visible) && known.segments.iter().all(zero);
    vg.snapshots().is_origin(lv) && vg.lv(lv).is_some_and(hidden)
}

/// Refuses the zeros under a sparse volume, as if they were not there, in LVM2's words.
pub(super) fn refuse_zeros(context: &Context, vg: &Vg, lv: &LvName) -> Result<(), CliError> {
    if !is_zeros(vg, lv) {
        return Ok(());
    }
    context.console.say(&format!("Ignoring virtual origin logical volume {}/{lv}.", vg.name));
    Err(no_lv(&vg.name, lv))
}

/// Removes `lvs`; what went along with an earlier one is no error unless it was `named`.
pub(super) fn remove_from(
    context: &Context,
    vg: &VgName,
    (lvs, named): (&[LvName], bool),
    asks: Asks,
    fail: &mut dyn FnMut(CliError),
) -> Result<(), CliError> {
    let mut change = Change::of_vg(context, vg, &[])?;
    let (discovery, mut live) = change.look(vg)?;
    let mut found = vg_to_change(&discovery, vg)?.clone();
    // Who carries what is live has the disks.
    let held = live.is_some() || change.is_test();
    let _data = if held { Vec::new() } else { change.session.hold_vg(&found)? };
    for lv in lvs {
        if found.vg.lv(lv).is_none() {
            if named {
                fail(no_lv(vg, lv));
            }
            continue;
        }
        if let Err(error) = refuse_zeros(context, &found.vg, lv) {
            fail(error);
            continue;
        }
        // With its last live volume the VG is not carried any more.
        if live.is_some() {
            live = change.live(&found)?;
        }
        let is_live = |lv: &LvName| live.as_ref().is_some_and(|live| live.has(&found.vg, lv));
        let cannot_merge = |lv: &LvName| live.as_ref().is_some_and(|live| live.cannot_merge(&found.vg, lv));
        let uses = Uses { is_active: &is_live, cannot_merge: &cannot_merge };
        let removal = match plan_beside(&found.vg, std::slice::from_ref(lv), uses) {
            Ok(removal) => removal,
            Err(refusal) => {
                fail(refused(context, &refusal));
                continue;
            }
        };
        let forced = context.options.yes || context.options.force > 0;
        let mut questions = removal.questions.iter().filter(|question| asks.about(question));
        if !forced && !questions.all(|question| context.console.ask(&question.to_string())) {
            fail(CliError::failed(format!("Logical volume {vg}/{lv} not removed.")));
            continue;
        }
        if change.is_test() {
            found.vg = removal.vg;
        } else if let Some(live) = &mut live {
            match remove_live(&mut change, live, &found, &removal) {
                Ok(after) => found = after,
                Err(error) => {
                    fail(error);
                    continue;
                }
            }
        } else {
            found = change.apply(&found.vg, |set, machine| commit(set, &found, removal.vg, machine))?;
        }
        tell(context, &removal.done);
    }
    Ok(())
}

/// Removes LVs together with their devices, unless one of them is in use.
fn remove_live(
    change: &mut Change<'_>,
    live: &mut Live,
    found: &FoundVg,
    removal: &Removal,
) -> Result<FoundVg, CliError> {
    let gone: Vec<LvName> = removal.removed.iter().filter(|lv| live.has(&found.vg, lv)).cloned().collect();
    let device = |lv: &LvName| {
        let group = Group::of(found, lv).ok()?;
        device_of(&group, lv).map(|device| device.name.clone())
    };
    let closed: Vec<_> = gone.iter().filter_map(device).collect();
    let after = (found, removal.vg.clone());
    change.apply_live(
        live,
        after,
        &closed,
        |_| Ok(()),
        |live, next, headers| {
            let changes = live.all_as_they_run(GroupChange::all(found, next, &gone)?);
            let transaction = remove_lvs(&changes, headers);
            Ok(Switch { transaction, otherwise: Otherwise::On(changes) })
        },
    )
}
