//! The way of every command that changes a VG: locks, the VG as it is, a plan, the commit, words.
//!
//! What must hold:
//! - LVM2's lock and the image's own are held from reading to commit.
//! - With `--test` the plan is made and told, and nothing is written.
//! - A VG with a finding that refuses is not changed; the finding is the error.

use crate::carried::{Carrier, Live, NotSwitched};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::freezing::Freezing;
use crate::live::{LiveVg, daemon};
use crate::reporting::{no_vg, tell_findings};
use crate::session::Session;
use crate::switching::{HalfSwitched, Otherwise, Switch};
use foldback_device::Access;
use foldback_dm_table::{DmName, HeaderWrite, Transaction};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::ActivationError;
use foldback_manager::apply::{ApplyError, commit};
use foldback_manager::backup::BackupPlaces;
use foldback_manager::environment::Machine;
use foldback_manager::host::{locks, lvm2_may};
use foldback_manager::lock::VgLock;
use foldback_manager::ops::{Level, Notice, Refusal};
use foldback_manager::store::{Committed, Discovery, DiskSet, Finding, FoundVg, stage};
use foldback_units::VgName;
use std::path::PathBuf;

/// A change under way: everything that must be held until it is committed.
pub(crate) struct Change<'c> {
    pub(crate) context: &'c Context,
    pub(crate) session: Session,
    pub(crate) machine: Machine,
    /// Where file systems are mounted that are to be frozen while live devices are switched.
    pub(crate) freeze: Vec<PathBuf>,
    _lock: Option<VgLock>,
}

/// Says that `--nolocking` does not hold for a change: without locks it would destroy others' changes.
pub(crate) fn warn_of_locks(context: &Context) {
    if context.options.nolocking {
        context.console.warn("--nolocking holds for commands that only read; the locks are taken.");
    }
}

impl<'c> Change<'c> {
    /// Opens the disks, `more` of them beside those that the options name, and locks the VG.
    pub(crate) fn of_vg(context: &'c Context, vg: &VgName, more: &[String]) -> Result<Self, CliError> {
        Self::new(context, Some(vg), more)
    }

    /// The same for everything that is no VG: PVs without one, and the names of VGs.
    pub(crate) fn global(context: &'c Context, more: &[String]) -> Result<Self, CliError> {
        Self::new(context, None, more)
    }

    fn new(context: &'c Context, vg: Option<&VgName>, more: &[String]) -> Result<Self, CliError> {
        if context.options.test {
            let session = Session::open_with(&context.options, more, Access::Read)?;
            let machine = Machine::new(&context.line);
            return Ok(Self { context, session, machine, freeze: Vec::new(), _lock: None });
        }
        warn_of_locks(context);
        // A daemon that takes volumes up again reads their metadata: not when they are locked here.
        drop(daemon()?);
        let mut session = Session::open_unlocked(&context.options, more, Access::Write)?;
        let lock = locks(&session.config).to_change(vg, lvm2_may(&session.files))?;
        session.lock_metadata()?;
        let machine = Machine::new(&context.line);
        Ok(Self { context, session, machine, freeze: Vec::new(), _lock: Some(lock) })
    }

    /// Whether only words are wanted.
    pub(crate) fn is_test(&self) -> bool {
        self.context.options.test
    }

    /// Reads the disks and warns of what is wrong.
    pub(crate) fn discover(&mut self) -> Discovery {
        let found = self.session.discover();
        tell_findings(self.context, &found);
        found
    }

    /// Carries a plan out: an archive of the VG as it was, the change, a backup of what it is now.
    pub(crate) fn apply(
        &mut self,
        before: &Vg,
        carry_out: impl FnOnce(&mut DiskSet<'_>, &mut Machine) -> Result<Committed, ApplyError>,
    ) -> Result<FoundVg, CliError> {
        let Self { context, session, machine, .. } = self;
        let places = session.backup_places();
        archive(context, &places, before, machine);
        let mut set = DiskSet::new(&mut *session.disks, &session.paths);
        let committed = carry_out(&mut set, machine)?;
        for warning in &committed.warnings {
            context.console.warn(warning);
        }
        backup(context, &places, &committed.found.vg, machine);
        Ok(committed.found)
    }
}

impl Change<'_> {
    /// Reads the disks, under the daemon's names of them where it serves the VG, and finds its live volumes.
    pub(crate) fn look(&mut self, vg: &VgName) -> Result<(Discovery, Option<Live>), CliError> {
        let served = self.served(vg)?;
        if let Some(served) = &served {
            self.session.speak_as(served);
        }
        let discovery = self.discover();
        let Ok(found) = one_vg(&discovery, vg) else { return Ok((discovery, None)) };
        let live = match served {
            Some(served) => Some(Live::in_daemon(served, found)),
            None => Live::find_in_kernel(self.context, &self.session, found)?,
        };
        Ok((discovery, live))
    }

