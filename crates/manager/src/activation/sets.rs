//! Which LVs of a VG `vgchange -ay` activates, as groups.
//!
//! What must hold (lvm2.md 1.7, 3.1):
//! - What users see is activated, and what belongs to it; hidden LVs only with those they belong to.
//! - An origin decides for its snapshots: they cannot be active without it.
//! - ACTIVATION_SKIP leaves an LV out unless that is ignored (`-K`); NOAUTOACTIVATE, of the LV or the VG, leaves it out
//!   only where nobody asked by hand (`-aay`).
//! - An LV that cannot be carried is told, with the reason, and the others go on.

use crate::activation::group::Group;
use crate::activation::tables::ActivationError;
use crate::store::FoundVg;
use foldback_lvm2_format::vg::{Lv, LvFlag, VgFlag};
use foldback_units::LvName;
use std::collections::BTreeSet;

/// How it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// `-K`.
    pub ignore_skip: bool,
    /// `-aay`: by the system, not by hand.
    pub auto: bool,
}

/// What there is to do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ActivationSet {
    /// In the VG's order, each once.
    pub groups: Vec<Group>,
    /// LVs that cannot be carried. LVM2 ends with code 5 where there is one.
    pub refused: Vec<(LvName, ActivationError)>,
    /// LVs left out by a flag; LVM2 says so only with `-v`.
    pub skipped: Vec<LvName>,
}

/// The groups that `vgchange -ay` brings up.
pub fn to_activate(found: &FoundVg, wish: Wish) -> ActivationSet {
    collect(found, |lv| {
        let skip = lv.flags.contains(LvFlag::ActivationSkip) && !wish.ignore_skip;
        let by_hand =
            lv.flags.contains(LvFlag::NoAutoactivate) || found.vg.flags.contains(VgFlag::NoAutoactivate);
        skip || (wish.auto && by_hand)
    })
}

/// The groups of all LVs: those of `vgchange -an`.
pub fn to_deactivate(found: &FoundVg) -> ActivationSet {
    collect(found, |_| false)
}

fn collect(found: &FoundVg, left_out: impl Fn(&Lv) -> bool) -> ActivationSet {
    let links = found.vg.snapshots();
    let mut set = ActivationSet::default();
    let mut seen: BTreeSet<&LvName> = BTreeSet::new();
    for lv in found.vg.lvs.iter().filter(|lv| links.is_visible(lv)) {
        // A snapshot comes with its origin; a hidden origin (of a sparse snapshot) with its snapshot.
        let origin = links.of_cow(&lv.name).map(|snapshot| &snapshot.segment.origin);
        let visible = origin.and_then(|origin| links.lv(origin)).filter(|origin| links.is_visible(origin));
        let decides = visible.unwrap_or(lv);
        if !seen.insert(origin.unwrap_or(&lv.name)) {
            continue;
        }
        if left_out(decides) {
            set.skipped.push(decides.name.clone());
            continue;
        }
        match Group::of(found, &lv.name) {
            Ok(group) => set.groups.push(group),
            Err(error) => set.refused.push((decides.name.clone(), error)),
        }
    }
    set
}
