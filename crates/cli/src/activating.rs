//! Bringing volumes up and taking them down, for the commands that do it.
//!
//! What must hold:
//! - What is done is done by the daemon, or for a VG of the kernel's by `backend`; the command decides which LVs, and says what came of it in LVM2's words.

use crate::backend::Kernel;
use crate::changing::one_vg;
use crate::commands::{Context, start_deferred};
use crate::error::CliError;
use crate::exit::Exit;
use crate::exporting::{self, Export, Unexport};
use crate::live::{self, LiveVg};
use crate::options::YesNo;
use crate::reporting::no_lv;
use crate::session::Session;
use clap::{Args, ValueEnum};
use foldback_device::Access;
use foldback_lvm2_format::vg::{Lv, LvFlag, Vg};
use foldback_manager::activation::Wish as KernelWish;
use foldback_units::{LvName, VgName};

/// LVM2's values of `-a`, as far as they differ here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Activation {
    /// Bring up.
    #[value(name = "y", alias = "ey", alias = "sy", alias = "ly", alias = "aey")]
    Yes,
    /// Take down.
    #[value(name = "n", alias = "en", alias = "ln")]
    No,
    /// Bring up what may be brought up by itself.
    #[value(name = "ay", alias = "aay")]
    Auto,
}

/// The options by which volumes are brought up and taken down.
#[derive(Args, Debug)]
pub(crate) struct ActivationOptions {
    /// y: bring up; n: take down; ay: bring up what may be brought up by itself
    #[arg(short, long, value_name = "y|n|ay")]
    pub(crate) activate: Option<Activation>,
    /// Bring up what is marked to be skipped, too
    #[arg(short = 'K', long)]
    ignoreactivationskip: bool,
    /// Serve what is brought up over NBD, too, at a Unix socket or the address: tcp:PORT (of this machine alone),
    /// tcp:ADDRESS:PORT, unix:/PATH
    #[arg(long, value_name = "nbd[=ADDRESS]")]
    export: Option<Export>,
    /// End serving them over NBD; refused while a client is connected
    #[arg(long, value_name = "nbd", conflicts_with_all = ["activate", "export", "refresh"])]
    unexport: Option<Unexport>,
    /// Start the merges that waited until their volumes are closed
    #[arg(long)]
    refresh: bool,
    #[arg(long, hide = true, value_name = "y|n")]
    poll: Option<YesNo>,
    #[arg(long, hide = true, value_name = "y|n")]
    monitor: Option<YesNo>,
    #[arg(long, hide = true)]
    sysinit: bool,
}

impl ActivationOptions {
    /// `-aay`.
    pub(crate) fn auto() -> Self {
        Self {
            activate: Some(Activation::Auto),
            ignoreactivationskip: false,
            export: None,
            unexport: None,
            refresh: false,
            poll: None,
            monitor: None,
            sysinit: false,
        }
    }

    /// Whether they ask for anything.
    pub(crate) fn wants(&self) -> Result<bool, CliError> {
        exporting::check(self.export.as_ref(), self.activate)?;
        Ok(self.activate.is_some() || self.refresh || self.unexport.is_some())
    }

    /// Does it to LVs of a VG, all where none is named.
    pub(crate) fn carry_out(
        &self,
        context: &Context,
        vg: &VgName,
        lvs: Option<&[LvName]>,
    ) -> Result<Exit, CliError> {
        if self.unexport.is_some() {
            return exporting::unexport(context, vg, lvs);
        }
        let named = all_found(context, vg, lvs)?;
        let goes_up = matches!(self.activate, Some(Activation::Yes | Activation::Auto));
        if let Some((kernel, session, _)) = Kernel::of(context, vg, goes_up)? {
            return self.by_kernel(context, (kernel, session), vg, lvs).map(|exit| exit.max(named));
        }
        let done = match self.activate {
            Some(Activation::No) => deactivate(context, vg, lvs),
            Some(how) => {
                let skipped_too = self.ignoreactivationskip;
                activate(context, vg, lvs, Wish { how, skipped_too, export: self.export.as_ref() })
            }
            None => refresh(context, vg, lvs),
        };
        done.map(|exit| exit.max(named))
    }
}

/// Says which of the LVs that are named are not there.
fn all_found(context: &Context, vg: &VgName, lvs: Option<&[LvName]>) -> Result<Exit, CliError> {
    let Some(lvs) = lvs else { return Ok(Exit::Success) };
    let found = Session::open(&context.options, Access::Read)?.discover();
    let found = one_vg(&found, vg)?;
    let mut exit = Exit::Success;
    for lv in lvs.iter().filter(|lv| found.vg.lv(lv).is_none()) {
        no_lv(vg, lv).tell(context.console);
        exit = Exit::Failed;
    }
    Ok(exit)
}

impl ActivationOptions {
    /// Does it through the kernel.
    fn by_kernel(
        &self,
        context: &Context,
        (kernel, session): (Kernel, Session),
        vg: &VgName,
        lvs: Option<&[LvName]>,
    ) -> Result<Exit, CliError> {
        if self.export.is_some() {
            return Err(CliError::failed("Only volumes that the daemon carries are served over NBD.")
                .hint("--backend user"));
        }
        match self.activate {
            Some(Activation::No) => kernel.deactivate(context, session, vg, lvs),
            Some(how) => {
                let wish =
                    KernelWish { ignore_skip: self.ignoreactivationskip, auto: how == Activation::Auto };
                kernel.activate(context, session, vg, (lvs, wish))
            }
            None => Err(CliError::failed(format!(
                "Volume group {vg} is active in the kernel, where --refresh is not carried out yet."
            ))
            .hint("lvconvert --merge starts a merge that was deferred, when its volumes are closed")),
        }
    }
}

