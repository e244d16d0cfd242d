//! Writing a VG: LVM2's three passes, of which each ends everywhere before the next begins (lvm2.md 1.6).
//!
//! What must hold:
//! - Text, flush; precommit slots, flush; commit slots, flush. The first commit slot that reaches its disk is the
//!   commit: before it the VG reads as old, after it as new, because the highest seqno holds.
//! - The bytes of the text that holds are never touched before that ([`foldback_lvm2_format::ring`]).
//! - A [`Staged`] change that is neither committed nor handed over is reverted when dropped.
//! - Nothing is written for a VG with a finding that refuses, nor where a header is not what was read.
//! - After a failure both what failed and what could not be taken back are told.

use crate::environment::Environment;
use crate::store::area;
use crate::store::discovery::{AreaPlace, FoundVg};
use crate::store::disk_set::{DiskFault, DiskSet};
use crate::store::finding::Finding;
use crate::store::label_write;
use foldback_device::DiskId;
use foldback_dm_table::HeaderWrite;
use foldback_lvm2_format::mda_header::{MdaHeader, TextLocation};
use foldback_lvm2_format::metadata::{Header, Metadata};
use foldback_lvm2_format::ring::{Ring, RingError, TextPlace};
use foldback_lvm2_format::text::{Dialect, Notes, WriteError};
use foldback_lvm2_format::vg::Vg;
use foldback_units::Bytes;

/// Why a VG was not written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A finding refuses it; nothing was written.
    #[error("{}", finding.refusal(vg))]
    Refused {
        /// The VG.
        vg: String,
        /// Why.
        finding: Box<Finding>,
    },
    /// The new VG contradicts itself: a bug of this program, caught before it reached a disk.
    #[error("the changed metadata of {vg} is inconsistent, nothing was written: {reason}")]
    Inconsistent {
        /// The VG.
        vg: String,
        /// What contradicts.
        reason: String,
    },
    /// The VG has been written four thousand million times.
    #[error("the seqno of {0} cannot be counted up any further")]
    SeqnoExhausted(String),
    /// The text cannot be made.
    #[error("writing the metadata of {vg}: {source}")]
    Text {
        /// The VG.
        vg: String,
        /// Why not.
        source: WriteError,
    },
    /// The text does not fit a metadata area.
    #[error("VG {vg}: metadata area of {path}: {source}")]
    Ring {
        /// The VG.
        vg: String,
        /// The PV.
        path: String,
        /// Why not.
        source: RingError,
    },
    /// Somebody who takes no locks wrote the VG meanwhile.
    #[error(
        "the metadata on {path} was changed by somebody else while this command ran; nothing was committed"
    )]
    Changed {
        /// The PV.
        path: String,
    },
    /// A disk failed; the VG reads as before.
    #[error("{fault}; the VG is unchanged")]
    Disk {
        /// What failed.
        fault: DiskFault,
    },
    /// A disk failed in the middle of the commit, and what it holds now is not known.
    #[error(
        "{fault}; taking it back failed, too ({revert}): after the disk works again the VG reads as either old or new"
    )]
    Unknown {
        /// What failed first.
        fault: DiskFault,
        /// What failed then.
        revert: DiskFault,
    },
}

/// One area of a staged change.
#[derive(Debug)]
struct StagedArea {
    disk: DiskId,
    at: Bytes,
    precommit: MdaHeader,
    commit: MdaHeader,
    revert: MdaHeader,
}

/// A change that is precommitted on disk: texts lie in the rings, nothing refers to them yet but slot 1.
#[derive(Debug)]
#[must_use = "a staged change is reverted unless it is committed or handed over"]
pub struct Staged<'s, 'd> {
    set: &'s mut DiskSet<'d>,
    areas: Vec<StagedArea>,
    /// The VG as it will be found once committed.
    next: FoundVg,
    open: bool,
}

/// A VG after its commit.
#[derive(Debug)]
pub struct Committed {
    /// As it would be found now.
    pub found: FoundVg,
    /// What did not work and does not matter for the commit: it is put right by the next write.
    pub warnings: Vec<String>,
}

/// Headers for whoever owns the live devices.
#[derive(Debug)]
pub struct Handover {
    /// The commit point, and how to take it back.
    pub headers: Vec<HeaderWrite>,
    /// The VG as it will be found once they are written.
    pub next: FoundVg,
}

