//! `lvchange` of what only the metadata say: permission, tags, the mark to skip activation; and the way of every such change.
//!
//! What must hold (compared with 2.03.16):
//! - Devices follow a permission, where the kernel carries them; where our daemon does it is changed only while they are not
//!   active. Nothing else touches what is active.

use super::Context;
use super::lvcreate::{Numbers, PolicyOptions};
use super::vgcreate::tags;
use crate::backend::read_ahead_as_said;
use crate::carried::{Carrier, Live};
use crate::changing::{Change, refused, tell, vg_to_change};
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::YesNo;
use crate::read_ahead::ReadAhead;
use crate::switching::{Otherwise, Switch};
use clap::{Args, ValueEnum};
use foldback_dm_table::Transaction;
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::{Change as GroupChange, reload};
use foldback_manager::apply::commit;
use foldback_manager::environment::Machine;
use foldback_manager::ops::lv_change::{LvWish, Setting, TagWish, plan};
use foldback_manager::ops::{Notice, Refusal};
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, TagName, VgName};

/// What may be done with a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Permission {
    /// Read only.
    #[value(name = "r")]
    Read,
    /// Read and write.
    #[value(name = "rw")]
    Write,
}

/// Tags that come and go.
#[derive(Args, Debug)]
pub(super) struct TagOptions {
    /// Add a tag; may be repeated
    #[arg(long, value_name = "TAG")]
    addtag: Vec<String>,
    /// Take a tag off; may be repeated
    #[arg(long, value_name = "TAG")]
    deltag: Vec<String>,
}

/// What of an LV can be changed.
#[derive(Args, Debug)]
pub(super) struct Properties {
    #[command(flatten)]
    tags: TagOptions,
    /// r or rw; of a volume that the daemon serves only while it is not active
    #[arg(short, long, value_name = "r|rw")]
    permission: Option<Permission>,
    /// Mark it so that activation skips it without -K
    #[arg(short = 'k', long, value_name = "y|n")]
    setactivationskip: Option<YesNo>,
    /// Whether events may bring it up, as -aay does
    #[arg(long, value_name = "y|n")]
    setautoactivation: Option<YesNo>,
    /// What the kernel reads ahead: auto, none, or a size in sectors
    #[arg(short, long, value_name = "SIZE|auto|none")]
    readahead: Option<ReadAhead>,
    /// How extents are chosen
    #[command(flatten)]
    policy: PolicyOptions,
    #[command(flatten)]
    numbers: Numbers,
}

impl TagOptions {
    pub(super) fn wish(&self, context: &Context) -> Result<TagWish, CliError> {
        let read = |texts: &[String]| -> Result<Vec<TagName>, CliError> { tags(context, texts) };
        Ok(TagWish { add: read(&self.addtag)?, remove: read(&self.deltag)? })
    }

    pub(super) fn wants(&self) -> bool {
        !self.addtag.is_empty() || !self.deltag.is_empty()
    }
}

impl Properties {
    /// Whether they ask for anything.
    pub(super) fn wants(&self) -> bool {
        let small = self.readahead.is_some() || self.policy.wants() || self.numbers.wants();
        let marks = self.setactivationskip.is_some() || self.setautoactivation.is_some();
        self.tags.wants() || self.permission.is_some() || marks || small
    }

    /// Changes LVs of a VG, one after the other.
    pub(super) fn carry_out(&self, context: &Context, vg: &VgName, lvs: &[LvName]) -> Result<Exit, CliError> {
        let wish = LvWish {
            writable: self.permission.map(|permission| permission == Permission::Write),
            skip: self.setactivationskip.map(|skip| skip == YesNo::Yes),
            autoactivation: self.setautoactivation.map(|auto| auto == YesNo::Yes),
            read_ahead: self
                .readahead
                .map_or(Setting::Kept, |value| value.in_pages(context.console).in_metadata().into()),
            number: self.numbers.wish(),
            policy: if self.policy.wants() { self.policy.chosen().into() } else { Setting::Kept },
            tags: self.tags.wish(context)?,
        };
        self.numbers.check(context.console)?;
        let mut exit = Exit::Success;
        for lv in lvs {
            let touches = if wish.writable.is_some() {
                Touches::Devices(lv)
            } else if matches!(wish.number, Setting::To(_)) {
                Touches::Number(lv)
            } else if let Setting::To(sectors) = wish.read_ahead {
                Touches::ReadAhead(lv, Some(sectors))
            } else if wish.read_ahead == Setting::Unset {
                Touches::ReadAhead(lv, None)
            } else {
                Touches::Text
            };
            let one = change(context, vg, touches, |found, _, _| plan(&found.vg, lv, &wish));
            exit = exit.max(one.unwrap_or_else(|error| {
                error.tell(context.console);
                error.exit
            }));
        }
        Ok(exit)
    }
}

