//! `lvconvert --merge`: folds snapshots back into their origins.
//!
//! What must hold:
//! - Volumes that nobody serves are merged at once; whatever ends the command, the same command goes on.
//! - Of several snapshots the worst outcome counts; one that fails does not stop the others. A name that means none
//!   stops all of them, before the first begins.
//! - Once a merge has ended, the same command still ends with 0, as long as the archives say what became of the snapshot.

mod elsewhere;
mod gluing;
mod other_kinds;
mod several;

pub(crate) use elsewhere::{keep, premerge, start_deferred};

use self::several::{After, Part, Wanted, stopped};
use super::Context;
use crate::backend::{Kernel, KernelHost, forget_killed_merges};
use crate::carrying::Host;
use crate::changing::{one_vg, refused, warn_of_locks};
use crate::error::{Cause, CliError};
use crate::exit::Exit;
use crate::following::{LiveHost, bring_up, take_down};
use crate::interrupt::Interrupt;
use crate::live::LiveVg;
use crate::merging::{DEFAULT_INTERVAL, Interval, Listener, Pace};
use crate::names::{Target, lv_named};
use crate::session::Session;
use crate::steering::{Rate, Steer, steer};
use clap::Args;
use foldback_device::Access;
use foldback_manager::activation::Group;
use foldback_manager::environment::Machine;
use foldback_manager::job::{MergeError, MergeOutcome, MergeRequest, merge};
use foldback_manager::ops::Refusal;
use foldback_manager::ops::keep;
use foldback_manager::ops::merge::check;
use foldback_manager::ops::merge_start::Mode;
use foldback_manager::ops::names::user_lv_name;
use foldback_manager::ops::snapshot_create::not_understood;
use foldback_manager::ops::undo::Undo;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, VgName};
use std::time::Instant;

/// Fold snapshots back into their origins
#[derive(Args, Debug)]
#[command(
    after_help = "The origin gets back the content it had when the snapshot was taken, and the snapshot is removed. \
                  A merge that was interrupted goes on with the same command; once it has ended, the same \
                  command says so.\n\nExamples:\n  foldback lvconvert \
                  --merge vg/before\n  foldback lvconvert --merge @nightly"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct LvConvert {
    /// Merge these snapshots
    #[arg(short = 'M', long)]
    merge: bool,
    /// The same
    #[arg(long)]
    mergesnapshot: bool,
    /// The result keeps the origin's name (the default)
    #[arg(long)]
    nameorigin: bool,
    /// The result keeps the snapshot's name, UUID and number; the snapshot may be in use all the way through. Only for
    /// the origin's only snapshot
    #[arg(long, conflicts_with = "nameorigin")]
    namesnapshot: bool,
    /// Mark the snapshot; the merge begins when the origin is brought up the next time
    #[arg(long, conflicts_with_all = ["nameorigin", "namesnapshot"])]
    onactivate: bool,
    /// Take a snapshot of the origin first, with this name: merging that undoes the merge
    #[arg(long, value_name = "NAME", conflicts_with_all = ["namesnapshot", "onactivate"])]
    undo: Option<String>,
    /// Take a merge back that waits; where anything may have been merged already, say what can be done
    #[arg(long, group = "steer", conflicts_with_all = ["namesnapshot", "onactivate", "undo"])]
    cancel: bool,
    /// Let a running merge stand; all is served meanwhile
    #[arg(long, group = "steer", conflicts_with_all = ["merge", "mergesnapshot"])]
    pause: bool,
    /// Go on with a merge that was paused or failed
    #[arg(long, group = "steer", conflicts_with_all = ["merge", "mergesnapshot"])]
    resume: bool,
    /// Let a merge of active volumes, that begins or runs, move so much in a second; none: as much as it can
    #[arg(long, value_name = "SIZE[/s]", group = "steer")]
    rate: Option<Rate>,
    /// Seconds between two lines of progress; 0: one for every step; +N: the first after N
    #[arg(short, long, value_name = "[+]SECONDS")]
    interval: Option<Interval>,
    /// Return at once where the volumes are active; otherwise tell progress only after an interval
    #[arg(short, long)]
    background: bool,
    #[command(flatten)]
    gluing: gluing::Gluing,
    #[command(flatten)]
    other_kinds: other_kinds::OtherKinds,
    /// Snapshots; of a VG: all of them
    #[arg(value_name = "VG/SNAPSHOT|VG|@TAG", value_parser = lv_named)]
    names: Vec<String>,
    #[arg(skip)]
    early: Option<Early>,
    /// Nobody is started here that ends what the kernel merges.
    #[arg(skip)]
    unpolled: bool,
}

