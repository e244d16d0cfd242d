//! Kernel devices that stand for those of a merge in this process, so that nobody can activate, change or remove its LVs
//! meanwhile.
//!
//! What must hold (architecture.md, "Holding and locking"):
//! - They have LVM2's names and UUIDs, are there and held before our own devices are, and go after them. A lower one is live and
//!   held with O_EXCL: whoever activates the LV finds it busy. The one that users would open is open, and has no table: LVM2 refuses
//!   to change or remove what is in use, and completes an activation that it finds so begun once nobody holds it.
//!   What LVM2 leaves behind after an activation that failed, a device of errors in the LV's place, goes with them.
//! - A process that was killed leaves them behind, open to nobody and under no other device; they are removed, under the VG's
//!   lock, by the next that looks.

use super::is_on_image;
use crate::carrying::HostError;
use crate::session::Session;
use foldback_dm_table::{DeviceMapper, DmName, Info, Table, Target, Verb};
use foldback_kernel_dm::{KernelDm, KernelDmError};
use foldback_manager::store::FoundVg;
use foldback_units::Sectors;
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The layers of an origin and of a snapshot that hold extents (lvm2.md 2.1).
const LOWER: [&str; 2] = ["-real", "-cow"];

/// What is claimed in the kernel.
#[derive(Debug)]
pub(crate) struct Claims {
    kernel: KernelDm,
    held: Vec<Claim>,
}

/// One device.
#[derive(Debug)]
struct Claim {
    name: DmName,
    uuid: String,
    held: Option<OwnedFd>,
}

impl Claim {
    /// The UUID of the device that users would open, where this is a lower one.
    fn top(&self) -> Option<&str> {
        top_of(&self.uuid)
    }
}

impl Claims {
    /// `None` where nobody could activate LVs of the VG in the kernel: it has no device-mapper, or a PV is an image file.
    pub(crate) fn of(session: &Session, found: &FoundVg) -> Result<Option<Self>, KernelDmError> {
        if !KernelDm::is_there() || is_on_image(session, found) {
            return Ok(None);
        }
        Ok(Some(Self { kernel: KernelDm::open(&session.paths)?, held: Vec::new() }))
    }

