//! Folding a snapshot back into its origin, from the first look at the disks to the last commit.
//!
//! What must hold:
//! - Nothing is written before VG, LVs and every store that takes part were looked at and found good.
//! - Whatever ends the job, at whatever step, the same command goes on: the mark is one commit, the end is one commit, and
//!   in between the store itself says how far it is.
//! - The VG is not locked while chunks are merged, and others may change it. It is read again every second and at the end,
//!   LVs found by their UUIDs; where extents that the merge reads or writes are no longer what they were, nothing more
//!   is written.
//! - Devices that were brought up are taken down again, also after an error.

use crate::activation::{self, ActivationError, Group};
use crate::check::{self, CheckError};
use crate::environment::Environment;
use crate::job::host::{Carried, MergeHost, Observer, Progress};
use crate::ops::merge::{self as plan, Finish, Mark, Merge};
use crate::ops::{Notice, Refusal};
use crate::store::{CommitError, Discovery, DiskSet, FoundVg, SelectError, discover, select, stage};
use foldback_dm_snapshot_format::{Finding, FindingKind, Report, Severity};
use foldback_dm_table::{DeviceMapper, Stage, Verb};
use foldback_lvm2_format::vg::Vg;
use foldback_units::{LvName, VgName};
use std::ops::ControlFlow;

/// What is to be merged, and where.
#[derive(Clone, Debug)]
pub struct MergeRequest<'a> {
    /// The disks' paths.
    pub paths: &'a [String],
    /// This host's system ID, if it has one.
    pub system_id: Option<&'a str>,
    /// The VG.
    pub vg: VgName,
    /// The snapshot.
    pub lv: LvName,
}

/// How the job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeOutcome {
    /// The snapshot is folded into its origin and gone.
    Finished,
    /// The observer broke it off; the same command goes on.
    Stopped,
}

/// Why the job failed.
#[derive(Debug, thiserror::Error)]
pub enum MergeError<E: std::error::Error + Send + Sync + 'static> {
    /// The VG is not to be had.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The merge is refused; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A store could not be looked at; nothing was written.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The snapshot has overflowed, or its device failed once.
    #[error("Unable to merge invalidated snapshot LV {vg}/{lv}.")]
    Invalidated {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// A store that takes part cannot be trusted; nothing was written.
    #[error(
        "Unable to merge into {vg}/{origin}: the exception store of {vg}/{lv} is damaged: {finding}. Nothing was changed; `check {vg}/{lv}` lists all that is wrong."
    )]
    Damaged {
        /// The VG.
        vg: VgName,
        /// The origin.
        origin: LvName,
        /// Whose store.
        lv: LvName,
        /// The first finding that refuses.
        finding: Box<Finding>,
    },
    /// The LVs cannot become devices; nothing was written.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// The VG was not written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Locks, or devices. The merge goes on when the same command is given again.
    #[error("{attempt}: {source}")]
    Host {
        /// What was attempted.
        attempt: &'static str,
        /// Why not.
        source: E,
    },
    /// The transaction that ends the merge was taken back.
    #[error(
        "ending the merge of {vg}/{lv}: {source}. The snapshot is merged whole, but still there; the same command ends the merge."
    )]
    Finish {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
        /// Why.
        source: E,
    },
    /// Somebody took away, or changed, what the merge works on.
    #[error(
        "merging {vg}/{lv}: somebody changed its origin or a snapshot of it meanwhile; stopped at once, and nothing more was written. Look at the volume group with `lvs -a`; if {lv} is still merging there, the same command goes on."
    )]
    Changed {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
    /// Somebody changed the VG meanwhile so that the merge cannot be ended.
    #[error(
        "{vg}/{lv} is not merging any more: somebody changed the volume group meanwhile. Nothing more was written."
    )]
    NotMerging {
        /// The VG.
        vg: VgName,
        /// The snapshot.
        lv: LvName,
    },
}

type Outcome<T, H> = Result<T, MergeError<<H as MergeHost>::Error>>;

/// Merges a snapshot that nobody serves, or goes on with its merge.
pub fn merge<H: MergeHost>(
    host: &mut H,
    request: &MergeRequest<'_>,
    environment: &mut dyn Environment,
    observer: &mut dyn Observer,
) -> Outcome<MergeOutcome, H> {
    let mut job = Job { host, request, environment, observer };
    let begun = job.begin();
    job.host.unlock();
    let (merge, group) = begun?;
    let ended = match job.carry(&merge, &group) {
        Ok(Carried::Stopped) => Ok(MergeOutcome::Stopped),
        Ok(Carried::Finished) => job.end(&merge, &group),
        Err(error) => Err(error),
    };
    if matches!(ended, Err(MergeError::Changed { .. })) {
        // Taking devices down would write to what may be somebody else's by now.
        job.host.unlock();
        return ended;
    }
    let down = job.take_down(&group);
    job.host.unlock();
    // The first error is the one to tell.
    ended.and_then(|outcome| down.map(|()| outcome))
}

