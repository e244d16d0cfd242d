//! `pvcreate`: where everything lies on a new PV. Pure.
//!
//! What must hold (lvm2.md 1.1, compared with 2.03.16):
//! - The first metadata area starts at 4 KiB and reaches to the first extent; extents start on a multiple of 1 MiB.
//! - A disk that belongs to a VG is refused, also one whose label only says so.

use crate::environment::{Environment, fresh_uuid};
use crate::ops::refusal::Refusal;
use crate::store::{Discovery, FoundPv};
use foldback_device::DiskId;
use foldback_lvm2_format::label::{DEFAULT_LABEL_SECTOR, LabelSector};
use foldback_lvm2_format::pv_header::{DiskArea, Extension, PvHeader};
use foldback_units::{Bytes, LvmUuid, Sectors};

/// Where the first metadata area starts.
const AREA_START: u64 = 4096;
/// Extents start on a multiple of this: 1 MiB.
const DATA_ALIGNMENT: u64 = 1 << 20;
/// LVM2's `devices/pv_min_size`: 2 MiB.
const PV_MIN: u64 = 2 << 20;
/// A metadata area is no smaller than eight pages.
const AREA_MIN: u64 = 8 * 4096;

/// How the PV is to be.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NewPv {
    /// `--metadatasize`, the least; `None` for what fits before 1 MiB.
    pub metadata_size: Option<Sectors>,
    /// `--dataalignment`: extents begin at a multiple of it; `None` for 1 MiB.
    pub alignment: Option<Sectors>,
    /// `--dataalignmentoffset`: and so much behind that.
    pub alignment_offset: Sectors,
    /// `--uuid`, for a PV that is to be found again.
    pub id: Option<LvmUuid>,
}

/// Refuses a disk that somebody uses.
pub fn check_unused(found: &Discovery, disk: DiskId) -> Result<(), Refusal> {
    let all = found.pvs.iter().chain(&found.duplicates);
    let Some(pv) = all.into_iter().find(|pv| pv.disk == disk) else { return Ok(()) };
    match vg_name(found, pv) {
        Some(vg) => Err(Refusal::PvOfVg { path: pv.path.clone(), vg }),
        None if pv.label.pv.is_used() => Err(Refusal::PvUsed(pv.path.clone())),
        None => Ok(()),
    }
}

/// The name of the VG to which the PV belongs, as far as it can be read.
pub(crate) fn vg_name(found: &Discovery, pv: &FoundPv) -> Option<String> {
    let by_id = found.vgs.iter().find(|vg| vg.vg.pv_by_id(&pv.label.pv.id).is_some());
    let unreadable = || found.unreadable.iter().find(|vg| vg.path == pv.path);
    by_id
        .map(|vg| vg.vg.name.to_string())
        .or_else(|| unreadable().map(|vg| vg.name.clone().unwrap_or_else(|| "[unknown]".to_owned())))
}

/// The label of the new PV on a disk of `size`.
pub fn plan(
    path: &str,
    size: Bytes,
    new: &NewPv,
    environment: &mut dyn Environment,
) -> Result<LabelSector, Refusal> {
    let too_small = || Refusal::PvTooSmall(path.to_owned());
    // Whole sectors only: what is behind the last one does not exist for LVM2.
    let size = size.to_sectors_floor().to_bytes().unwrap_or(size);
    if size.get() < PV_MIN {
        return Err(too_small());
    }
    // What nobody gave a size reaches to the first MiB, also where extents could begin before it.
    let whole = Bytes(DATA_ALIGNMENT.saturating_sub(AREA_START));
    let least = new.metadata_size.map_or(Some(whole), Sectors::to_bytes).ok_or_else(too_small)?;
    let alignment = new.alignment.map_or(Some(Bytes(DATA_ALIGNMENT)), Sectors::to_bytes);
    let alignment = alignment.filter(|alignment| alignment.get() > 0).ok_or_else(too_small)?;
    let offset = new.alignment_offset.to_bytes().ok_or_else(too_small)?;
    let end = AREA_START
        .checked_add(least.get().max(AREA_MIN))
        .and_then(|end| end.checked_next_multiple_of(alignment.get()))
        .and_then(|end| end.checked_add(offset.get()))
        .filter(|end| *end < size.get())
        .ok_or_else(too_small)?;
    let area = DiskArea { offset: Bytes(AREA_START), size: Bytes(end.saturating_sub(AREA_START)) };
    let pv = PvHeader {
        id: new.id.unwrap_or_else(|| fresh_uuid(environment)),
        device_size: size,
        data_areas: vec![DiskArea { offset: Bytes(end), size: Bytes::ZERO }],
        metadata_areas: vec![area],
        extension: Some(Extension::new(false)),
    };
    Ok(LabelSector { sector: DEFAULT_LABEL_SECTOR, pv })
}

#[cfg(test)]
mod tests {
    use super::{NewPv, plan};
    use crate::ops::refusal::Refusal;
    use crate::testing::TestEnvironment;
    use foldback_units::{Bytes, Sectors};

    fn layout(size: u64, metadata_size: Option<u64>) -> Result<(u64, u64), Refusal> {
        let new = NewPv { metadata_size: metadata_size.map(Sectors), ..NewPv::default() };
        let label = plan("/dev/sdb", Bytes(size), &new, &mut TestEnvironment::new())?;
        let area = label.pv.metadata_areas[0];
        assert_eq!(area.offset, Bytes(4096));
        Ok((area.size.get(), label.pv.data_areas[0].offset.get()))
    }

    /// Rows seen on LVM2 2.03.16.
    #[test]
    fn areas_lie_where_lvm2_puts_them() {
        assert_eq!(layout(40 << 20, None).unwrap(), (1_044_480, 1 << 20));
        assert_eq!(layout(40 << 20, Some(4096)).unwrap(), (3_141_632, 3 << 20));
        assert_eq!(layout(40 << 20, Some(72)).unwrap(), (1_044_480, 1 << 20));
        assert_eq!(layout(40 << 20, Some(2048)).unwrap(), (2_093_056, 2 << 20));
        assert!(matches!(layout(1536 << 10, None), Err(Refusal::PvTooSmall(_))));
        assert!(matches!(layout(2 << 20, Some(8192)), Err(Refusal::PvTooSmall(_))));
    }
}
