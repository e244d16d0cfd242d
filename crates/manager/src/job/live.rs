//! Merging in devices that are up and stay up: the daemon's, or the kernel's.
//!
//! What must hold (lvm2.md 2.6, 2.11):
//! - Mark and switch are one transaction: no merge is running that the metadata does not know.
//! - What is in use is not switched: the merge is marked, and begins when both are brought up again.
//! - Whoever follows a merge only watches; it ends also when nobody does.

use crate::activation::{self, Group};
use crate::job::error::MergeError;
use crate::job::host::{Carried, InUse, MergeHost};
use crate::job::merge::{Begun, Job, MergeOutcome, Outcome, Step, locking};
use crate::ops::Refusal;
use crate::ops::merge::{Finish, Merge, finish as look_at};
use crate::ops::merge_start::{InUse as Used, Mode, Start, decide};
use crate::store::{DiskSet, FoundVg, select, stage};
use foldback_dm_table::{DeviceMapper, HeaderWrite, SnapshotStatus, Stage, Target, Transaction};
use foldback_lvm2_format::vg::Vg;
use foldback_units::LvName;

/// What came of the switch of the devices.
enum Switched {
    /// The merge is marked, and the origin's live table merges.
    Merges,
    /// It is marked, and the origin's device was left as it was.
    Not,
    /// Somebody is in the way; then no device was touched.
    InUse(InUse),
}

impl<H: MergeHost> Job<'_, '_, H> {
    /// The group of an LV where its devices are up, under the names that they have.
    pub(super) fn live_group(&mut self, found: &FoundVg, lv: &LvName) -> Outcome<Option<Group>, H> {
        let failed = |source| MergeError::Host { attempt: "looking for live volumes", source };
        let there = self.host.mapper().list().map_err(failed)?;
        if there.is_empty() {
            return Ok(None);
        }
        let group = Group::of(found, lv)?;
        let live = there.iter().any(|info| info.uuid == group.origin.top.uuid);
        Ok(live.then_some(group))
    }

    /// Switches a live group, or only marks the merge.
    pub(super) fn begin_live(&mut self, found: &FoundVg, step: Step, live: Group) -> Outcome<Begun, H> {
        let (vg, lv) = (self.request.vg.clone(), self.request.lv.clone());
        let Step { merge, after } = step;
        let marked = match after {
            None if self.is_merging(&live)? => {
                self.try_again(&live)?;
                if !self.request.told {
                    self.tell(format!("Merging of volume {vg}/{lv} goes on."));
                }
                return Ok(Begun::Live(merge, live));
            }
            None => found.vg.clone(),
            Some(marked) => {
                self.observer.changing(&found.vg);
                *marked
            }
        };
        if self.request.mode == Mode::OnActivate {
            return self.mark_only(found, marked, &merge);
        }
        match self.switch(found, marked.clone(), &merge, &live)? {
            Switched::Merges => {
                self.tell(format!("Merging of volume {vg}/{lv} started."));
                Ok(Begun::Live(merge, live))
            }
            Switched::Not => {
                // Whoever brings it up or refreshes it the next time starts it.
                self.not_now_in(&merge, Mode::OnActivate, Used { active: true, ..Used::default() })
            }
            Switched::InUse((device, by)) if self.request.undo.is_some() => {
                // Between the look and the switch: nothing is marked, and the snapshot that was taken harms nobody.
                Err(Refusal::UndoInUse { vg, lv, device: device.0, by }.into())
            }
            Switched::InUse((device, by)) => {
                // Who is in the way has it as it was: nothing but the mark is committed.
                let origin = device == live.origin.top.name;
                let begun = self.not_now(&merge, Used { active: true, origin, snapshot: !origin })?;
                self.detail(format!("{device} is in use: {by}."));
                Ok(begun)
            }
        }
    }

