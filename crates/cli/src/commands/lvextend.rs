//! `lvextend`: more room for a volume, or for a snapshot's store.
//!
//! What must hold (lvm2.md 1.10, 3.3):
//! - Sizes, words and refusals are LVM2's; a live origin can be extended as `foldback`, and not under LVM2's names.
//! - A live volume is longer at once, for whoever has it open, too; its file system is the user's business.

use super::Context;
use super::lvcreate::{AllocOption, pv_keys};
use crate::carried::{Live, LiveLv};
use crate::changing::{Change, refused, tell, vg_to_change};
use crate::error::CliError;
use crate::exit::Exit;
use crate::file_systems::{self, FileSystem};
use crate::names::{Target, lv_named};
use crate::sizes::{Extents, Of, Size};
use crate::switching::{Otherwise, Switch};
use clap::Args;
use foldback_dm_table::HeaderWrite;
use foldback_lvm2_format::vg::{Lv, Segment, SegmentKind};
use foldback_manager::activation::{ActivationError, Change as GroupChange, Group, reload};
use foldback_manager::ops::extend::{Amount, Extension, Situation, plan};
use foldback_manager::ops::{PercentOf, Refusal, SizeRequest};
use foldback_manager::store::FoundVg;
use foldback_units::LvName;

/// Add room to a volume, or to a snapshot's store
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lvextend -L +1g vg/root\n  lvextend -l +50%LV vg/before")]
pub(crate) struct LvExtend {
    /// Size, or with + how much more
    #[arg(short = 'L', long, value_name = "[+]SIZE", allow_hyphen_values = true)]
    size: Option<String>,
    /// Extents, or N%FREE, N%VG, N%ORIGIN, N%LV; with + so many more
    #[arg(short = 'l', long, value_name = "[+]EXTENTS", allow_hyphen_values = true)]
    extents: Option<String>,
    /// Extend a snapshot's store as lvm.conf says, if it is fuller than that allows
    #[arg(long)]
    use_policies: bool,
    #[command(flatten)]
    alloc: AllocOption,
    #[command(flatten)]
    file_system: FileSystem,
    /// The volume
    #[arg(value_name = "VG/LV", value_parser = lv_named)]
    name: String,
    /// PVs that it may go on
    #[arg(value_name = "PV")]
    pvs: Vec<String>,
}

/// What is asked for, without its sign, and whether it is more of what is there.
fn split(text: &str) -> (bool, &str) {
    text.strip_prefix('+').map_or((false, text), |rest| (true, rest))
}

