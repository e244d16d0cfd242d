//! From sectors of an LV to sectors of disks, for what is read or written without a mapped device.
//!
//! What must hold:
//! - Only linear and striped LVs on PVs that are there are mapped; everything else is refused by name.
//! - The pieces of a range are in its order, touch no other LV, and lie inside their PV's extents.

use crate::store::discovery::FoundVg;
use crate::store::disk_set::{DiskFault, DiskSet};
use foldback_device::DiskId;
use foldback_lvm2_format::vg::{Area, AreaOn, Lv, Segment, SegmentKind, Striped};
use foldback_units::{Bytes, LvName, SectorRange, Sectors};

/// Sectors of one disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The disk.
    pub disk: DiskId,
    /// The sectors on it.
    pub range: SectorRange,
}

/// Why an LV, or a range of it, cannot be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The range is not in the LV.
    #[error("mapping {lv}: {range} are not in it")]
    Range {
        /// The LV.
        lv: LvName,
        /// The range.
        range: SectorRange,
    },
    /// The range's end does not fit 64 bits.
    #[error("mapping {0}: the range is too large")]
    Overflow(LvName),
    /// A segment of another kind.
    #[error("mapping {lv}: a segment of type \"{type_text}\" cannot be read here")]
    Kind {
        /// The LV.
        lv: LvName,
        /// The type.
        type_text: String,
    },
    /// A PV is missing.
    #[error("mapping {lv}: PV {pv} is missing")]
    Missing {
        /// The LV.
        lv: LvName,
        /// The PV's name in the text.
        pv: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskFault),
}

/// The pieces of `range` of `lv`, an LV of a VG with the PVs of `found`.
pub fn pieces(found: &FoundVg, lv: &Lv, range: SectorRange) -> Result<Vec<Piece>, MapError> {
    let outside = || MapError::Range { lv: lv.name.clone(), range };
    let extent = found.vg.extent_size;
    let mut pieces = Vec::new();
    let mut covered = Sectors::ZERO;
    for segment in &lv.segments {
        let whole = SectorRange::new(extent.of(segment.start_extent), extent.of(segment.extent_count))
            .ok_or_else(outside)?;
        let Some(here) = whole.intersect(range) else { continue };
        let SegmentKind::Striped(striped) = &segment.kind else {
            let type_text = segment.kind.type_text().to_owned();
            return Err(MapError::Kind { lv: lv.name.clone(), type_text });
        };
        let mut at = here.start().saturating_sub(whole.start());
        let end = at.saturating_add(here.len());
        while at < end {
            let (stripe, offset, run) = striped_place(striped, segment, at).ok_or_else(outside)?;
            let len = Sectors(run.get().min(end.saturating_sub(at).get()));
            let area = striped.areas.get(stripe).ok_or_else(outside)?;
            pieces.push(area_piece(found, lv, area, offset, len)?);
            at = at.saturating_add(len);
        }
        covered = covered.saturating_add(here.len());
    }
    if covered == range.len() { Ok(pieces) } else { Err(outside()) }
}

/// Which stripe a sector of a segment lies on, where in that stripe's area, and how many more go on there.
fn striped_place(striped: &Striped, segment: &Segment, at: Sectors) -> Option<(usize, Sectors, Sectors)> {
    let count = u64::try_from(striped.areas.len()).ok()?;
    if count == 1 {
        return Some((0, at, Sectors(u64::MAX)));
    }
    let size = striped.stripe_size?.get();
    segment.area_extents()?;
    let chunk = at.get().checked_div(size)?;
    let inside = at.get().checked_rem(size)?;
    let row = chunk.checked_div(count)?;
    let stripe = usize::try_from(chunk.checked_rem(count)?).ok()?;
    let offset = row.checked_mul(size)?.checked_add(inside)?;
    Some((stripe, Sectors(offset), Sectors(size.checked_sub(inside)?)))
}

fn area_piece(
    found: &FoundVg,
    lv: &Lv,
    area: &Area,
    offset: Sectors,
    len: Sectors,
) -> Result<Piece, MapError> {
    let AreaOn::Pv(key) = &area.on else {
        return Err(MapError::Kind { lv: lv.name.clone(), type_text: "striped over LVs".to_owned() });
    };
    let missing = || MapError::Missing { lv: lv.name.clone(), pv: key.to_string() };
    let place = found.place(key).ok_or_else(missing)?;
    let pv = found.vg.pv(key).ok_or_else(missing)?;
    let start = found
        .vg
        .extent_size
        .of(area.start_extent)
        .checked_add(pv.pe_start)
        .and_then(|start| start.checked_add(offset));
    let range = start.and_then(|start| SectorRange::new(start, len)).ok_or_else(missing)?;
    Ok(Piece { disk: place.disk, range })
}

/// Reads sectors of an LV.
pub fn read_lv(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    lv: &Lv,
    range: SectorRange,
) -> Result<Vec<u8>, MapError> {
    let mut bytes = Vec::new();
    for piece in pieces(found, lv, range)? {
        let at = piece.range.start().to_bytes().ok_or(MapError::Range { lv: lv.name.clone(), range })?;
        let len = piece.range.len().to_bytes().and_then(Bytes::to_usize);
        let len = len.ok_or(MapError::Range { lv: lv.name.clone(), range })?;
        bytes.extend(set.read("reading an LV", piece.disk, at, len)?);
    }
    Ok(bytes)
}

/// Writes whole sectors of an LV from `at` on, and flushes the disks they lie on.
pub fn write_lv(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    lv: &Lv,
    at: Sectors,
    bytes: &[u8],
) -> Result<(), MapError> {
    // What is no whole sector is caught by the last piece: its bytes run out.
    let len = Sectors(u64::try_from(bytes.len().div_ceil(512)).unwrap_or(u64::MAX));
    let range = SectorRange::new(at, len).ok_or_else(|| MapError::Overflow(lv.name.clone()))?;
    let outside = || MapError::Range { lv: lv.name.clone(), range };
    let mut rest = bytes;
    let mut disks: Vec<DiskId> = Vec::new();
    for piece in pieces(found, lv, range)? {
        let at = piece.range.start().to_bytes().ok_or_else(outside)?;
        let len = piece.range.len().to_bytes().and_then(Bytes::to_usize).ok_or_else(outside)?;
        let (here, behind) = rest.split_at_checked(len).ok_or_else(outside)?;
        set.write("writing an LV", piece.disk, at, here, false)?;
        rest = behind;
        disks.push(piece.disk);
    }
    disks.sort_unstable();
    disks.dedup();
    for disk in disks {
        set.flush("writing an LV", disk)?;
    }
    Ok(())
}
