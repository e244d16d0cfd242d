//! `lvreduce` and `lvresize`: less room for a volume or a snapshot's store, or whichever way leads to a size.
//!
//! What must hold (lvm2.md 3.3):
//! - A store is never made smaller than what it holds; LVM2 2.03.16 does that, and the snapshot is lost.
//! - What is given up cannot be had back: as `foldback` it is asked. Under LVM2's names that is not asked of what is not active.
//! - What is mounted, or open otherwise, is not made shorter; LVM2 does that, too.

use super::Context;
use super::lvcreate::AllocOption;
use super::lvextend::{LvExtend, reloaded};
use crate::carried::Carrier;
use crate::changing::{Change, refused, tell, vg_to_change};
use crate::error::CliError;
use crate::exit::Exit;
use crate::file_systems::{self, FileSystem};
use crate::names::{Target, lv_named};
use crate::session::Session;
use crate::sizes::{Extents, Of, Size};
use clap::Args;
use foldback_device::Access;
use foldback_dm_table::Transaction;
use foldback_lvm2_format::vg::{Lv, Vg};
use foldback_manager::check::{Usage, check, usage};
use foldback_manager::ops::extend::Amount;
use foldback_manager::ops::reduce::{Active, Reduction, is_smaller, plan};
use foldback_manager::ops::{PercentOf, SizeRequest};
use foldback_manager::store::{DiskSet, FoundVg};
use foldback_units::{LvName, Sectors, VgName};

/// Take room away from a volume, or from a snapshot's store
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lvreduce -L 8g vg/root\n  lvreduce -L -512m vg/before")]
pub(crate) struct LvReduce {
    #[command(flatten)]
    to: NewSize,
    /// The volume
    #[arg(value_name = "VG/LV", value_parser = lv_named)]
    name: String,
}

/// Give a volume, or a snapshot's store, another size
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lvresize -L 8g vg/root\n  lvresize -l -10%LV vg/before")]
pub(crate) struct LvResize {
    #[command(flatten)]
    to: NewSize,
    #[command(flatten)]
    alloc: AllocOption,
    /// The volume
    #[arg(value_name = "VG/LV", value_parser = lv_named)]
    name: String,
    /// PVs that it may go on
    #[arg(value_name = "PV")]
    pvs: Vec<String>,
}

/// How large it is to be.
#[derive(Args, Debug)]
struct NewSize {
    /// Size; with + or - how much more or less
    #[arg(short = 'L', long, value_name = "[+-]SIZE", allow_hyphen_values = true)]
    size: Option<String>,
    /// Extents, or N%VG, N%FREE, N%ORIGIN, N%LV; with + or - so many more or less
    #[arg(short = 'l', long, value_name = "[+-]EXTENTS", allow_hyphen_values = true)]
    extents: Option<String>,
    #[command(flatten)]
    file_system: FileSystem,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    More,
    Less,
    To,
}

impl NewSize {
    fn parse(&self, context: &Context) -> Result<(Sign, SizeRequest), CliError> {
        let usage = |message: &str| CliError::usage(&context.command, message);
        let given = self.size.as_deref().or(self.extents.as_deref()).unwrap_or_default();
        let (sign, text) = match (given.strip_prefix('+'), given.strip_prefix('-')) {
            (Some(rest), _) => (Sign::More, rest),
            (_, Some(rest)) => (Sign::Less, rest),
            _ => (Sign::To, given),
        };
        let request = match (&self.size, &self.extents) {
            (Some(_), Some(_)) => return Err(usage("Please specify either size or extents (not both).")),
            (None, None) => {
                let message = format!(
                    "No command with matching syntax recognised.  Run '{} --help' for more information.",
                    context.command
                );
                return Err(CliError { exit: Exit::BadCommandLine, message, hint: None });
            }
            (Some(_), None) => {
                let Size(size) =
                    text.parse().map_err(|why: String| CliError::value("--size", given, &why))?;
                SizeRequest::Sectors(size)
            }
            (None, Some(_)) => {
                match text.parse().map_err(|why: String| CliError::value("--extents", given, &why))? {
                    Extents::Count(count) => SizeRequest::Extents(count),
                    Extents::Percent(percent, of) => SizeRequest::Percent(percent, percent_of(of)),
                }
            }
        };
        Ok((sign, request))
    }
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

fn lv_of(context: &Context, name: &str) -> Result<(VgName, LvName), CliError> {
    let Target::Lv(vg, lv) = Target::parse(name)? else {
        return Err(CliError::usage(&context.command, "Please specify a logical volume path."));
    };
    Ok((vg, lv))
}

impl LvReduce {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (sign, request) = self.to.parse(context)?;
        let amount = match sign {
            Sign::More => return Err(CliError::usage(&context.command, "Positive sign not permitted.")),
            Sign::Less => Amount::By(request),
            Sign::To => Amount::To(request),
        };
        let (vg, lv) = lv_of(context, &self.name)?;
        self.to.reduce(context, &vg, &lv, amount)
    }
}

