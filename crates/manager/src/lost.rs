//! Writing down that a snapshot is lost, where only the devices that carried it know: its store failed, and could not be told.
//!
//! What must hold (dm-snapshot.md 1.5, I7):
//! - Whoever calls has the VG locked, and nobody carries the store: the kernel writes its header, too.
//! - Nothing but the header's flag changes. A store that looks empty lost its header, and gets one.
//! - A header that cannot be trusted is refused by everybody as it is.

use crate::store::{DiskSet, FoundVg, MapError, read_lv, write_lv};
use foldback_dm_snapshot_format::header::decode;
use foldback_dm_snapshot_format::{FirstChunk, Header};
use foldback_units::{LvName, SectorRange, Sectors};

/// What is read and written: a block of every disk, and part of every chunk 0.
const BLOCK: Sectors = Sectors(8);

/// Has the store of the snapshot `name` say, durably, that it is invalid; whether it did not before.
///
/// # Errors
/// The disk's: nobody knows then what it says.
pub fn write_lost(set: &mut DiskSet<'_>, found: &FoundVg, name: &LvName) -> Result<bool, MapError> {
    let links = found.vg.snapshots();
    let (Some(snapshot), Some(store)) = (links.of_cow(name), found.vg.lv(name)) else { return Ok(false) };
    let Some(block) = SectorRange::new(Sectors::ZERO, BLOCK) else { return Ok(false) };
    let mut bytes = read_lv(set, found, store, block)?;
    let header = match decode(&bytes) {
        Ok(FirstChunk::Store(header)) if header.valid => header,
        Ok(FirstChunk::Blank) => Header::new(snapshot.segment.chunk_size),
        Ok(FirstChunk::Store(_)) | Err(_) => return Ok(false),
    };
    if let Some(first) = bytes.first_chunk_mut::<{ Header::BYTES }>() {
        *first = header.invalidated().encode();
    }
    write_lv(set, found, store, Sectors::ZERO, &bytes)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::write_lost;
    use crate::check::check;
    use crate::store::{read_lv, write_lv};
    use crate::testing::{Bench, lv_name};
    use foldback_dm_snapshot_format::FindingKind;
    use foldback_units::{SectorRange, Sectors};

    fn is_lost(bench: &mut Bench) -> bool {
        let found = bench.vg();
        let report = check(&mut bench.set(), &found, &lv_name("snap")).unwrap();
        report.findings.iter().any(|finding| finding.kind == FindingKind::Invalidated)
    }

    #[test]
    fn a_lost_snapshot_says_so_from_then_on_and_nothing_else_changes() {
        for blank in [false, true] {
            let mut bench = Bench::with_vg(&[16], 2048);
            bench.lv("root", 2);
            bench.snapshot("root", "snap", 2);
            let found = bench.vg();
            let store = found.vg.lv(&lv_name("snap")).unwrap();
            let all = SectorRange::new(Sectors(0), Sectors(64)).unwrap();
            let mut before = vec![7; 512 * 64];
            let header = read_lv(&mut bench.set(), &found, store, all).unwrap();
            before[..16].copy_from_slice(if blank { &[0; 16] } else { &header[..16] });
            before[4096..8192].fill(0);
            write_lv(&mut bench.set(), &found, store, Sectors(0), &before).unwrap();
            assert!(!is_lost(&mut bench), "blank: {blank}");
            assert!(write_lost(&mut bench.set(), &found, &lv_name("snap")).unwrap());
            assert!(is_lost(&mut bench), "blank: {blank}");
            assert!(!write_lost(&mut bench.set(), &found, &lv_name("snap")).unwrap(), "it says so already");
            let after = read_lv(&mut bench.set(), &found, store, all).unwrap();
            assert_eq!(after[16..], before[16..]);
            assert!(!write_lost(&mut bench.set(), &found, &lv_name("root")).unwrap(), "it is no snapshot");
        }
    }
}
