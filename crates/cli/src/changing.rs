//! The way of every command that changes a VG: locks, the VG as it is, a plan, the commit, words.
//!
//! What must hold:
//! - LVM2's lock and the image's own are held from reading to commit.
//! - With `--test` the plan is made and told, and nothing is written.
//! - A VG with a finding that refuses is not changed; the finding is the error.

use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::freezing::Freezing;
use crate::live::{LiveVg, daemon};
use crate::reporting::{no_vg, tell_findings};
use crate::session::Session;
use crate::switching::{HalfSwitched, Otherwise, Switch};
use foldback_daemon::Terms;
use foldback_daemon::api::ApiError;
use foldback_device::Access;
use foldback_dm_table::{DmName, HeaderWrite, Stage, Transaction};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::ActivationError;
use foldback_manager::apply::{ApplyError, commit};
use foldback_manager::backup::BackupPlaces;
use foldback_manager::environment::Machine;
use foldback_manager::host::locks;
use foldback_manager::lock::{LockMode, VgLock};
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
        let locks = locks(&session.config);
        let lock = match vg {
            Some(vg) => locks.vg(vg, LockMode::Exclusive)?,
            None => locks.global(LockMode::Exclusive)?,
        };
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
    /// Takes the daemon's names of the disks, where it serves the VG.
    pub(crate) fn live(&mut self, vg: &VgName) -> Result<Option<LiveVg>, CliError> {
        let mut live = LiveVg::find(vg, &self.session.paths)?;
        if let Some(live) = &mut live {
            if !self.is_test() {
                live.client.verify(&live.info.name)?;
            }
            self.session.speak_as(live);
        }
        Ok(live)
    }

    /// Carries a plan out for a VG with live volumes: `prepare` writes what must lie on new LVs, `switch` makes the
    /// transaction of what is before and after, and the daemon commits it, unless one of the devices `closed` is in use.
    pub(crate) fn apply_live(
        &mut self,
        live: &mut LiveVg,
        (before, after): (&FoundVg, Vg),
        closed: &[DmName],
        prepare: impl FnOnce(&mut DiskSet<'_>) -> Result<(), ApplyError>,
        switch: impl FnOnce(&LiveVg, &FoundVg, Vec<HeaderWrite>) -> Result<Switch, ActivationError>,
    ) -> Result<FoundVg, CliError> {
        let Self { context, session, machine, freeze, .. } = self;
        refuse_unknown_disk(live, before)?;
        let places = session.backup_places();
        // It may lie on a volume whose writes wait for this very change.
        let holds = live.info.lvs.iter().any(|lv| lv.wait.is_some());
        if !holds {
            archive(context, &places, &before.vg, machine);
        }
        let mut set = DiskSet::new(&mut *session.disks, &session.paths);
        prepare(&mut set)?;
        let handover = stage(&mut set, before, after, machine).map_err(ApplyError::from)?.hand_over();
        let Switch { transaction, otherwise } = switch(live, &handover.next, handover.headers)
            .map_err(|error| CliError::failed(format!("{error}.")))?;
        let terms = Terms { closed: closed.to_vec(), merge_rate: None, counted: None };
        let frozen = Freezing::begin(freeze)?;
        let outcome = live.client.transact_on(&live.info.name, &transaction, &terms);
        drop(frozen);
        let mut not_remembered = None;
        match outcome {
            Ok(()) => {}
            Err(error @ ApiError::NotRemembered(_)) => not_remembered = Some(error),
            Err(ApiError::Failed { stage: Some(Stage::Resume | Stage::Clean), message }) => {
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
            Err(ApiError::InUse { device, by }) => {
                return Err(CliError::failed(format!(
                    "Logical volume {device} in use: {by}; nothing was changed."
                )));
            }
            Err(error) => return Err(not_switched(&error)),
        }
        if holds {
            archive(context, &places, &before.vg, machine);
        }
        backup(context, &places, &handover.next.vg, machine);
        not_remembered.map_or(Ok(handover.next), |error| Err(error.into()))
    }

    /// The same for a VG that may be served or not, and a plan that writes nothing but metadata; `switch` is asked where
    /// the LV is `active`.
    pub(crate) fn apply_either(
        &mut self,
        live: Option<&mut LiveVg>,
        (before, after): (&FoundVg, Vg),
        active: bool,
        switch: impl FnOnce(&LiveVg, &FoundVg, Vec<HeaderWrite>) -> Result<Switch, ActivationError>,
    ) -> Result<(), CliError> {
        let Some(live) = live else {
            let _data = self.session.hold_all_data()?;
            self.apply(&before.vg, |set, machine| commit(set, before, after, machine))?;
            return Ok(());
        };
        let transaction = |live: &LiveVg, next: &FoundVg, headers| {
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
fn refuse_unknown_disk(live: &LiveVg, found: &FoundVg) -> Result<(), CliError> {
    let is_unknown = |path: &&String| !live.info.devices.contains(path);
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

/// Why a change was not carried out; only what is known to have left everything as it was says so.
fn not_switched(error: &ApiError) -> CliError {
    let unchanged = || CliError::failed(format!("{error}; nothing was changed."));
    match error {
        ApiError::Failed { stage: Some(Stage::Preload | Stage::Suspend), .. } | ApiError::NotActive(_) => {
            unchanged()
        }
        // It tells itself what was taken back.
        ApiError::Failed { stage: Some(_), .. } => CliError::failed(format!("{error}.")),
        ApiError::Failed { stage: None, .. } => unchanged(),
        _ => CliError::failed(format!("{error}; whether the change was committed is not known."))
            .hint("lvs shows the metadata as they are now"),
    }
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
            Level::Verbose => context.console.detail(&notice.text),
        }
    }
}
