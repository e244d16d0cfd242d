//! LVM2's reports against what this crate read: PVs, VGs and LVs, field by field.
//!
//! What must hold:
//! - Every PV, VG and LV that LVM2 reports was read, and every one that was read is reported.
//! - Counts of extents, used and free, are LVM2's: a wrong one would hand out an extent twice.

use crate::lab::Lab;
use crate::reading::{PvOnDisk, read_pv};
use foldback_lvm2_format::extents::ExtentMap;
use foldback_lvm2_format::metadata::Metadata;
use foldback_lvm2_format::text::{Node, Scalar, Value};
use foldback_lvm2_format::vg::{AllocationPolicy, Lv, LvFlag, LvStatus, SegmentKind, Vg};
use foldback_units::{LvName, LvmUuid, TagName};

fn joined(tags: &[TagName]) -> String {
    let mut tags: Vec<&str> = tags.iter().map(TagName::as_str).collect();
    tags.sort_unstable();
    tags.join(",")
}

fn word(set: bool, word: &str) -> String {
    if set { word.to_owned() } else { String::new() }
}

fn policy(policy: Option<&AllocationPolicy>, absent: &str) -> String {
    match policy {
        None => absent.to_owned(),
        Some(AllocationPolicy::Contiguous) => "contiguous".to_owned(),
        Some(AllocationPolicy::Cling) => "cling".to_owned(),
        Some(AllocationPolicy::Normal) => "normal".to_owned(),
        Some(AllocationPolicy::Anywhere) => "anywhere".to_owned(),
        Some(AllocationPolicy::Unknown(text)) => text.clone(),
    }
}

/// Reads every attached disk, asserts that all areas in use hold the same newest text, and compares it with what
/// LVM2 says. The VG, which is the only one.
pub fn agree(lab: &Lab) -> Vg {
    let pvs: Vec<PvOnDisk> = lab.disks.iter().filter_map(|disk| read_pv(&disk.image)).collect();
    let texts: Vec<&Metadata> =
        pvs.iter().flat_map(|pv| pv.areas.iter().filter_map(|(_, text)| text.as_ref())).collect();
    let newest = texts.iter().max_by_key(|text| text.vg.seqno).expect("a text lies somewhere");
    let vg = newest.vg.clone();
    agree_on_pvs(lab, &pvs, &vg);
    agree_on_vg(lab, &vg);
    // Of an exported VG LVM2 reports no LVs.
    if !vg.is_exported() {
        agree_on_lvs(lab, &vg);
    }
    vg
}

fn agree_on_pvs(lab: &Lab, pvs: &[PvOnDisk], vg: &Vg) {
    let fields = "vg_name,pv_uuid,pv_mda_count,pv_mda_used_count,pv_in_use,ba_start,pe_start,pv_pe_count,\
                  pv_pe_alloc_count,pv_allocatable,pv_exported,pv_missing,pv_tags";
    let map = ExtentMap::of(vg);
    let mut rows = lab.report("pvs", fields);
    // PVs of no VG are reported too.
    rows.retain(|row| row[0] == vg.name.as_str());
    assert_eq!(rows.len(), vg.pvs.len());
    for row in rows {
        let id = LvmUuid::parse(&row[1]).unwrap();
        let pv = vg.pv_by_id(&id).expect("a PV that LVM2 knows");
        let disk = pvs.iter().find(|disk| disk.label.pv.id == id);
        let bootloader = disk.and_then(|disk| disk.label.pv.extension.as_ref()?.bootloader_areas.first());
        let used =
            disk.map_or(0, |disk| disk.areas.iter().filter(|(header, _)| !header.is_ignored()).count());
        // Headers from before the flag are not asked.
        let flagged = |disk: &PvOnDisk| {
            disk.label
                .pv
                .extension
                .as_ref()
                .is_none_or(|extension| extension.version < 2 || extension.is_used())
        };
        let in_use = disk.is_none_or(flagged);
        let used_extents = pv.pe_count - map.free_count(&pv.key);
        let ours = [
            vg.name.to_string(),
            id.to_string(),
            disk.map_or(0, |disk| disk.areas.len()).to_string(),
            used.to_string(),
            word(in_use, "used"),
            bootloader.map_or(0, |area| area.offset.get() / 512).to_string(),
            pv.pe_start.get().to_string(),
            pv.pe_count.to_string(),
            used_extents.to_string(),
            word(pv.is_allocatable(), "allocatable"),
            word(vg.is_exported(), "exported"),
            word(pv.is_missing() || disk.is_none(), "missing"),
            joined(&pv.tags),
        ];
        assert_eq!(row, ours, "fields {fields}");
    }
}