/// Carries out the first two passes for `vg`, a changed copy of `found.vg`.
pub fn stage<'s, 'd>(
    set: &'s mut DiskSet<'d>,
    found: &FoundVg,
    vg: Vg,
    environment: &mut dyn Environment,
) -> Result<Staged<'s, 'd>, CommitError> {
    let name = vg.name.to_string();
    if let Some(finding) = found.refuses_change() {
        return Err(CommitError::Refused { vg: name, finding: Box::new(finding.clone()) });
    }
    let mut vg = vg;
    vg.seqno = found.vg.seqno.checked_add(1).ok_or_else(|| CommitError::SeqnoExhausted(name.clone()))?;
    if let Some(contradiction) = foldback_lvm2_format::check::check(&vg).first() {
        return Err(CommitError::Inconsistent { vg: name, reason: contradiction.to_string() });
    }
    let text = text_of(&vg, environment).map_err(|source| CommitError::Text { vg: name.clone(), source })?;
    let mut plan = Vec::new();
    for place in &found.areas {
        plan.push(place_text(set, &name, place, &text)?);
    }
    let next = committed_view(found, vg, &plan);
    let disk = |fault| CommitError::Disk { fault };
    for (area, location) in &plan {
        write_text(set, area, location.place, &text).map_err(disk)?;
    }
    flush_all(set, &plan).map_err(disk)?;
    let areas = plan.into_iter().map(|(area, _)| area).collect();
    let mut staged = Staged { set, areas, next, open: true };
    staged.precommit().map_err(disk)?;
    Ok(staged)
}

fn text_of(vg: &Vg, environment: &mut dyn Environment) -> Result<Vec<u8>, WriteError> {
    let now = environment.now();
    let time = clock_text(now);
    let header = Header {
        description: format!("Write from {}.", environment.command()),
        creation_host: environment.host(),
        creation_host_system_id: None,
        creation_time: i64::try_from(now).unwrap_or(i64::MAX),
        other: Vec::new(),
    };
    let writer = format!("{}: {time}", environment.writer());
    let system = environment.system();
    let notes = Notes { generated_by: Some(&writer), host: Some(&system), time: Some(&time), lv_time: None };
    Metadata { header, vg: vg.clone() }.write(Dialect::Disk, &notes)
}

/// Seconds since 1970 as `ctime` writes them, in UTC.
pub(crate) fn clock_text(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%a %b %e %H:%M:%S %Y").to_string())
}

/// Finds room for the text in one area, after making sure that the area is as it was read.
fn place_text(
    set: &mut DiskSet<'_>,
    vg: &str,
    place: &AreaPlace,
    text: &[u8],
) -> Result<(StagedArea, TextLocation), CommitError> {
    let path = set.path(place.disk).to_owned();
    let header = area::read_header(set, place.disk, place.area)
        .map_err(|fault| CommitError::Disk { fault })?
        .map_err(|_| CommitError::Changed { path: path.clone() })?;
    if header != place.header {
        return Err(CommitError::Changed { path });
    }
    let size = Bytes(u64::try_from(text.len()).unwrap_or(u64::MAX));
    let holding = header.committed.text.map(|text| text.place);
    let at = header.ring.place_next(holding, size).map_err(|source| CommitError::Ring {
        vg: vg.to_owned(),
        path,
        source,
    })?;
    let location = TextLocation::of_text(at, text);
    let area = StagedArea {
        disk: place.disk,
        at: place.area.offset,
        precommit: header.with_precommitted(location),
        commit: header.with_committed(location),
        revert: header.reverted(),
    };
    Ok((area, location))
}

fn write_text(
    set: &mut DiskSet<'_>,
    area: &StagedArea,
    place: TextPlace,
    text: &[u8],
) -> Result<(), DiskFault> {
    let ring: Ring = area.commit.ring;
    let mut padded = text.to_vec();
    let whole: u64 = ring.pieces_padded(place).iter().map(|piece| piece.len).sum();
    padded.resize(Bytes(whole).to_usize().unwrap_or(padded.len()), 0);
    let mut rest = padded.as_slice();
    for piece in ring.pieces_padded(place).iter() {
        let len = Bytes(piece.len).to_usize().unwrap_or(usize::MAX);
        let Some((here, behind)) = rest.split_at_checked(len) else { break };
        let at = area.at.saturating_add(Bytes(piece.offset));
        set.write("writing a VG's text", area.disk, at, here, false)?;
        rest = behind;
    }
    Ok(())
}