    fn mark_only(&mut self, found: &FoundVg, marked: Vg, merge: &Merge) -> Outcome<Begun, H> {
        if marked != found.vg {
            let handover = {
                let mut disks = self.host.disks();
                let mut set = DiskSet::new(&mut *disks, self.request.paths);
                stage(&mut set, found, marked, self.environment)?.hand_over()
            };
            self.mark_staged(found, &handover.next, handover.headers)?;
        }
        self.not_now(merge, Used { active: true, ..Used::default() })
    }

    /// Says when a merge that does not begin now will.
    pub(super) fn not_now(&mut self, merge: &Merge, in_use: Used) -> Outcome<Begun, H> {
        self.not_now_in(merge, self.request.mode, in_use)
    }

    fn not_now_in(&mut self, merge: &Merge, mode: Mode, in_use: Used) -> Outcome<Begun, H> {
        let (Start::Now(notices) | Start::Deferred(notices)) = decide(&self.request.vg, merge, mode, in_use)?;
        for notice in notices {
            self.observer.notice(notice);
        }
        Ok(Begun::Deferred)
    }

    /// Whether the origin's live table merges already.
    pub(super) fn is_merging(&mut self, live: &Group) -> Outcome<bool, H> {
        let failed = |source| MergeError::Host { attempt: "looking at the origin's table", source };
        let table = self.host.mapper().table(&live.origin.top.name).map_err(failed)?;
        let merges = |table: &foldback_dm_table::Table| {
            table.lines.iter().any(|line| matches!(line.target, Target::SnapshotMerge(_)))
        };
        Ok(table.as_ref().is_some_and(merges))
    }

    /// Has a running merge that has failed tried again: whoever gives the command anew wants that, and the cause may be gone.
    ///
    /// A kernel that resumes such a device merges on, but says for ever that the merge has failed, and never how far it is. Nor
    /// does it take a second merging table beside the first. So the device is made anew there, unless somebody uses it: then
    /// the merge goes on unseen, and is ended after the next activation.
    pub(super) fn try_again(&mut self, live: &Group) -> Outcome<(), H> {
        if !self.has_failed(live)? {
            return Ok(());
        }
        let again = self.host.mapper().transact(&activation::merge_again(live));
        again.map_err(|(stage, source)| self.not_started("taking up", stage, source))?;
        if !self.has_failed(live)? {
            return Ok(());
        }
        let failed = |source| MergeError::Host { attempt: "looking who uses the origin", source };
        let there = self.host.mapper().list().map_err(failed)?;
        if there.iter().any(|info| info.name == live.origin.top.name && info.open_count > 0) {
            return Ok(());
        }
        for verb in activation::origin_anew(live) {
            let made = self.host.mapper().apply(&verb);
            made.map_err(|source| MergeError::Host { attempt: "making the origin's device anew", source })?;
        }
        Ok(())
    }

    fn has_failed(&mut self, live: &Group) -> Outcome<bool, H> {
        let failed = |source| MergeError::Host { attempt: "looking at the merge", source };
        let status = self.host.mapper().status(&live.origin.top.name).map_err(failed)?;
        Ok(status.iter().any(|line| SnapshotStatus::parse(line) == Some(SnapshotStatus::MergeFailed)))
    }

