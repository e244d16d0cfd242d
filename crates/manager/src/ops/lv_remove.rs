//! `lvremove`: which LVs go, and what is left. Pure.
//!
//! What must hold (lvm2.md 3.3):
//! - A snapshot takes its fictional LV along, an origin all of its snapshots.
//! - Nothing that another LV is made of is removed, also where only a segment we do not understand says so.
//! - A snapshot that merges into an active origin is not removed, unless its store is lost or the merge has failed: then it could
//!   never end. Nor one that others depend on, which were taken while it merges.
//! - What LVM2 would ask is told as a question; who answers is decided by the caller.

use crate::ops::merge_view;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use crate::ops::snapshot_create::not_understood;
use foldback_lvm2_format::vg::{LvStatus, Segment, SegmentKind, SnapshotLinks, Vg};
use foldback_units::LvName;

/// A planned removal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removal {
    /// The VG as it will be.
    pub vg: Vg,
    /// Which LVs go that users see, snapshots before their origin.
    pub removed: Vec<LvName>,
    /// To be answered with yes first, unless forced.
    pub questions: Vec<Question>,
    /// What to say when it is done.
    pub done: Vec<Notice>,
}

/// What to ask before an LV is removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// It is active, or one of the snapshots that go with it is. LVM2 asks this.
    Active {
        /// `VG/LV`.
        lv: String,
        /// How many snapshots go with it.
        snapshots: usize,
    },
    /// Nothing is active, but its snapshots go, too. LVM2 does not ask this.
    OriginWithSnapshots {
        /// `VG/LV`.
        lv: String,
        /// How many.
        snapshots: usize,
    },
    /// Its merge may have begun: the origin stays as far as it got. LVM2 does not ask this.
    HalfMerged {
        /// `VG/LV` of the snapshot.
        lv: String,
        /// `VG/LV` of the origin.
        origin: String,
    },
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active { lv, snapshots: 0 } => {
                write!(f, "Do you really want to remove active logical volume {lv}?")
            }
            Self::Active { lv, snapshots } => write!(
                f,
                "Do you really want to remove active origin logical volume {lv} with {snapshots} snapshots(s)?"
            ),
            Self::OriginWithSnapshots { lv, snapshots } => write!(
                f,
                "Do you really want to remove origin logical volume {lv} with {snapshots} snapshot(s)?"
            ),
            Self::HalfMerged { lv, origin } => write!(
                f,
                "Merging {lv} into {origin} may have begun; without {lv} it can never be finished, and {origin} stays a mixture of both. Do you really want to remove {lv}?"
            ),
        }
    }
}

/// Plans the removal of an LV of which no device is active.
///
/// # Errors
/// [`Refusal`], in LVM2's words where LVM2 refuses it, too.
pub fn plan(vg: &Vg, name: &LvName) -> Result<Removal, Refusal> {
    plan_several(vg, std::slice::from_ref(name), &|_| false)
}

/// Plans the removal of LVs in one commit; `is_active` tells of each LV that users see whether it is active.
///
/// # Errors
/// The first [`Refusal`]; then none of them is removed.
pub fn plan_several(
    vg: &Vg,
    names: &[LvName],
    is_active: &dyn Fn(&LvName) -> bool,
) -> Result<Removal, Refusal> {
    plan_beside(vg, names, Uses { is_active, cannot_merge: &|_| false })
}

/// How LVs are used.
#[derive(Clone, Copy)]
pub struct Uses<'u> {
    /// Whether an LV that users see is active.
    pub is_active: &'u dyn Fn(&LvName) -> bool,
    /// Whether a snapshot that merges into an active origin cannot go on: its store is invalid, or the merge has failed.
    pub cannot_merge: &'u dyn Fn(&LvName) -> bool,
}

impl std::fmt::Debug for Uses<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uses").finish_non_exhaustive()
    }
}

