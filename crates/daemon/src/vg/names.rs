//! Live devices that are not called as the metadata call them: a renaming was committed, and a device did not follow.
//!
//! What must hold:
//! - A device is known by its UUID. A name changes under whoever has it open, and nothing else does (lvm2.md 2).
//! - A commit of our own and its renaming are one under `changing`; what differs outside of it is left over.
//! - A name that another device has still is waited for; the reason is said once.

use super::keeper;
use super::standing::Live;
use super::{ChangeError, Vg, locked};
use crate::front::Closed;
use foldback_dm_table::{DmName, Verb};
use foldback_lvm2_format::vg::Lv;
use foldback_manager::activation::{Device, Group};
use foldback_manager::store::FoundVg;
use std::collections::BTreeMap;

impl Vg {
    /// Renames what is not called as the VG, as it was read, says.
    pub(super) fn follow_names(&self, found: &FoundVg) {
        if renames(found, &keeper::tables(self)).is_empty() {
            locked(&self.state).name_trouble = None;
            return;
        }
        let failed = self.rename_left_over().err().map(|error| error.to_string());
        let mut state = locked(&self.state);
        if let Some(error) = failed.as_ref().filter(|error| state.name_trouble.as_ref() != Some(*error)) {
            say!("foldback: {error}; it is tried again every second");
        }
        state.name_trouble = failed;
    }

    fn rename_left_over(&self) -> Result<(), ChangeError> {
        let _one = locked(&self.changing);
        // What was read before may be from the middle of a change.
        let Some(found) = keeper::look_and_hold(self) else { return Ok(()) };
        let mut outcome = Ok(());
        for (name, new) in renames(&found, &keeper::tables(self)) {
            let told = format!("{} is called {} now, as the metadata call it", name.0, new.0);
            match self.apply(vec![Verb::Rename { name, new }]) {
                Ok(()) => say!("foldback: {told}"),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.settle_front(Closed::default())?;
        outcome
    }
}

/// The live devices of the VG that are called otherwise than the metadata call them, and how.
fn renames(found: &FoundVg, live: &Live) -> Vec<(DmName, DmName)> {
    let mut names: BTreeMap<String, DmName> = BTreeMap::new();
    let vg = found.vg.id.compact();
    let is_live = |lv: &&Lv| live.contains_key(&format!("LVM-{vg}{}", lv.id.compact()));
    for lv in found.vg.lvs.iter().filter(is_live) {
        // What cannot be a device is none.
        let Ok(group) = Group::of(found, &lv.name) else { continue };
        let Group { origin, snapshots } = group;
        let stores = snapshots.into_iter().flat_map(|snapshot| [snapshot.top, snapshot.cow]);
        names.extend(
            [origin.top, origin.real].into_iter().chain(stores).map(|Device { name, uuid, .. }| (uuid, name)),
        );
    }
    let differs = |(uuid, (name, _)): (&String, &(DmName, foldback_dm_table::Table))| {
        let new = names.get(uuid).filter(|new| *new != name)?;
        Some((name.clone(), new.clone()))
    };
    live.iter().filter_map(differs).collect()
}
