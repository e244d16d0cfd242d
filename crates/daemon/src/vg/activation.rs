//! Bringing LVs up and taking them down.
//!
//! What must hold:
//! - An LV comes up with its whole origin group, as in LVM2; one that is up stays as it is.
//! - What could not be brought up is taken down again, and the others stay.
//! - Nothing in use is taken down.
//! - Nobody is waited for: who asks shares LVM2's lock of the VG and byte 1 of the images, and the daemon joins that share for
//!   the time of the call, also where who asks is gone. It would wait for a command that waits for the daemon.

use super::{ChangeError, Vg, keeper, locked};
use crate::front::Closed;
use crate::vg::ground::GroundError;
use foldback_dm_table::{DeviceMapper, DmName, Verb};
use foldback_manager::activation::{ActivationError, Group, activate, deactivate};
use foldback_manager::store::{FoundVg, SelectError, select};
use foldback_units::LvName;
use std::collections::BTreeSet;

/// What came of an activation.
#[derive(Debug, Default)]
pub struct Activated {
    /// LVs that were brought up now.
    pub now: Vec<LvName>,
    /// LVs that could not be, and why.
    pub failed: Vec<(LvName, String)>,
    /// How many LVs of the VG are active.
    pub active: usize,
    /// Merges that go on with this activation.
    pub merging: usize,
}

/// Why nothing was activated.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// The disks.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The VG.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The devices.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// An LV cannot be a device.
    #[error(transparent)]
    Group(#[from] ActivationError),
}

impl Vg {
    /// Brings up these LVs with their groups.
    ///
    /// # Errors
    /// Nothing was activated.
    pub fn activate(&self, lvs: &[LvName]) -> Result<Activated, ActivateError> {
        let _one = locked(&self.changing);
        let name = self.name();
        let found = self.ground.discover()?;
        let found = select::to_change(&found, &name)?;
        let mut done = Activated::default();
        let mut seen = BTreeSet::new();
        for lv in lvs {
            match Group::of(found, lv) {
                Ok(group) if seen.insert(group.origin.lv.clone()) => self.bring_up(&group, &mut done)?,
                Ok(_) => {}
                Err(error) => done.failed.push((lv.clone(), error.to_string())),
            }
        }
        self.settle_front(Closed::default())?;
        done.active = self.lvs()?.len();
        Ok(done)
    }

    fn bring_up(&self, group: &Group, done: &mut Activated) -> Result<(), ChangeError> {
        done.merging = done.merging.saturating_add(usize::from(group.merging().is_some()));
        let top = group.origin.top.uuid.clone();
        let there = move |carrier: &mut crate::carrier::Carrier| {
            carrier.dm.list().is_ok_and(|all| all.iter().any(|info| info.uuid == top))
        };
        if self.carrier.call(there)? {
            return Ok(());
        }
        match self.apply(activate(group)) {
            Ok(()) => {
                done.now.push(group.origin.lv.clone());
                done.now.extend(group.snapshots.iter().map(|snapshot| snapshot.lv.clone()));
            }
            Err(error) => {
                self.take_down(group)?;
                done.failed.push((group.origin.lv.clone(), error.to_string()));
            }
        }
        Ok(())
    }

    /// Removes what is there of a group's devices.
    pub(crate) fn take_down(&self, group: &Group) -> Result<(), ChangeError> {
        let there = self.carrier.call(crate::carrier::Carrier::names)?;
        let is_there = |verb: &Verb| matches!(verb, Verb::Remove { name } if there.contains(name));
        self.apply(deactivate(group).into_iter().filter(is_there).collect())
    }

    /// Takes down the groups of these LVs, unless somebody uses one of them. Those that do not stand on the metadata any
    /// more are given up; `force` is for them.
    ///
    /// # Errors
    /// What is in use, or what failed; groups before it are down.
    pub fn deactivate(&self, lvs: &[LvName], force: bool) -> Result<usize, ActivateError> {
        let _one = locked(&self.changing);
        // Not by metadata that say something else by now: taking a group down by them would write where it was.
        let seen = keeper::look_and_hold(self);
        let lvs = self.give_up_astray(lvs, seen.as_ref(), force)?;
        if lvs.is_empty() {
            return Ok(self.lvs()?.len());
        }
        let found = match seen {
            Some(found) => found,
            // Why it was not to be had.
            None => select::to_read(&self.ground.discover()?, &self.name())?.clone(),
        };
        for group in groups(&found, &lvs)? {
            let tops = std::iter::once(&group.origin.top)
                .chain(group.snapshots.iter().map(|snapshot| &snapshot.top));
            let names: Vec<DmName> = tops.map(|device| device.name.clone()).collect();
            let closed = self.close(&names)?;
            self.take_down(&group)?;
            self.settle_front(closed)?;
        }
        Ok(self.lvs()?.len())
    }
}

/// Each group once.
fn groups(found: &FoundVg, lvs: &[LvName]) -> Result<Vec<Group>, ActivationError> {
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for lv in lvs {
        let group = Group::of(found, lv)?;
        if seen.insert(group.origin.lv.clone()) {
            groups.push(group);
        }
    }
    Ok(groups)
}