/// The same, beside what is in use.
///
/// # Errors
/// As [`plan_several`].
pub fn plan_beside(vg: &Vg, names: &[LvName], uses: Uses<'_>) -> Result<Removal, Refusal> {
    let Uses { is_active, cannot_merge } = uses;
    let links = vg.snapshots();
    let mut questions = Vec::new();
    let mut removed: Vec<LvName> = Vec::new();
    for name in names {
        for gone in with_snapshots(vg, &links, name, is_active, &mut questions)? {
            if !removed.contains(&gone) {
                removed.push(gone);
            }
        }
    }
    let fictional: Vec<LvName> = links
        .all()
        .iter()
        .filter(|snapshot| removed.contains(&snapshot.segment.cow))
        .map(|snapshot| snapshot.fictional.name.clone())
        .collect();
    let zeros = virtual_origins(vg, &links, &removed);
    let goes = |lv: &LvName| removed.contains(lv) || fictional.contains(lv) || zeros.contains(lv);
    for gone in &removed {
        if let Some(snapshot) = links.of_cow(gone).filter(|snapshot| snapshot.segment.merging)
            && !goes(&snapshot.segment.origin)
        {
            let origin = &snapshot.segment.origin;
            if is_active(origin) && !cannot_merge(gone) {
                return Err(Refusal::RemoveMerging { vg: vg.name.clone(), lv: gone.clone() });
            }
            check_views(vg, gone, origin, &goes)?;
        }
        if let Some(type_text) = vg.lv(gone).and_then(not_understood) {
            return Err(Refusal::NotUnderstood { vg: vg.name.clone(), lv: gone.clone(), type_text });
        }
        if vg.users_of(gone).any(|user| !goes(&user.name)) {
            return Err(Refusal::RemoveInternal { vg: vg.name.clone(), lv: gone.clone() });
        }
    }
    let mut after = vg.clone();
    after.lvs.retain(|lv| !goes(&lv.name));
    merge_view::settle(&mut after);
    let done = removed
        .iter()
        .map(|name| Notice::print(format!("Logical volume \"{name}\" successfully removed.")))
        .collect();
    Ok(Removal { vg: after, removed, questions, done })
}

/// The hidden origins of sparse volumes, which go with the last of these.
fn virtual_origins(vg: &Vg, links: &SnapshotLinks<'_>, removed: &[LvName]) -> Vec<LvName> {
    let origins = links.all().iter().filter(|snapshot| removed.contains(&snapshot.segment.cow));
    let hidden = origins.map(|snapshot| &snapshot.segment.origin).filter(|origin| {
        let zero = |segment: &Segment| segment.kind == SegmentKind::Zero;
        let lv = vg.lv(origin);
        lv.is_some_and(|lv| !lv.status.contains(&LvStatus::Visible) && lv.segments.iter().all(zero))
            && links.of_origin(origin).all(|snapshot| removed.contains(&snapshot.segment.cow))
    });
    hidden.cloned().collect()
}

/// The LV, and before it the snapshots that it takes along; what LVM2 would ask about them.
fn with_snapshots(
    vg: &Vg,
    links: &SnapshotLinks<'_>,
    name: &LvName,
    is_active: &dyn Fn(&LvName) -> bool,
    questions: &mut Vec<Question>,
) -> Result<Vec<LvName>, Refusal> {
    let full = |lv: &LvName| format!("{}/{lv}", vg.name);
    let lv = vg
        .lv(name)
        .filter(|lv| lv.snapshot().is_none())
        .ok_or_else(|| Refusal::LvNotFound { vg: vg.name.clone(), lv: name.clone() })?;
    if lv.status.contains(&LvStatus::Locked) || lv.status.contains(&LvStatus::Pvmove) {
        return Err(Refusal::Locked { vg: vg.name.clone(), lv: name.clone() });
    }
    let snapshots: Vec<_> = links.of_origin(name).collect();
    let active = is_active(name) || snapshots.iter().any(|snapshot| is_active(&snapshot.segment.cow));
    match snapshots.len() {
        snapshots if active => questions.push(Question::Active { lv: full(name), snapshots }),
        0 => {}
        snapshots => questions.push(Question::OriginWithSnapshots { lv: full(name), snapshots }),
    }
    if let Some(snapshot) = links.of_cow(name).filter(|snapshot| snapshot.segment.merging) {
        let origin = full(&snapshot.segment.origin);
        questions.push(Question::HalfMerged { lv: full(name), origin });
    }
    let mut all: Vec<LvName> = snapshots.iter().map(|snapshot| snapshot.segment.cow.clone()).collect();
    all.push(name.clone());
    Ok(all)
}

/// A snapshot that merges goes only where nothing was built on the merge.
fn check_views(
    vg: &Vg,
    name: &LvName,
    origin: &LvName,
    goes: &dyn Fn(&LvName) -> bool,
) -> Result<(), Refusal> {
    match merge_view::views_of(vg, origin).into_iter().find(|view| !goes(view)) {
        Some(view) => Err(Refusal::NeededByView { vg: vg.name.clone(), lv: name.clone(), view }),
        None => Ok(()),
    }
}