    /// Looks again: with its last live volume a VG is not carried any more.
    pub(crate) fn live(&mut self, found: &FoundVg) -> Result<Option<Live>, CliError> {
        match self.served(&found.vg.name)? {
            Some(served) => Ok(Some(Live::in_daemon(served, found))),
            None => Live::find_in_kernel(self.context, &self.session, found),
        }
    }

    fn served(&self, vg: &VgName) -> Result<Option<LiveVg>, CliError> {
        let mut served = LiveVg::find(vg, &self.session.paths)?;
        if let Some(served) = served.as_mut().filter(|_| !self.is_test()) {
            served.client.verify(&served.info.name)?;
        }
        Ok(served)
    }

    /// Carries a plan out for a VG with live volumes: `prepare` writes what must lie on new LVs, `switch` makes the
    /// transaction of what is before and after, and who carries them commits it, unless one of the devices `closed` is in use.
    pub(crate) fn apply_live(
        &mut self,
        live: &mut Live,
        (before, after): (&FoundVg, Vg),
        closed: &[DmName],
        prepare: impl FnOnce(&mut DiskSet<'_>) -> Result<(), ApplyError>,
        switch: impl FnOnce(&Live, &FoundVg, Vec<HeaderWrite>) -> Result<Switch, ActivationError>,
    ) -> Result<FoundVg, CliError> {
        let Self { context, session, machine, freeze, .. } = self;
        refuse_unknown_disk(live, before)?;
        live.refuse_open(closed)?;
        live.refuse_claimed(before, &after)?;
        let places = session.backup_places();
        // It may lie on a volume whose writes wait for this very change.
        let holds = live.waits();
        if !holds {
            archive(context, &places, &before.vg, machine);
        }
        let mut set = DiskSet::new(&mut *session.disks, &session.paths);
        prepare(&mut set)?;
        let handover = stage(&mut set, before, after, machine).map_err(ApplyError::from)?.hand_over();
        let Switch { transaction, otherwise } = switch(live, &handover.next, handover.headers)
            .map_err(|error| CliError::failed(format!("{error}.")))?;
        let frozen = Freezing::begin(freeze)?;
        let outcome = live.transact_unless_open(&transaction, closed);
        if !frozen.is_none_or(Freezing::end) && outcome.is_ok() {
            context.console.warn(
                "The change took more than 5 s, and the file systems were thawed before it was done: what the snapshot holds may \
                 be what a power cut leaves.",
            );
        }
        for note in live.take_notes() {
            context.console.warn(&format!("{note}."));
        }
        let mut not_remembered = None;
        match outcome {
            Ok(()) => {}
            Err(NotSwitched::Unwritten(error)) => not_remembered = Some(error),
            Err(NotSwitched::Half(message)) => {
                let told = format!("The change is committed, but a device was not switched: {message}.");
                let half = HalfSwitched { live, set: &mut set, before, next: &handover.next };
                match otherwise {
                    Otherwise::Stay => context.console.warn(&told),
                    Otherwise::On(changes) => {
                        context.console.warn(&told);
                        half.go_on(&changes)?;
                    }
                    Otherwise::Back(changes) => {
                        half.take_back(&changes, machine)?;
                        return Err(CliError::failed(format!("{message}; all is as it was.")));
                    }
                }
            }
            Err(NotSwitched::Refused(error)) => return Err(error),
        }
        if holds {
            archive(context, &places, &before.vg, machine);
        }
        backup(context, &places, &handover.next.vg, machine);
        not_remembered.map_or(Ok(handover.next), Err)
    }

    /// The same for a VG that may be live or not, and a plan that writes nothing but metadata; `switch` is asked where
    /// the LV is `active`.
    pub(crate) fn apply_either(
        &mut self,
        live: Option<&mut Live>,
        (before, after): (&FoundVg, Vg),
        active: bool,
        switch: impl FnOnce(&Live, &FoundVg, Vec<HeaderWrite>) -> Result<Switch, ActivationError>,
    ) -> Result<(), CliError> {
        let Some(live) = live else {
            let _data = self.session.hold_vg(before)?;
            self.apply(&before.vg, |set, machine| commit(set, before, after, machine))?;
            return Ok(());
        };
        let transaction = |live: &Live, next: &FoundVg, headers| {
            if active {
                return switch(live, next, headers);
            }
            Ok(Transaction { headers, ..Transaction::default() }.into())
        };
        self.apply_live(live, (before, after), &[], |_| Ok(()), transaction)?;
        Ok(())
    }
}

/// Refuses to change a VG on a disk that it got since it was activated: the daemon that serves it has not opened that one.
fn refuse_unknown_disk(live: &Live, found: &FoundVg) -> Result<(), CliError> {
    let Carrier::Daemon(served) = &live.by else { return Ok(()) };
    let is_unknown = |path: &&String| !served.info.devices.contains(path);
    let Some(path) = found.places.iter().flatten().map(|place| &place.path).find(is_unknown) else {
        return Ok(());
    };
    let vg = &found.vg.name;
    Err(CliError::failed(format!(
        "Volume group {vg} was activated without its PV {path}; nothing was changed."
    ))
    .hint(activate_with_all(vg)))
}

/// How a VG gets its volumes served on all of its PVs.
fn activate_with_all(vg: &VgName) -> String {
    format!("deactivate it with vgchange -an {vg}, then activate it with --devices naming all of its PVs")
}

/// Writes the VG as it is before a change; a failure is only worth a warning.
pub(crate) fn archive(context: &Context, places: &BackupPlaces, vg: &Vg, machine: &mut Machine) {
    if let Err(error) = places.archive(vg, machine) {
        context.console.warn(&format!("{error}. The metadata before this change is not archived."));
    }
}

/// Writes the VG as it is after a change; a failure is only worth a warning.
pub(crate) fn backup(context: &Context, places: &BackupPlaces, vg: &Vg, machine: &mut Machine) {
    if let Err(error) = places.backup(vg, machine) {
        context.console.warn(&format!("{error}. This metadata update is NOT backed up."));
    }
}

/// The VG of that name, to be changed.
pub(crate) fn vg_to_change<'f>(found: &'f Discovery, name: &VgName) -> Result<&'f FoundVg, CliError> {
    let vg = one_vg(found, name)?;
    match vg.refuses_change() {
        Some(finding @ Finding::MissingPv { .. }) => {
            let hint = format!(
                "name all of its PVs with --devices; if it is active without one of them, {}",
                activate_with_all(name)
            );
            Err(CliError::failed(finding.refusal(name.as_str())).hint(hint))
        }
        Some(finding) => Err(CliError::failed(finding.refusal(name.as_str()))),
        None => Ok(vg),
    }
}

