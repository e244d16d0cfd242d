//! Bringing volumes up and taking them down, for the commands that do it.
//!
//! What must hold:
//! - What is done is done by the daemon, or for a VG of the kernel's by `backend`; the command decides which LVs, and says what came of it in LVM2's words.

use crate::backend::{Boot, Kernel, Monitor, live_lvs, monitor};
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
use foldback_lvm2_format::vg::{Lv, LvFlag, Vg, VgFlag};
use foldback_manager::activation::{ActivationError, ActivationSet, Group, Wish as GroupWish, to_activate};
use foldback_manager::online::{Online, RUN_DIR};
use foldback_manager::store::{Discovery, FoundVg};
use foldback_units::{LvName, VgName};
use std::path::Path;

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
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct ActivationOptions {
    /// y: bring up; n: take down; ay: bring up what may be brought up by itself
    #[arg(short, long, alias = "available", value_name = "y|n|ay")]
    pub(crate) activate: Option<Activation>,
    /// Bring up what is marked to be skipped, too
    #[arg(short = 'K', long)]
    ignoreactivationskip: bool,
    /// Serve what is brought up over NBD, too, at a Unix socket (for the daemon's user and root alone) or the address: tcp:PORT
    /// (for every user of this machine), tcp:ADDRESS:PORT (for whoever reaches it: NBD asks for no password), unix:/PATH
    #[arg(long, value_name = "nbd[=ADDRESS]")]
    export: Option<Export>,
    /// End serving them over NBD; refused while a client is connected
    #[arg(long, value_name = "nbd", conflicts_with_all = ["activate", "export", "refresh"])]
    unexport: Option<Unexport>,
    /// Start the merges that waited until their volumes are closed
    #[arg(long)]
    refresh: bool,
    /// y: start the processes that end merges which run in the kernel; n, with -a y: start none
    #[arg(long, value_name = "y|n")]
    poll: Option<YesNo>,
    /// y: have stores of snapshots that the kernel carries extended as they fill, where activation/snapshot_autoextend_threshold
    /// is below 100; n: no longer. The daemon always does
    #[arg(long, value_name = "y|n")]
    monitor: Option<YesNo>,
    /// The system is being started: go on without locks, and start no processes
    #[arg(long)]
    sysinit: bool,
    /// With -a y: go on where the VG's lock cannot be taken
    #[arg(long, hide = true)]
    ignorelockingfailure: bool,
    /// There are no clusters any more
    #[arg(long, hide = true)]
    ignoreskippedcluster: bool,
    /// With -a y: start no process that watches stores
    #[arg(long, hide = true)]
    ignoremonitoring: bool,
    /// As --activationmode partial
    #[arg(short = 'P', long, hide = true)]
    partial: bool,
    /// Which volumes with missing PVs come up. Those that could only with holes never do
    #[arg(long, value_name = "partial|degraded|complete", hide = true)]
    activationmode: Option<String>,
    /// Without a lock and without a change, so that nothing can be brought up or taken down
    #[arg(long, hide = true)]
    readonly: bool,
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
            ignorelockingfailure: false,
            ignoreskippedcluster: false,
            ignoremonitoring: false,
            partial: false,
            activationmode: None,
            readonly: false,
        }
    }

    /// `-ay`.
    pub(crate) fn up() -> Self {
        Self { activate: Some(Activation::Yes), ..Self::auto() }
    }

    /// `-an`.
    pub(crate) fn down() -> Self {
        Self { activate: Some(Activation::No), ..Self::auto() }
    }

    /// Refuses what LVM2 refuses before it looks at a disk, and says what is to be said once.
    fn check(&self, context: &Context) -> Result<(), CliError> {
        let mode = self.activationmode.as_deref();
        if !matches!(mode, None | Some("partial" | "degraded" | "complete")) {
            return Err(CliError::usage(&context.command, "Invalid activation mode given."));
        }
        if self.partial || mode == Some("partial") {
            context.console.error("PARTIAL MODE. Incomplete logical volumes will be processed.");
        }
        Ok(())
    }

    /// The first of them that LVM2 does not take beside a change of what a VG is, with its value.
    pub(crate) fn named(&self) -> Option<String> {
        let shown = |name: &str, shown: Option<clap::builder::PossibleValue>| {
            Some(format!("{name} {}", shown?.get_name()))
        };
        if let Some(activate) = self.activate {
            return shown("activate", activate.to_possible_value());
        }
        if let Some(monitor) = self.monitor {
            return shown("monitor", monitor.to_possible_value());
        }
        let plain = [(self.refresh, "refresh"), (self.ignoreactivationskip, "ignoreactivationskip")];
        plain.iter().find(|(given, _)| *given).map(|(_, name)| (*name).to_owned())
    }

    /// Whether they ask for anything.
    pub(crate) fn wants(&self, context: &Context) -> Result<bool, CliError> {
        self.check(context)?;
        exporting::check(self.export.as_ref(), self.activate)?;
        let small = self.poll.is_some() || self.monitor.is_some();
        Ok(self.activate.is_some() || self.refresh || self.unexport.is_some() || small)
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
        if self.monitor.is_some() && (self.ignoremonitoring || self.sysinit) {
            let told = "--ignoremonitoring or --sysinit option not allowed with --monitor option.";
            context.console.error(told);
            return Ok(Exit::Success);
        }
        if self.readonly && (self.activate.is_some() || self.refresh) {
            return Err(CliError::failed(format!(
                "Operation prohibited while --readonly is set.\nCan't get lock for {vg}.\nCannot process volume group {vg}"
            )));
        }
        if self.activate == Some(Activation::No)
            && let Some(live) = LiveVg::find(vg, &context.options.disks())?
        {
            let served = live.info.lvs.iter().filter_map(|lv| live.name_of(lv, None));
            let named = all_found(context, vg, lvs, &served.collect::<Vec<_>>())?;
            return deactivate(context, vg, lvs, live).map(|exit| exit.max(named));
        }
        let named = all_found(context, vg, lvs, &[])?;
        // What is to be served over NBD is the daemon's, unless the kernel was asked for.
        let by_daemon = self.export.is_some() && context.options.backend.is_none();
        let goes_up = matches!(self.activate, Some(Activation::Yes | Activation::Auto)) && !by_daemon;
        if let Some(carried) = Kernel::of(context, vg, goes_up)? {
            return self.by_kernel(context, carried, vg, lvs).map(|exit| exit.max(named));
        }
        let done = match self.activate {
            Some(Activation::No) => {
                nothing_left(context, vg, lvs);
                Ok(Exit::Success)
            }
            Some(how) => {
                let skipped_too = self.ignoreactivationskip;
                activate(context, vg, lvs, Wish { how, skipped_too, export: self.export.as_ref() })
            }
            None if self.refresh => refresh(context, vg, lvs),
            // The daemon ends merges and watches stores by itself.
            None => {
                let live = LiveVg::find(vg, &context.options.disks())?;
                let up = live.map_or(0, |live| live.info.lvs.len());
                self.tell_monitored(context, vg, lvs, up);
                Ok(Exit::Success)
            }
        };
        done.map(|exit| exit.max(named))
    }
}

