//! `trial`: run on a snapshot for a while, then keep what came of it, or drop it.
//!
//! What must hold (architecture.md, "Merging"):
//! - A trial is a snapshot like others; what is written goes to its store alone, and dropping it is instant.
//! - Keeping merges under whoever has the trial mounted; in the end it has the origin's name, also where the command or
//!   the machine ends in the middle.

use super::Context;
use super::lvconvert::keep;
use super::lvcreate::LvCreate;
use super::lvremove::remove;
use crate::carried::{Carrier, Live, LiveLv};
use crate::changing::{Change, one_vg, refused, tell, vg_to_change};
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::LiveVg;
use crate::names::Target;
use crate::session::Session;
use crate::sizes::{Extents, Of, Size};
use crate::switching::Switch;
use clap::{Args, Subcommand};
use foldback_daemon::api::types::LvInfo;
use foldback_device::Access;
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::{Change as GroupChange, rename};
use foldback_manager::ops::trial::{self, State};
use foldback_manager::report::Units;
use foldback_units::{LvName, VgName};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the daemon may take to give what was kept its name.
const NAME_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Run on a snapshot for a while; keep what came of it, or drop it
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "What is written on a trial goes to its store alone; the volume under it stays as it is, and must not \
                  be in use. Name the volume or the trial.\n\nExamples:\n  foldback trial start vg/root        then mount \
                  /dev/vg/root_trial, and use it\n  foldback trial keep vg/root         what is there becomes vg/root, while it is \
                  mounted\n  foldback trial drop vg/root         as if it had never been"
)]
pub(crate) struct Trial {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Begin one
    Start {
        /// The volume
        #[arg(value_name = "VG/LV")]
        volume: String,
        /// Name of the trial; LV_trial if none is given
        #[arg(short, long, value_name = "NAME")]
        name: Option<String>,
        /// Room for what is written; all that is free and can be used, if no size is given
        #[arg(short = 'L', long, value_name = "SIZE")]
        size: Option<Size>,
        /// The same in extents, or N%ORIGIN, N%FREE, N%VG
        #[arg(short = 'l', long, value_name = "NUMBER[%...]", conflicts_with = "size")]
        extents: Option<Extents>,
    },
    /// Fold it into the volume under it, which it becomes
    Keep {
        /// The volume, or the trial
        #[arg(value_name = "VG/LV")]
        volume: String,
        /// Let it keep its own name
        #[arg(long)]
        no_rename: bool,
        /// Return at once where the volumes are active
        #[arg(short, long)]
        background: bool,
    },
    /// Throw it away
    Drop {
        /// The volume, or the trial
        #[arg(value_name = "VG/LV")]
        volume: String,
    },
    /// Say which there are, and how they are
    Status {
        /// Of this VG alone
        #[arg(value_name = "VG")]
        vg: Option<String>,
    },
}

impl Trial {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match &self.what {
            What::Start { volume, name, size, extents } => {
                start(context, volume, name.as_deref(), *size, *extents)
            }
            What::Keep { volume, no_rename, background } => kept(context, volume, *no_rename, *background),
            What::Drop { volume } => {
                let (vg, lv) = named(volume)?;
                let trial = found(context, &vg, &lv)?;
                // That is what was asked for; one in use is refused all the same.
                let mut context = context.clone();
                context.options.yes = true;
                remove(&context, &vg, &trial.lv)
            }
            What::Status { vg } => status(context, vg.as_deref()),
        }
    }
}

fn named(volume: &str) -> Result<(VgName, LvName), CliError> {
    match Target::parse(volume)? {
        Target::Lv(vg, lv) => Ok((vg, lv)),
        Target::Vg(_) | Target::Tag(_) => Err(CliError::failed(format!("{volume}: name a volume, VG/LV."))),
    }
}

fn found(context: &Context, vg: &VgName, lv: &LvName) -> Result<trial::Trial, CliError> {
    let discovery = Session::open(&context.options, Access::Read)?.discover();
    let found = one_vg(&discovery, vg)?;
    trial::find(&found.vg, lv).map_err(|refusal| refused(context, &refusal))
}

fn start(
    context: &Context,
    volume: &str,
    name: Option<&str>,
    size: Option<Size>,
    extents: Option<Extents>,
) -> Result<Exit, CliError> {
    let (vg, lv) = named(volume)?;
    let name = name.map_or_else(|| format!("{lv}_trial"), str::to_owned);
    let extents = extents.or_else(|| size.is_none().then_some(Extents::Percent(100, Of::Free)));
    let command = LvCreate::trial(format!("{vg}/{lv}"), name.clone(), size, extents);
    let exit = command.run(context)?;
    if exit != Exit::Success || context.options.test {
        return Ok(exit);
    }
    let live = LiveVg::find(&vg, &context.options.disks())?;
    let place = live.as_ref().and_then(|live| live.info.lvs.iter().find_map(|served| place(served, &name)));
    // The kernel's have their links.
    let place = place.or_else(|| Some(format!("/dev/{vg}/{name}")).filter(|link| Path::new(link).exists()));
    match place {
        Some(place) => context.console.say(&format!("Use {place} in place of {vg}/{lv}.")),
        None => context
            .console
            .say(&format!("Bring it up with lvchange -ay {vg}/{name}, and use it in place of {lv}.")),
    }
    context.console.say(&format!("Then: foldback trial keep {vg}/{lv}, or foldback trial drop {vg}/{lv}."));
    Ok(exit)
}

