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
use crate::check;
use crate::environment::Environment;
use crate::job::error::MergeError;
use crate::job::host::{Carried, MergeHost, Observer, Progress};
use crate::job::room::{Room, Sized};
use crate::ops::merge::{self as plan, Finish, Mark, Merge};
use crate::ops::{Level, Notice};
use crate::store::{Discovery, DiskSet, FoundVg, discover, select, stage};
use foldback_dm_snapshot_format::{CheckedStore, FindingKind, Report, Severity};
use foldback_dm_table::{DeviceMapper, SnapshotStatus, Stage, Verb};
use foldback_lvm2_format::vg::{Snapshot, Vg};
use foldback_units::{ChunkSize, LvName, Sectors, VgName};
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
    /// Mark it only; it begins when the origin is brought up the next time (`--onactivate`).
    pub on_activate: bool,
    /// Of live volumes: leave it to them once it is under way.
    pub leave: bool,
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
    let mut job = Job { host, request, environment, observer };
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
    let mut job = Job { host, request, environment, observer };
    let ended = job.end_live();
    job.host.unlock();
    ended
}

pub(super) struct Job<'j, 'r, H> {
    pub(super) host: &'j mut H,
    pub(super) request: &'j MergeRequest<'r>,
    pub(super) environment: &'j mut dyn Environment,
    pub(super) observer: &'j mut dyn Observer,
}

fn locking<E: std::error::Error + Send + Sync + 'static>(source: E) -> MergeError<E> {
    MergeError::Host { attempt: "locking the volume group", source }
}

impl<H: MergeHost> Job<'_, '_, H> {
    fn read(&mut self) -> Discovery {
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
        let found = select::to_change(&found, vg)?;
        let merge = plan::check(&found.vg, lv)?;
        let live = self.live_group(found, lv)?;
        self.check_stores(found, &merge, live.as_ref())?;
        // Locks and stores may have taken long.
        if self.observer.stops() {
            return Ok(Begun::Nothing);
        }
        if let Some(live) = live {
            return self.begin_live(found, merge, live);
        }
        let found = match plan::mark(&found.vg, &merge) {
            Mark::Already => {
                if !self.request.on_activate {
                    self.tell(format!("Merging of volume {vg}/{lv} goes on."));
                }
                found.clone()
            }
            Mark::Marked(marked) => {
                let mut after = found.clone();
                after.vg = (*marked).clone();
                // What cannot be brought up is found out before it is marked.
                Group::of(&after, lv)?;
                self.observer.changing(&found.vg);
                let committed = self.commit(found, *marked)?;
                if !self.request.on_activate {
                    self.tell(format!("Merging of volume {vg}/{lv} started."));
                }
                committed
            }
        };
        if self.request.on_activate {
            return Ok(self.deferred(&merge));
        }
        let group = Group::of(&found, lv)?;
        self.bring_up(&group)?;
        Ok(Begun::Own(merge, group))
    }