impl LvResize {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let NewSize { size, extents, file_system } = &self.to;
        let how = (self.alloc, *file_system);
        let extend = LvExtend::of(self.name.clone(), self.pvs.clone(), size.clone(), extents.clone(), how);
        if size.is_none() && extents.is_none() && !self.pvs.is_empty() {
            return extend.run(context);
        }
        let (sign, request) = self.to.parse(context)?;
        let (vg, lv) = lv_of(context, &self.name)?;
        let less = match sign {
            Sign::More => false,
            Sign::Less => return self.to.reduce(context, &vg, &lv, Amount::By(request)),
            Sign::To => {
                let found = Session::open(&context.options, Access::Read)?.discover();
                let vg: &Vg = &vg_to_change(&found, &vg)?.vg;
                is_smaller(vg, &lv, request).map_err(|refusal| refused(context, &refusal))?
            }
        };
        if less {
            return self.to.reduce(context, &vg, &lv, Amount::To(request));
        }
        extend.run(context)
    }
}

impl NewSize {
    fn reduce(&self, context: &Context, vg: &VgName, lv: &LvName, amount: Amount) -> Result<Exit, CliError> {
        let mut change = Change::of_vg(context, vg, &[])?;
        let (discovery, mut live) = change.look(vg)?;
        let found = vg_to_change(&discovery, vg)?;
        let device = live.as_ref().and_then(|live| live.of(&found.vg, lv)).map(|live| live.device.clone());
        let active = match live.as_ref().filter(|_| device.is_some()).map(|live| &live.by) {
            None => Active::No,
            Some(Carrier::Kernel(_)) => Active::Shrinks,
            Some(Carrier::Daemon(_)) => Active::Stays,
        };
        let used = used(&mut change, found, lv);
        let reduction = Reduction { lv: lv.clone(), amount, used, active };
        let planned = plan(&found.vg, &reduction).map_err(|refusal| refused(context, &refusal))?;
        tell(context, &planned.notices);
        let resizes = self.file_system.resizes();
        if active == Active::Shrinks && !resizes {
            context.console.error("THIS MAY DESTROY YOUR DATA (filesystem etc.)");
        }
        let full = format!("{vg}/{lv}");
        if !context.as_lvm2 && active == Active::No && !change.is_test() {
            context.console.warn(&format!("Reducing {full} gives up what lies behind its new end; a file system on it must be smaller already."));
        }
        let answered = context.options.yes || context.options.force > 0 || change.is_test();
        // LVM2 does not ask then.
        let silent = resizes || (context.as_lvm2 && active == Active::No);
        if !answered && !silent && !context.console.ask(&format!("Do you really want to reduce {full}?")) {
            return Err(CliError::failed(format!("Logical volume {full} NOT reduced.")));
        }
        if resizes {
            let extents = planned.vg.lv(lv).map_or(0, Lv::extent_count);
            self.file_system.check(context, vg, lv, active != Active::No)?;
            file_systems::resize(context, vg, lv, found.vg.extent_size.of(extents))?;
        }
        let after = (found, planned.vg.clone());
        match (live.as_mut(), device) {
            _ if !planned.changed || change.is_test() => {}
            // Behind its new end may be what somebody has mounted.
            (Some(live), Some(device)) => drop(change.apply_live(
                live,
                after,
                // A file system that is shorter already may be in use again.
                if resizes { &[] } else { std::slice::from_ref(&device) },
                |_| Ok(()),
                |live, next, headers| reloaded(live, (found, next), lv, headers),
            )?),
            (live, _) => change.apply_either(live, after, false, |_, _, headers| {
                Ok(Transaction { headers, ..Transaction::default() }.into())
            })?,
        }
        tell(context, &planned.done);
        Ok(Exit::Success)
    }
}

/// How much of a snapshot's store is in use, as far as that can be told.
fn used(change: &mut Change<'_>, found: &FoundVg, lv: &LvName) -> Option<Sectors> {
    found.vg.snapshots().of_cow(lv)?;
    let mut set = DiskSet::new(&mut *change.session.disks, &change.session.paths);
    let report = check(&mut set, found, lv).ok()?;
    match usage(found, lv, &report).ok()? {
        Usage::Used { status, .. } => Some(status.allocated),
        Usage::Invalid | Usage::Damaged => None,
    }
}