/// Says which of the LVs that are named are not there: in the metadata, or among what is `served`.
fn all_found(
    context: &Context,
    vg: &VgName,
    lvs: Option<&[LvName]>,
    served: &[String],
) -> Result<Exit, CliError> {
    let Some(lvs) = lvs else { return Ok(Exit::Success) };
    let found = Session::open(&context.options, Access::Read)?.discover();
    let found = match one_vg(&found, vg) {
        Ok(found) => Some(found),
        Err(error) if served.is_empty() => return Err(error),
        Err(_) => None,
    };
    let is_there = |lv: &LvName| {
        found.is_some_and(|found| found.vg.lv(lv).is_some()) || served.iter().any(|name| name == lv.as_str())
    };
    let mut exit = Exit::Success;
    for lv in lvs.iter().filter(|lv| !is_there(lv)) {
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
        (mut kernel, session, discovery): (Kernel, Session, Discovery),
        vg: &VgName,
        lvs: Option<&[LvName]>,
    ) -> Result<Exit, CliError> {
        if self.export.is_some() {
            return Err(CliError::failed("Only volumes that the daemon carries are served over NBD.")
                .hint("--backend user"));
        }
        match self.activate {
            Some(Activation::No) => {
                let down = kernel.deactivate(context, session, vg, lvs);
                if lvs.is_some() {
                    // As LVM2 has it: the VG may come up again by an event of its PVs.
                    Online::new(Path::new(RUN_DIR)).take_down(vg);
                }
                down
            }
            Some(how) if leaves_alone(&one_vg(&discovery, vg)?.vg, lvs, how) => Ok(Exit::Success),
            Some(how) => {
                let wish =
                    GroupWish { ignore_skip: self.ignoreactivationskip, auto: how == Activation::Auto };
                let boot = Boot {
                    sysinit: self.sysinit,
                    lockless: self.sysinit || self.ignorelockingfailure,
                    polls: self.polls(),
                    monitor: (!self.sysinit && !self.ignoremonitoring).then(|| self.monitor()),
                };
                kernel.activate(context, session, vg, (lvs, wish), boot)
            }
            None if self.refresh => kernel.refresh(context, session, vg, lvs, self.polls()),
            None if self.poll == Some(YesNo::Yes) => {
                let found = one_vg(&discovery, vg)?;
                kernel.poll(context, &session.paths, found, lvs).map(|()| Exit::Success)
            }
            None => {
                let found = one_vg(&discovery, vg)?;
                monitor(context, &session, &found.vg, self.monitor())?;
                let links = found.vg.snapshots();
                let up = live_lvs(found, &kernel.there);
                self.tell_monitored(
                    context,
                    vg,
                    lvs,
                    up.iter().filter(|(lv, _)| links.is_visible(lv)).count(),
                );
                Ok(Exit::Success)
            }
        }
    }

    /// Says of a whole VG that it is watched, as LVM2 says it, or no longer.
    fn tell_monitored(&self, context: &Context, vg: &VgName, lvs: Option<&[LvName]>, active: usize) {
        let Some(wish) = self.monitor.filter(|_| lvs.is_none() && active > 0) else { return };
        let how = if wish == YesNo::Yes { "monitored" } else { "unmonitored" };
        context.console.say(&format!("{active} logical volume(s) in volume group \"{vg}\" {how}"));
    }

    /// Whether processes are started for merges that run.
    fn polls(&self) -> bool {
        !self.sysinit && self.poll != Some(YesNo::No)
    }

    fn monitor(&self) -> Monitor {
        match self.monitor {
            None => Monitor::Configured,
            Some(YesNo::Yes) => Monitor::Yes,
            Some(YesNo::No) => Monitor::No,
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

impl Wish<'_> {
    fn of_groups(self) -> GroupWish {
        GroupWish { ignore_skip: self.skipped_too, auto: self.how == Activation::Auto }
    }
}

/// Whether the whole VG is marked so that nothing of it comes up by itself, of which LVM2 says nothing either.
fn leaves_alone(vg: &Vg, lvs: Option<&[LvName]>, how: Activation) -> bool {
    lvs.is_none() && how == Activation::Auto && vg.flags.contains(VgFlag::NoAutoactivate)
}

/// Brings LVs up, all that users see where none is named.
fn activate(
    context: &Context,
    vg: &VgName,
    lvs: Option<&[LvName]>,
    wish: Wish<'_>,
) -> Result<Exit, CliError> {
    let mut session = Session::open_to_activate(&context.options, vg)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    if let Some(finding) = found.refuses_use() {
        return Err(CliError::failed(finding.refusal(vg.as_str())));
    }
    if leaves_alone(&found.vg, lvs, wish.how) {
        return Ok(Exit::Success);
    }
    let (chosen, refused) = match lvs {
        Some(lvs) => (named(&found.vg, lvs, wish), Vec::new()),
        None => seen(found, wish),
    };
    for (_, error) in &refused {
        context.console.error(&format!("{error}."));
    }
    let lists = &session.config.volumes;
    let chosen: Vec<(String, String)> = chosen
        .into_iter()
        .filter(|lv| lists.allow(&found.vg, origin_of(&found.vg, lv), wish.how == Activation::Auto))
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
    match wish.export {
        Some(export) => exporting::export(context, vg, &chosen, export)?,
        None => exporting::tell_instead(context, vg, &chosen)?,
    }
    Ok(if done.failed.is_empty() && refused.is_empty() { Exit::Success } else { Exit::Failed })
}

/// What comes up with an LV: a snapshot's origin, else the LV itself.
fn origin_of<'v>(vg: &'v Vg, lv: &'v Lv) -> &'v Lv {
    let snapshot = vg.snapshots().of_cow(&lv.name).map(|snapshot| snapshot.segment.origin.clone());
    snapshot.and_then(|origin| vg.lv(&origin)).unwrap_or(lv)
}

/// The LVs that are named, unless a flag leaves one out.
fn named<'v>(vg: &'v Vg, lvs: &[LvName], wish: Wish<'_>) -> Vec<&'v Lv> {
    let is_left_out = |lv: &Lv| {
        (lv.flags.contains(LvFlag::ActivationSkip) && !wish.skipped_too)
            || (lv.flags.contains(LvFlag::NoAutoactivate) && wish.how == Activation::Auto)
    };
    vg.lvs.iter().filter(|lv| lvs.contains(&lv.name) && !is_left_out(lv)).collect()
}

/// What users see of the groups that come up when none is named, and why others cannot: an origin decides for its snapshots,
/// and one that merges is no volume any more.
fn seen<'f>(found: &'f FoundVg, wish: Wish<'_>) -> (Vec<&'f Lv>, Vec<(LvName, ActivationError)>) {
    let ActivationSet { groups, refused, .. } = to_activate(found, wish.of_groups());
    let has = |group: &Group, lv: &Lv| {
        group.origin.lv == lv.name || group.snapshots.iter().any(|snapshot| snapshot.lv == lv.name)
    };
    let links = found.vg.snapshots();
    let is_seen = |lv: &&Lv| links.is_visible(lv) && groups.iter().any(|group| has(group, lv));
    (found.vg.lvs.iter().filter(is_seen).collect(), refused)
}

/// Of a VG that nobody serves.
fn nothing_left(context: &Context, vg: &VgName, lvs: Option<&[LvName]>) {
    if lvs.is_none() {
        context.console.say(&format!("0 logical volume(s) in volume group \"{vg}\" now active"));
    }
}

/// Takes LVs down, all where none is named.
fn deactivate(
    context: &Context,
    vg: &VgName,
    lvs: Option<&[LvName]>,
    mut live: LiveVg,
) -> Result<Exit, CliError> {
    let mut session = Session::open_to_activate(&context.options, vg)?;
    let discovery = session.discover();
    // What is live may be gone from them, even the VG: then it is given up by the name under which it is served.
    let found = discovery.vgs.iter().find(|found| found.vg.name == *vg).map(|found| &found.vg);
    let is_meant = |name: &String| lvs.is_none_or(|lvs| lvs.iter().any(|lv| lv.as_str() == name));
    let names = live.info.lvs.iter().filter_map(|lv| live.name_of(lv, found));
    let wanted: Vec<String> = names.filter(is_meant).collect();
    if context.options.test {
        return Ok(Exit::Success);
    }
    let left = live.client.deactivate(vg.as_str(), &wanted, context.options.force > 0)?;
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