    /// Commits the mark with the switch of the devices, unless somebody is in the way.
    fn switch(&mut self, found: &FoundVg, marked: Vg, merge: &Merge, live: &Group) -> Outcome<Switched, H> {
        let handover = {
            let mut disks = self.host.disks();
            let mut set = DiskSet::new(&mut *disks, self.request.paths);
            stage(&mut set, found, marked, self.environment)?.hand_over()
        };
        let next = Group::of(&handover.next, &merge.snapshot)?;
        let mut before = live.clone();
        // A merge that was marked and deferred is live as an ordinary snapshot.
        before.snapshots.iter_mut().for_each(|snapshot| snapshot.merging = false);
        let transaction = activation::start_merge(&before, &next, handover.headers);
        let snapshot = before.snapshots.iter().find(|snapshot| snapshot.lv == merge.snapshot);
        let mut closed = vec![before.origin.top.name.clone()];
        closed.extend(snapshot.map(|snapshot| snapshot.top.name.clone()));
        let started = match self.counted.take() {
            Some(counted) => self.host.start_live_as_counted(&transaction, &closed, &counted),
            None => self.host.start_live(&transaction, &closed),
        };
        match started {
            Ok(None) => {}
            Ok(Some(in_use)) => {
                if self.request.undo.is_none() {
                    self.mark_staged(found, &handover.next, transaction.headers)?;
                }
                return Ok(Switched::InUse(in_use));
            }
            Err((Stage::Clean, source)) => {
                let text = format!("The merge has begun, but something is left to do: {source}");
                self.observer.notice(crate::ops::Notice::warning(text));
            }
            Err((Stage::Resume, source)) => {
                let text = format!("The merge is marked, but a device was not switched: {source}");
                self.observer.notice(crate::ops::Notice::warning(text));
                self.observer.committed(&handover.next.vg);
                // It may be one behind the origin's.
                return Ok(if self.is_merging(&next)? { Switched::Merges } else { Switched::Not });
            }
            Err((stage, source)) => return Err(self.not_started("starting", stage, source)),
        }
        self.observer.committed(&handover.next.vg);
        Ok(Switched::Merges)
    }

    /// Commits a mark that was staged for devices which stay as they are.
    fn mark_staged(&mut self, found: &FoundVg, next: &FoundVg, headers: Vec<HeaderWrite>) -> Outcome<(), H> {
        let transaction = Transaction { headers, ..Transaction::default() };
        let marked = self.host.mapper().transact(&transaction);
        marked.map_err(|(stage, source)| self.not_started("marking", stage, source))?;
        if next.vg != found.vg {
            self.observer.committed(&next.vg);
        }
        Ok(())
    }

    /// A transaction was taken back.
    pub(super) fn not_started(
        &self,
        attempt: &'static str,
        stage: Stage,
        source: H::Error,
    ) -> MergeError<H::Error> {
        let (vg, lv) = (self.request.vg.clone(), self.request.lv.clone());
        MergeError::Start { attempt, vg, lv, stage, source }
    }

    /// Watches a merge of live devices to its end, and ends it where nobody else does.
    pub(super) fn follow(&mut self, merge: &Merge, live: &Group) -> Outcome<MergeOutcome, H> {
        if self.request.leave {
            return Ok(MergeOutcome::Left);
        }
        let observer = &mut *self.observer;
        let carried = self
            .host
            .carry_merge(&live.origin.top.name, &mut |progress| observer.progress(progress))
            .map_err(|source| MergeError::Host { attempt: "merging", source })?;
        match carried {
            Carried::Stopped => Ok(MergeOutcome::Left),
            Carried::Gone if self.is_marked(merge)? => {
                let (vg, origin) = (&self.request.vg, &merge.origin);
                self.tell(format!("{vg}/{origin}: Interrupted: No longer active."));
                Ok(MergeOutcome::Left)
            }
            Carried::Gone => {
                self.tell_finished(merge);
                Ok(MergeOutcome::Finished)
            }
            Carried::Finished => {
                let ended = self.end_live(merge);
                self.host.unlock();
                ended?;
                self.tell_finished(merge);
                Ok(MergeOutcome::Finished)
            }
        }
    }

    /// Whether the VG still says that the snapshot merges: then nobody has ended it, and its volumes were taken down.
    fn is_marked(&mut self, merge: &Merge) -> Outcome<bool, H> {
        self.host.lock(&self.request.vg).map_err(locking)?;
        let found = self.read();
        self.host.unlock();
        let found = select::to_change(&found, &self.request.vg)?;
        Ok(matches!(look_at(&found.vg, &merge.snapshot_id), Finish::Finished(_)))
    }
}
