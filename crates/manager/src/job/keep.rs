//! Starting a merge whose result is the snapshot, while the snapshot is in use (`--namesnapshot`; architecture.md,
//! "Merging").
//!
//! What must hold:
//! - Names swap in the metadata and in the devices with one transaction: the snapshot's own device becomes the merging
//!   origin under whoever has it open.
//! - The origin is closed to others from before the switch on, since its device has nothing behind it afterwards.
//! - Devices that did not come up are never left under metadata that call them by others' names: the reverse swap is
//!   committed.

use crate::activation::{self, Change, Group};
use crate::job::error::MergeError;
use crate::job::host::MergeHost;
use crate::job::merge::{Begun, Job, Outcome, Step};
use crate::ops::merge_start::InUse;
use crate::recover;
use crate::store::{DiskSet, FoundVg, stage};
use foldback_dm_table::{DeviceMapper, Stage};

impl<H: MergeHost> Job<'_, '_, H> {
    /// Swaps names and devices, and merges.
    pub(super) fn begin_kept(&mut self, found: &FoundVg, step: Step, live: Group) -> Outcome<Begun, H> {
        let Step { merge, after } = step;
        let Some(after) = after else { return self.begin_live(found, Step { merge, after }, live) };
        let handover = {
            let mut disks = self.host.disks();
            let mut set = DiskSet::new(&mut *disks, self.request.paths);
            stage(&mut set, found, *after, self.environment)?.hand_over()
        };
        let next = Group::of(&handover.next, &merge.snapshot)?;
        let transaction = activation::keep_snapshot(&live, &next, handover.headers);
        self.observer.changing(&found.vg);
        match self.host.start_live(&transaction, std::slice::from_ref(&live.origin.top.name)) {
            Ok(None) => {}
            Ok(Some((device, by))) => {
                self.detail(format!("{device} is in use: {by}."));
                // As it is called before the swap.
                let asked = crate::ops::merge::check(&found.vg, &self.request.lv)?;
                return self.not_now(&asked, InUse { active: true, origin: true, snapshot: false });
            }
            Err((Stage::Clean, source)) => {
                let text = format!("The merge has begun, but something is left to do: {source}");
                self.observer.notice(crate::ops::Notice::warning(text));
            }
            Err((stage, source)) => {
                if self.go_on_or_back(stage, (found, &handover.next), (&live, &next))? {
                    let text =
                        format!("The merge has begun, though not all devices followed at once: {source}");
                    self.observer.notice(crate::ops::Notice::warning(text));
                    self.observer.committed(&handover.next.vg);
                    return Ok(Begun::Live(merge, next));
                }
                return Err(self.not_started("starting", stage, source));
            }
        }
        self.observer.committed(&handover.next.vg);
        self.tell(format!("Merging of volume {}/{} started.", self.request.vg, self.request.lv));
        Ok(Begun::Live(merge, next))
    }

    /// Where devices did not come back after a commit that they must not be left under: the VG before, and old tables. But a
    /// merge that came up already is gone on with, which is told by `true`: what the old origin held is being overwritten.
    pub(super) fn go_on_or_back(
        &mut self,
        stage: Stage,
        (before, next): (&FoundVg, &FoundVg),
        (live, switched): (&Group, &Group),
    ) -> Outcome<bool, H> {
        if stage != Stage::Resume {
            return Ok(false);
        }
        let tables = activation::tables(self.host.mapper());
        let tables =
            tables.map_err(|source| MergeError::Host { attempt: "looking at the devices", source })?;
        let changes = [Change::between(live, switched)];
        if activation::merge_came_up(&changes, &tables) {
            let on = self.host.mapper().transact(&activation::go_on(&changes, &tables));
            on.map_err(|(_, source)| MergeError::Host { attempt: "bringing the devices up", source })?;
            return Ok(true);
        }
        let transaction = {
            let mut disks = self.host.disks();
            let mut set = DiskSet::new(&mut *disks, self.request.paths);
            recover::take_back(&mut set, (before, next), &changes, &tables, self.environment)?
        };
        let back = self.host.mapper().transact(&transaction);
        back.map_err(|(_, source)| MergeError::Host { attempt: "taking the change back", source })?;
        self.observer.committed(&before.vg);
        Ok(false)
    }
}
