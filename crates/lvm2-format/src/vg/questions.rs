//! What one can ask a VG: whose it is, whether it may be changed, which PVs and LVs it has.
//!
//! What must hold:
//! - Nothing here changes the VG or refuses anything; who asks decides (trap 17 of lvm2.md 7).

use super::types::{Area, AreaOn, Lv, Pv, PvKey, Segment, SegmentKind, Vg};
use super::words::VgStatus;
use foldback_units::{LvName, LvmUuid};
use std::collections::HashSet;

impl Vg {
    /// Taken out of use by `vgexport`.
    pub fn is_exported(&self) -> bool {
        self.status.contains(&VgStatus::Exported)
    }

    /// Of the old cluster manager: another machine may write it at the same time.
    pub fn is_clustered(&self) -> bool {
        self.status.contains(&VgStatus::Clustered)
    }

    /// The lock manager without which the VG must not be touched, `None` for a VG of one host.
    ///
    /// `SHARED` without a lock type answers an empty text: shared by something unknown.
    pub fn shared_lock_type(&self) -> Option<&str> {
        match self.lock_type.as_deref() {
            Some(lock_type) if lock_type != "none" => Some(lock_type),
            _ if self.status.contains(&VgStatus::Shared) => Some(""),
            _ => None,
        }
    }

    /// Whether it belongs to another host than the one whose system ID is given.
    pub fn is_foreign_to(&self, host: Option<&str>) -> bool {
        match self.system_id.as_deref() {
            None | Some("") => false,
            Some(owner) => host != Some(owner),
        }
    }

    /// Whether it may be changed.
    pub fn is_writable(&self) -> bool {
        self.status.contains(&VgStatus::Write)
    }

    /// Whether LVM2 writes `WRITE` as the flag `WRITE_LOCKED`, for the VG and all its LVs: programs too old to know
    /// owners and lock managers then take them for read-only.
    pub fn hides_write(&self) -> bool {
        let lock_type = self.lock_type.as_deref().unwrap_or_default();
        self.system_id.as_deref().is_some_and(|owner| !owner.is_empty()) || !matches!(lock_type, "" | "none")
    }

    /// PVs that were not there when the VG was last written.
    pub fn missing_pvs(&self) -> impl Iterator<Item = &Pv> {
        self.pvs.iter().filter(|pv| pv.is_missing())
    }

    /// The LV of that name.
    pub fn lv(&self, name: &LvName) -> Option<&Lv> {
        self.lvs.iter().find(|lv| lv.name == *name)
    }

    /// The LV of that name, to change it.
    pub fn lv_mut(&mut self, name: &LvName) -> Option<&mut Lv> {
        self.lvs.iter_mut().find(|lv| lv.name == *name)
    }

    /// The PV that segments call `key`.
    pub fn pv(&self, key: &PvKey) -> Option<&Pv> {
        self.pvs.iter().find(|pv| pv.key == *key)
    }

    /// The PV of that UUID.
    pub fn pv_by_id(&self, id: &LvmUuid) -> Option<&Pv> {
        self.pvs.iter().find(|pv| pv.id == *id)
    }

    /// A name that no PV's section and no LV has yet: `pvN` with the lowest N.
    pub fn free_pv_key(&self) -> PvKey {
        let pvs = self.pvs.iter().map(|pv| pv.key.as_str());
        let used: HashSet<&str> = pvs.chain(self.lvs.iter().map(|lv| lv.name.as_str())).collect();
        let mut number = 0_u64;
        loop {
            // Ends: there are fewer PVs and LVs than numbers.
            let name = format!("pv{number}");
            if let Some(key) = PvKey::new(&name).filter(|_| !used.contains(name.as_str())) {
                return key;
            }
            number = number.saturating_add(1);
        }
    }

    /// Whether snapshots of a merged view are in it: neither LVM2 nor the kernel may carry its merge
    /// ([`super::MERGE_VIEW`]).
    pub fn has_merge_view(&self) -> bool {
        self.lvs.iter().any(Lv::has_merge_view)
    }

    /// LVs that use `name` as storage, or name it in a segment we do not understand.
    pub fn users_of<'a>(&'a self, name: &'a LvName) -> impl Iterator<Item = &'a Lv> {
        self.lvs.iter().filter(move |lv| lv.segments.iter().any(|segment| segment.names_lv(name)))
    }

    /// Whether `lv`, or an LV below it, lies on a PV that is missing.
    pub fn is_partial(&self, lv: &Lv) -> bool {
        // Bounded: every LV is looked at once.
        let mut seen = HashSet::from([&lv.name]);
        let mut waiting = vec![lv];
        let present: HashSet<&PvKey> =
            self.pvs.iter().filter(|pv| !pv.is_missing()).map(|pv| &pv.key).collect();
        while let Some(lv) = waiting.pop() {
            for area in lv.segments.iter().flat_map(Segment::areas) {
                match &area.on {
                    AreaOn::Pv(key) if !present.contains(key) => return true,
                    AreaOn::Lv(name) if seen.insert(name) => waiting.extend(self.lv(name)),
                    _ => {}
                }
            }
        }
        false
    }
}

impl Segment {
    /// The areas of a striped piece; none for other kinds.
    pub fn areas(&self) -> impl Iterator<Item = &Area> {
        match &self.kind {
            SegmentKind::Striped(striped) => striped.areas.iter(),
            _ => [].iter(),
        }
    }

    /// Whether the piece names the LV `name`: as storage, as origin or store, or anywhere in a body that we do not
    /// understand.
    pub fn names_lv(&self, name: &LvName) -> bool {
        match &self.kind {
            SegmentKind::Striped(striped) => {
                striped.areas.iter().any(|area| matches!(&area.on, AreaOn::Lv(on) if on == name))
            }
            SegmentKind::Snapshot(snapshot) => snapshot.origin == *name || snapshot.cow == *name,
            SegmentKind::Error | SegmentKind::Zero => false,
            SegmentKind::Unknown { .. } => super::opaque::names(&self.other, name.as_str()),
        }
    }
}