    /// Does to the kernel's device what is about to be done to ours.
    pub(crate) fn before(&mut self, verb: &Verb) -> Result<(), HostError> {
        match verb {
            Verb::Create { name, uuid, .. } => {
                self.kernel.apply(verb)?;
                self.held.push(Claim { name: name.clone(), uuid: uuid.clone(), held: None });
                if self.is_lower(name) == Some(false) {
                    self.hold_name(name)?;
                }
            }
            Verb::Load { name, .. } if self.is_lower(name) == Some(true) => self.kernel.apply(verb)?,
            Verb::Resume { name } if self.is_lower(name) == Some(true) => {
                self.kernel.apply(verb)?;
                if let Some(claim) = self.claim(name).filter(|claim| claim.held.is_none()) {
                    claim.held = Some(hold(KernelDm::node(name), OFlags::EXCL)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Opens the device that stands for what users would open. The kernel lets nobody open what never had a table; one that stayed
    /// would become live with the next activation by LVM2.
    fn hold_name(&mut self, name: &DmName) -> Result<(), HostError> {
        let table = Table::of(Sectors(1), Target::Error);
        self.kernel.apply(&Verb::Load { name: name.clone(), table, read_only: true })?;
        let held = hold(self.kernel.early_node(name)?, OFlags::empty());
        self.kernel.apply(&Verb::Clear { name: name.clone() })?;
        if let Some(claim) = self.claim(name) {
            claim.held = Some(held?);
        }
        Ok(())
    }

    /// Gives up what ours did not need any more.
    pub(crate) fn after(&mut self, verb: &Verb) -> Result<(), KernelDmError> {
        let Verb::Remove { name } = verb else { return Ok(()) };
        let claim = self.held.iter().position(|claim| claim.name == *name);
        claim.map_or(Ok(()), |at| {
            let claim = self.held.swap_remove(at);
            self.give_up(claim)
        })
    }

    fn give_up(&mut self, claim: Claim) -> Result<(), KernelDmError> {
        let top = claim.top().map(str::to_owned);
        let Claim { name, held, .. } = claim;
        drop(held);
        self.kernel.apply(&Verb::Remove { name })?;
        top.map_or(Ok(()), |top| self.remove_wreck(&top))
    }

    /// Removes the device of that UUID, if all that is in it are errors.
    fn remove_wreck(&mut self, uuid: &str) -> Result<(), KernelDmError> {
        let Some(info) = self.kernel.list()?.into_iter().find(|info| info.uuid == uuid) else {
            return Ok(());
        };
        let table = self.kernel.table(&info.name)?.unwrap_or_default();
        if info.open_count > 0 || table.lines.iter().any(|line| line.target != Target::Error) {
            return Ok(());
        }
        self.kernel.apply(&Verb::Remove { name: info.name })
    }

    /// Whether it is a lower device; `None` where it is none of ours.
    fn is_lower(&self, name: &DmName) -> Option<bool> {
        self.held.iter().find(|claim| claim.name == *name).map(|claim| claim.top().is_some())
    }

    fn claim(&mut self, name: &DmName) -> Option<&mut Claim> {
        self.held.iter_mut().find(|claim| claim.name == *name)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        // The lower ones were made first.
        for claim in std::mem::take(&mut self.held).into_iter().rev() {
            // What stays is removed by the next that looks.
            self.give_up(claim).ok();
        }
    }
}

/// The UUID of the LV whose layer this is.
fn top_of(uuid: &str) -> Option<&str> {
    LOWER.iter().find_map(|layer| uuid.strip_suffix(layer))
}

fn hold(node: PathBuf, how: OFlags) -> Result<OwnedFd, HostError> {
    let opened = rustix::fs::open(&node, OFlags::RDONLY | OFlags::CLOEXEC | how, Mode::empty());
    opened.map_err(|error| HostError::Claim { node, error: error.into() })
}

/// Devices that stand alone: lower ones that no table stands on, neither live nor inactive, and nobody has open, and without a
/// live device of their LV; and that LV's device.
fn left_over(there: &[Info]) -> Vec<DmName> {
    let of = |uuid: &str| there.iter().find(|info| info.uuid == uuid);
    let is_nobodys = |info: &Info| info.open_count == 0 && !info.live;
    let alone = |info: &&Info| {
        let top = top_of(&info.uuid);
        info.open_count == 0 && top.is_some_and(|top| of(top).is_none_or(is_nobodys))
    };
    let lower: Vec<&Info> = there.iter().filter(alone).collect();
    let tops = lower.iter().filter_map(|info| of(top_of(&info.uuid)?));
    tops.chain(lower.iter().copied()).map(|info| info.name.clone()).collect()
}

/// Removes what a killed merge has left of the VG with these devices, and forgets it there. The VG must be locked: somebody
/// who activates has made lower devices before others for a moment.
pub(crate) fn clear_left_over(kernel: &mut KernelDm, there: &mut Vec<Info>) -> Result<(), KernelDmError> {
    for name in left_over(there) {
        kernel.apply(&Verb::Remove { name: name.clone() })?;
        there.retain(|info| info.name != name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::left_over;
    use foldback_dm_table::{DmName, Info};

    fn info(name: &str, uuid: &str, open_count: u32) -> Info {
        let name = DmName(name.to_owned());
        let (uuid, suspended, live, inactive, event) = (uuid.to_owned(), false, true, false, 0);
        Info { name, uuid, suspended, live, inactive, open_count, event }
    }

    fn begun(name: &str, uuid: &str, open_count: u32) -> Info {
        Info { live: false, ..info(name, uuid, open_count) }
    }

    #[test]
    fn only_what_stands_alone_is_left_over() {
        let there = [
            info("vg-root", "LVM-a", 0),
            info("vg-root-real", "LVM-a-real", 1),
            info("vg-snap-cow", "LVM-b-cow", 0),
            info("vg-other-real", "LVM-c-real", 1),
            info("vg-plain", "LVM-d", 0),
            info("vg-pool", "LVM-e-tpool", 0),
        ];
        assert_eq!(left_over(&there), [DmName("vg-snap-cow".to_owned())]);
    }

    #[test]
    fn what_has_no_table_goes_with_its_lower_devices_unless_somebody_has_it_open() {
        let there = [
            begun("vg-root", "LVM-a", 0),
            info("vg-root-real", "LVM-a-real", 0),
            begun("vg-held", "LVM-b", 1),
            info("vg-held-real", "LVM-b-real", 0),
            begun("vg-busy", "LVM-c", 0),
            info("vg-busy-real", "LVM-c-real", 1),
            begun("vg-plain", "LVM-d", 0),
        ];
        assert_eq!(left_over(&there), ["vg-root", "vg-root-real"].map(|name| DmName(name.to_owned())));
    }
}
