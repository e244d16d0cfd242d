//! The store check of a snapshot, also of one that nobody has activated: reads its store through the PVs.
//!
//! What must hold:
//! - It reads and never writes; what is wrong with the store comes back as findings of the format's own checker.
//! - The origin's length is the one the snapshot was taken with: records behind it are refused (K5). While a merge runs
//!   that is the same length.

use crate::ops::Refusal;
use crate::store::{DiskSet, FoundVg, MapError, read_lv};
use foldback_dm_snapshot_format::{
    Checker, FeedError, FirstChunk, Layout, Report, StoreGeometry, StoreStatus,
};
use foldback_lvm2_format::vg::{Lv, SegmentKind, Snapshot};
use foldback_units::{LvName, Sectors};

/// Why a store could not be checked: no finding, but a failure.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Not a snapshot.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not be read.
    #[error("checking the store of {lv}: {source}")]
    Read {
        /// The snapshot.
        lv: LvName,
        /// Why not.
        source: MapError,
    },
    /// The checker and its reader disagree: a bug.
    #[error("checking the store of {lv}: {source}")]
    Feed {
        /// The snapshot.
        lv: LvName,
        /// Where.
        source: FeedError,
    },
}

/// Checks the store of the snapshot `name`.
pub fn check(set: &mut DiskSet<'_>, found: &FoundVg, name: &LvName) -> Result<Report, CheckError> {
    let (store, snapshot) = store_of(found, name)?;
    let geometry = StoreGeometry {
        store: length(found, store),
        origin: found.vg.extent_size.of(snapshot.extent_count),
        expected_chunk: Some(snapshot.segment.chunk_size),
    };
    let feed = |source| CheckError::Feed { lv: name.clone(), source };
    let mut checker = Checker::new(geometry);
    while let Some(range) = checker.next_read() {
        let bytes = read_lv(set, found, store, range)
            .map_err(|source| CheckError::Read { lv: name.clone(), source })?;
        checker.feed(&bytes).map_err(feed)?;
    }
    checker.finish().map_err(feed)
}

/// How full a store is, as `lvs` shows it for a snapshot that is not active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usage {
    /// In sectors, as the kernel's status line counts them.
    Used {
        /// What is taken, and what of it is header and areas.
        status: StoreStatus,
        /// Length of the store.
        total: Sectors,
    },
    /// It overflowed or failed.
    Invalid,
    /// The store cannot be trusted.
    Damaged,
}

/// How full the store is, by what a check of it found.
pub fn usage(found: &FoundVg, name: &LvName, report: &Report) -> Result<Usage, CheckError> {
    let (store, snapshot) = store_of(found, name)?;
    if matches!(report.first_chunk, Some(FirstChunk::Store(header)) if !header.valid) {
        return Ok(Usage::Invalid);
    }
    let Some(checked) = &report.store else { return Ok(Usage::Damaged) };
    let chunk = checked.header.map_or(snapshot.segment.chunk_size, |header| header.chunk_size);
    let records = u64::try_from(checked.records.len()).unwrap_or(u64::MAX);
    let layout = Layout::new(chunk);
    let merging = snapshot.segment.merging;
    let status =
        if merging { layout.merge_status(records) } else { layout.status(checked.next_free, records) };
    Ok(status.map_or(Usage::Damaged, |status| Usage::Used { status, total: length(found, store) }))
}

fn length(found: &FoundVg, lv: &Lv) -> Sectors {
    found.vg.extent_size.of(lv.extent_count())
}

fn store_of<'f>(found: &'f FoundVg, name: &LvName) -> Result<(&'f Lv, Snapshot<'f>), Refusal> {
    let vg = &found.vg;
    let refuse = || Refusal::LvNotFound { vg: vg.name.clone(), lv: name.clone() };
    let store = vg.lv(name).ok_or_else(refuse)?;
    let snapshot = vg.snapshots().of_cow(name);
    let snapshot = snapshot.ok_or_else(|| Refusal::NotASnapshot { vg: vg.name.clone(), lv: name.clone() })?;
    if store.segments.iter().any(|segment| !matches!(segment.kind, SegmentKind::Striped(_))) {
        let type_text = crate::ops::snapshot_create::not_understood(store).unwrap_or_default();
        return Err(Refusal::NotUnderstood { vg: vg.name.clone(), lv: name.clone(), type_text });
    }
    Ok((store, snapshot))
}