struct Job<'j, 'r, H> {
    host: &'j mut H,
    request: &'j MergeRequest<'r>,
    environment: &'j mut dyn Environment,
    observer: &'j mut dyn Observer,
}

fn locking<E: std::error::Error + Send + Sync + 'static>(source: E) -> MergeError<E> {
    MergeError::Host { attempt: "locking the volume group", source }
}

impl<H: MergeHost> Job<'_, '_, H> {
    fn read(&mut self) -> Discovery {
        let mut disks = self.host.disks();
        discover(&mut DiskSet::new(&mut *disks, self.request.paths), self.request.system_id)
    }

    fn tell(&mut self, text: String) {
        self.observer.notice(Notice::print(text));
    }

    /// Looks at everything, marks the snapshot, and brings the devices up.
    fn begin(&mut self) -> Outcome<(Merge, Group), H> {
        let (vg, lv) = (&self.request.vg, &self.request.lv);
        self.host.lock(vg).map_err(locking)?;
        let found = self.read();
        let found = select::to_change(&found, vg)?;
        let merge = plan::check(&found.vg, lv)?;
        self.check_stores(found, &merge)?;
        let found = match plan::mark(&found.vg, &merge) {
            Mark::Already => {
                self.tell(format!("Merging of volume {vg}/{lv} goes on."));
                found.clone()
            }
            Mark::Marked(marked) => {
                let mut after = found.clone();
                after.vg = (*marked).clone();
                // What cannot be brought up is found out before it is marked.
                Group::of(&after, lv)?;
                let committed = self.commit(found, *marked)?;
                self.tell(format!("Merging of volume {vg}/{lv} started."));
                committed
            }
        };
        let group = Group::of(&found, lv)?;
        self.bring_up(&group)?;
        Ok((merge, group))
    }

    /// Checks the stores of all snapshots of the origin: the others take copies during the merge.
    fn check_stores(&mut self, found: &FoundVg, merge: &Merge) -> Outcome<(), H> {
        let links = found.vg.snapshots();
        let mut disks = self.host.disks();
        let mut set = DiskSet::new(&mut *disks, self.request.paths);
        for snapshot in links.of_origin(&merge.origin) {
            let lv = &snapshot.segment.cow;
            let vg = || self.request.vg.clone();
            let report = check::check(&mut set, found, lv)?;
            if is_invalidated(&report) {
                // Another one that overflowed takes no more copies: nothing of it can be hurt.
                if *lv == merge.snapshot {
                    return Err(MergeError::Invalidated { vg: vg(), lv: lv.clone() });
                }
                continue;
            }
            let refuses = report.findings.iter().find(|finding| finding.severity() == Severity::Refuse);
            if let Some(finding) = refuses {
                let (origin, finding) = (merge.origin.clone(), Box::new(finding.clone()));
                return Err(MergeError::Damaged { vg: vg(), origin, lv: lv.clone(), finding });
            }
        }
        Ok(())
    }

    fn commit(&mut self, found: &FoundVg, vg: Vg) -> Outcome<FoundVg, H> {
        let committed = {
            let mut disks = self.host.disks();
            let mut set = DiskSet::new(&mut *disks, self.request.paths);
            stage(&mut set, found, vg, self.environment)?.commit()?
        };
        for warning in committed.warnings {
            self.observer.notice(Notice::warning(warning));
        }
        self.observer.committed(&committed.found.vg);
        Ok(committed.found)
    }

    fn bring_up(&mut self, group: &Group) -> Outcome<(), H> {
        for verb in activation::activate(group) {
            if let Err(source) = self.host.mapper().apply(&verb) {
                if let Err(error) = self.take_down(group) {
                    self.observer.notice(Notice::warning(error.to_string()));
                }
                return Err(MergeError::Host { attempt: "bringing the volumes up", source });
            }
        }
        Ok(())
    }

