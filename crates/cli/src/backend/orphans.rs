//! Kernel devices of LVs, or of layers of LVs, that the VG does not have any more: what the end of a merge, or a removal, has left behind where a
//! device could not follow the commit.
//!
//! What must hold:
//! - The VG is locked exclusively, and its metadata were read since: whoever makes devices of LVs that they do not name has
//!   that lock.
//! - What somebody has open stays, and what stands on it.

use super::devices_of;
use foldback_dm_table::DeviceMapper;
use foldback_dm_table::{DmName, Info, Verb};
use foldback_kernel_dm::{KernelDm, KernelDmError};
use foldback_lvm2_format::vg::{Lv, Vg};

/// An origin's or a snapshot's own device goes before those it stands on.
const LAYERS: usize = 3;

/// Removes them.
pub(super) fn remove_orphans(kernel: &mut KernelDm, vg: &Vg) -> Result<(), KernelDmError> {
    let known = Known::of(vg);
    for _ in 0..LAYERS {
        let there = devices_of(kernel, &vg.id)?;
        let unused = known.orphans(&there);
        if unused.is_empty() {
            break;
        }
        for name in unused {
            kernel.apply(&Verb::Remove { name })?;
        }
    }
    Ok(())
}

/// What a VG has.
struct Known {
    /// As the UUIDs of its LVs' devices begin.
    lvs: Vec<String>,
    /// Layers that an LV has had: an origin without snapshots, a store of no snapshot.
    past: Vec<String>,
}

impl Known {
    fn of(vg: &Vg) -> Self {
        let links = vg.snapshots();
        let uuid = |lv: &Lv| format!("LVM-{}{}", vg.id.compact(), lv.id.compact());
        let mut past = Vec::new();
        for lv in &vg.lvs {
            if links.of_origin(&lv.name).next().is_none() {
                past.push(format!("{}-real", uuid(lv)));
            }
            if !links.is_cow(&lv.name) {
                past.push(format!("{}-cow", uuid(lv)));
            }
        }
        Self { lvs: vg.lvs.iter().map(uuid).collect(), past }
    }

    /// Those of neither that nobody has open.
    fn orphans(&self, there: &[Info]) -> Vec<DmName> {
        let has = |uuid: &str| {
            self.lvs.iter().any(|lv| uuid.starts_with(lv.as_str()))
                && !self.past.iter().any(|past| past == uuid)
        };
        let orphans = there.iter().filter(|info| info.open_count == 0 && !has(&info.uuid));
        orphans.map(|info| info.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Known;
    use foldback_dm_table::{DmName, Info};

    fn info(name: &str, uuid: &str, open_count: u32) -> Info {
        let (name, uuid) = (DmName(name.to_owned()), uuid.to_owned());
        Info { name, uuid, suspended: false, live: true, inactive: false, open_count, event: 0 }
    }

    #[test]
    fn what_the_vg_does_not_have_and_nobody_uses_is_an_orphan() {
        let there = [
            info("vg-root", "LVM-vg-a", 1),
            info("vg-root-real", "LVM-vg-a-real", 0),
            info("vg-home-real", "LVM-vg-d-real", 0),
            info("vg-snap", "LVM-vg-b", 0),
            info("vg-snap-cow", "LVM-vg-b-cow", 0),
            info("vg-old", "LVM-vg-c", 1),
        ];
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let known =
            Known { lvs: words(&["LVM-vg-a", "LVM-vg-d"]), past: words(&["LVM-vg-a-real", "LVM-vg-a-cow"]) };
        let orphans = ["vg-root-real", "vg-snap", "vg-snap-cow"].map(|name| DmName(name.to_owned()));
        assert_eq!(known.orphans(&there), orphans);
    }
}