/// A merge before its volumes are activated.
#[derive(Clone, Copy, Debug)]
struct Early {
    /// When the rest is left to the activation.
    until: Option<Instant>,
}

impl LvConvert {
    /// `--merge` with the origin's name, or the snapshot's, and nothing else.
    fn merge(namesnapshot: bool) -> Self {
        Self {
            merge: true,
            mergesnapshot: false,
            nameorigin: !namesnapshot,
            namesnapshot,
            onactivate: false,
            undo: None,
            cancel: false,
            pause: false,
            resume: false,
            rate: None,
            interval: None,
            background: false,
            gluing: gluing::Gluing::default(),
            other_kinds: other_kinds::OtherKinds::default(),
            names: Vec::new(),
            early: None,
            unpolled: false,
        }
    }

    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if let Some(done) = self.gluing.run(context, &self.names) {
            return done;
        }
        if let Some(refused) = self.other_kinds.run(context, &self.names) {
            return refused;
        }
        let steer = self.steer();
        if !(self.merge || self.mergesnapshot || steer.is_some()) || self.names.is_empty() {
            let message =
                "No command with matching syntax recognised.  Run 'lvconvert --help' for more information.";
            let hint = Some("to fold a snapshot back: lvconvert --merge VG/SNAPSHOT".to_owned());
            return Err(CliError { exit: Exit::BadCommandLine, message: message.to_owned(), hint });
        }
        if let Some(steer) = steer {
            return self.steer_all(context, steer);
        }
        self.merge_all(context)
    }

    fn steer(&self) -> Option<Steer> {
        let asked = |yes: bool, what| yes.then_some(what);
        asked(self.cancel, Steer::Cancel)
            .or(asked(self.pause, Steer::Pause))
            .or(asked(self.resume, Steer::Resume))
            .or(self.rate.filter(|_| !self.merge && !self.mergesnapshot).map(Steer::Rate))
    }

    /// Does to each merge that is named what is asked for.
    fn steer_all(&self, context: &Context, what: Steer) -> Result<Exit, CliError> {
        let targets = self.names.iter().map(|name| Target::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let mut exit = Exit::Success;
        for target in targets {
            let Target::Lv(vg, lv) = target else {
                return Err(CliError::usage(&context.command, "Name the snapshot or its origin: VG/LV."));
            };
            exit = exit.max(told(context, steer(context, &vg, &lv, what)));
        }
        Ok(exit)
    }

    /// Whether a snapshot that is not there has been merged: then it is said, and the command has done its work.
    fn is_merged(context: &Context, vg: &VgName, lv: &LvName) -> Result<bool, CliError> {
        let mut session = Session::open(&context.options, Access::Read)?;
        let discovery = session.discover();
        let found = one_vg(&discovery, vg)?;
        if found.vg.lv(lv).is_some() {
            return Ok(false);
        }
        let Some(origin) = session.backup_places().merged_into(&found.vg, lv) else { return Ok(false) };
        let said = format!("Merge of snapshot into logical volume {vg}/{origin} has finished already.");
        context.console.say(&said);
        Ok(true)
    }

    /// LVM2's words for an LV that is no snapshot.
    fn not_a_snapshot(&self, vg: &VgName, lv: &LvName) -> String {
        if self.mergesnapshot {
            return format!(
                "Command on LV {vg}/{lv} does not accept LV type linear.\nCommand not permitted on LV {vg}/{lv}."
            );
        }
        format!("{vg}/{lv} cannot be merged because --trackchanges was not used.")
    }

    /// Merges one snapshot.
    fn one(
        &self,
        context: &Context,
        interrupt: &Interrupt,
        Wanted { vg, lv, snapshots_only, .. }: &Wanted,
        part: Part,
    ) -> Result<After, CliError> {
        let access = if context.options.test { Access::Read } else { Access::Write };
        let mut session = Session::open_unlocked(&context.options, &[], access)?;
        let discovery = session.discover();
        let found = one_vg(&discovery, vg)?;
        let links = found.vg.snapshots();
        if *snapshots_only && !links.is_cow(lv) {
            return Ok(After::Over(Exit::Success));
        }
        if context.as_lvm2 && found.vg.lv(lv).is_some() && !links.is_cow(lv) {
            if let Some(type_text) = found.vg.lv(lv).and_then(not_understood) {
                let refusal = Refusal::NotUnderstood { vg: vg.clone(), lv: lv.clone(), type_text };
                return Err(refused(context, &refusal));
            }
            if links.merging_into(lv).is_some() {
                let (vg, lv) = (vg.clone(), lv.clone());
                let refusal = Refusal::WrongProperty { vg, lv, property: "lv_is_merging_origin" };
                return Err(refused(context, &refusal));
            }
            return Err(CliError::failed(self.not_a_snapshot(vg, lv)));
        }
        let of_snapshot = links.of_cow(lv).filter(|_| !self.namesnapshot);
        let origin = of_snapshot.map_or(lv, |snapshot| &snapshot.segment.origin);
        let origin_name = origin.clone();
        let every = self.interval.map_or(DEFAULT_INTERVAL, |interval| interval.every);
        let later = self.background || self.interval.is_some_and(|interval| interval.later);
        let origin = format!("{vg}/{origin}");
        if context.options.test {
            let checked = match self.mode() {
                Mode::NameSnapshot => keep::check(&found.vg, lv).map(drop),
                Mode::NameOrigin | Mode::OnActivate => check(&found.vg, lv).map(drop),
            };
            checked.map_err(|refusal| refused(context, &refusal))?;
            context.console.say(&format!("Merging of volume {vg}/{lv} into {origin} would start."));
            return Ok(After::Over(Exit::Success));
        }
        warn_of_locks(context);
        let places = session.backup_places();
        let pace = Pace { every, later, until: self.early.and_then(|early| early.until) };
        let mut listener = Listener::new(context, interrupt, origin.clone(), pace, places);
        let marked = self.only_marks(context, part);
        let Some((ended, down)) =
            self.by_carrier(context, (session, found), (vg, lv, part), &mut listener)?
        else {
            return Ok(After::Over(Exit::Success));
        };
        let marked = marked && down;
        drop(listener);
        let outcome = match ended {
            Ended::As(outcome) => outcome,
            // Somebody else has ended it.
            Ended::Absent(_) if part == Part::Rest => return Ok(After::GoesOn(origin_name)),
            Ended::Absent(_) if !context.as_lvm2 && Self::is_merged(context, vg, lv)? => {
                return Ok(After::Over(Exit::Success));
            }
            Ended::Absent(error) => return Err(error),
        };
        match (part, outcome) {
            (Part::Beginning, MergeOutcome::Left) if !self.background => {
                return Ok(After::GoesOn(origin_name));
            }
            (Part::Beginning, MergeOutcome::Deferred) if marked => return Ok(After::GoesOn(origin_name)),
            (Part::Rest, MergeOutcome::NotBegun) => Err(stopped(vg, lv)),
            _ => self.conclude(context, interrupt, (vg, lv, &origin), outcome),
        }
        .map(After::Over)
    }

    /// Merges where the volumes are: in the daemon, in the kernel, or here, where they are not active (then `true`). `None`: it is
    /// too late for a merge before the activation.
    fn by_carrier(
        &self,
        context: &Context,
        (session, found): (Session, &FoundVg),
        (vg, lv, part): (&VgName, &LvName, Part),
        listener: &mut Listener<'_>,
    ) -> Result<Option<(Ended, bool)>, CliError> {
        let inactive =
            if self.only_marks(context, part) { Mode::OnActivate } else { self.mode_of_inactive(context) };
        // Of what is only marked at first nothing is said.
        let quiet = |listener: &mut Listener<'_>| {
            if self.only_marks(context, part) {
                listener.be_quiet();
            }
        };
        if let Some(mut live) = LiveVg::find(vg, &session.paths)? {
            let origin = found.vg.snapshots().of_cow(lv).map(|snapshot| snapshot.segment.origin.clone());
            // A snapshot that merges has no device of its own.
            let is_up = |lv: &LvName| found.vg.lv(lv).is_some_and(|lv| live.lv(&lv.id.to_string()).is_some());
            let down = found.vg.lv(lv).is_some() && !is_up(lv) && !origin.as_ref().is_some_and(is_up);
            if !down {
                if self.early.is_some() {
                    return Ok(None);
                }
                let ended = self.live(context, session, live, (vg, lv, self.mode(), part), listener)?;
                return Ok(Some((ended, false)));
            }
            quiet(listener);
            let brought = inactive != Mode::OnActivate;
            if brought {
                bring_up(context, &mut live, lv)?;
            }
            let origin = origin.filter(|_| !self.namesnapshot).unwrap_or_else(|| lv.clone());
            let ended = self.live(context, session, live, (vg, lv, inactive, Part::Whole), listener);
            let stays = matches!(ended, Ok(Ended::As(MergeOutcome::Left | MergeOutcome::Deferred)));
            if brought && !stays {
                take_down(context, vg, (lv, &origin))?;
            }
            return ended.map(|ended| Some((ended, true)));
        }
        forget_killed_merges(&session, found)?;
        let kernel = Kernel::of(context, vg, false)?;
        if let (Some((kernel, ..)), Ok(group)) = (&kernel, Group::of(found, lv)) {
            kernel.refuse_claimed(vg, &group)?;
        }
        match kernel {
            Some((kernel, ..)) if kernel.carries(found, lv) => {
                if self.early.is_some() {
                    return Ok(None);
                }
                let ended = self.by_kernel(context, (kernel, session), (vg, lv, part), listener)?;
                Ok(Some((ended, false)))
            }
            _ => {
                quiet(listener);
                let ended = self.own(context, (session, found), (lv, inactive), listener)?;
                Ok(Some((ended, true)))
            }
        }
    }

    /// Whether a merge of our own engine is not carried out yet.
    fn only_marks(&self, context: &Context, part: Part) -> bool {
        part == Part::Beginning
            && !self.namesnapshot
            && self.undo.is_none()
            && self.mode_of_inactive(context) != Mode::OnActivate
    }

    /// Says how a merge has ended, where it has not said so itself.
    fn conclude(
        &self,
        context: &Context,
        interrupt: &Interrupt,
        (vg, lv, origin): (&VgName, &LvName, &str),
        outcome: MergeOutcome,
    ) -> Result<Exit, CliError> {
        match outcome {
            MergeOutcome::Left if interrupt.asked() => {
                context.console.say(&format!("Merging of volume {vg}/{lv} goes on in the background."));
                Ok(Exit::Success)
            }
            MergeOutcome::Finished | MergeOutcome::Deferred | MergeOutcome::Left => Ok(Exit::Success),
            MergeOutcome::NotBegun | MergeOutcome::Stopped if self.early.is_some() && !interrupt.asked() => {
                let said = format!("The time is over; {vg}/{lv} is merged on once {origin} is active.");
                context.console.say(&said);
                Ok(Exit::Success)
            }
            MergeOutcome::NotBegun => Err(CliError::failed("Interrupted before anything was changed.")),
            MergeOutcome::Stopped => Err(stopped(vg, lv)),
        }
    }

    /// Merges volumes that nobody serves, in this process.
    fn own(
        &self,
        context: &Context,
        (session, found): (Session, &FoundVg),
        (lv, mode): (&LvName, Mode),
        listener: &mut Listener<'_>,
    ) -> Result<Ended, CliError> {
        let vg = &found.vg.name;
        if self.rate.is_some() {
            return Err(CliError::failed(format!("{vg} is not active: its merges run as fast as they can."))
                .hint(format!("vgchange -ay {vg} brings it up; then the merge can be paced")));
        }
        let mut host = Host::new(session, found)?;
        let (paths, system_id) = (host.paths.clone(), host.config.system_id.clone());
        let request = self.request(context, &paths, system_id.as_deref(), (vg, lv, mode, Part::Whole))?;
        ended(merge(&mut host, &request, &mut Machine::new(&context.line), listener))
    }

    /// Merges in the daemon that serves the VG.
    fn live(
        &self,
        context: &Context,
        mut session: Session,
        live: LiveVg,
        (vg, lv, mode, part): (&VgName, &LvName, Mode, Part),
        listener: &mut Listener<'_>,
    ) -> Result<Ended, CliError> {
        session.speak_as(&live);
        let mut host = LiveHost::new(session, live, self.rate.and_then(|rate| rate.0));
        let (paths, system_id) = (host.paths.clone(), host.config.system_id.clone());
        let request = self.request(context, &paths, system_id.as_deref(), (vg, lv, mode, part))?;
        ended(merge(&mut host, &request, &mut Machine::new(&context.line), listener))
    }

    /// Merges in the kernel, which carries the VG; this process starts it, watches and ends it.
    fn by_kernel(
        &self,
        context: &Context,
        (kernel, session): (Kernel, Session),
        (vg, lv, part): (&VgName, &LvName, Part),
        listener: &mut Listener<'_>,
    ) -> Result<Ended, CliError> {
        if self.rate.is_some() {
            return Err(CliError::failed(format!(
                "{vg} is active in the kernel, whose merges have no rate."
            )));
        }
        let mut host = KernelHost::new(kernel.mapper, session);
        let (paths, system_id) = (host.paths.clone(), host.config.system_id.clone());
        let request = self.request(context, &paths, system_id.as_deref(), (vg, lv, self.mode(), part))?;
        let merged = merge(&mut host, &request, &mut Machine::new(&context.line), listener);
        host.tell_notes(context);
        let ended = ended(merged)?;
        if matches!(ended, Ended::As(MergeOutcome::Left))
            && !self.unpolled
            && (part != Part::Beginning || self.background)
        {
            // The kernel merges by itself; somebody has to end it.
            host.start_pollers(context, (vg, lv))?;
        }
        Ok(ended)
    }

    /// How an LV is merged that is not active: LVM2 leaves it to the next activation.
    fn mode_of_inactive(&self, context: &Context) -> Mode {
        if context.as_lvm2 { Mode::OnActivate } else { self.mode() }
    }

    fn mode(&self) -> Mode {
        if self.namesnapshot {
            Mode::NameSnapshot
        } else if self.onactivate {
            Mode::OnActivate
        } else {
            Mode::NameOrigin
        }
    }

    fn request<'r>(
        &self,
        context: &Context,
        paths: &'r [String],
        system_id: Option<&'r str>,
        (vg, lv, mode, part): (&VgName, &LvName, Mode, Part),
    ) -> Result<MergeRequest<'r>, CliError> {
        let name = self.undo.as_deref().map(user_lv_name).transpose();
        let name = name.map_err(|refusal| refused(context, &refusal))?;
        Ok(MergeRequest {
            paths,
            system_id,
            vg: vg.clone(),
            lv: lv.clone(),
            // LVM2 merges without asking whether the other snapshots have room.
            force: context.options.force > 0 || context.as_lvm2,
            mode,
            // It is there since the merge began.
            undo: name.filter(|_| part != Part::Rest).map(|name| Undo {
                name: Some(name),
                size: None,
                pvs: Vec::new(),
            }),
            leave: self.background || part == Part::Beginning,
            told: part == Part::Rest,
        })
    }
}

/// How a merge went. A snapshot that is not there may have been merged before.
enum Ended {
    As(MergeOutcome),
    Absent(CliError),
}

fn ended<E: Cause>(merged: Result<MergeOutcome, MergeError<E>>) -> Result<Ended, CliError> {
    match merged {
        Ok(outcome) => Ok(Ended::As(outcome)),
        Err(error @ MergeError::Refused(Refusal::LvNotFound { .. })) => Ok(Ended::Absent(error.into())),
        Err(error) => Err(error.into()),
    }
}

fn told(context: &Context, outcome: Result<Exit, CliError>) -> Exit {
    outcome.unwrap_or_else(|error| {
        error.tell(context.console);
        error.exit
    })
}