    /// Checks the stores of all snapshots of the origin: the others take copies during the merge.
    ///
    /// A live store is written while it is read here: what looks damaged is left to whoever carries it, who has checked
    /// it when it was brought up.
    fn check_stores(&mut self, found: &FoundVg, merge: &Merge, live: Option<&Group>) -> Outcome<(), H> {
        let links = found.vg.snapshots();
        let mut disks = self.host.disks();
        let mut set = DiskSet::new(&mut *disks, self.request.paths);
        let mut stores = Vec::new();
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
            if let Some(finding) = refuses.filter(|_| live.is_none()) {
                let (origin, finding) = (merge.origin.clone(), Box::new(finding.clone()));
                return Err(MergeError::Damaged { vg: vg(), origin, lv: lv.clone(), finding });
            }
            stores.extend(report.store.map(|store| (snapshot, store)));
        }
        drop(disks);
        self.check_room(found, merge, &stores, live)
    }

    /// Refuses where another snapshot would overflow; warns where that is live, unless the merge is under way.
    fn check_room(
        &mut self,
        found: &FoundVg,
        merge: &Merge,
        stores: &[(Snapshot<'_>, CheckedStore)],
        live: Option<&Group>,
    ) -> Outcome<(), H> {
        let is_merging = |one: &&(Snapshot<'_>, CheckedStore)| one.0.segment.cow == merge.snapshot;
        let Some((snapshot, store)) = stores.iter().find(is_merging) else { return Ok(()) };
        let merging = (store, chunk_size(snapshot, store));
        self.check_end(found, merge, snapshot, merging)?;
        if let Some(live) = live
            && self.is_merging(live)?
        {
            return Ok(());
        }
        // The merge does not change what a snapshot of the merged view shows: nothing is copied out to it.
        let others = stores.iter().filter(|one| !is_merging(one) && !one.0.merge_view);
        for (snapshot, store) in others {
            let other = &snapshot.segment.cow;
            let size = |extents| found.vg.extent_size.of(extents);
            let store_size = found.vg.lv(other).map_or(Sectors::ZERO, |lv| size(lv.extent_count()));
            let other_store = (store, chunk_size(snapshot, store));
            let room = Room::of(merging, other_store, size(snapshot.extent_count), store_size);
            if let Some(live) = live {
                self.warn_of_overflow(live, merge, merging, other, room)?;
            } else if !room.suffices() && !self.request.force {
                let (vg, lv, other) = (self.request.vg.clone(), merge.snapshot.clone(), other.clone());
                let Room { needed, free, chunk_size } = room;
                return Err(MergeError::WouldOverflow { vg, lv, other, needed, free, chunk_size });
            }
        }
        Ok(())
    }

    /// Refuses where the origin was extended since, and the chunk that then was its last, in part, would be written whole:
    /// behind the snapshot's end the store holds nothing.
    fn check_end(
        &self,
        found: &FoundVg,
        merge: &Merge,
        snapshot: &Snapshot<'_>,
        store: Sized<'_>,
    ) -> Outcome<(), H> {
        let (store, chunk_size) = store;
        let end = found.vg.extent_size.of(snapshot.extent_count);
        let now =
            found.vg.lv(&merge.origin).map_or(Sectors::ZERO, |lv| found.vg.extent_size.of(lv.extent_count()));
        let last = chunk_size.chunk_of(end);
        let in_part = !chunk_size.offset_in_chunk(end).is_zero();
        if now > end && in_part && store.records.iter().any(|record| record.old_chunk() == last) {
            let (vg, lv, origin) = (self.request.vg.clone(), merge.snapshot.clone(), merge.origin.clone());
            return Err(MergeError::Grown { vg, lv, origin });
        }
        Ok(())
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

    pub(super) fn end_live(&mut self) -> Outcome<(), H> {
        let (vg, lv) = (&self.request.vg, &self.request.lv);
        self.host.lock(vg).map_err(locking)?;
        let found = self.read();
        let found = select::to_change(&found, vg)?;
        let links = found.vg.snapshots();
        if links.of_cow(lv).is_none_or(|snapshot| !snapshot.segment.merging) {
            return Ok(());
        }
        let merge = plan::check(&found.vg, lv)?;
        let group = Group::of(found, lv)?;
        self.end(&merge, &group)
    }

    fn commit_end(&mut self, found: &FoundVg, after: Vg, merge: &Merge, live: &Group) -> Outcome<(), H> {
        // The archive says what became of the snapshot, to whoever repeats the command.
        self.observer.changing(&found.vg);
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

/// The header wins over the metadata (dm-snapshot.md 1.4).
fn chunk_size(snapshot: &Snapshot<'_>, store: &CheckedStore) -> ChunkSize {
    store.header.map_or(snapshot.segment.chunk_size, |header| header.chunk_size)
}

/// Names may have changed while the VG was not locked; UUIDs do not.
fn name_now(vg: &Vg, merge: &Merge) -> LvName {
    let origin = vg.lvs.iter().find(|lv| lv.id == merge.origin_id);
    origin.map_or_else(|| merge.origin.clone(), |lv| lv.name.clone())
}
