//! The content of a volume or snapshot that nobody serves, read straight from the disks.
//!
//! What must hold:
//! - Nothing is written, not even a repair: a snapshot is read through its checked table of exceptions.
//! - A merging origin or snapshot is refused: neither of the two is whole.
//! - What was never written to an image file is a hole, and costs no reading.

use crate::changing::one_vg;
use crate::error::CliError;
use crate::reporting::no_lv;
use crate::session::Session;
use foldback_device::DiskFile;
use foldback_dm_snapshot_format::Report;
use foldback_lvm2_format::vg::Lv;
use foldback_manager::check::check;
use foldback_manager::store::{Discovery, DiskSet, FoundVg, pieces};
use foldback_units::{Bytes, Chunk, ChunkSize, LvName, SectorRange, Sectors, VgName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A volume that can be read.
pub(crate) struct Volume {
    found: FoundVg,
    /// Where everything lies that has no exception.
    base: Lv,
    store: Option<Store>,
    len: Sectors,
    files: Vec<Arc<DiskFile>>,
}

struct Store {
    lv: Lv,
    chunk: ChunkSize,
    exceptions: BTreeMap<Chunk, Chunk>,
}

/// Refuses what a merge has half folded.
pub(crate) fn refuse_merging(found: &FoundVg, lv: &LvName) -> Result<(), CliError> {
    let links = found.vg.snapshots();
    let as_snapshot = links.of_cow(lv).filter(|snapshot| snapshot.segment.merging);
    let Some(merging) = as_snapshot.or_else(|| links.merging_into(lv)) else { return Ok(()) };
    let (vg, cow, origin) = (&found.vg.name, &merging.segment.cow, &merging.segment.origin);
    let refused = CliError::failed(format!(
        "{vg}/{cow} is merging into {vg}/{origin}: neither of them is whole before the merge has finished."
    ));
    Err(refused.hint(format!("finish it with: foldback lvconvert --merge {vg}/{cow}")))
}

impl Volume {
    /// The volume `vg/lv` as it lies on the disks of `session`.
    pub(crate) fn open(
        session: &mut Session,
        discovery: &Discovery,
        vg: &VgName,
        lv: &LvName,
    ) -> Result<Self, CliError> {
        let found = one_vg(discovery, vg)?;
        if let Some(finding) = found.refuses_use() {
            return Err(CliError::failed(finding.refusal(vg.as_str())));
        }
        let itself = found.vg.lv(lv).filter(|lv| lv.snapshot().is_none()).ok_or_else(|| no_lv(vg, lv))?;
        refuse_merging(found, lv)?;
        let links = found.vg.snapshots();
        let files = session.files.clone();
        let Some(snapshot) = links.of_cow(lv) else {
            let len = found.vg.extent_size.of(itself.extent_count());
            return Ok(Self { found: found.clone(), base: itself.clone(), store: None, len, files });
        };
        let origin = links.lv(&snapshot.segment.origin).ok_or_else(|| no_lv(vg, &snapshot.segment.origin))?;
        let mut set = DiskSet::new(&mut *session.disks, &session.paths);
        let report = check(&mut set, found, lv).map_err(|error| CliError::failed(format!("{error}.")))?;
        let name = format!("{vg}/{lv}");
        let store = exceptions(&name, &report, snapshot.segment.chunk_size, itself)?;
        let len = found.vg.extent_size.of(snapshot.extent_count);
        Ok(Self { found: found.clone(), base: origin.clone(), store: Some(store), len, files })
    }

    /// How long it is.
    pub(crate) fn len(&self) -> Bytes {
        self.len.to_bytes().unwrap_or(Bytes(u64::MAX))
    }

    /// Reads sectors; `None` where all of them are a hole.
    pub(crate) fn read(
        &self,
        set: &mut DiskSet<'_>,
        range: SectorRange,
    ) -> Result<Option<Vec<u8>>, CliError> {
        let mut content = Vec::new();
        let mut zeros: usize = 0;
        for (lv, part) in self.parts(range)? {
            let placed = pieces(&self.found, lv, part);
            for piece in placed.map_err(|error| CliError::failed(format!("{error}.")))? {
                let at = piece.range.start().to_bytes().ok_or_else(too_large)?;
                let len = piece.range.len().to_bytes().and_then(Bytes::to_usize).ok_or_else(too_large)?;
                if self.is_hole(piece.disk.0, at, len)? {
                    zeros = zeros.saturating_add(len);
                    continue;
                }
                content.resize(content.len().saturating_add(zeros), 0);
                zeros = 0;
                content.extend(set.read("reading a volume", piece.disk, at, len)?);
            }
        }
        if content.is_empty() {
            return Ok(None);
        }
        content.resize(content.len().saturating_add(zeros), 0);
        Ok(Some(content))
    }

    fn is_hole(&self, disk: u32, at: Bytes, len: usize) -> Result<bool, CliError> {
        let file =
            usize::try_from(disk).ok().and_then(|index| self.files.get(index)).ok_or_else(too_large)?;
        let end = at.get().saturating_add(u64::try_from(len).map_err(|_| too_large())?);
        let data = file.data_ranges(at.get()..end);
        Ok(data.is_ok_and(|data| data.is_empty()))
    }

    /// Which LV holds which part of the range, in order, neighbours joined.
    fn parts(&self, range: SectorRange) -> Result<Vec<(&Lv, SectorRange)>, CliError> {
        let Some(store) = &self.store else { return Ok(vec![(&self.base, range)]) };
        let mut parts: Vec<(&Lv, SectorRange)> = Vec::new();
        let mut at = range.start();
        while at < range.end() {
            let chunk = store.chunk.chunk_of(at);
            let whole = store.chunk.range_of(chunk).ok_or_else(too_large)?;
            let len = whole.end().min(range.end()).saturating_sub(at);
            let (lv, start) = match store.exceptions.get(&chunk) {
                Some(new) => {
                    let inside = store.chunk.offset_in_chunk(at);
                    (&store.lv, store.chunk.start_of(*new).ok_or_else(too_large)?.saturating_add(inside))
                }
                None => (&self.base, at),
            };
            match parts.last_mut() {
                Some((last, part)) if last.name == lv.name && part.end() == start => {
                    *part = SectorRange::new(part.start(), part.len().saturating_add(len))
                        .ok_or_else(too_large)?;
                }
                _ => parts.push((lv, SectorRange::new(start, len).ok_or_else(too_large)?)),
            }
            at = at.saturating_add(len);
        }
        Ok(parts)
    }
}

fn too_large() -> CliError {
    CliError::failed("A place on the disks is beyond what can be counted.")
}

/// The exceptions of a store that may be used.
fn exceptions(name: &str, report: &Report, chunk: ChunkSize, lv: &Lv) -> Result<Store, CliError> {
    let Some(checked) = &report.store else {
        let reasons: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        let refused =
            CliError::failed(format!("The store of {name} cannot be used:\n{}", reasons.join("\n")));
        return Err(refused.hint(format!("`foldback check {name}' shows all of it.")));
    };
    let chunk = checked.header.map_or(chunk, |header| header.chunk_size);
    let exceptions = checked.records.iter().map(|record| (record.old_chunk(), record.new_chunk())).collect();
    Ok(Store { lv: lv.clone(), chunk, exceptions })
}
