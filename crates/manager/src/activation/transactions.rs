//! Changes of active groups, each as one transaction around the commit of its VG (lvm2.md 2.4 to 2.9).
//!
//! What must hold:
//! - Preload changes nothing live. Suspend goes top-down; resume bottom-up, and by activation priority: others, the origin,
//!   then the error device of a merging snapshot (trap 10).
//! - The headers of the staged VG are the commit point; the group before is what is live, the group after what will be.
//! - Several groups in one transaction are all suspended before the commit, and resumed after it: one instant for all.
//! - What users had open and what goes answers with errors from the moment of the commit: its extents may be given away.
//! - Ours ends a merge in one commit, so that the store's devices go as soon as the origin has let go of them.

use crate::activation::change::Change;
use crate::activation::group::{Group, GroupSnapshot, create, load, remove, resume};
use crate::activation::placed::{Placed, Role};
use crate::activation::tables::Device;
use foldback_dm_table::{HeaderWrite, Transaction, Verb};

pub(crate) fn suspend(device: &Device, lockfs: bool) -> Verb {
    Verb::Suspend { name: device.name.clone(), lockfs }
}

/// Devices of a live group, top-down.
pub(crate) fn suspend_all(group: &Group, lockfs: bool) -> Vec<Verb> {
    let mut verbs: Vec<Verb> = group.views().map(|view| suspend(&view.top, lockfs)).collect();
    verbs.push(suspend(&group.origin.top, lockfs));
    let others = group.snapshots.iter().filter(|snapshot| !group.is_view(snapshot));
    verbs.extend(others.map(|snapshot| suspend(&snapshot.top, lockfs)));
    if !group.snapshots.is_empty() {
        verbs.push(suspend(&group.origin.real, false));
        verbs.extend(group.snapshots.iter().map(|snapshot| suspend(&snapshot.cow, false)));
    }
    verbs
}

/// Has a merge that has failed tried again, with the device as it is.
pub fn merge_again(group: &Group) -> Transaction {
    let top = &group.origin.top;
    Transaction { suspend: vec![suspend(top, true)], resume: vec![resume(top)], ..Transaction::default() }
}

/// The origin's device taken away and made again, while what it stands on stays.
pub fn origin_anew(group: &Group) -> Vec<Verb> {
    let top = &group.origin.top;
    let table = group.origin_table();
    vec![remove(top), create(top), load(top, table, group.origin.read_only), resume(top)]
}

/// Makes new devices and loads what is to change. A new `-real` is not resumed yet: its extents are still in use through
/// the origin's own table. Nothing depends on a new store.
fn preload(change: &Change) -> Vec<Verb> {
    let old = change.before.placed();
    let mut verbs = Vec::new();
    for placed in change.after.iter().flat_map(Group::placed_for_loading) {
        let load = load(&placed.device, placed.table.clone(), placed.read_only);
        match old.iter().find(|known| known.device.uuid == placed.device.uuid) {
            None => {
                verbs.extend([create(&placed.device), load]);
                verbs.extend((placed.role == Role::Cow).then(|| resume(&placed.device)));
            }
            Some(known) if known.table != placed.table || known.read_only != placed.read_only => {
                verbs.push(load);
            }
            Some(_) => {}
        }
    }
    let nothing_behind = |gone: &Placed| load(&gone.device, gone.error_table(), gone.read_only);
    let tops = change.gone().into_iter().filter(|gone| gone.role.is_top() && !gone.is_error());
    verbs.extend(tops.map(|gone| nothing_behind(&gone)));
    verbs
}

/// Bottom-up. What goes is resumed, too, in the order of lvm2.md 2.9: store, `-real`, snapshot; its requests must end.
fn resume_all(change: &Change) -> Vec<Verb> {
    let gone = change.gone();
    let new = change.after.as_ref().map(Group::placed).unwrap_or_default();
    let of = |placed: &[Placed], role: Role| -> Vec<Verb> {
        placed.iter().filter(|placed| placed.role == role).map(|placed| resume(&placed.device)).collect()
    };
    let mut verbs = of(&gone, Role::Cow);
    verbs.extend(of(&gone, Role::Real));
    verbs.extend(of(&new, Role::Real));
    verbs.extend(gone.iter().filter(|gone| gone.role.is_top()).map(|gone| resume(&gone.device)));
    let rest = new.iter().filter(|placed| placed.role != Role::Real);
    verbs.extend(rest.map(|placed| resume(&placed.device)));
    verbs
}