/// How LVs are brought up.
#[derive(Clone, Copy, Debug)]
struct Wish<'a> {
    how: Activation,
    /// What is marked to be skipped, too.
    skipped_too: bool,
    /// Serve them so, too.
    export: Option<&'a Export>,
}

/// Brings LVs up, all that users see where none is named.
fn activate(
    context: &Context,
    vg: &VgName,
    lvs: Option<&[LvName]>,
    wish: Wish<'_>,
) -> Result<Exit, CliError> {
    let Wish { how, skipped_too, export } = wish;
    let mut session = Session::open(&context.options, Access::Read)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    if let Some(finding) = found.refuses_use() {
        return Err(CliError::failed(finding.refusal(vg.as_str())));
    }
    let chosen: Vec<(String, String)> = found
        .vg
        .lvs
        .iter()
        .filter(|lv| lvs.map_or_else(|| is_seen(&found.vg, lv), |lvs| lvs.contains(&lv.name)))
        .filter(|lv| skipped_too || !lv.flags.contains(LvFlag::ActivationSkip))
        .filter(|lv| how != Activation::Auto || !lv.flags.contains(LvFlag::NoAutoactivate))
        .map(|lv| (lv.name.to_string(), lv.id.to_string()))
        .collect();
    let wanted: Vec<String> = chosen.iter().map(|(name, _)| name.clone()).collect();
    let setting = live::setting(&context.options, &session.paths)?;
    if context.options.test || (lvs.is_some() && wanted.is_empty()) {
        return Ok(Exit::Success);
    }
    let mut client = live::daemon_started()?;
    // The daemon reads the metadata itself, while this session keeps others from changing them.
    let done = client.activate(vg.as_str(), &wanted, &setting)?;
    drop(session);
    for failed in &done.failed {
        context.console.error(&format!("{failed}."));
    }
    if lvs.is_none() {
        context
            .console
            .say(&format!("{} logical volume(s) in volume group \"{vg}\" now active", done.active));
    }
    if done.merging > 0 {
        context.console.say(&format!(
            "Background polling started for {} logical volume(s) in volume group \"{vg}\"",
            done.merging
        ));
    }
    match export {
        Some(export) => exporting::export(context, vg, &chosen, export)?,
        None => exporting::tell_instead(context, vg, &chosen)?,
    }
    Ok(if done.failed.is_empty() { Exit::Success } else { Exit::Failed })
}

/// Visible, or a snapshot that is not merging.
fn is_seen(vg: &Vg, lv: &Lv) -> bool {
    let links = vg.snapshots();
    lv.snapshot().is_none() && (links.is_visible(lv) || links.is_cow(&lv.name))
}

/// Takes LVs down, all where none is named.
fn deactivate(context: &Context, vg: &VgName, lvs: Option<&[LvName]>) -> Result<Exit, CliError> {
    let Some(mut live) = LiveVg::find(vg, &context.options.disks())? else {
        if lvs.is_none() {
            context.console.say(&format!("0 logical volume(s) in volume group \"{vg}\" now active"));
        }
        return Ok(Exit::Success);
    };
    let mut session = Session::open(&context.options, Access::Read)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    let is_live = |lv: &&Lv| live.lv(&lv.id.to_string()).is_some();
    let wanted: Vec<String> = found
        .vg
        .lvs
        .iter()
        .filter(is_live)
        .filter(|lv| lvs.is_none_or(|lvs| lvs.contains(&lv.name)))
        .map(|lv| lv.name.to_string())
        .collect();
    if context.options.test {
        return Ok(Exit::Success);
    }
    let left = live.client.deactivate(vg.as_str(), &wanted)?;
    drop(session);
    if lvs.is_none() {
        context.console.say(&format!("{left} logical volume(s) in volume group \"{vg}\" now active"));
    }
    Ok(Exit::Success)
}

/// Starts the merges that were deferred because their volumes were in use, where these are closed now.
fn refresh(context: &Context, vg: &VgName, lvs: Option<&[LvName]>) -> Result<Exit, CliError> {
    let Some(mut live) = LiveVg::find(vg, &context.options.disks())? else { return Ok(Exit::Success) };
    let mut session = Session::open(&context.options, Access::Read)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    let named = |lv: &LvName| lvs.is_none_or(|lvs| lvs.contains(lv));
    let waits = |origin: &LvName| {
        let origin = found.vg.lv(origin).and_then(|origin| live.lv(&origin.id.to_string()));
        origin.is_some_and(|origin| origin.merge.is_none())
    };
    let links = found.vg.snapshots();
    let deferred: Vec<LvName> = links
        .all()
        .iter()
        .map(|snapshot| &snapshot.segment)
        .filter(|segment| segment.merging && waits(&segment.origin))
        .filter(|segment| named(&segment.origin) || named(&segment.cow))
        .map(|segment| segment.cow.clone())
        .collect();
    drop(session);
    if context.options.test {
        return Ok(Exit::Success);
    }
    let mut exit = Exit::Success;
    for snapshot in deferred {
        exit = exit.max(start_deferred(context, vg, &snapshot)?);
    }
    live.client.look(vg.as_str())?;
    Ok(exit)
}
