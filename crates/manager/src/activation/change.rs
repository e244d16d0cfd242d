//! A group that is active, and what a change of its VG makes of it.
//!
//! What must hold:
//! - LVs are followed by UUID: names may change, and two LVs may swap theirs.

use crate::activation::group::Group;
use crate::activation::placed::Placed;
use crate::activation::tables::ActivationError;
use crate::store::FoundVg;
use foldback_units::LvName;

/// One active group before and after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What is live.
    pub before: Group,
    /// What will be; `None` where the origin goes, and all with it.
    pub after: Option<Group>,
}

impl Change {
    /// A group that stays.
    pub fn between(before: &Group, after: &Group) -> Self {
        Self { before: before.clone(), after: Some(after.clone()) }
    }

    /// What becomes of the group of `lv`, an LV of the VG before.
    ///
    /// # Errors
    /// The group cannot be carried, before or after.
    pub fn of(before: &FoundVg, after: &FoundVg, lv: &LvName) -> Result<Self, ActivationError> {
        let live = Group::of(before, lv)?;
        let id = before.vg.lv(&live.origin.lv).map(|lv| lv.id);
        let origin = after.vg.lvs.iter().find(|lv| Some(lv.id) == id);
        let next = origin.map(|origin| Group::of(after, &origin.name)).transpose()?;
        Ok(Self { before: live, after: next })
    }

    /// Every group of the VG before to which one of `lvs` belongs, each once, and what becomes of it. Groups that stay as
    /// they are are left out.
    ///
    /// # Errors
    /// As [`Change::of`].
    pub fn all(before: &FoundVg, after: &FoundVg, lvs: &[LvName]) -> Result<Vec<Self>, ActivationError> {
        let mut changes: Vec<Self> = Vec::new();
        for lv in lvs {
            let change = Self::of(before, after, lv)?;
            let known = changes.iter().any(|known| known.before.origin.lv == change.before.origin.lv);
            if !known && !change.is_empty() {
                changes.push(change);
            }
        }
        Ok(changes)
    }

    /// Whether every device stays as it is.
    pub fn is_empty(&self) -> bool {
        self.after.as_ref() == Some(&self.before)
    }

    /// Devices that are there before and not after, in the order of resuming.
    pub(crate) fn gone(&self) -> Vec<Placed> {
        let new = self.after.as_ref().map(Group::placed).unwrap_or_default();
        let stays = |old: &Placed| new.iter().any(|new| new.device.uuid == old.device.uuid);
        self.before.placed().into_iter().filter(|old| !stays(old)).collect()
    }
}
