//! `vgcreate`: a VG of PVs that belong to none. Pure.
//!
//! What must hold:
//! - Every PV has at least one extent, and all of its extents lie on its disk.
//! - Names of VGs are unique among all disks that were read.

use crate::environment::{Environment, fresh_uuid};
use crate::ops::pv_create::vg_name;
use crate::ops::refusal::Refusal;
use crate::store::{AreaPlace, AreaState, Discovery, FoundPv, FoundVg, PvPlace};
use foldback_lvm2_format::vg::{
    AllocationPolicy, ExtentSize, Flags, Pv, PvKey, PvStatus, Vg, VgFlag, VgStatus,
};
use foldback_units::{Sectors, TagName, VgName};
use std::collections::BTreeSet;

/// What is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewVg {
    /// Its name.
    pub name: VgName,
    /// Of its extents; [`ExtentSize::DEFAULT`] is 4 MiB.
    pub extent_size: ExtentSize,
    /// 0 is no limit.
    pub max_lv: u32,
    /// 0 is no limit.
    pub max_pv: u32,
    /// How extents are chosen for LVs without a policy of their own; `None` is `normal`.
    pub policy: Option<AllocationPolicy>,
    /// Its tags.
    pub tags: Vec<TagName>,
    /// Of the host that owns it.
    pub system_id: Option<String>,
    /// Whether events may bring its LVs up.
    pub autoactivation: bool,
}

impl NewVg {
    /// A VG with LVM2's defaults.
    pub fn named(name: VgName) -> Self {
        Self {
            name,
            extent_size: ExtentSize::DEFAULT,
            max_lv: 0,
            max_pv: 0,
            policy: None,
            tags: Vec::new(),
            system_id: None,
            autoactivation: true,
        }
    }
}

/// Plans the VG: with seqno 0 and without a text on any disk, so that staging it writes seqno 1.
pub fn plan(
    found: &Discovery,
    new: &NewVg,
    paths: &[String],
    environment: &mut dyn Environment,
) -> Result<FoundVg, Refusal> {
    let unreadable = found.unreadable.iter().filter_map(|vg| vg.name.as_deref());
    if found.named(new.name.as_str()).next().is_some()
        || unreadable.into_iter().any(|name| name == new.name.as_str())
    {
        return Err(Refusal::VgExists(new.name.clone()));
    }
    if paths.is_empty() {
        return Err(Refusal::NoPvs);
    }
    let mut vg = empty(new, environment);
    let mut places = Vec::new();
    let mut areas = Vec::new();
    for path in paths {
        let pv = usable_pv(found, new, path)?;
        if vg.pv_by_id(&pv.label.pv.id).is_some() {
            return Err(Refusal::PvTwice(path.clone()));
        }
        if new.max_pv != 0 && usize::try_from(new.max_pv).is_ok_and(|max| vg.pvs.len() >= max) {
            let (path, vg) = (path.clone(), new.name.clone());
            return Err(Refusal::TooManyPvs { path, vg, max: new.max_pv });
        }
        let entry = pv_entry(&vg, pv)?;
        vg.pvs.push(entry);
        areas.extend(pv.areas.iter().filter_map(|area| {
            let header = area.header().filter(|header| !header.is_ignored())?;
            Some(AreaPlace { disk: pv.disk, area: area.area, header: *header })
        }));
        places.push(Some(PvPlace {
            disk: pv.disk,
            path: pv.path.clone(),
            size: pv.size,
            label: pv.label.clone(),
        }));
    }
    Ok(FoundVg { vg, places, areas, findings: Vec::new() })
}

fn empty(new: &NewVg, environment: &mut dyn Environment) -> Vg {
    let mut flags = Flags::default();
    flags.set(VgFlag::NoAutoactivate, !new.autoactivation);
    Vg {
        name: new.name.clone(),
        id: fresh_uuid(environment),
        seqno: 0,
        status: BTreeSet::from([VgStatus::Resizeable, VgStatus::Read, VgStatus::Write]),
        flags,
        tags: new.tags.clone(),
        system_id: new.system_id.clone(),
        lock_type: None,
        extent_size: new.extent_size,
        max_lv: new.max_lv,
        max_pv: new.max_pv,
        allocation_policy: new.policy.clone(),
        metadata_copies: 0,
        pvs: Vec::new(),
        lvs: Vec::new(),
        historical: None,
        other: Vec::new(),
    }
}

/// The PV at `path`: labelled, whole, and of no VG.
fn usable_pv<'f>(found: &'f Discovery, new: &NewVg, path: &str) -> Result<&'f FoundPv, Refusal> {
    let absent = || Refusal::PvAbsent(path.to_owned());
    let pv = found.pvs.iter().find(|pv| pv.path == path).ok_or_else(absent)?;
    if let Some(vg) = vg_name(found, pv) {
        return Err(Refusal::PvInVg { path: path.to_owned(), vg, new: new.name.clone() });
    }
    if pv.label.pv.is_used() {
        return Err(Refusal::PvUsed(path.to_owned()));
    }
    if found.duplicates.iter().any(|other| other.label.pv.id == pv.label.pv.id) {
        return Err(Refusal::PvDuplicate(path.to_owned()));
    }
    if pv.areas.iter().any(|area| matches!(area.state, AreaState::Damaged { .. })) {
        return Err(Refusal::PvDamaged(path.to_owned()));
    }
    Ok(pv)
}

fn pv_entry(vg: &Vg, pv: &FoundPv) -> Result<Pv, Refusal> {
    let too_small = || Refusal::NoExtents { path: pv.path.clone(), extent_sectors: vg.extent_size.sectors() };
    let dev_size = pv.label.pv.device_size.min(pv.size).to_sectors_floor();
    let data = pv.label.pv.data_areas.first().ok_or_else(too_small)?;
    let pe_start: Sectors = data.offset.to_sectors().ok_or_else(too_small)?;
    let room = dev_size.checked_sub(pe_start).ok_or_else(too_small)?;
    let pe_count = vg.extent_size.whole_in(room).filter(|&count| count > 0).ok_or_else(too_small)?;
    Ok(Pv {
        key: PvKey::new(&format!("pv{}", vg.pvs.len())).ok_or_else(too_small)?,
        id: pv.label.pv.id,
        device: Some(pv.path.clone()),
        status: BTreeSet::from([PvStatus::Allocatable]),
        flags: Flags::default(),
        tags: Vec::new(),
        dev_size: Some(dev_size),
        pe_start,
        pe_count,
        other: Vec::new(),
    })
}