    /// Merges until the end, and looks at the VG whenever the clock shows another second.
    fn carry(&mut self, merge: &Merge, group: &Group) -> Outcome<Carried, H> {
        loop {
            let (observer, environment) = (&mut *self.observer, &mut *self.environment);
            let since = environment.now();
            let (mut asked, mut looks) = (false, 0_u64);
            let mut look = |progress: &Progress| {
                asked = observer.progress(progress).is_break();
                looks = looks.saturating_add(1);
                // The first look is before the first step: at least one step is done each time.
                let due = looks > 1 && environment.now() != since;
                if asked || due { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let carried = self
                .host
                .carry_merge(&group.origin.top.name, &mut look)
                .map_err(|source| MergeError::Host { attempt: "merging", source })?;
            if carried == Carried::Finished || asked {
                return Ok(carried);
            }
            self.host.lock(&self.request.vg).map_err(locking)?;
            let found = self.read();
            self.host.unlock();
            self.check_ground(select::to_change(&found, &self.request.vg)?, merge, group)?;
        }
    }

    /// Refuses where an LV of the group is gone, lies elsewhere, or is no longer what it was.
    fn check_ground(&self, found: &FoundVg, merge: &Merge, group: &Group) -> Outcome<(), H> {
        let (vg, lv) = (&self.request.vg, &self.request.lv);
        let now = Group::of(found, &name_now(&found.vg, merge));
        if now.is_ok_and(|now| now.stands_on_the_same_ground(group)) {
            Ok(())
        } else {
            Err(MergeError::Changed { vg: vg.clone(), lv: lv.clone() })
        }
    }

    /// Locks and reads the VG again, and ends the merge in one commit.
    fn end(&mut self, merge: &Merge, group: &Group) -> Outcome<MergeOutcome, H> {
        let (vg, lv) = (&self.request.vg, &self.request.lv);
        self.host.lock(vg).map_err(locking)?;
        let found = self.read();
        let found = select::to_change(&found, vg)?;
        match plan::finish(&found.vg, &merge.snapshot_id) {
            Finish::NotMerging => return Err(MergeError::NotMerging { vg: vg.clone(), lv: lv.clone() }),
            Finish::Gone => {}
            Finish::Finished(after) => {
                self.check_ground(found, merge, group)?;
                self.commit_end(found, *after, merge, group)?;
            }
        }
        let (origin, lv) = (&merge.origin, &merge.snapshot);
        self.tell(format!("Merge of snapshot into logical volume {vg}/{origin} has finished."));
        self.tell(format!("Logical volume \"{lv}\" successfully removed."));
        Ok(MergeOutcome::Finished)
    }

    fn commit_end(&mut self, found: &FoundVg, after: Vg, merge: &Merge, live: &Group) -> Outcome<(), H> {
        let handover = {
            let mut disks = self.host.disks();
            let mut set = DiskSet::new(&mut *disks, self.request.paths);
            stage(&mut set, found, after, self.environment)?.hand_over()
        };
        let mut next = Group::of(&handover.next, &name_now(&handover.next.vg, merge))?;
        // The LV may have been renamed meanwhile; its devices were not.
        next.origin.top = live.origin.top.clone();
        next.origin.real = live.origin.real.clone();
        let transaction = activation::finish_merge(live, &next, handover.headers);
        match self.host.mapper().transact(&transaction) {
            Ok(()) => {}
            Err((Stage::Resume | Stage::Clean, source)) => {
                let text = format!("The end of the merge is committed, but a device is left over: {source}");
                self.observer.notice(Notice::warning(text));
            }
            Err((Stage::Preload | Stage::Suspend | Stage::Commit, source)) => {
                let (vg, lv) = (self.request.vg.clone(), self.request.lv.clone());
                return Err(MergeError::Finish { vg, lv, source });
            }
        }
        self.observer.committed(&handover.next.vg);
        Ok(())
    }

    /// Removes what is there of the group's devices. What the end of the merge has removed already is not missed.
    fn take_down(&mut self, group: &Group) -> Outcome<(), H> {
        let failed = |source| MergeError::Host { attempt: "taking the volumes down", source };
        let there = self.host.mapper().list().map_err(failed)?;
        let mut outcome = Ok(());
        for verb in activation::deactivate(group) {
            let Verb::Remove { name } = &verb else { continue };
            if !there.iter().any(|info| info.name == *name) {
                continue;
            }
            if let Err(source) = self.host.mapper().apply(&verb) {
                if outcome.is_ok() {
                    outcome = Err(failed(source));
                } else {
                    let text = format!("taking {name} down: {source}");
                    self.observer.notice(Notice::warning(text));
                }
            }
        }
        outcome
    }
}

fn is_invalidated(report: &Report) -> bool {
    report.findings.iter().any(|finding| finding.kind == FindingKind::Invalidated)
}

/// Names may have changed while the VG was not locked; UUIDs do not.
fn name_now(vg: &Vg, merge: &Merge) -> LvName {
    let origin = vg.lvs.iter().find(|lv| lv.id == merge.origin_id);
    origin.map_or_else(|| merge.origin.clone(), |lv| lv.name.clone())
}
