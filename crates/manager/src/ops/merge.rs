//! Marking a snapshot for merging, taking the mark back, and ending the merge. Pure.
//!
//! What must hold (lvm2.md 1.9, 2.6, 2.8, 3.3):
//! - The mark is `merging_store` instead of `cow_store`, and the fictional LV loses VISIBLE: nothing else.
//! - Marking a snapshot that is marked changes nothing: the same command goes on with the merge.
//! - The end is one change: the fictional LV and the store go together, so that no stray LV can be left.
//! - At most one snapshot of an origin merges.
//! - The mark is taken back only where it is certain that nothing was merged: on disk, "deferred" and "running" look the
//!   same.

use crate::ops::merge_view;
use crate::ops::refusal::Refusal;
use crate::ops::snapshot_create::not_understood;
use foldback_lvm2_format::vg::{Lv, LvStatus, Vg};
use foldback_units::{LvName, LvmUuid};

/// What marking comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mark {
    /// The VG with the mark.
    Marked(Box<Vg>),
    /// The mark is there already.
    Already,
}

/// A merge in a VG: the LVs that take part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merge {
    /// The LV that users see as the snapshot: the store.
    pub snapshot: LvName,
    /// Its UUID, by which it is found again after the VG was unlocked.
    pub snapshot_id: LvmUuid,
    /// The origin.
    pub origin: LvName,
    /// Its UUID.
    pub origin_id: LvmUuid,
}

/// Whether the snapshot may be merged; the LVs that take part.
pub fn check(vg: &Vg, name: &LvName) -> Result<Merge, Refusal> {
    let links = vg.snapshots();
    let (vg_name, lv) = (vg.name.clone(), name.clone());
    let store = vg
        .lv(name)
        .filter(|lv| lv.snapshot().is_none())
        .ok_or_else(|| Refusal::LvNotFound { vg: vg_name.clone(), lv: lv.clone() })?;
    let snapshot =
        links.of_cow(name).ok_or_else(|| Refusal::NotMergeable { vg: vg_name.clone(), lv: lv.clone() })?;
    let origin_name = &snapshot.segment.origin;
    let origin = vg
        .lv(origin_name)
        .ok_or_else(|| Refusal::LvNotFound { vg: vg_name.clone(), lv: origin_name.clone() })?;
    if let Some(other) = links.merging_into(origin_name).filter(|other| other.segment.cow != *name) {
        return Err(Refusal::OtherMerging {
            vg: vg_name,
            lv,
            origin: origin_name.clone(),
            merging: other.segment.cow.clone(),
        });
    }
    if !origin.is_writable() && !snapshot.segment.merging {
        return Err(Refusal::ReadOnlyOrigin { vg: vg_name, lv, origin: origin_name.clone() });
    }
    for part in [store, origin]
        .into_iter()
        .chain(links.of_origin(origin_name).filter_map(|other| vg.lv(&other.segment.cow)))
    {
        check_usable(vg, part)?;
    }
    Ok(Merge {
        snapshot: name.clone(),
        snapshot_id: store.id,
        origin: origin_name.clone(),
        origin_id: origin.id,
    })
}

/// Every store of the origin takes part in the merge: its copies are made before the origin is overwritten.
fn check_usable(vg: &Vg, lv: &Lv) -> Result<(), Refusal> {
    let (vg_name, name) = (vg.name.clone(), lv.name.clone());
    if let Some(type_text) = not_understood(lv) {
        return Err(Refusal::NotUnderstood { vg: vg_name, lv: name, type_text });
    }
    if lv.status.contains(&LvStatus::Locked) || lv.status.contains(&LvStatus::Pvmove) {
        return Err(Refusal::Locked { vg: vg_name, lv: name });
    }
    if vg.is_partial(lv) {
        return Err(Refusal::Partial { vg: vg_name, lv: name });
    }
    Ok(())
}

/// Marks the snapshot.
pub fn mark(vg: &Vg, merge: &Merge) -> Mark {
    let mut after = vg.clone();
    if merge_view::set_merging(&mut after, &merge.snapshot, true) {
        Mark::Marked(Box::new(after))
    } else {
        Mark::Already
    }
}

/// What is known of a merge that metadata calls pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// The origin is active and its live table is `snapshot-origin`, or this very command has set the mark.
    No,
    /// Anything else: some chunks may have been written to the origin.
    Maybe,
}

/// Takes the mark of the snapshot `name` back (`lvconvert --merge --cancel`): the VG as it was before the mark.
///
/// # Errors
/// [`Refusal::NotMerging`], and [`Refusal::MayHaveBegun`] with the two ways out.
pub fn cancel(vg: &Vg, name: &LvName, begun: Begun) -> Result<Vg, Refusal> {
    let links = vg.snapshots();
    let (vg_name, lv) = (vg.name.clone(), name.clone());
    let snapshot = links
        .of_cow(name)
        .filter(|snapshot| snapshot.segment.merging)
        .ok_or_else(|| Refusal::NotMerging { vg: vg_name.clone(), lv: lv.clone() })?;
    let origin = &snapshot.segment.origin;
    // A snapshot of the merged view is proof of a merged view.
    if begun == Begun::Maybe || !merge_view::views_of(vg, origin).is_empty() {
        return Err(Refusal::MayHaveBegun { vg: vg_name, lv, origin: origin.clone() });
    }
    let mut after = vg.clone();
    merge_view::set_merging(&mut after, name, false);
    Ok(after)
}

/// What is left of a merge when the VG is read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finish {
    /// The VG without the snapshot.
    Finished(Box<Vg>),
    /// Somebody else has finished it.
    Gone,
    /// It is there and does not merge any more: somebody restored older metadata.
    NotMerging,
}

/// Ends the merge of the snapshot with that UUID, whatever it is called now.
pub fn finish(vg: &Vg, snapshot_id: &LvmUuid) -> Finish {
    let links = vg.snapshots();
    let Some(store) = vg.lvs.iter().find(|lv| lv.id == *snapshot_id) else { return Finish::Gone };
    let Some(snapshot) = links.of_cow(&store.name).filter(|snapshot| snapshot.segment.merging) else {
        return Finish::NotMerging;
    };
    let (store, fictional) = (store.name.clone(), snapshot.fictional.name.clone());
    let mut after = vg.clone();
    after.lvs.retain(|lv| lv.name != store && lv.name != fictional);
    // The merged view is the origin now.
    merge_view::settle(&mut after);
    Finish::Finished(Box::new(after))
}
