//! The invariants of a VG: what LVM2's `vg_validate` asks before a write, and what keeps volumes apart
//! (lvm2.md 1.7 and 1.9).
//!
//! What must hold:
//! - A VG with a finding is never written. Reading and showing it is allowed.
//! - Findings are values in a fixed order: the VG, its PVs, its LVs, extents, snapshots.
//! - Segments that are not understood are checked for place and length only.

mod finding;
mod layout;
mod names;
mod snapshots;

#[cfg(test)]
mod tests;

pub use finding::Finding;

use crate::vg::Vg;

/// Everything that is wrong with `vg`; empty for a VG that may be written.
pub fn check(vg: &Vg) -> Vec<Finding> {
    let mut findings = Vec::new();
    names::check(vg, &mut findings);
    layout::check(vg, &mut findings);
    snapshots::check(vg, &mut findings);
    findings
}