fn disks_of<'a>(areas: impl Iterator<Item = &'a StagedArea>) -> Vec<DiskId> {
    let mut disks: Vec<DiskId> = areas.map(|area| area.disk).collect();
    disks.sort_unstable();
    disks.dedup();
    disks
}

fn flush_all(set: &mut DiskSet<'_>, plan: &[(StagedArea, TextLocation)]) -> Result<(), DiskFault> {
    disks_of(plan.iter().map(|(area, _)| area))
        .into_iter()
        .try_for_each(|disk| set.flush("making a VG's text durable", disk))
}

fn committed_view(found: &FoundVg, vg: Vg, plan: &[(StagedArea, TextLocation)]) -> FoundVg {
    let mut next = found.clone();
    next.vg = vg;
    next.findings.retain(|finding| !matches!(finding, Finding::OldMetadata { .. }));
    for (place, (area, _)) in next.areas.iter_mut().zip(plan) {
        place.header = area.commit;
    }
    next.places = next
        .vg
        .pvs
        .iter()
        .map(|pv| found.places.iter().flatten().find(|place| place.label.pv.id == pv.id).cloned())
        .collect();
    next
}

impl Staged<'_, '_> {
    /// The VG as it will be once committed.
    pub fn vg(&self) -> &Vg {
        &self.next.vg
    }

    fn precommit(&mut self) -> Result<(), DiskFault> {
        for area in &self.areas {
            let bytes = area.precommit.encode();
            self.set.write("precommitting a VG", area.disk, area.at, &bytes, false)?;
        }
        disks_of(self.areas.iter())
            .into_iter()
            .try_for_each(|disk| self.set.flush("precommitting a VG", disk))
    }

    /// The third pass. For a VG with live devices use [`Staged::hand_over`].
    pub fn commit(mut self) -> Result<Committed, CommitError> {
        self.open = false;
        let mut warnings = Vec::new();
        let mut first: Option<DiskFault> = None;
        let mut written = false;
        let areas = std::mem::take(&mut self.areas);
        for area in &areas {
            match self.set.write("committing a VG", area.disk, area.at, &area.commit.encode(), true) {
                Ok(()) => written = true,
                // Committed elsewhere: this area is old metadata, which the next write puts right.
                Err(fault) if written => warnings.push(fault.to_string()),
                Err(fault) => {
                    // Nothing else is committed, so this one must be taken back before another is tried.
                    if let Err(revert) = take_back(self.set, area) {
                        return Err(CommitError::Unknown { fault: first.unwrap_or(fault), revert });
                    }
                    first.get_or_insert(fault);
                }
            }
        }
        match (written, first) {
            (false, Some(fault)) => return Err(CommitError::Disk { fault }),
            (_, fault) => warnings.extend(fault.map(|fault| fault.to_string())),
        }
        warnings.extend(label_write::mark_used(self.set, &mut self.next));
        Ok(Committed { found: self.next.clone(), warnings })
    }

    /// Gives the third pass to whoever owns the VG's live devices.
    pub fn hand_over(mut self) -> Handover {
        self.open = false;
        let headers = self
            .areas
            .iter()
            .map(|area| HeaderWrite {
                pv: self.set.device_ref(area.disk),
                offset: area.at,
                commit: Box::new(area.commit.encode()),
                revert: Box::new(area.revert.encode()),
            })
            .collect();
        Handover { headers, next: self.next.clone() }
    }

    /// Takes the precommitted slots back.
    pub fn revert(mut self) -> Result<(), DiskFault> {
        self.open = false;
        self.areas.iter().try_for_each(|area| take_back(self.set, area))
    }
}

fn take_back(set: &mut DiskSet<'_>, area: &StagedArea) -> Result<(), DiskFault> {
    set.write("reverting a VG", area.disk, area.at, &area.revert.encode(), true)
}

impl Drop for Staged<'_, '_> {
    fn drop(&mut self) {
        if self.open {
            for area in &self.areas {
                // A precommitted slot that stays is ignored by every reader: there is nobody to tell, and no harm.
                take_back(self.set, area).ok();
            }
        }
    }
}
