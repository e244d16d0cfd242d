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

use crate::activation::{self, Group};
use crate::environment::Environment;
use crate::job::error::MergeError;
use crate::job::host::{Carried, Counted, MergeHost, Observer, Progress};
use crate::ops::keep::{self, Keep};
use crate::ops::merge::{self as plan, Finish, Mark, Merge};
use crate::ops::merge_start::{InUse, Mode};
use crate::ops::undo::Undo;
use crate::ops::{Level, Notice};
use crate::store::{Discovery, DiskSet, FoundVg, discover, select, stage};
use foldback_dm_table::{DeviceMapper, SnapshotStatus, Stage, Verb};
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
    /// Go on where another snapshot of the origin will overflow and be lost.
    pub force: bool,
    /// Whose name the result has, and when it begins.
    pub mode: Mode,
    /// A snapshot of the origin to take first, so that the merge itself can be undone.
    pub undo: Option<Undo>,
    /// Of live volumes: leave it to them once it is under way.
    pub leave: bool,
    /// That it has begun was said.
    pub told: bool,
}

/// How often the VG is read before it counts as changed.
const LOOKS: u32 = 3;

/// How the job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeOutcome {
    /// The snapshot is folded into its origin and gone.
    Finished,
    /// The observer broke it off; the same command goes on.
    Stopped,
    /// The observer broke it off before anything was written.
    NotBegun,
    /// It is marked, and begins when origin and snapshot are brought up again: one of them is in use.
    Deferred,
    /// It is under way in devices that go on without the job.
    Left,
}

/// What the metadata of a VG become when a merge begins.
pub(super) struct Step {
    /// The LVs that take part, as they are called from then on.
    pub(super) merge: Merge,
    /// The VG with the mark; `None` where it is there already.
    pub(super) after: Option<Box<Vg>>,
}

impl Step {
    fn of_mark(vg: &Vg, merge: Merge) -> Self {
        let after = match plan::mark(vg, &merge) {
            Mark::Marked(marked) => Some(marked),
            Mark::Already => None,
        };
        Self { merge, after }
    }

    fn of_kept(vg: &Vg, merge: &Merge) -> Self {
        let kept = keep::swap_and_mark(vg, merge);
        Self { merge: kept.merge, after: Some(kept.vg) }
    }
}

/// Where a job is after its first part.
pub(super) enum Begun {
    Nothing,
    Deferred,
    /// The job brought the devices up.
    Own(Merge, Group),
    /// The devices were up, and stay up.
    Live(Merge, Group),
}

pub(super) type Outcome<T, H> = Result<T, MergeError<<H as MergeHost>::Error>>;