/// Where a served LV of that name is to be found.
fn place(served: &LvInfo, name: &str) -> Option<String> {
    let ends = |path: &&String| path.rsplit('/').next() == Some(name);
    let link = served.links.iter().find(ends);
    link.or_else(|| served.file.iter().find(ends)).cloned()
}

fn kept(context: &Context, volume: &str, no_rename: bool, background: bool) -> Result<Exit, CliError> {
    let (vg, lv) = named(volume)?;
    let trial = found(context, &vg, &lv)?;
    if trial.state == State::Running {
        let origin = trial.origin.as_ref().filter(|_| !no_rename);
        let mut change = Change::of_vg(context, &vg, &[])?;
        let (discovery, mut live) = change.look(&vg)?;
        let found = vg_to_change(&discovery, &vg)?;
        let refuse = |refusal| refused(context, &refusal);
        foldback_manager::ops::keep::check(&found.vg, &trial.lv).map_err(refuse)?;
        let after = trial::to_be_named(&found.vg, &trial.lv, origin).map_err(refuse)?;
        if !change.is_test() && after != found.vg {
            change.apply_either(live.as_mut(), (found, after), false, |_, _, _| Ok(Switch::default()))?;
        }
    }
    if trial.state != State::Renaming {
        let exit = keep(context, &vg, &trial.lv, background)?;
        if exit != Exit::Success || background || context.options.test {
            return Ok(exit);
        }
    }
    end(context, &vg, &trial.lv)
}

/// Gives what was kept its name, or waits until the daemon that serves it has.
fn end(context: &Context, vg: &VgName, lv: &LvName) -> Result<Exit, CliError> {
    let begun = Instant::now();
    loop {
        let mut change = Change::of_vg(context, vg, &[])?;
        let (discovery, live) = change.look(vg)?;
        let found = vg_to_change(&discovery, vg)?;
        let waits = trial::all(&found.vg).into_iter().any(|trial| trial.lv == *lv);
        if !waits {
            context.console.say(&format!("The trial {vg}/{lv} is kept; lvs shows it under its name."));
            return Ok(Exit::Success);
        }
        let mut served = match live {
            Some(Live { by: Carrier::Daemon(served), .. }) => served,
            mut other => {
                let ended = trial::end_one(&found.vg).map_err(|refusal| refused(context, &refusal))?;
                let Some(ended) = ended else { return Ok(Exit::Success) };
                let active = other.as_ref().is_some_and(|live| live.has(&found.vg, lv));
                change.apply_either(other.as_mut(), (found, ended.vg), active, |_, next, headers| {
                    let GroupChange { before, after } = GroupChange::of(found, next, lv)?;
                    Ok(rename(&before, after.as_ref().unwrap_or(&before), headers).into())
                })?;
                tell(context, &ended.done);
                return Ok(Exit::Success);
            }
        };
        drop(change);
        if begun.elapsed() > NAME_PATIENCE {
            return Err(CliError::failed(format!("{vg}/{lv} is kept, and was not given its name yet."))
                .hint("the daemon's log says why; the same command waits again"));
        }
        served.client.look(vg.as_str())?;
        sleep(LOOK);
    }
}

fn status(context: &Context, vg: Option<&str>) -> Result<Exit, CliError> {
    let wanted = vg.map(crate::names::vg_name).transpose()?;
    let session = Session::open(&context.options, Access::Read);
    let mut session = session?;
    let discovery = session.discover();
    if let Some(name) = &wanted {
        one_vg(&discovery, name)?;
    }
    let mut none = true;
    for found in &discovery.vgs {
        if wanted.as_ref().is_some_and(|name| *name != found.vg.name) {
            continue;
        }
        let live = Live::find(context, &session, found)?;
        for trial in trial::all(&found.vg) {
            none = false;
            let lv = live.as_ref().and_then(|live| live.of(&found.vg, &trial.lv));
            context.console.say(&line(&found.vg, &trial, lv));
        }
    }
    if none {
        context.console.say("There is no trial.");
    }
    Ok(Exit::Success)
}

fn line(vg: &Vg, trial: &trial::Trial, live: Option<&LiveLv>) -> String {
    let of = trial.origin.as_ref().map(|origin| format!(" of {origin}")).unwrap_or_default();
    let how = match trial.state {
        State::Running => match live.and_then(LiveLv::usage) {
            Some((used, total)) => {
                format!("on trial, {} of {} written", Units::in_words(used), Units::in_words(total))
            }
            None => "on trial, not active".to_owned(),
        },
        State::Kept => match live.filter(|lv| lv.merges) {
            Some(LiveLv { merged_percent: Some(percent), .. }) => {
                format!("being kept, {percent} % merged")
            }
            Some(_) => "being kept".to_owned(),
            None => "being kept; the merge goes on when it is active".to_owned(),
        },
        State::Renaming => "kept, and not renamed yet".to_owned(),
    };
    format!("{}/{}{of}: {how}", vg.name, trial.lv)
}
