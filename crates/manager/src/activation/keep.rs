//! Starting the merge of a snapshot that keeps its name while it is in use (`--namesnapshot`; architecture.md, "Merging").
//!
//! What must hold:
//! - After the commit the origin LV bears the snapshot's name and UUID. So the snapshot's own device becomes the merging
//!   origin without closing: from `snapshot` to `snapshot-merge`, with the same name, UUID and number.
//! - A live device's UUID cannot change: `-real` and `-cow` are made anew under the right ones. The store is read when the
//!   merge's table is loaded; so that is done when everything is suspended, and the store lies still.
//! - What fails after the commit leaves the old tables running on the old lower devices; then the reverse swap must be
//!   committed ([`super::take_back`]), or the metadata would call a device by another's name.

use crate::activation::change::Change;
use crate::activation::group::{Group, create, load, resume};
use crate::activation::placed::{Placed, Role};
use crate::activation::transactions::{clean, suspend_all};
use foldback_dm_table::{HeaderWrite, Transaction, Verb};

/// Starts the merge; `before` is the live group, `after` the one with names and UUIDs swapped, which merges.
///
/// The old origin's device gets an error table. Nothing that a file system on the snapshot sees changes, so none is frozen.
pub fn keep_snapshot(before: &Group, after: &Group, headers: Vec<HeaderWrite>) -> Transaction {
    let change = Change::between(before, after);
    let lower = new_lower(before, after);
    let mut preload = Vec::new();
    for placed in &lower {
        preload.push(create(&placed.device));
        preload.push(load(&placed.device, placed.table.clone(), placed.read_only));
    }
    let mut suspend = suspend_all(before, false);
    suspend.extend(lower.iter().map(|placed| resume(&placed.device)));
    // The merge's table reads the store: inside the suspended section. The error table reads nothing.
    for placed in after.placed().iter().filter(|placed| placed.role.is_top()) {
        let verb = load(&placed.device, placed.table.clone(), placed.read_only);
        if placed.role == Role::Origin { suspend.push(verb) } else { preload.push(verb) }
    }
    // The old lower devices go on as well: a merge's table that cannot be resumed leaves the old ones running on them.
    let mut up: Vec<Verb> = change.gone().iter().map(|gone| resume(&gone.device)).collect();
    let tops = after.placed();
    up.extend(tops.iter().filter(|placed| placed.role.is_top()).map(|placed| resume(&placed.device)));
    Transaction { preload, suspend, headers, resume: up, clean: clean(&change) }
}

/// `-real` and `-cow` under their new UUIDs.
fn new_lower(before: &Group, after: &Group) -> Vec<Placed> {
    let old = before.placed();
    let is_new = |placed: &Placed| !old.iter().any(|known| known.device.uuid == placed.device.uuid);
    after.placed().into_iter().filter(|placed| !placed.role.is_top() && is_new(placed)).collect()
}
