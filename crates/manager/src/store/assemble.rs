//! From PVs and their texts to VGs with findings. No I/O.
//!
//! What must hold: see [`crate::store::discovery`].

use crate::store::area::AreaState;
use crate::store::discovery::{AreaPlace, Discovery, FoundPv, FoundVg, PvPlace, UnreadableVg};
use crate::store::finding::{self, Finding};
use foldback_lvm2_format::label::LABEL_SEARCH_BYTES;
use foldback_lvm2_format::metadata::Metadata;
use foldback_lvm2_format::vg::{Pv, Vg};
use foldback_units::{Bytes, LvmUuid, Sectors};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The holding text of each VG, and where a different one with the same seqno lies.
struct Holding {
    metadata: Rc<Metadata>,
    path: String,
    conflict: Option<String>,
}

/// Fills `found.vgs` and `found.unreadable`.
pub(crate) fn assemble(found: &mut Discovery, local_system_id: Option<&str>) {
    let holding = holding_texts(&found.pvs);
    let mut vgs: Vec<FoundVg> =
        holding.values().map(|text| build(text, &holding, found, local_system_id)).collect();
    vgs.sort_by(|a, b| (&a.vg.name, &a.vg.id).cmp(&(&b.vg.name, &b.vg.id)));
    let names: Vec<_> = vgs.iter().map(|found| found.vg.name.clone()).collect();
    for found_vg in &mut vgs {
        if names.iter().filter(|name| **name == found_vg.vg.name).count() > 1 {
            found_vg.findings.push(Finding::SameName);
        }
    }
    for pv in &found.pvs {
        let belongs = vgs.iter().any(|vg| vg.places.iter().flatten().any(|place| place.disk == pv.disk));
        if !belongs {
            found.unreadable.extend(unreadable(pv));
        }
    }
    found.vgs = vgs;
}

fn unreadable(pv: &FoundPv) -> Option<UnreadableVg> {
    pv.areas.iter().find_map(|area| match &area.state {
        AreaState::BadText { vg, reason, .. } => {
            Some(UnreadableVg { name: vg.clone(), path: pv.path.clone(), reason: reason.clone() })
        }
        AreaState::Damaged { reason } if pv.label.pv.is_used() => {
            Some(UnreadableVg { name: None, path: pv.path.clone(), reason: reason.clone() })
        }
        _ => None,
    })
}

fn holding_texts(pvs: &[FoundPv]) -> BTreeMap<LvmUuid, Holding> {
    let mut holding: BTreeMap<LvmUuid, Holding> = BTreeMap::new();
    for pv in pvs {
        for metadata in pv.areas.iter().filter_map(|area| area.metadata()) {
            let path = &pv.path;
            let new = || Holding { metadata: Rc::clone(metadata), path: path.clone(), conflict: None };
            let best = holding.entry(metadata.vg.id).or_insert_with(new);
            if metadata.vg.seqno > best.metadata.vg.seqno {
                *best = new();
            } else if metadata.vg.seqno == best.metadata.vg.seqno && metadata.vg != best.metadata.vg {
                best.conflict.get_or_insert_with(|| path.clone());
            }
        }
    }
    holding
}

fn build(
    text: &Holding,
    holding: &BTreeMap<LvmUuid, Holding>,
    found: &Discovery,
    local_system_id: Option<&str>,
) -> FoundVg {
    let vg = text.metadata.vg.clone();
    let mut findings = finding::of_text(&vg, local_system_id);
    if let Some(other) = &text.conflict {
        let (path, other) = (text.path.clone(), other.clone());
        findings.push(Finding::SeqnoConflict { path, other, seqno: vg.seqno });
    }
    let contradictions = foldback_lvm2_format::check::check(&vg);
    findings.extend(contradictions.iter().map(|one| Finding::Inconsistent(one.to_string())));
    let mut places = Vec::new();
    let mut areas = Vec::new();
    for pv in &vg.pvs {
        let here = found.pvs.iter().find(|other| other.label.pv.id == pv.id);
        let here = here.filter(|here| !is_elsewhere(here, &vg, holding));
        findings.extend(of_pv(&vg, pv, here, found));
        if let Some(here) = here {
            areas.extend(areas_in_use(here, &vg, &mut findings));
        }
        places.push(here.map(|here| PvPlace {
            disk: here.disk,
            path: here.path.clone(),
            size: here.size,
            label: here.label.clone(),
        }));
    }
    if areas.is_empty() {
        findings.push(Finding::NoArea);
    }
    FoundVg { vg, places, areas, findings }
}

