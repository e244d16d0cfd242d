//! `lvconvert --merge --undo NAME`: a snapshot of the origin that is taken before the merge starts, so that the rollback
//! itself can be rolled back. Pure.
//!
//! What must hold:
//! - Room is checked before anything is changed: every chunk that the merge overwrites is copied out to this snapshot.
//! - Its chunks are as large as those of the snapshot that merges: one is copied for each that is merged, not more.

use crate::environment::Environment;
use crate::ops::lv_create::Planned;
use crate::ops::merge::Merge;
use crate::ops::refusal::Refusal;
use crate::ops::size::{SizeRequest, percent_of};
use crate::ops::snapshot_create::{self, NewSnapshot, largest_store};
use crate::ops::space::{Layout, Space};
use foldback_dm_snapshot_format::Layout as StoreLayout;
use foldback_lvm2_format::vg::{Lv, PvKey, Vg};
use foldback_units::LvName;

/// What a store that nobody sized gets beyond what the merge needs: this share of the origin, for what is written after
/// the merge has started.
const SPARE_PERCENT: u32 = 20;

/// The snapshot that is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undo {
    /// Its name; `None` for the next `lvolN`.
    pub name: Option<LvName>,
    /// Of the store; `None` for what the merge needs and a fifth of the origin, where that is free.
    pub size: Option<SizeRequest>,
    /// The PVs it may lie on; empty for all.
    pub pvs: Vec<PvKey>,
}

/// Plans the snapshot; `exceptions` are the chunks in the store that is to be merged. It is taken in a transaction of its
/// own, before the mark.
///
/// # Errors
/// [`Refusal::NoRoomToUndo`], and all of [`snapshot_create::plan`].
pub fn plan(
    vg: &Vg,
    merge: &Merge,
    undo: &Undo,
    exceptions: u64,
    environment: &mut dyn Environment,
) -> Result<Planned, Refusal> {
    let links = vg.snapshots();
    let not_merging = || Refusal::NotMergeable { vg: vg.name.clone(), lv: merge.snapshot.clone() };
    let chunk = links.of_cow(&merge.snapshot).ok_or_else(not_merging)?.segment.chunk_size;
    let origin = links.lv(&merge.origin).map_or(0, Lv::extent_count);
    let whole = |sectors| vg.extent_size.to_hold(sectors).ok_or(Refusal::TooLarge);
    let least = StoreLayout::new(chunk).min_chunks(exceptions).ok_or(Refusal::TooLarge)?;
    let needed = whole(chunk.len().checked_mul(least).ok_or(Refusal::TooLarge)?)?;
    let largest = whole(largest_store(vg.extent_size.of(origin), chunk).ok_or(Refusal::TooLarge)?)?;
    let free = Space::of(vg, &undo.pvs)?.free;
    let no_room =
        |free| Refusal::NoRoomToUndo { vg: vg.name.clone(), origin: merge.origin.clone(), needed, free };
    if free < needed {
        return Err(no_room(free));
    }
    let spare = u32::try_from(percent_of(SPARE_PERCENT, origin, true)).unwrap_or(u32::MAX);
    let by_default = needed.saturating_add(spare).min(largest.max(needed)).min(free);
    let new = NewSnapshot {
        origin: merge.origin.clone(),
        name: undo.name.clone(),
        size: undo.size.unwrap_or(SizeRequest::Extents(by_default)),
        chunk_sectors: chunk.sectors(),
        layout: Layout::LINEAR,
        pvs: undo.pvs.clone(),
        read_only: false,
        tags: Vec::new(),
    };
    let planned = snapshot_create::plan(vg, &new, environment)?;
    // A size that was asked for may be too small.
    let given = planned.vg.lv(&planned.lv).map_or(0, Lv::extent_count);
    if given < needed { Err(no_room(given)) } else { Ok(planned) }
}

#[cfg(test)]
mod tests {
    use super::{Undo, plan};
    use crate::ops::{Refusal, SizeRequest, merge};
    use crate::testing::{TestEnvironment, lv_name, with_snapshots};
    use foldback_lvm2_format::vg::Vg;

    /// An origin of 80 extents of 4 MiB, and so many free extents.
    fn vg(free: u32) -> Vg {
        let mut vg = with_snapshots(&["snap"]);
        vg.lvs[0].segments[0].extent_count = 80;
        vg.lvs[1].segments[0].kind =
            foldback_lvm2_format::vg::Segment::linear(0, 1, vg.pvs[0].key.clone(), 80).kind;
        vg.pvs[0].pe_count = 81 + free;
        vg
    }

    fn undo(vg: &Vg, size: Option<u32>, exceptions: u64) -> Result<u32, Refusal> {
        let merge = merge::check(vg, &lv_name("snap")).unwrap();
        let undo =
            Undo { name: Some(lv_name("back")), size: size.map(SizeRequest::Extents), pvs: Vec::new() };
        let planned = plan(vg, &merge, &undo, exceptions, &mut TestEnvironment::new())?;
        assert_eq!(foldback_lvm2_format::check::check(&planned.vg), []);
        let snapshot = planned.vg.snapshots().of_cow(&lv_name("back")).map(|found| found.segment.clone());
        assert_eq!(snapshot.unwrap().origin, lv_name("root"));
        Ok(planned.vg.lv(&lv_name("back")).unwrap().extent_count())
    }

    /// An extent of 4 MiB has 1024 chunks: 1000 exceptions need one of them for the header, four areas, and 1000.
    #[test]
    fn there_is_room_for_all_that_the_merge_overwrites() {
        assert_eq!(undo(&vg(50), None, 1000), Ok(1 + 16));
        assert_eq!(undo(&vg(5), None, 1000), Ok(5), "what is free, where that is less");
        assert_eq!(undo(&vg(50), None, 10_000), Ok(10 + 16));
        assert_eq!(undo(&vg(90), None, 80 * 1024), Ok(81), "never more than a store can use");
        assert_eq!(undo(&vg(50), Some(12), 10_000), Ok(12));
    }

    #[test]
    fn without_room_nothing_is_planned() {
        let refused = |needed, free| {
            let (vg, origin) = (vg(1).name, lv_name("root"));
            Err(Refusal::NoRoomToUndo { vg, origin, needed, free })
        };
        assert_eq!(undo(&vg(9), None, 10_000), refused(10, 9));
        assert_eq!(undo(&vg(50), Some(9), 10_000), refused(10, 9));
    }
}