/// Whether devices have to follow a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Touches<'l> {
    /// They do not.
    Text,
    /// Those of this LV do: nobody else may have the VG active either.
    Devices(&'l LvName),
    /// They do not, but a number that this LV is to have is only given to one that is not active.
    Number(&'l LvName),
    /// They do not; what is read ahead on this LV's does, as it is to stand in the metadata.
    ReadAhead(&'l LvName, Option<i32>),
}

/// Changes a VG's text, and what it says of devices. The plan is told whether any are there.
pub(super) fn change(
    context: &Context,
    vg: &VgName,
    touches: Touches<'_>,
    plan: impl FnOnce(&FoundVg, bool, &mut Machine) -> Result<(Vg, Vec<Notice>), Refusal>,
) -> Result<Exit, CliError> {
    let mut change = Change::of_vg(context, vg, &[])?;
    let (discovery, mut live) = change.look(vg)?;
    let found = vg_to_change(&discovery, vg)?;
    let follows = match (touches, &live) {
        (Touches::Devices(lv), Some(live)) if live.has(&found.vg, lv) => {
            if let Carrier::Daemon(_) = live.by {
                let refusal = Refusal::PermissionActive { vg: vg.clone(), lv: lv.clone() };
                return Err(refused(context, &refusal));
            }
            Some(lv)
        }
        _ => None,
    };
    if let Touches::ReadAhead(lv, asked) = touches
        && let Some(known) = found.vg.lv(lv).filter(|known| known.read_ahead == asked)
    {
        let value = match known.read_ahead {
            None => "auto".to_owned(),
            Some(-1) => "none".to_owned(),
            Some(sectors) => sectors.to_string(),
        };
        return Err(CliError::failed(format!("Read ahead is already {value} for {vg}/{lv}.")));
    }
    let renumbered = |after: &Vg| {
        let Touches::Number(lv) = touches else { return false };
        let fixed = after.lv(lv).is_some_and(|lv| lv.minor.is_some());
        fixed && live.as_ref().is_some_and(|live| live.has(&found.vg, lv))
    };
    let planned = plan(found, live.is_some(), &mut change.machine);
    let (after, done) = planned.map_err(|refusal| refused(context, &refusal))?;
    if renumbered(&after) {
        let message = "A volume that is active keeps the device number that it has.";
        return Err(CliError::failed(message).hint("take it down first: lvchange -an"));
    }
    if !change.is_test() {
        if let Some(live) = &mut live {
            let switch = |live: &Live, next: &FoundVg, headers| {
                let Some(lv) = follows else {
                    return Ok(Transaction { headers, ..Default::default() }.into());
                };
                let group = live.as_it_runs(GroupChange::of(found, next, lv)?);
                let after = group.after.as_ref().unwrap_or(&group.before);
                let transaction = reload(&group.before, after, headers);
                Ok(Switch { transaction, otherwise: Otherwise::On(vec![group]) })
            };
            let next = change.apply_live(live, (found, after), &[], |_| Ok(()), switch)?;
            if let (Touches::ReadAhead(lv, _), Carrier::Kernel(_)) = (touches, &live.by) {
                read_ahead_as_said(context.console, &next, lv);
            }
        } else {
            let held = matches!(touches, Touches::Devices(_));
            let _data = if held { change.session.hold_vg(found)? } else { Vec::new() };
            change.apply(&found.vg, |set, machine| commit(set, found, after, machine))?;
        }
    }
    tell(context, &done);
    Ok(Exit::Success)
}