/// Tops first, then what they stood on.
pub(crate) fn clean(change: &Change) -> Vec<Verb> {
    let gone = change.gone();
    let (tops, lower): (Vec<Placed>, Vec<Placed>) = gone.into_iter().partition(|gone| gone.role.is_top());
    let (stores, reals): (Vec<Placed>, Vec<Placed>) =
        lower.into_iter().partition(|gone| gone.role == Role::Cow);
    [tops, stores, reals].iter().flatten().map(|gone| remove(&gone.device)).collect()
}

fn transact(changes: &[Change], headers: Vec<HeaderWrite>, lockfs: bool) -> Transaction {
    let mut transaction = Transaction { headers, ..Transaction::default() };
    for change in changes.iter().filter(|change| !change.is_empty()) {
        transaction.preload.extend(preload(change));
        transaction.suspend.extend(suspend_all(&change.before, lockfs));
        transaction.resume.extend(resume_all(change));
        transaction.clean.extend(clean(change));
    }
    transaction
}

/// Takes snapshots of active origins at one instant (lvm2.md 2.5): one change for each group that gets any.
pub fn take_snapshots(changes: &[Change], headers: Vec<HeaderWrite>) -> Transaction {
    transact(changes, headers, true)
}

/// Takes a snapshot of one active origin.
pub fn take_snapshot(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    take_snapshots(&[Change::between(before, after)], headers)
}

/// Starts the merge of a snapshot of an active origin, neither of them in use (lvm2.md 2.6).
pub fn start_merge(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    transact(&[Change::between(before, after)], headers, true)
}

/// Removes LVs of active groups (lvm2.md 2.9): snapshots, or whole groups. Who has one of them open gets errors from the
/// commit on, and its device stays until it is closed: [`foldback_dm_table::Stage::Clean`] says so. To refuse what is in
/// use is the caller's business.
pub fn remove_lvs(changes: &[Change], headers: Vec<HeaderWrite>) -> Transaction {
    transact(changes, headers, false)
}

/// Gives an active group the tables that it is to have from now on: an LV was extended (an origin, one that stands alone, a
/// store), or has another permission. They are reloaded from the bottom up; a snapshot keeps its length (trap 8).
pub fn reload(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    transact(&[Change::between(before, after)], headers, false)
}

/// Renames LVs of an active group. Nothing is suspended: tables refer to devices, not to names. After the commit, so
/// that devices are never called what the VG does not say; each on its own, since LVM2 finds devices by UUID.
pub fn rename(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    let new = after.placed();
    let rename = |old: Placed| {
        let new = new.iter().find(|new| new.device.uuid == old.device.uuid)?;
        let changed = new.device.name != old.device.name;
        changed.then(|| Verb::Rename { name: old.device.name.clone(), new: new.device.name.clone() })
    };
    let clean = before.placed().into_iter().filter_map(rename).collect();
    Transaction { headers, clean, ..Transaction::default() }
}

/// Ends the merge in an active group whose store is empty (lvm2.md 2.8); `after` has the merged snapshot no more. Snapshots
/// of the merged view become snapshots of the origin, which is the same by now.
pub fn finish_merge(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    let mut preload = vec![load(&after.origin.top, after.origin_table(), after.origin.read_only)];
    let stays = |view: &&GroupSnapshot| after.snapshots.iter().any(|kept| kept.cow.uuid == view.cow.uuid);
    // LVs may have been renamed meanwhile; live devices were not.
    let views = || before.views().filter(stays);
    preload.extend(views().map(|view| load(&view.top, before.table_on_real(view), view.read_only)));
    let mut down: Vec<Verb> = views().map(|view| suspend(&view.top, false)).collect();
    down.push(suspend(&before.origin.top, false));
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
    up.extend(views().map(|view| resume(&view.top)));
    up.push(resume(&before.origin.top));
    if after.snapshots.is_empty() {
        clean.push(remove(&before.origin.real));
    }
    Transaction { preload, suspend: down, headers, resume: up, clean }
}