/// Merges a snapshot that nobody serves, or goes on with its merge.
pub fn merge<H: MergeHost>(
    host: &mut H,
    request: &MergeRequest<'_>,
    environment: &mut dyn Environment,
    observer: &mut dyn Observer,
) -> Outcome<MergeOutcome, H> {
    let mut job = Job { host, request, environment, observer, counted: None };
    let begun = job.begin();
    job.host.unlock();
    let (merge, group) = match begun? {
        Begun::Nothing => return Ok(MergeOutcome::NotBegun),
        Begun::Deferred => return Ok(MergeOutcome::Deferred),
        Begun::Live(merge, group) => return job.follow(&merge, &group),
        Begun::Own(merge, group) => (merge, group),
    };
    let carried = job.carry(&merge, &group);
    if carried.is_ok() {
        job.tell_lost_snapshots(&group);
    }
    let ended = match carried {
        Ok(Carried::Stopped) => Ok(MergeOutcome::Stopped),
        Ok(Carried::Finished | Carried::Gone) => job.end(&merge, &group).map(|()| {
            job.tell_finished(&merge);
            MergeOutcome::Finished
        }),
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

/// Ends a merge whose store is empty, and which the host's devices carry: the last commit, and their plain tables. Harmless
/// where somebody else has ended it.
pub fn finish<H: MergeHost>(
    host: &mut H,
    request: &MergeRequest<'_>,
    environment: &mut dyn Environment,
    observer: &mut dyn Observer,
) -> Outcome<(), H> {
    let mut job = Job { host, request, environment, observer, counted: None };
    let ended = job.end_called(&request.lv);
    job.host.unlock();
    ended
}

pub(super) struct Job<'j, 'r, H> {
    pub(super) host: &'j mut H,
    pub(super) request: &'j MergeRequest<'r>,
    pub(super) environment: &'j mut dyn Environment,
    pub(super) observer: &'j mut dyn Observer,
    /// For how much there is room in the snapshot that undoes the merge.
    pub(super) counted: Option<Counted>,
}

pub(super) fn locking<E: std::error::Error + Send + Sync + 'static>(source: E) -> MergeError<E> {
    MergeError::Host { attempt: "locking the volume group", source }
}

impl<H: MergeHost> Job<'_, '_, H> {
    pub(super) fn read(&mut self) -> Discovery {
        let mut disks = self.host.disks();
        discover(&mut DiskSet::new(&mut *disks, self.request.paths), self.request.system_id)
    }

    pub(super) fn tell(&mut self, text: String) {
        self.observer.notice(Notice::print(text));
    }

    pub(super) fn detail(&mut self, text: String) {
        self.observer.notice(Notice { level: Level::Verbose, text });
    }

    pub(super) fn tell_finished(&mut self, merge: &Merge) {
        let (vg, origin, lv) = (&self.request.vg, &merge.origin, &merge.snapshot);
        self.tell(format!("Merge of snapshot into logical volume {vg}/{origin} has finished."));
        self.tell(format!("Logical volume \"{lv}\" successfully removed."));
    }

    /// Looks at everything, marks the snapshot, and brings the devices up, or switches those that are.
    fn begin(&mut self) -> Outcome<Begun, H> {
        let (vg, lv) = (&self.request.vg, &self.request.lv);
        self.host.lock(vg).map_err(locking)?;
        let found = self.read();
        let mut found = select::to_change(&found, vg)?.clone();
        let (merge, keeps) = self.wanted(&found.vg)?;
        let mut live = self.live_group(&found, lv)?;
        let exceptions = self.check_stores(&found, &merge, live.as_ref())?;
        // Locks and stores may have taken long.
        if self.observer.stops() {
            return Ok(Begun::Nothing);
        }
        if let Some(undo) = &self.request.undo {
            found = self.take_undo(&found, &merge, undo, exceptions, live.as_ref())?;
            live = live.map(|_| Group::of(&found, lv)).transpose()?;
        }
        let step = if keeps { Step::of_kept(&found.vg, &merge) } else { Step::of_mark(&found.vg, merge) };
        match live {
            Some(live) if keeps => self.begin_kept(&found, step, live),
            Some(live) => self.begin_live(&found, step, live),
            None => self.begin_own(found, step),
        }
    }

    /// The LVs that take part, and whether they are to swap their names now.
    fn wanted(&self, vg: &Vg) -> Outcome<(Merge, bool), H> {
        if self.request.mode != Mode::NameSnapshot {
            return Ok((plan::check(vg, &self.request.lv)?, false));
        }
        Ok(match keep::check(vg, &self.request.lv)? {
            Keep::Fresh(merge) => (merge, true),
            Keep::GoesOn(merge) => (merge, false),
        })
    }

    /// Marks a snapshot that nobody serves, and brings the devices up.
    fn begin_own(&mut self, found: FoundVg, step: Step) -> Outcome<Begun, H> {
        let (vg, lv) = (self.request.vg.clone(), self.request.lv.clone());
        let later = self.request.mode == Mode::OnActivate;
        let Step { merge, after } = step;
        let found = match after {
            None => {
                if !later {
                    self.tell(format!("Merging of volume {vg}/{lv} goes on."));
                }
                found
            }
            Some(marked) => {
                let mut after = found.clone();
                after.vg = (*marked).clone();
                // What cannot be brought up is found out before it is marked.
                Group::of(&after, &lv)?;
                self.observer.changing(&found.vg);
                let committed = self.commit(&found, *marked)?;
                if !later {
                    self.tell(format!("Merging of volume {vg}/{lv} started."));
                }
                committed
            }
        };
        if later {
            return self.not_now(&merge, InUse::default());
        }
        let group = Group::of(&found, &lv)?;
        self.bring_up(&group)?;
        Ok(Begun::Own(merge, group))
    }

    pub(super) fn commit(&mut self, found: &FoundVg, vg: Vg) -> Outcome<FoundVg, H> {
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
            // Without the lock, which others may hold for long. A commit under way is not seen, two in a row may have
            // a text change while it is read: what looks wrong is looked at again.
            let found_good = (0..LOOKS).any(|_| {
                let found = self.read();
                select::to_change(&found, &self.request.vg)
                    .is_ok_and(|found| self.check_ground(found, merge, group).is_ok())
            });
            if !found_good {
                return Err(self.changed());
            }
        }
    }

    /// Refuses where an LV of the group is gone, lies elsewhere, or is no longer what it was.
    fn check_ground(&self, found: &FoundVg, merge: &Merge, group: &Group) -> Outcome<(), H> {
        let now = Group::of(found, &name_now(&found.vg, merge));
        if now.is_ok_and(|now| now.stands_on_the_same_ground(group)) { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> MergeError<H::Error> {
        MergeError::Changed { vg: self.request.vg.clone(), lv: self.request.lv.clone() }
    }

    /// Says which other snapshots were lost: by force, or because their stores failed.
    fn tell_lost_snapshots(&mut self, group: &Group) {
        for snapshot in group.live_snapshots() {
            let status = self.host.mapper().status(&snapshot.top.name).unwrap_or_default();
            let lost = |line: &String| SnapshotStatus::parse(line) == Some(SnapshotStatus::Invalid);
            if status.iter().any(lost) {
                let (vg, lv) = (&self.request.vg, &snapshot.lv);
                let text = format!(
                    "Snapshot {vg}/{lv} is invalid: its store could not take what changed. Its content is lost."
                );
                self.observer.notice(Notice::warning(text));
            }
        }
    }

    /// Locks and reads the VG again, and ends the merge in one commit.
    fn end(&mut self, merge: &Merge, group: &Group) -> Outcome<(), H> {
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
        Ok(())
    }

    /// Ends the merge of the snapshot that is called so, for a host whose volumes change their names only through it.
    fn end_called(&mut self, lv: &LvName) -> Outcome<(), H> {
        self.host.lock(&self.request.vg).map_err(locking)?;
        let found = self.read();
        let found = select::to_change(&found, &self.request.vg)?;
        if found.vg.snapshots().of_cow(lv).is_none_or(|snapshot| !snapshot.segment.merging) {
            return Ok(());
        }
        let merge = plan::check(&found.vg, lv)?;
        self.end_live(&merge)
    }

    /// Ends a merge in devices that stay up, unless somebody else has. It is found by its snapshot's UUID: by now another
    /// snapshot may have the name, and merge as well.
    pub(super) fn end_live(&mut self, merge: &Merge) -> Outcome<(), H> {
        let (vg, lv) = (&self.request.vg, &merge.snapshot);
        self.host.lock(vg).map_err(locking)?;
        let found = self.read();
        let found = select::to_change(&found, vg)?;
        match plan::finish(&found.vg, &merge.snapshot_id) {
            Finish::NotMerging => Err(MergeError::NotMerging { vg: vg.clone(), lv: lv.clone() }),
            Finish::Gone => Ok(()),
            Finish::Finished(after) => {
                let live = Group::of(found, &name_now(&found.vg, merge))?;
                self.commit_end(found, *after, merge, &live)
            }
        }
    }

    fn commit_end(&mut self, found: &FoundVg, after: Vg, merge: &Merge, live: &Group) -> Outcome<(), H> {
        // The archive says what became of the snapshot, to whoever repeats the command.
        self.observer.changing(&found.vg);
        let handover = {
            let mut disks = self.host.disks();
            let mut set = DiskSet::new(&mut *disks, self.request.paths);
            stage(&mut set, found, after, self.environment)?.hand_over()
        };
        // LVs may have been renamed meanwhile; their devices were not.
        let next = Group::of(&handover.next, &name_now(&handover.next.vg, merge))?.called_as(live);
        let transaction = activation::finish_merge(live, &next, handover.headers);
        match self.host.mapper().transact(&transaction) {
            Ok(()) => {}
            Err((Stage::Clean, source)) => {
                let text =
                    format!("The end of the merge is committed, but something is left to do: {source}");
                self.observer.notice(Notice::warning(text));
            }
            Err((Stage::Resume, source)) => {
                let text = self.go_on_to_the_end(live, &next, &source);
                self.observer.notice(Notice::warning(text));
            }
            Err((stage @ (Stage::Preload | Stage::Suspend | Stage::Commit), source)) => {
                let (vg, lv) = (self.request.vg.clone(), self.request.lv.clone());
                return Err(MergeError::Finish { vg, lv, stage, source });
            }
        }
        self.observer.committed(&handover.next.vg);
        Ok(())
    }

    /// The end of a merge is committed, and a device did not follow: the others run on with old tables, on extents that are
    /// free by now (docs/decisions/0002-user-dm.md). Brings them on, once; what to say.
    fn go_on_to_the_end(&mut self, live: &Group, next: &Group, source: &H::Error) -> String {
        let committed = "The end of the merge is committed, but not all devices followed";
        let mapper = self.host.mapper();
        let on = activation::tables(mapper).and_then(|there| {
            let way = activation::go_on(&[activation::Change::between(live, next)], &there);
            mapper.transact(&way).map_err(|(_, error)| error)
        });
        match on {
            Ok(()) => format!("{committed} at once: {source}. They did when it was tried again."),
            Err(error) => format!(
                "{committed}: {source}; and when it was tried again: {error}. Old tables run on; once the cause is gone `lvchange \
                 --refresh {0}/{1}` brings them on, also in use.",
                self.request.vg, next.origin.lv
            ),
        }
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

/// Names may have changed while the VG was not locked; UUIDs do not.
fn name_now(vg: &Vg, merge: &Merge) -> LvName {
    let origin = vg.lvs.iter().find(|lv| lv.id == merge.origin_id);
    origin.map_or_else(|| merge.origin.clone(), |lv| lv.name.clone())
}