/// Whether the PV's own text is of another VG that lists it.
fn is_elsewhere(pv: &FoundPv, vg: &Vg, holding: &BTreeMap<LvmUuid, Holding>) -> bool {
    let mut own =
        pv.areas.iter().filter_map(|area| area.metadata()).map(|metadata| metadata.vg.id).peekable();
    if own.peek().is_none() {
        return false;
    }
    let own: Vec<LvmUuid> = own.collect();
    !own.contains(&vg.id)
        && own.iter().any(|id| {
            holding.get(id).is_some_and(|text| text.metadata.vg.pv_by_id(&pv.label.pv.id).is_some())
        })
}

fn of_pv(vg: &Vg, pv: &Pv, here: Option<&FoundPv>, found: &Discovery) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(here) = here else {
        findings.push(Finding::MissingPv { id: pv.id, hint: pv.device.clone() });
        return findings;
    };
    if pv.is_missing() {
        findings.push(Finding::MarkedMissing { id: pv.id, path: here.path.clone() });
    }
    for other in found.duplicates.iter().filter(|other| other.label.pv.id == pv.id) {
        let (used, other) = (here.path.clone(), other.path.clone());
        findings.push(Finding::DuplicatePv { id: pv.id, used, other });
    }
    let need = pv.pe_start.saturating_add(vg.extent_size.of(pv.pe_count));
    let have = here.size.to_sectors_floor();
    if need > have && need > Sectors::ZERO {
        findings.push(Finding::DiskTooSmall { path: here.path.clone(), have, need });
    }
    findings.extend(extents_over_metadata(pv, need, here));
    findings
}

/// The label and the metadata areas are the PV's own word, where its extents lie is the text's: a text that is wrong
/// about that, or crafted, would have us write a volume's data over them.
fn extents_over_metadata(pv: &Pv, end: Sectors, here: &FoundPv) -> Option<Finding> {
    let label = (Bytes::ZERO, Bytes(LABEL_SEARCH_BYTES.try_into().unwrap_or(u64::MAX)));
    let areas = here.label.pv.metadata_areas.iter().map(|area| (area.offset, area.size));
    let mut taken = areas
        .chain([label])
        .map(|(at, len)| (at.to_sectors_floor(), at.saturating_add(len).to_sectors_ceil()));
    let over = taken.find(|(from, to)| pv.pe_start < *to && *from < end && pv.pe_start < end)?;
    Some(Finding::ExtentsOverMetadata { path: here.path.clone(), start: pv.pe_start, over: over.0 })
}

fn areas_in_use(pv: &FoundPv, vg: &Vg, findings: &mut Vec<Finding>) -> Vec<AreaPlace> {
    let mut areas = Vec::new();
    for area in &pv.areas {
        if let Some(reason) = area.damage() {
            let (path, at) = (pv.path.clone(), area.area.offset.get());
            findings.push(Finding::DamagedArea { path, at, reason: reason.to_owned() });
            continue;
        }
        let Some(header) = area.header().filter(|header| !header.is_ignored()) else { continue };
        // An empty area, or a text of a VG to which the PV belonged earlier, is as old as can be.
        let seqno = area.metadata().filter(|text| text.vg.id == vg.id).map_or(0, |text| text.vg.seqno);
        if seqno < vg.seqno {
            findings.push(Finding::OldMetadata { path: pv.path.clone(), found: seqno, newest: vg.seqno });
        }
        areas.push(AreaPlace { disk: pv.disk, area: area.area, header: *header });
    }
    areas
}
