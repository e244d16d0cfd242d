//! `lvcreate -s`: a snapshot of an LV. Pure.
//!
//! What must hold (lvm2.md 1.9, 1.10, 3.3):
//! - Three LVs: the origin as it was; the store under the name users see, without VISIBLE; and the fictional
//!   `snapshotN` with VISIBLE, as long as the origin is now.
//! - A store is never larger than it can use, and never smaller than three chunks.
//! - No snapshot of a snapshot, of a hidden LV, or, for the kernel, of an origin with a merging snapshot.
//! - Several snapshots are one change: all of them, or none.

use crate::environment::{Environment, fresh_uuid};
use crate::ops::lv_create::{
    Planned, check_layout, check_room_for, choose_name, creation, round_to_stripes, say_rounding,
};
use crate::ops::merge_view;
use crate::ops::names;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use crate::ops::size::{OfOrigin, SizeRequest};
use crate::ops::space::{Layout, Space};
use crate::report::Units;
use foldback_dm_snapshot_format::Layout as StoreLayout;
use foldback_lvm2_format::vg::{
    Lv, LvStatus, PvKey, Segment, SegmentKind, SnapshotLinks, SnapshotSegment, Vg,
};
use foldback_units::{ChunkSize, LvName, Sectors, TagName};

/// LVM2's smallest chunk, and its default: 4 KiB.
pub const CHUNK_MIN: u32 = 8;
/// LVM2's largest chunk: 512 KiB.
pub const CHUNK_MAX: u32 = 1024;

/// What is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewSnapshot {
    /// Of which LV.
    pub origin: LvName,
    /// Its name; `None` for the next `lvolN`.
    pub name: Option<LvName>,
    /// Of the store.
    pub size: SizeRequest,
    /// In sectors, as `-c` gives it.
    pub chunk_sectors: u32,
    /// How the store lies.
    pub layout: Layout,
    /// The PVs it may lie on; empty for all.
    pub pvs: Vec<PvKey>,
    /// Without WRITE.
    pub read_only: bool,
    /// Its tags.
    pub tags: Vec<TagName>,
}

/// What a new snapshot is of while another one merges into the same origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhileMerging {
    /// It is refused, in LVM2's words: the kernel cannot serve it, and of an inactive origin nobody knows how far it is.
    Refused,
    /// The merge is pending, and certainly has not begun: the origin's live table is `snapshot-origin`. The new snapshot is
    /// one like others, and what the merge overwrites is copied out to it.
    Pending,
    /// The origin's live table is `snapshot-merge` in user space: the new snapshot is one of the merged view
    /// (architecture.md, "Merging").
    Running,
}

/// Planned snapshots, all of one change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedSnapshots {
    /// The VG as it will be.
    pub vg: Vg,
    /// The snapshots in the order of the wishes.
    pub lvs: Vec<LvName>,
    /// What to say before it is done.
    pub notices: Vec<Notice>,
    /// What to say when it is done.
    pub done: Vec<Notice>,
}

/// Plans the snapshot of an origin into which nothing merges.
///
/// # Errors
/// [`Refusal`], in LVM2's words where LVM2 refuses it, too.
pub fn plan(vg: &Vg, new: &NewSnapshot, environment: &mut dyn Environment) -> Result<Planned, Refusal> {
    plan_one(vg, new, WhileMerging::Refused, environment)
}

/// Plans snapshots of several LVs, or several of one, for one commit: they show one instant.
///
/// # Errors
/// The first [`Refusal`]; then none of them is made.
pub fn plan_several(
    vg: &Vg,
    new: &[NewSnapshot],
    merging: WhileMerging,
    environment: &mut dyn Environment,
) -> Result<PlannedSnapshots, Refusal> {
    let mut all = PlannedSnapshots { vg: vg.clone(), lvs: Vec::new(), notices: Vec::new(), done: Vec::new() };
    for new in new {
        let one = plan_one(&all.vg, new, merging, environment)?;
        all.vg = one.vg;
        all.lvs.push(one.lv);
        all.notices.extend(one.notices);
        all.done.extend(one.done);
    }
    Ok(all)
}

fn plan_one(
    vg: &Vg,
    new: &NewSnapshot,
    merging: WhileMerging,
    environment: &mut dyn Environment,
) -> Result<Planned, Refusal> {
    let chunk = chunk_size(new.chunk_sectors)?;
    check_room_for(vg, 1)?;
    let (origin, merge_view) = check_origin(vg, &new.origin, merging)?;
    let name = choose_name(vg, new.name.as_ref())?;
    check_layout(vg, new.layout)?;
    let mut notices = Vec::new();
    let space = Space::of(vg, &new.pvs)?;
    let extents = store_extents(vg, new, (origin, chunk), &space, &mut notices)?;
    let mut store = Lv::new(name.clone(), fresh_uuid(environment), creation(environment));
    store.segments = space.allocate(vg, &name, extents, new.layout)?;
    store.tags.clone_from(&new.tags);
    store.set_status(LvStatus::Visible, false);
    store.set_status(LvStatus::Write, !new.read_only);
    let mut fictional =
        Lv::new(names::next_numbered(vg, "snapshot")?, fresh_uuid(environment), creation(environment));
    fictional.segments = vec![Segment {
        start_extent: 0,
        extent_count: origin.extent_count(),
        tags: Vec::new(),
        kind: SegmentKind::Snapshot(SnapshotSegment {
            chunk_size: chunk,
            origin: new.origin.clone(),
            cow: name.clone(),
            merging: false,
        }),
        merge_view,
        other: Vec::new(),
    }];
    let mut vg = vg.clone();
    vg.lvs.push(store);
    vg.lvs.push(fictional);
    merge_view::settle(&mut vg);
    let done = vec![Notice::print(format!("Logical volume \"{name}\" created."))];
    Ok(Planned { vg, lv: name, notices, done })
}

