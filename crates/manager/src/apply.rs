//! Carrying out what [`crate::ops`] planned, for VGs without live devices: what must lie on the new LVs first, then the
//! commit.
//!
//! What must hold:
//! - What an LV must not show of its former owner is zeroed durably before the commit that gives it a name.
//! - A store: area first, flush, header, flush, then the commit that adds the snapshot (C6). Both are read once more before it.

use crate::environment::Environment;
use crate::ops::lv_create::Planned;
use crate::store::{CommitError, Committed, DiskSet, FoundVg, MapError, read_lv, stage, write_lv};
use foldback_dm_snapshot_format::{Header, Layout};
use foldback_lvm2_format::vg::{Lv, Vg};
use foldback_units::{Bytes, ChunkSize, LvName, SectorRange, Sectors};

/// What LVM2 zeroes of a new LV.
const ZEROED: Sectors = Sectors(8);

/// Why a plan was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The start of the new LV could not be written; nothing was committed.
    #[error("preparing the new volume: {0}; nothing was changed")]
    Prepare(#[from] MapError),
    /// A disk that does not keep what it is told; nothing was committed.
    #[error(
        "preparing the new volume: the store of {lv} does not read as it was written; nothing was changed"
    )]
    Unlike {
        /// Whose store.
        lv: LvName,
    },
    /// The VG was not written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Commits a changed VG.
pub fn commit(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    vg: Vg,
    environment: &mut dyn Environment,
) -> Result<Committed, ApplyError> {
    Ok(stage(set, found, vg, environment)?.commit()?)
}

/// Makes a planned LV; `zero` as `lvcreate -Z`.
pub fn create_lv(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    planned: &Planned,
    zero: bool,
    environment: &mut dyn Environment,
) -> Result<Committed, ApplyError> {
    refuse_early(found)?;
    if zero && let Some(lv) = planned.vg.lv(&planned.lv) {
        let len = Sectors(ZEROED.get().min(planned.vg.extent_size.of(lv.extent_count()).get()));
        write_zeros(set, found, lv, Sectors::ZERO, len)?;
    }
    commit(set, found, planned.vg.clone(), environment)
}

/// Makes a planned snapshot with an empty store.
pub fn create_snapshot(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    planned: &Planned,
    chunk: ChunkSize,
    environment: &mut dyn Environment,
) -> Result<Committed, ApplyError> {
    prepare_stores(set, found, &planned.vg, std::slice::from_ref(&planned.lv), chunk)?;
    commit(set, found, planned.vg.clone(), environment)
}

/// Makes the stores of planned snapshots empty, with chunks of that size: what has to be on disk before the commit that
/// names them, whoever carries that out.
pub fn prepare_stores(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    planned: &Vg,
    lvs: &[LvName],
    chunk: ChunkSize,
) -> Result<(), ApplyError> {
    refuse_early(found)?;
    for store in lvs.iter().filter_map(|lv| planned.lv(lv)) {
        // Area 0 before the header: a valid header over stale records would be a store full of wrong data (K3).
        let layout = Layout::new(chunk);
        let area = layout.area_range(0);
        if let Some(area) = area {
            write_zeros(set, found, store, area.start(), area.len())?;
        }
        let mut header = Header::new(chunk).encode().to_vec();
        header.resize(chunk.bytes().to_usize().unwrap_or(header.len()), 0);
        write_lv(set, found, store, Sectors::ZERO, &header)?;
        let both = area.and_then(|area| SectorRange::new(Sectors::ZERO, area.end()));
        let read = both.map(|both| read_lv(set, found, store, both)).transpose()?.unwrap_or_default();
        // Where another store was before, its records would be followed.
        if read.strip_prefix(&*header).is_none_or(|area| area.iter().any(|byte| *byte != 0)) {
            return Err(ApplyError::Unlike { lv: store.name.clone() });
        }
    }
    Ok(())
}

/// A VG that will not be committed must not have its free extents written either.
fn refuse_early(found: &FoundVg) -> Result<(), CommitError> {
    found.refuses_change().map_or(Ok(()), |finding| {
        Err(CommitError::Refused { vg: found.vg.name.to_string(), finding: Box::new(finding.clone()) })
    })
}

fn write_zeros(
    set: &mut DiskSet<'_>,
    found: &FoundVg,
    lv: &Lv,
    at: Sectors,
    len: Sectors,
) -> Result<(), MapError> {
    let bytes = len.to_bytes().and_then(Bytes::to_usize).unwrap_or(0);
    write_lv(set, found, lv, at, &vec![0; bytes])
}
