//! The warning before a merge in live volumes by which another snapshot would overflow.
//!
//! What must hold:
//! - It says a number that is not exceeded: chunks of the merging snapshot that are not on the disk yet count as well.
//! - It stops nothing: stores of live volumes can be extended while the merge runs. What nobody serves is refused instead.

use crate::activation::Group;
use crate::job::error::MergeError;
use crate::job::host::MergeHost;
use crate::job::merge::{Job, Outcome};
use crate::job::room::{Room, Sized, Usage};
use crate::ops::Notice;
use crate::ops::merge::Merge;
use crate::report::Units;
use foldback_dm_table::{DeviceMapper, SnapshotStatus};
use foldback_units::{LvName, Sectors};

impl<H: MergeHost> Job<'_, '_, H> {
    /// Warns where the merge of `merging` could copy out more to `other` than it can take; `room` is what the disks say.
    pub(super) fn warn_of_overflow(
        &mut self,
        live: &Group,
        merge: &Merge,
        merging: Sized<'_>,
        other: &LvName,
        room: Room,
    ) -> Outcome<(), H> {
        let (store, chunk_size) = merging;
        let on_disk = u64::try_from(store.records.len()).unwrap_or(u64::MAX);
        let all = self.usage(live, &merge.snapshot)?.map_or(on_disk, |usage| usage.exceptions(chunk_size));
        let unseen = all.saturating_sub(on_disk);
        // Without a status it was invalidated: nothing of it can be hurt.
        let Some(usage) = self.usage(live, other)? else { return Ok(()) };
        let room = room.of_live(unseen, chunk_size, usage);
        if room.suffices() {
            return Ok(());
        }
        let vg = &self.request.vg;
        let Room { needed, free, chunk_size } = room;
        let then = if self.host.extends_stores() {
            "It will be extended as lvm.conf says, as long as there are free extents.".to_owned()
        } else {
            let lacks = Units::in_words(room.lacks(usage.total));
            format!(
                "When it is full it becomes invalid, and its content is lost. Extend it by {lacks} with: lvextend -L +SIZE \
                 {vg}/{other}"
            )
        };
        let chunk = Units::in_words(chunk_size.len());
        let text = format!(
            "Merging {vg}/{} copies up to {needed} chunks of {chunk} out to snapshot {vg}/{other}, which has room for \
             {free}. {then}",
            merge.snapshot
        );
        self.observer.notice(Notice::warning(text));
        Ok(())
    }

    /// How full a live snapshot is; `None` where it is not valid.
    pub(super) fn usage(&mut self, live: &Group, lv: &LvName) -> Outcome<Option<Usage>, H> {
        let failed = |source| MergeError::Host { attempt: "looking how full the snapshots are", source };
        let Some(snapshot) = live.snapshots.iter().find(|snapshot| snapshot.lv == *lv) else {
            return Ok(None);
        };
        let status = self.host.mapper().status(&snapshot.top.name).map_err(failed)?;
        Ok(status.iter().find_map(|line| match SnapshotStatus::parse(line)? {
            SnapshotStatus::Usage { allocated, total, metadata } => {
                Some(Usage { total, data: Sectors(allocated.get().saturating_sub(metadata.get())) })
            }
            _ => None,
        }))
    }
}
