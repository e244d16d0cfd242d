//! Names, UUIDs and limits: unique, short enough, not too many.

use super::Finding;
use crate::vg::{AreaOn, LvStatus, PvStatus, Segment, Vg};
use std::collections::HashSet;

/// VG, hyphen, LV and a layer must fit a device's name.
const NAMES_MAX: usize = 128;
const NAMES_EXTRA: usize = 3;

pub(super) fn check(vg: &Vg, findings: &mut Vec<Finding>) {
    let (mut keys, mut ids) = (HashSet::new(), HashSet::new());
    for pv in &vg.pvs {
        if !keys.insert(pv.key.as_str()) {
            findings.push(Finding::PvKeyTwice(pv.key.as_str().to_owned()));
        }
        if !ids.insert(pv.id) {
            findings.push(Finding::PvIdTwice(pv.id));
        }
        if pv.status.contains(&PvStatus::Exported) && !vg.is_exported() {
            findings.push(Finding::PvExported(pv.key.as_str().to_owned()));
        }
    }
    check_lvs(vg, &keys, findings);
    if vg.max_pv != 0 && u32::try_from(vg.pvs.len()).unwrap_or(u32::MAX) > vg.max_pv {
        findings.push(Finding::TooManyPvs { found: vg.pvs.len(), max: vg.max_pv });
    }
    let links = vg.snapshots();
    let visible = vg.lvs.iter().filter(|lv| links.is_visible(lv)).count();
    if vg.max_lv != 0 && u32::try_from(visible).unwrap_or(u32::MAX) > vg.max_lv {
        findings.push(Finding::TooManyLvs { found: visible, max: vg.max_lv });
    }
}

fn check_lvs(vg: &Vg, pv_keys: &HashSet<&str>, findings: &mut Vec<Finding>) {
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    let below: HashSet<&str> = vg
        .lvs
        .iter()
        .flat_map(|lv| lv.segments.iter().flat_map(Segment::areas))
        .filter_map(|area| match &area.on {
            AreaOn::Lv(name) => Some(name.as_str()),
            AreaOn::Pv(_) => None,
        })
        .collect();
    for lv in &vg.lvs {
        let name = lv.name.as_str();
        if !names.insert(name) {
            findings.push(Finding::LvNameTwice(lv.name.clone()));
        }
        if !ids.insert(lv.id) {
            findings.push(Finding::LvIdTwice(lv.id));
        }
        if pv_keys.contains(name) && below.contains(name) {
            findings.push(Finding::Shadowed(lv.name.clone()));
        }
        let length = name.len().saturating_add(vg.name.as_str().len()).saturating_add(NAMES_EXTRA);
        // Only what becomes a device has a device's name.
        if length >= NAMES_MAX && lv.status.contains(&LvStatus::Visible) {
            findings.push(Finding::NamesTooLong(lv.name.clone()));
        }
    }
}
