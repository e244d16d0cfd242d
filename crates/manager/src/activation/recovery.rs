//! What to do when a transaction was committed and a device did not come back ([`foldback_dm_table::Stage::Resume`]): that
//! device and those behind it run on with their old tables (docs/decisions/0002-user-dm.md).
//!
//! What must hold:
//! - Snapshots whose origin was not switched take no copies: the VG before is committed again ([`take_back`]), or they would
//!   show what was never theirs. The same for names that were swapped under devices that were not.
//! - A removal is never taken back: a snapshot that was let go of has missed copies already. It is gone on with
//!   ([`go_on`]), since old tables still write to extents that are free by now.
//! - A merge that came up is gone on with, whatever else stayed behind ([`merge_came_up`]): what the old origin held is being
//!   overwritten, so that names which were swapped for it stay so.
//! - What is there is asked, not assumed: each device may have its old table or its new one.
//! - An extension and the end of a merge are gone on with: what is not as the metadata say is taken for somebody else's doing.
//!
//! A start of a merge and a renaming need neither: old tables and names are a state that the new metadata allow.

use crate::activation::change::Change;
use crate::activation::group::{Group, load, remove, resume};
use crate::activation::placed::{Placed, Role};
use crate::activation::transactions::suspend;
use foldback_dm_table::{DeviceMapper, DmName, HeaderWrite, Table, Target, Transaction};
use std::collections::BTreeMap;

/// Every device there is, with its live table.
pub type Tables = BTreeMap<DmName, Option<Table>>;

/// Asks the mapper.
///
/// # Errors
/// The mapper's.
pub fn tables<M: DeviceMapper>(mapper: &mut M) -> Result<Tables, M::Error> {
    let mut tables = Tables::new();
    for info in mapper.list()? {
        let table = mapper.table(&info.name)?;
        drop(tables.insert(info.name, table));
    }
    Ok(tables)
}

/// Whether the merge that a change starts is live: then [`take_back`] is too late, and it is gone on with.
pub fn merge_came_up(changes: &[Change], there: &Tables) -> bool {
    let came_up = |group: &Group| {
        let table = there.get(&group.origin.top.name).and_then(Option::as_ref);
        table.is_some_and(|table| {
            table.lines.iter().any(|line| matches!(line.target, Target::SnapshotMerge(_)))
        })
    };
    changes
        .iter()
        .filter_map(|change| change.after.as_ref())
        .any(|group| group.merging().is_some() && came_up(group))
}

/// Returns to the groups before. The headers are those of the VG before, staged once more.
pub fn take_back(changes: &[Change], headers: Vec<HeaderWrite>, there: &Tables) -> Transaction {
    let mut transaction = Transaction { headers, ..Transaction::default() };
    for change in changes {
        bring(&mut transaction, change.after.as_ref(), Some(&change.before), there);
    }
    transaction
}

/// Goes on to the groups after; the VG is committed already.
pub fn go_on(changes: &[Change], there: &Tables) -> Transaction {
    let mut transaction = Transaction::default();
    for change in changes {
        bring(&mut transaction, Some(&change.before), change.after.as_ref(), there);
    }
    transaction
}

/// Adds what makes the devices of `from` and `to`, as far as they are there, those of `to`.
fn bring(transaction: &mut Transaction, from: Option<&Group>, to: Option<&Group>, there: &Tables) {
    let is_there = |placed: &Placed| there.contains_key(&placed.device.name);
    let all = |group: Option<&Group>| group.map(Group::placed).unwrap_or_default();
    let kept: Vec<Placed> = all(to).into_iter().filter(is_there).collect();
    let is_kept = |placed: &Placed| kept.iter().any(|kept| kept.device.uuid == placed.device.uuid);
    let gone: Vec<Placed> = all(from).into_iter().filter(|old| is_there(old) && !is_kept(old)).collect();
    let live = |placed: &Placed| there.get(&placed.device.name).and_then(Option::as_ref);
    for placed in
        to.map(Group::placed_for_loading).unwrap_or_default().iter().filter(|placed| is_there(placed))
    {
        if live(placed) != Some(&placed.table) {
            transaction.preload.push(load(&placed.device, placed.table.clone(), placed.read_only));
        }
    }
    let (tops, lower): (Vec<Placed>, Vec<Placed>) = gone.into_iter().partition(|gone| gone.role.is_top());
    for top in &tops {
        transaction.preload.push(load(&top.device, top.error_table(), top.read_only));
    }
    let (reals, stores): (Vec<Placed>, Vec<Placed>) =
        lower.into_iter().partition(|lower| lower.role == Role::Real);
    // Top-down: the order of resuming the other way round.
    let down = kept.iter().rev().chain(tops.iter().rev());
    let (users, below): (Vec<&Placed>, Vec<&Placed>) = down.partition(|placed| placed.role.is_top());
    let all_down = users.into_iter().chain(below).chain(stores.iter().chain(&reals));
    transaction.suspend.extend(all_down.map(|placed| suspend(&placed.device, false)));
    let (kept_lower, kept_tops): (Vec<&Placed>, Vec<&Placed>) =
        kept.iter().partition(|placed| !placed.role.is_top());
    let up = stores.iter().chain(&reals).chain(kept_lower).chain(&tops).chain(kept_tops);
    transaction.resume.extend(up.map(|placed| resume(&placed.device)));
    let ends = tops.iter().chain(&stores).chain(&reals);
    transaction.clean.extend(ends.map(|placed| remove(&placed.device)));
}
