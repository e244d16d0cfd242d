//! Taking a VG off its PVs, and a label off a disk.
//!
//! What must hold:
//! - A VG goes with its last text: until then it reads as it was, so a crash leaves it whole or gone. Its PVs are PVs of
//!   no VG afterwards.
//! - Of a label only its sectors are zeroed, as LVM2 does; everything else on the disk stays.

use crate::store::area::read_header;
use crate::store::commit::CommitError;
use crate::store::discovery::FoundVg;
use crate::store::disk_set::{DiskFault, DiskSet};
use foldback_device::DiskId;
use foldback_lvm2_format::label::LABEL_SEARCH_BYTES;
use foldback_lvm2_format::mda_header::MdaHeader;
use foldback_units::Bytes;

const SECTOR: usize = 512;
/// How a label begins.
const LABEL: &[u8] = b"LABELONE";

/// Empties the metadata areas of a VG and gives its PVs back. Returns what did not work and does not matter.
///
/// # Errors
/// A finding refuses the VG, or an area was changed meanwhile: nothing was written. A disk failed: areas before it are
/// empty already, and the VG reads as it was from those behind it.
pub fn remove_vg(set: &mut DiskSet<'_>, found: &FoundVg) -> Result<Vec<String>, CommitError> {
    if let Some(finding) = found.refuses_change() {
        let finding = Box::new(finding.clone());
        return Err(CommitError::Refused { vg: found.vg.name.to_string(), finding });
    }
    let disk = |fault: DiskFault| CommitError::Disk { fault };
    let mut empty = Vec::new();
    for place in &found.areas {
        let path = set.path(place.disk).to_owned();
        let changed = || CommitError::Changed { path: path.clone() };
        let header = read_header(set, place.disk, place.area).map_err(disk)?.map_err(|_| changed())?;
        if header != place.header {
            return Err(changed());
        }
        let header = MdaHeader::empty(place.area).map_err(|_| changed())?;
        empty.push((place.disk, place.area.offset, header.encode()));
    }
    for (id, at, header) in &empty {
        set.write("taking a VG off a PV", *id, *at, header, true).map_err(disk)?;
    }
    let mut warnings = Vec::new();
    for place in found.places.iter().flatten() {
        let mut label = place.label.clone();
        label.pv.extension = label.pv.extension.map(|extension| extension.with_used(false));
        let written = label.encode().map_err(|error| error.to_string()).and_then(|sector| {
            let at = Bytes(label.offset());
            set.write("giving a PV back", place.disk, at, &sector, true).map_err(|fault| fault.to_string())
        });
        warnings.extend(written.err());
    }
    Ok(warnings)
}

/// Takes the label off a disk.
///
/// # Errors
/// The disk failed.
pub fn remove_pv(set: &mut DiskSet<'_>, disk: DiskId) -> Result<(), DiskFault> {
    let attempt = "wiping the label";
    let sectors = set.read(attempt, disk, Bytes::ZERO, LABEL_SEARCH_BYTES)?;
    let kept = sectors
        .chunks(SECTOR)
        .flat_map(|sector| if sector.starts_with(LABEL) { vec![0; sector.len()] } else { sector.to_vec() });
    let kept: Vec<u8> = kept.collect();
    set.write(attempt, disk, Bytes::ZERO, &kept, true)
}

#[cfg(test)]
mod tests {
    use super::{remove_pv, remove_vg};
    use crate::store::discover;
    use crate::testing::Bench;

    #[test]
    fn a_vg_is_gone_and_its_pvs_stay_pvs_until_their_labels_go() {
        let mut bench = Bench::with_vg(&[8, 8], 256);
        bench.lv("root", 2);
        let found = bench.vg();
        let mut set = bench.set();
        assert_eq!(remove_vg(&mut set, &found).unwrap(), Vec::<String>::new());
        let after = discover(&mut set, None);
        assert!(after.vgs.is_empty() && after.unreadable.is_empty());
        assert!(after.pvs.iter().all(|pv| !pv.label.pv.is_used()));
        let disk = after.pvs[0].disk;
        remove_pv(&mut set, disk).unwrap();
        assert_eq!(discover(&mut set, None).pvs.len(), after.pvs.len() - 1);
    }
}
