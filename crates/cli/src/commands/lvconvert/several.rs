//! Merges that are named together.
//!
//! What must hold (lvm2.md 3.1):
//! - All are begun before one is waited for: volumes that are undone together are not left half undone by a power cut in the
//!   middle of the first merge. What our own engine merges is marked first.
//! - What has begun is ended by somebody, also where it is not waited for any more.

use super::{LvConvert, told};
use crate::changing::{one_vg, refused};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::names::Target;
use crate::session::Session;
use foldback_device::Access;
use foldback_manager::ops::Refusal;
use foldback_units::{LvName, VgName};

/// What is done of a merge where several are named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Everything.
    Whole,
    /// It begins.
    Beginning,
    /// It has begun, and is waited for.
    Rest,
}

/// What comes after a part of a merge.
pub(super) enum After {
    /// Its rest, into this origin; of a rest: somebody else has ended it.
    GoesOn(LvName),
    Over(Exit),
}

pub(super) fn stopped(vg: &VgName, lv: &LvName) -> CliError {
    CliError::failed(format!("Merging of volume {vg}/{lv} was stopped."))
        .hint("the same command goes on with it; nothing is lost meanwhile")
}

/// An LV to be merged.
pub(super) struct Wanted {
    pub(super) vg: VgName,
    pub(super) lv: LvName,
    /// Named with others, so that it is passed by where it is no snapshot.
    pub(super) snapshots_only: bool,
    /// The origin into which it merges, once that has begun.
    pub(super) into: Option<LvName>,
}

impl Wanted {
    /// That alone.
    pub(super) fn named(vg: &VgName, lv: &LvName) -> Self {
        Self { vg: vg.clone(), lv: lv.clone(), snapshots_only: false, into: None }
    }
}

impl LvConvert {
    /// Merges what is named.
    pub(super) fn merge_all(&self, context: &Context) -> Result<Exit, CliError> {
        let interrupt = Interrupt::watch()?;
        let (wanted, mut exit) = self.wanted(context)?;
        if wanted.len() < 2 || self.early.is_some() || context.options.test {
            for one in &wanted {
                exit = exit.max(told(context, self.alone(context, &interrupt, one)));
                // What was stopped has said so itself.
                if interrupt.asked() {
                    break;
                }
            }
            return Ok(exit);
        }
        let mut begun = Vec::new();
        for one in wanted {
            match self.one(context, &interrupt, &one, Part::Beginning) {
                Ok(After::GoesOn(origin)) => {
                    begun.push(Wanted { snapshots_only: false, into: Some(origin), ..one });
                }
                Ok(After::Over(worst)) => exit = exit.max(worst),
                Err(error) => exit = exit.max(told(context, Err(error))),
            }
            if interrupt.asked() {
                break;
            }
        }
        // Also where it was interrupted: what was begun needs somebody who ends it.
        for one in &begun {
            exit = exit.max(told(context, self.rest(context, &interrupt, one)));
        }
        Ok(exit)
    }

    /// Merges one from its beginning to its end.
    pub(super) fn alone(
        &self,
        context: &Context,
        interrupt: &Interrupt,
        one: &Wanted,
    ) -> Result<Exit, CliError> {
        let after = self.one(context, interrupt, one, Part::Whole)?;
        Ok(if let After::Over(exit) = after { exit } else { Exit::Success })
    }

    fn rest(&self, context: &Context, interrupt: &Interrupt, one: &Wanted) -> Result<Exit, CliError> {
        let after = if Self::runs(context, one)? {
            self.one(context, interrupt, one, Part::Rest)?
        } else {
            After::GoesOn(one.lv.clone())
        };
        match (after, &one.into) {
            (After::Over(exit), _) => Ok(exit),
            (After::GoesOn(_), origin) => {
                let (vg, origin) = (&one.vg, origin.as_ref().unwrap_or(&one.lv));
                let said = format!("Merge of snapshot into logical volume {vg}/{origin} has finished.");
                context.console.say(&said);
                Ok(Exit::Success)
            }
        }
    }

    /// Whether the metadata still have it: who carries live volumes may have ended it by now.
    fn runs(context: &Context, one: &Wanted) -> Result<bool, CliError> {
        let found = Session::open(&context.options, Access::Read)?.discover();
        let links = one_vg(&found, &one.vg)?.vg.snapshots();
        // Under its own name it is the origin by now.
        let of_origin = links.of_origin(&one.lv).any(|snapshot| snapshot.segment.merging);
        let of_cow = links.of_cow(&one.lv).is_some_and(|snapshot| snapshot.segment.merging);
        Ok(of_origin || of_cow)
    }

    /// The LVs that are named. All names are looked at before the
    /// first merge begins: it cannot be taken back. LVM2 goes on with those that it finds, and so do we under its names.
    fn wanted(&self, context: &Context) -> Result<(Vec<Wanted>, Exit), CliError> {
        let targets = self.names.iter().map(|name| Target::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let (mut wanted, mut exit) = (Vec::new(), Exit::Success);
        for target in &targets {
            let all = super::super::resolve(context, target).and_then(|all| {
                if let ([_, _, ..], Target::Lv(vg, lv), false) = (&*targets, target, context.as_lvm2) {
                    Self::check_name(context, vg, lv)?;
                }
                Ok(all)
            });
            let snapshots_only = matches!(target, Target::Vg(_));
            let all = all.unwrap_or_else(|error| {
                exit = exit.max(told(context, Err(error)));
                Vec::new()
            });
            for (vg, lvs) in all {
                let of_vg = |lv| Wanted { vg: vg.clone(), lv, snapshots_only, into: None };
                wanted.extend(lvs.into_iter().map(of_vg));
            }
        }
        if exit != Exit::Success && !context.as_lvm2 {
            let error = CliError::failed("Not every name means a snapshot; no merge was begun.");
            return Err(CliError { exit, ..error });
        }
        Ok((wanted, exit))
    }

    /// Refuses what is no snapshot, and a name that the VG has not had as far as its archives know. Where they say
    /// nothing, it may be a snapshot whose merge has ended: the same command, repeated, goes on with the others.
    fn check_name(context: &Context, vg: &VgName, lv: &LvName) -> Result<(), CliError> {
        let mut session = Session::open(&context.options, Access::Read)?;
        let discovery = session.discover();
        let found = one_vg(&discovery, vg)?;
        if found.vg.lv(lv).is_some() {
            let mergeable = found.vg.snapshots().is_cow(lv);
            let refusal = Refusal::NotMergeable { vg: vg.clone(), lv: lv.clone() };
            return if mergeable { Ok(()) } else { Err(refused(context, &refusal)) };
        }
        let places = session.backup_places();
        if places.merged_into(&found.vg, lv).is_some() || !places.has_archives(vg) {
            return Ok(());
        }
        Err(refused(context, &Refusal::LvNotFound { vg: vg.clone(), lv: lv.clone() }))
    }
}