impl LvExtend {
    /// To a size, or by one with `+`.
    pub(super) fn of(
        name: String,
        pvs: Vec<String>,
        size: Option<String>,
        extents: Option<String>,
        (alloc, file_system): (AllocOption, FileSystem),
    ) -> Self {
        Self { size, extents, use_policies: false, alloc, file_system, name, pvs }
    }

    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let usage = |message: &str| CliError::usage(&context.command, message);
        let Target::Lv(vg, lv) = Target::parse(&self.name)? else {
            return Err(usage("Please specify a logical volume path."));
        };
        let mut change = Change::of_vg(context, &vg, &[])?;
        let (discovery, mut live) = change.look(&vg)?;
        let found = vg_to_change(&discovery, &vg)?;
        let Some(amount) = self.amount(context, &change, live.as_ref(), found, &lv)? else {
            return Ok(Exit::Success);
        };
        let active = live.as_ref().is_some_and(|live| live.has(&found.vg, &lv));
        let pvs = pv_keys(context, found, &self.pvs)?;
        let extension = Extension { lv: lv.clone(), amount, pvs, policy: self.alloc.once() };
        let planned = plan(&found.vg, &extension, Situation { active, as_lvm2: context.as_lvm2 });
        let planned = planned.map_err(|refusal| refused(context, &refusal))?;
        tell(context, &planned.notices);
        if self.file_system.resizes() {
            self.file_system.check(context, &vg, &lv, active)?;
        }
        if planned.changed && !change.is_test() {
            let after = (found, planned.vg.clone());
            change.apply_either(live.as_mut(), after, active, |live, next, headers| {
                reloaded(live, (found, next), &lv, headers)
            })?;
        }
        tell(context, &planned.done);
        if self.file_system.resizes() {
            let extents = planned.vg.lv(&lv).map_or(0, Lv::extent_count);
            file_systems::resize(context, &vg, &lv, planned.vg.extent_size.of(extents))?;
        }
        Ok(Exit::Success)
    }

    /// `None` where the policy wants nothing.
    fn amount(
        &self,
        context: &Context,
        change: &Change<'_>,
        live: Option<&Live>,
        found: &FoundVg,
        lv: &LvName,
    ) -> Result<Option<Amount>, CliError> {
        let usage = |message: &str| CliError::usage(&context.command, message);
        let (more, request) = match (&self.size, &self.extents, self.use_policies) {
            // Everything that is free there.
            (None, None, false) if !self.pvs.is_empty() => (true, SizeRequest::Percent(100, PercentOf::Pvs)),
            (None, None, true) => {
                check_policy(context, change, found, lv)?;
                let usage = live.and_then(|live| live.of(&found.vg, lv)).and_then(LiveLv::usage);
                let policy = change.session.config.snapshot_autoextend;
                let growth = usage.and_then(|(used, total)| policy.growth(used, total));
                return Ok(growth.map(|percent| Amount::By(SizeRequest::Percent(percent, PercentOf::Lv))));
            }
            (Some(given), None, false) => {
                let (more, text) = split(given);
                let Size(size) =
                    text.parse().map_err(|why: String| CliError::value("--size", given, &why))?;
                (more, SizeRequest::Sectors(size))
            }
            (None, Some(given), false) => {
                let (more, text) = split(given);
                let request =
                    match text.parse().map_err(|why: String| CliError::value("--extents", given, &why))? {
                        Extents::Count(count) => SizeRequest::Extents(count),
                        Extents::Percent(percent, of) => SizeRequest::Percent(percent, percent_of(of)),
                    };
                (more, request)
            }
            (Some(_), Some(_), _) => {
                return Err(usage("Please specify either size or extents (not both)."));
            }
            _ => {
                let message = "No command with matching syntax recognised.  Run 'lvextend --help' for more information.";
                return Err(CliError {
                    exit: Exit::BadCommandLine,
                    message: message.to_owned(),
                    hint: Some("give one of --size, --extents and --use-policies".to_owned()),
                });
            }
        };
        Ok(Some(if more { Amount::By(request) } else { Amount::To(request) }))
    }
}

/// Whether lvm.conf's policy means this LV, and can be followed.
fn check_policy(
    context: &Context,
    change: &Change<'_>,
    found: &FoundVg,
    lv: &LvName,
) -> Result<(), CliError> {
    let vg = &found.vg;
    let Some(store) = vg.lv(lv) else {
        let (vg, lv) = (vg.name.clone(), lv.clone());
        return Err(refused(context, &Refusal::ResizeNotFound { vg, lv }));
    };
    if !vg.snapshots().is_cow(lv) {
        return Err(refused(context, &Refusal::NoPolicy));
    }
    let policy = change.session.config.snapshot_autoextend;
    if policy.is_on() && policy.percent == 0 {
        let striped =
            |segment: &Segment| matches!(&segment.kind, SegmentKind::Striped(on) if on.areas.len() > 1);
        let kind = if store.segments.first().is_some_and(striped) { "striped" } else { "linear" };
        return Err(CliError::failed(format!(
            "Can't extend {}/{lv} with {kind} autoextend percent set to 0%.",
            vg.name
        )));
    }
    Ok(())
}

/// A live LV and its group with the tables that its new extents give.
pub(super) fn reloaded(
    live: &Live,
    (found, next): (&FoundVg, &FoundVg),
    lv: &LvName,
    headers: Vec<HeaderWrite>,
) -> Result<Switch, ActivationError> {
    let group = live.as_it_runs(GroupChange::between(&Group::of(found, lv)?, &Group::of(next, lv)?));
    let after = group.after.as_ref().unwrap_or(&group.before);
    let transaction = reload(&group.before, after, headers);
    Ok(Switch { transaction, otherwise: Otherwise::On(vec![group]) })
}

fn percent_of(of: Of) -> PercentOf {
    match of {
        Of::Vg => PercentOf::Vg,
        Of::Free => PercentOf::Free,
        Of::Pvs => PercentOf::Pvs,
        Of::Origin => PercentOf::Origin,
        Of::Lv => PercentOf::Lv,
    }
}
