//! Kernel devices that stand for those of a merge in this process, so that nobody can activate its LVs meanwhile.
//!
//! What must hold (architecture.md, "Holding and locking"):
//! - They have LVM2's names and UUIDs, are there and held with O_EXCL before our own devices are, and go after them: whoever
//!   activates such an LV finds its lower device busy. What LVM2 then leaves behind, a device of errors in the LV's place, goes
//!   with them.
//! - A process that was killed leaves them behind, open to nobody and under no other device; they are removed, under the VG's
//!   lock, by the next that looks.

use super::is_on_image;
use crate::carrying::HostError;
use crate::session::Session;
use foldback_dm_table::{DeviceMapper, DmName, Info, Target, Verb};
use foldback_kernel_dm::{KernelDm, KernelDmError};
use foldback_manager::store::FoundVg;
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;

/// The layers of an origin and of a snapshot that hold extents (lvm2.md 2.1).
const LOWER: [&str; 2] = ["-real", "-cow"];

/// What is claimed in the kernel.
#[derive(Debug)]
pub(crate) struct Claims {
    kernel: KernelDm,
    held: Vec<Claim>,
}

/// One device. It has no descriptor before its table is live.
#[derive(Debug)]
struct Claim {
    name: DmName,
    /// The UUID of the device that users would open.
    top: String,
    held: Option<OwnedFd>,
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
                let Some(top) = top_of(uuid) else { return Ok(()) };
                self.kernel.apply(verb)?;
                self.held.push(Claim { name: name.clone(), top: top.to_owned(), held: None });
            }
            Verb::Load { name, .. } if self.claim(name).is_some() => self.kernel.apply(verb)?,
            Verb::Resume { name } if self.claim(name).is_some_and(|claim| claim.held.is_none()) => {
                self.kernel.apply(verb)?;
                let held = hold(name)?;
                if let Some(claim) = self.claim(name) {
                    claim.held = Some(held);
                }
            }
            _ => {}
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
        let Claim { name, top, held } = claim;
        drop(held);
        self.kernel.apply(&Verb::Remove { name })?;
        self.remove_wreck(&top)
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

    fn claim(&mut self, name: &DmName) -> Option<&mut Claim> {
        self.held.iter_mut().find(|claim| claim.name == *name)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        for claim in std::mem::take(&mut self.held) {
            // What stays is removed by the next that looks.
            self.give_up(claim).ok();
        }
    }
}

/// The UUID of the LV whose layer this is.
fn top_of(uuid: &str) -> Option<&str> {
    LOWER.iter().find_map(|layer| uuid.strip_suffix(layer))
}

fn hold(name: &DmName) -> Result<OwnedFd, HostError> {
    let node = KernelDm::node(name);
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::open(&node, flags, Mode::empty())
        .map_err(|error| HostError::Claim { node, error: error.into() })
}

/// Lower devices that stand alone: neither open nor used, and without the device of their LV.
fn left_over(there: &[Info]) -> Vec<DmName> {
    let has = |uuid: &str| there.iter().any(|info| info.uuid == uuid);
    let alone = |info: &&Info| info.open_count == 0 && top_of(&info.uuid).is_some_and(|top| !has(top));
    there.iter().filter(alone).map(|info| info.name.clone()).collect()
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
        Info {
            name,
            uuid: uuid.to_owned(),
            suspended: false,
            live: true,
            inactive: false,
            open_count,
            event: 0,
        }
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
}
