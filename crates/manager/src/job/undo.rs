//! The snapshot that is taken before a merge, so that the merge itself can be undone (`--undo`).
//!
//! What must hold:
//! - It shows the origin as it was when the merge began: both happen under one lock of the VG, and nothing of the two is
//!   in use. A merge that would be delayed is refused.
//! - Room is checked before anything is written, and the merge does not start where more is to be merged by then.
//! - A merge that may have begun already cannot be undone any more.

use crate::activation::{self, Group};
use crate::apply::prepare_stores;
use crate::job::error::MergeError;
use crate::job::host::{Counted, MergeHost};
use crate::job::merge::{Job, Outcome};
use crate::ops::Refusal;
use crate::ops::merge::Merge;
use crate::ops::undo::{self, Undo};
use crate::store::{DiskSet, FoundVg, stage};
use foldback_dm_table::{DeviceMapper, Transaction};

impl<H: MergeHost> Job<'_, '_, H> {
    /// Takes the snapshot; the VG with it.
    pub(super) fn take_undo(
        &mut self,
        found: &FoundVg,
        merge: &Merge,
        undo: &Undo,
        exceptions: u64,
        live: Option<&Group>,
    ) -> Outcome<FoundVg, H> {
        let links = found.vg.snapshots();
        let (vg, lv) = (self.request.vg.clone(), merge.snapshot.clone());
        let Some(snapshot) = links.of_cow(&lv) else { return Err(Refusal::NotMergeable { vg, lv }.into()) };
        if snapshot.segment.merging {
            return Err(Refusal::TooLateToUndo { vg, lv }.into());
        }
        if let Some(live) = live {
            let snapshot = live.snapshots.iter().find(|snapshot| snapshot.lv == lv);
            let mut closed = vec![live.origin.top.name.clone()];
            closed.extend(snapshot.map(|snapshot| snapshot.top.name.clone()));
            match self.host.start_live(&Transaction::default(), &closed) {
                Ok(None) => {}
                Ok(Some((device, by))) => {
                    return Err(Refusal::UndoInUse { vg, lv, device: device.0, by }.into());
                }
                Err((_, source)) => {
                    return Err(MergeError::Host { attempt: "looking who uses the volumes", source });
                }
            }
        }
        // Of a live store more may be on its way to the disk. What was written to the devices before they were closed just
        // now is in the status, since closing them writes it back and an answered write has its exception. What is written
        // from now on, until they are closed again and the merge starts, is noticed then.
        let exceptions = match live {
            Some(live) => {
                let usage = self.usage(live, &lv)?;
                self.counted = usage.and_then(|usage| {
                    let snapshot = live.snapshots.iter().find(|snapshot| snapshot.lv == lv)?;
                    Some(Counted { snapshot: snapshot.top.name.clone(), data: usage.data })
                });
                usage
                    .map_or(exceptions, |usage| usage.exceptions(snapshot.segment.chunk_size).max(exceptions))
            }
            None => exceptions,
        };
        let planned = undo::plan(&found.vg, merge, undo, exceptions, self.environment)?;
        let chunk = snapshot.segment.chunk_size;
        planned.notices.iter().for_each(|notice| self.observer.notice(notice.clone()));
        self.observer.changing(&found.vg);
        let taken = {
            let mut disks = self.host.disks();
            let mut set = DiskSet::new(&mut *disks, self.request.paths);
            prepare_stores(&mut set, found, &planned.vg, std::slice::from_ref(&planned.lv), chunk)?;
            match live {
                None => None,
                Some(_) => Some(stage(&mut set, found, planned.vg.clone(), self.environment)?.hand_over()),
            }
        };
        let found = match (taken, live) {
            (Some(handover), Some(live)) => {
                let next = Group::of(&handover.next, &merge.origin)?;
                let transaction = activation::take_snapshot(live, &next, handover.headers);
                if let Err((stage, source)) = self.host.mapper().transact(&transaction) {
                    self.go_on_or_back(stage, (found, &handover.next), (live, &next))?;
                    return Err(MergeError::Host {
                        attempt: "taking the snapshot to undo the merge",
                        source,
                    });
                }
                self.observer.committed(&handover.next.vg);
                handover.next
            }
            _ => self.commit(found, planned.vg)?,
        };
        self.tell(format!(
            "Snapshot {}/{} of {} taken: merging it undoes the merge.",
            self.request.vg, planned.lv, merge.origin
        ));
        Ok(found)
    }
}
