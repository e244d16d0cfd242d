//! Where a map comes from: of a volume that somebody serves from the daemon, of others from the stores on the disks.
//!
//! What must hold:
//! - Nothing is written, and no daemon is started.
//! - A store that cannot be trusted is an error, never an empty map.

use super::{VolumeMap, What};
use crate::changing::one_vg;
use crate::error::CliError;
use crate::live::LiveVg;
use crate::reporting::no_lv;
use crate::session::Session;
use foldback_daemon::api::types::MapInfo;
use foldback_dm_snapshot_format::{CheckedStore, FirstChunk};
use foldback_lvm2_format::vg::{Snapshot, SnapshotLinks};
use foldback_manager::check::check;
use foldback_manager::store::{Discovery, DiskSet, FoundVg};
use foldback_units::{Cells, ChunkSize, LvName, SectorRange, Sectors, VgName};

/// The disks of a VG, and what they say.
pub(crate) struct Reader<'s> {
    pub(crate) session: &'s mut Session,
    pub(crate) discovery: &'s Discovery,
}

/// What a map of an LV is of, and the LV that has it: a snapshot that merges has its origin's.
fn subject(links: &SnapshotLinks<'_>, lv: &LvName) -> (LvName, What) {
    let merging = links.of_cow(lv).filter(|snapshot| snapshot.segment.merging);
    let lv = merging.map_or(lv, |snapshot| &snapshot.segment.origin);
    let what = if let Some(merging) = links.merging_into(lv) {
        What::Merge(merging.segment.cow.to_string())
    } else if let Some(snapshot) = links.of_cow(lv) {
        What::Snapshot(snapshot.segment.origin.to_string())
    } else {
        let names: Vec<String> =
            links.of_origin(lv).map(|snapshot| snapshot.segment.cow.to_string()).collect();
        if names.is_empty() { What::Plain } else { What::Origin(names) }
    };
    (lv.clone(), what)
}

impl Reader<'_> {
    /// The map of one LV.
    pub(crate) fn map(&mut self, vg: &VgName, lv: &LvName) -> Result<VolumeMap, CliError> {
        let found = one_vg(self.discovery, vg)?;
        if let Some(finding) = found.refuses_use() {
            return Err(CliError::failed(finding.refusal(vg.as_str())));
        }
        let itself = found.vg.lv(lv).filter(|lv| lv.snapshot().is_none()).ok_or_else(|| no_lv(vg, lv))?;
        let links = found.vg.snapshots();
        let (lv, what) = subject(&links, &itself.name);
        let name = format!("{vg}/{lv}");
        if let Some(mut live) = LiveVg::find(vg, &self.session.paths)?
            && let Some(info) = found.vg.lv(&lv).and_then(|lv| live.lv(&lv.id.to_string())).cloned()
        {
            return from_daemon(name, what, &live.client.map(vg.as_str(), &info.id)?);
        }
        let kept = self.kept(found, &lv, &what)?;
        Ok(VolumeMap { name, what, live: false, kept, merged: None })
    }

    /// From the stores on the disks.
    fn kept(&mut self, found: &FoundVg, lv: &LvName, what: &What) -> Result<Cells, CliError> {
        let links = found.vg.snapshots();
        let size = links.lv(lv).map(|lv| found.vg.extent_size.of(lv.extent_count())).unwrap_or_default();
        let shown: Vec<&Snapshot<'_>> = links
            .all()
            .iter()
            .filter(|snapshot| match what {
                What::Plain => false,
                What::Snapshot(_) => snapshot.segment.cow == *lv,
                What::Merge(_) => snapshot.segment.origin == *lv && snapshot.segment.merging,
                What::Origin(_) => snapshot.segment.origin == *lv,
            })
            .collect();
        let size = match shown.as_slice() {
            [snapshot] if matches!(what, What::Snapshot(_)) => found.vg.extent_size.of(snapshot.extent_count),
            _ => size,
        };
        let (mut parts, mut chunk) = (Vec::new(), Sectors(1));
        for snapshot in shown {
            let Some((size, ranges)) = self.ranges(found, snapshot, what)? else { continue };
            chunk = chunk.max(size.len());
            parts.push(ranges.into_iter());
        }
        let mut cells = Cells::new(size, chunk);
        // With so many steps nothing is left over.
        cells.add_union(parts, Sectors::ZERO, usize::MAX);
        Ok(cells)
    }

    /// What one store keeps, ascending. `None`: of an origin, a snapshot that is lost keeps nothing.
    fn ranges(
        &mut self,
        found: &FoundVg,
        snapshot: &Snapshot<'_>,
        what: &What,
    ) -> Result<Option<(ChunkSize, Vec<SectorRange>)>, CliError> {
        let cow = &snapshot.segment.cow;
        let mut set = DiskSet::new(&mut *self.session.disks, &self.session.paths);
        let report = check(&mut set, found, cow).map_err(|error| CliError::failed(format!("{error}.")))?;
        if matches!(report.first_chunk, Some(FirstChunk::Store(header)) if !header.valid) {
            if matches!(what, What::Origin(_)) {
                return Ok(None);
            }
            return Err(CliError::failed(format!(
                "{}/{cow} is invalid: nothing of it is kept any more.",
                found.vg.name
            )));
        }
        let Some(store) = &report.store else {
            let refused = CliError::failed(format!("The store of {}/{cow} is damaged.", found.vg.name));
            return Err(
                refused.hint(format!("`foldback check {}/{cow}' shows what is wrong.", found.vg.name))
            );
        };
        let chunk = store.header.map_or(snapshot.segment.chunk_size, |header| header.chunk_size);
        Ok(Some((chunk, ascending(store, chunk))))
    }
}

fn ascending(store: &CheckedStore, chunk: ChunkSize) -> Vec<SectorRange> {
    let ranges = store.records.iter().filter_map(|record| chunk.range_of(record.old_chunk()));
    let mut ranges: Vec<SectorRange> = ranges.collect();
    ranges.sort_unstable();
    ranges
}

fn from_daemon(name: String, what: What, info: &MapInfo) -> Result<VolumeMap, CliError> {
    let cells = |counts: &[u64]| {
        let counts = counts.iter().copied().map(Sectors).collect();
        Cells::from_counts(Sectors(info.sectors), Sectors(info.cell_sectors), counts)
            .ok_or_else(|| CliError::failed("The daemon's map of the volume is not understood."))
    };
    // A merge may have ended, or begun, since the metadata was read.
    let what = match (info.of.as_str(), what) {
        ("merge", What::Origin(_) | What::Plain) => What::Merge("a snapshot".to_owned()),
        ("origin", What::Merge(_) | What::Plain) => What::Origin(Vec::new()),
        ("plain", What::Merge(_)) => What::Plain,
        (_, what) => what,
    };
    let merged = info.merged.as_deref().map(cells).transpose()?;
    Ok(VolumeMap { name, what, live: true, kept: cells(&info.kept)?, merged })
}
