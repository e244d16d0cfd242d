//! Changes of an active group, each as one transaction around the commit of its VG (lvm2.md 2.4 to 2.8).
//!
//! What must hold:
//! - Preload changes nothing live. Suspend goes top-down; resume bottom-up, and by activation priority: others, the origin,
//!   then the error device of a merging snapshot (trap 10).
//! - The headers of the staged VG are the commit point; the group before is what is live, the group after what will be.
//! - Ours ends a merge in one commit, so that the store's devices go as soon as the origin has let go of them.

use crate::activation::group::{Group, GroupSnapshot, create, load, remove, resume};
use crate::activation::tables::Device;
use foldback_dm_table::{HeaderWrite, Transaction, Verb};

fn suspend(device: &Device, lockfs: bool) -> Verb {
    Verb::Suspend { name: device.name.clone(), lockfs }
}

/// Devices of a live group, top-down.
fn suspend_all(group: &Group, lockfs: bool) -> Vec<Verb> {
    let mut verbs = vec![suspend(&group.origin.top, lockfs)];
    verbs.extend(group.snapshots.iter().map(|snapshot| suspend(&snapshot.top, lockfs)));
    if !group.snapshots.is_empty() {
        verbs.push(suspend(&group.origin.real, false));
        verbs.extend(group.snapshots.iter().map(|snapshot| suspend(&snapshot.cow, false)));
    }
    verbs
}

/// Devices of a group, bottom-up and by activation priority.
fn resume_all(group: &Group) -> Vec<Verb> {
    let mut verbs = vec![resume(&group.origin.real)];
    verbs.extend(group.snapshots.iter().map(|snapshot| resume(&snapshot.cow)));
    verbs.extend(group.live_snapshots().map(|snapshot| resume(&snapshot.top)));
    verbs.push(resume(&group.origin.top));
    verbs.extend(group.merging().map(|snapshot| resume(&snapshot.top)));
    verbs
}

/// Takes a snapshot of an active origin (lvm2.md 2.5). `after` has one snapshot more than `before`: the last.
pub fn take_snapshot(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    let mut preload = Vec::new();
    let is_new = |snapshot: &&GroupSnapshot| !before.snapshots.iter().any(|known| known.lv == snapshot.lv);
    if before.snapshots.is_empty() {
        // Not resumed yet: its extents are still in use through the origin's own table.
        preload.push(create(&after.origin.real));
        preload.push(load(&after.origin.real, after.origin.table.clone(), after.real_read_only()));
        preload.push(load(&after.origin.top, after.origin_table(), after.origin.read_only));
    }
    for snapshot in after.snapshots.iter().filter(is_new) {
        preload.push(create(&snapshot.cow));
        preload.push(load(&snapshot.cow, snapshot.cow_table.clone(), false));
        preload.push(resume(&snapshot.cow));
        preload.push(create(&snapshot.top));
        preload.push(load(&snapshot.top, after.snapshot_table(snapshot), snapshot.read_only));
    }
    let suspend = suspend_all(before, true);
    Transaction { preload, suspend, headers, resume: resume_all(after), clean: Vec::new() }
}

/// Starts the merge of a snapshot of an active origin, neither of them in use (lvm2.md 2.6).
pub fn start_merge(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    let mut preload = vec![load(&after.origin.top, after.origin_table(), after.origin.read_only)];
    if let Some(snapshot) = after.merging() {
        preload.push(load(&snapshot.top, after.snapshot_table(snapshot), snapshot.read_only));
    }
    let suspend = suspend_all(before, true);
    Transaction { preload, suspend, headers, resume: resume_all(after), clean: Vec::new() }
}

/// Ends the merge in an active group whose store is empty (lvm2.md 2.8); `after` has the merged snapshot no more.
pub fn finish_merge(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    let preload = vec![load(&after.origin.top, after.origin_table(), after.origin.read_only)];
    let mut down = vec![suspend(&before.origin.top, false)];
    let mut up = Vec::new();
    let mut clean = Vec::new();
    if let Some(snapshot) = before.merging() {
        down.push(suspend(&snapshot.top, false));
        down.push(suspend(&snapshot.cow, false));
        up.push(resume(&snapshot.top));
        up.push(resume(&snapshot.cow));
        clean.push(remove(&snapshot.top));
        clean.push(remove(&snapshot.cow));
    }
    down.push(suspend(&before.origin.real, false));
    up.push(resume(&before.origin.real));
    up.push(resume(&before.origin.top));
    if after.snapshots.is_empty() {
        clean.push(remove(&before.origin.real));
    }
    Transaction { preload, suspend: down, headers, resume: up, clean }
}