/// How large the store is to be.
fn store_extents(
    vg: &Vg,
    new: &NewSnapshot,
    (origin, chunk): (&Lv, ChunkSize),
    space: &Space,
    notices: &mut Vec<Notice>,
) -> Result<u32, Refusal> {
    let length = vg.extent_size.of(origin.extent_count());
    let largest = vg
        .extent_size
        .to_hold(largest_store(length, chunk).ok_or(Refusal::TooLarge)?)
        .ok_or(Refusal::TooLarge)?;
    let extents = origin.extent_count();
    let of_origin = OfOrigin { extents, tables: largest.saturating_sub(extents) };
    let (asked, _) = space.extents(vg, new.size, Some(of_origin))?;
    say_rounding(vg, new.size, asked, notices);
    let mut extents = round_to_stripes(vg, new.size, new.layout.stripes, asked, notices)?;
    let largest = largest.checked_next_multiple_of(new.layout.stripes.max(1)).ok_or(Refusal::TooLarge)?;
    // A sparse volume's store is as large as asked for, as with LVM2.
    if extents > largest && !is_sparse(origin) {
        let size = |extents| Units::in_words(vg.extent_size.of(extents));
        notices.push(Notice::print(format!(
            "Reducing COW size {} down to maximum usable size {}.",
            size(extents),
            size(largest)
        )));
        extents = largest;
    }
    let smallest = chunk.len().checked_mul(3).ok_or(Refusal::TooLarge)?;
    if vg.extent_size.of(extents) < smallest {
        return Err(Refusal::FewerThanThreeChunks(smallest.get()));
    }
    Ok(extents)
}

/// Whether the origin is the zeros under a sparse volume.
fn is_sparse(origin: &Lv) -> bool {
    origin.segments.iter().all(|segment| segment.kind == SegmentKind::Zero)
}

/// A chunk size within LVM2's bounds.
pub fn chunk_size(sectors: u32) -> Result<ChunkSize, Refusal> {
    if !(CHUNK_MIN..=CHUNK_MAX).contains(&sectors) {
        return Err(Refusal::ChunkSize);
    }
    ChunkSize::from_sectors(sectors).map_err(|_| Refusal::ChunkSize)
}

/// What a store needs to hold an exception for every chunk of an origin of that length.
pub fn largest_store(origin: Sectors, chunk: ChunkSize) -> Option<Sectors> {
    let data = chunk.chunks_to_hold(origin);
    let per_area = StoreLayout::new(chunk).exceptions_per_area();
    let areas = data.checked_add(per_area)?.checked_div(per_area)?;
    let chunks = data.checked_add(areas)?.checked_add(1)?;
    chunk.len().checked_mul(chunks)
}

/// The LV, where a snapshot of it may be taken; and whether that is one of the merged view.
pub(crate) fn check_origin<'v>(
    vg: &'v Vg,
    name: &LvName,
    merging: WhileMerging,
) -> Result<(&'v Lv, bool), Refusal> {
    let links: SnapshotLinks<'v> = vg.snapshots();
    let not_found = || Refusal::LvNotFound { vg: vg.name.clone(), lv: name.clone() };
    let lv = vg.lv(name).ok_or_else(not_found)?;
    if links.is_cow(name) {
        return Err(Refusal::SnapshotOf("snapshots"));
    }
    if !lv.status.contains(&LvStatus::Visible) && is_sparse(lv) {
        return Err(Refusal::SharedZeros);
    }
    if lv.snapshot().is_some() {
        return Err(Refusal::SnapshotOf("hidden volumes"));
    }
    let merges = links.merging_into(name).is_some();
    if merges && merging == WhileMerging::Refused {
        return Err(Refusal::SnapshotOf("an origin that has a merging snapshot"));
    }
    if lv.status.contains(&LvStatus::Locked) {
        return Err(Refusal::SnapshotOf("locked devices"));
    }
    if lv.status.contains(&LvStatus::Pvmove) {
        return Err(Refusal::SnapshotOf("pvmoves"));
    }
    if let Some(type_text) = not_understood(lv) {
        return Err(Refusal::NotUnderstood { vg: vg.name.clone(), lv: name.clone(), type_text });
    }
    if !links.is_visible(lv) || vg.users_of(name).any(|user| user.snapshot().is_none()) {
        return Err(Refusal::SnapshotOf("hidden volumes"));
    }
    if vg.is_partial(lv) {
        return Err(Refusal::Partial { vg: vg.name.clone(), lv: name.clone() });
    }
    // Beside a snapshot of the merged view the merge runs, whatever was said.
    let runs = merging == WhileMerging::Running || lv.has_merge_view();
    Ok((lv, merges && runs))
}

/// The type of the first segment that this program does not carry.
pub fn not_understood(lv: &Lv) -> Option<String> {
    lv.segments.iter().find_map(|segment| match &segment.kind {
        SegmentKind::Unknown { type_text } => Some(type_text.clone()),
        _ => None,
    })
}