/// The VG of that name.
pub(crate) fn one_vg<'f>(found: &'f Discovery, name: &VgName) -> Result<&'f FoundVg, CliError> {
    if let Some(vg) = found.vgs.iter().find(|found| found.vg.name == *name) {
        return Ok(vg);
    }
    let unreadable = found.unreadable.iter().find(|vg| vg.name.as_deref() == Some(name.as_str()));
    Err(unreadable.map_or_else(
        || no_vg(name.as_str()),
        |vg| {
            let reason = format!("reading volume group {name} from {}: {}", vg.path, vg.reason);
            CliError::failed(format!("{reason}\nCannot process volume group {name}"))
        },
    ))
}

/// A refusal of a plan.
pub(crate) fn refused(context: &Context, refusal: &Refusal) -> CliError {
    if refusal.is_usage() {
        return CliError::usage(&context.command, refusal.to_string());
    }
    CliError { exit: Exit::Failed, message: refusal.to_string(), hint: None }
}

/// Prints what a plan has to say.
pub(crate) fn tell(context: &Context, notices: &[Notice]) {
    for notice in notices {
        match notice.level {
            Level::Print => context.console.say(&notice.text),
            Level::Warning => context.console.warn(notice.text.trim_start_matches("WARNING: ")),
            Level::Remark => context.console.error(&notice.text),
            Level::Verbose => context.console.detail(&notice.text),
        }
    }
}