fn agree_on_vg(lab: &Lab, vg: &Vg) {
    let fields = "vg_name,vg_uuid,vg_seqno,vg_extent_size,vg_extent_count,vg_free_count,max_lv,max_pv,vg_permissions,\
                  vg_exported,vg_systemid,vg_allocation_policy,vg_mda_copies,lv_count,snap_count,vg_tags";
    let map = ExtentMap::of(vg);
    let links = vg.snapshots();
    let free: u32 = vg.pvs.iter().map(|pv| map.free_count(&pv.key)).sum();
    let ours = vec![
        vg.name.to_string(),
        vg.id.to_string(),
        vg.seqno.to_string(),
        vg.extent_size.sectors().to_string(),
        vg.pvs.iter().map(|pv| pv.pe_count).sum::<u32>().to_string(),
        free.to_string(),
        vg.max_lv.to_string(),
        vg.max_pv.to_string(),
        if vg.is_writable() { "writeable".to_owned() } else { "read-only".to_owned() },
        word(vg.is_exported(), "exported"),
        vg.system_id.clone().unwrap_or_default(),
        policy(vg.allocation_policy.as_ref(), "normal"),
        if vg.metadata_copies == 0 { "unmanaged".to_owned() } else { vg.metadata_copies.to_string() },
        vg.lvs.iter().filter(|lv| links.is_visible(lv)).count().to_string(),
        links.all().len().to_string(),
        joined(&vg.tags),
    ];
    assert_eq!(lab.report("vgs", fields), [ours], "fields {fields}");
}

fn agree_on_lvs(lab: &Lab, vg: &Vg) {
    let fields = "lv_name,lv_uuid,lv_size,seg_count,lv_read_ahead,lv_fixed_minor,lv_skip_activation,lv_merging,origin,lv_tags";
    let links = vg.snapshots();
    // Hidden ones stand in brackets.
    let shown = |lv: &Lv| {
        if links.is_visible(lv) { lv.name.to_string() } else { format!("[{}]", lv.name.as_str()) }
    };
    let mut ours: Vec<Vec<String>> = Vec::new();
    // Fictional LVs are not reported.
    for lv in vg.lvs.iter().filter(|lv| lv.snapshot().is_none()) {
        let snapshot = links.of_cow(&lv.name);
        let merging = snapshot.is_some_and(|snapshot| snapshot.segment.merging)
            || links.merging_into(&lv.name).is_some()
            || named(lv, &["merge"]).is_some();
        let origin = snapshot.map(|snapshot| snapshot.segment.origin.clone());
        let origin = origin.or_else(|| named(lv, &["origin", "external_origin"]));
        ours.push(vec![
            shown(lv),
            lv.id.to_string(),
            vg.extent_size.of(lv.extent_count()).get().to_string(),
            lv.segments.len().to_string(),
            match lv.read_ahead {
                None | Some(0) => "auto".to_owned(),
                Some(-1) => "0".to_owned(),
                Some(sectors) => sectors.to_string(),
            },
            word(lv.status.contains(&LvStatus::FixedMinor), "fixed minor"),
            word(lv.flags.contains(LvFlag::ActivationSkip), "skip activation"),
            word(merging, "merging"),
            origin.map_or_else(String::new, |origin| shown(links.lv(&origin).unwrap())),
            joined(&lv.tags),
        ]);
    }
    let mut theirs = lab.report("lvs -a", fields);
    theirs.sort();
    ours.sort();
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours, "fields {fields}");
    }
    assert_eq!(theirs.len(), ours.len());
}

/// The LV that a segment which this crate keeps unread names at one of these keys.
fn named(lv: &Lv, keys: &[&str]) -> Option<LvName> {
    let unread = lv.segments.iter().filter(|segment| matches!(segment.kind, SegmentKind::Unknown { .. }));
    unread.flat_map(|segment| &segment.other).find_map(|item| match &item.node {
        Node::Value(Value::Scalar(Scalar::Str(name))) if keys.contains(&item.key.as_str()) => {
            Some(LvName::new(name).unwrap())
        }
        _ => None,
    })
}
