//! Writing labels: making a PV, and marking it as used by a VG (lvm2.md 1.4).
//!
//! What must hold:
//! - Making a PV: the old label goes durably first, then the empty metadata areas, the new label last. So after a crash
//!   the disk is no PV, or the new one whole.
//! - The "used" flag follows the commit that needs it: a VG whose PV lacks it still reads, and LVM2 and the next write
//!   put it right.

use crate::store::discovery::{FoundVg, PvPlace};
use crate::store::disk_set::{DiskFault, DiskSet};
use foldback_device::DiskId;
use foldback_lvm2_format::label::{LABEL_SEARCH_BYTES, LabelError, LabelSector};
use foldback_lvm2_format::mda_header::{MdaHeader, MdaHeaderError};
use foldback_lvm2_format::pv_header::{EXTENSION_VERSION, Extension};
use foldback_units::Bytes;

/// Why a PV was not made.
#[derive(Debug, thiserror::Error)]
pub enum LabelWriteError {
    /// The disk failed on the way: it is not the new PV, and perhaps not the old one any more.
    #[error("{0}; what was on the disk may be gone, and it is not a new PV")]
    Disk(#[from] DiskFault),
    /// The label cannot be made.
    #[error("making the label of {path}: {source}")]
    Label {
        /// The disk.
        path: String,
        /// Why not.
        source: LabelError,
    },
    /// A metadata area cannot be made.
    #[error("making the metadata area of {path}: {source}")]
    Area {
        /// The disk.
        path: String,
        /// Why not.
        source: MdaHeaderError,
    },
}

/// Makes `disk` the PV that `label` describes, with empty metadata areas.
pub fn make_pv(set: &mut DiskSet<'_>, disk: DiskId, label: &LabelSector) -> Result<(), LabelWriteError> {
    let path = set.path(disk).to_owned();
    let sector = label.encode().map_err(|source| LabelWriteError::Label { path: path.clone(), source })?;
    let mut areas = Vec::new();
    for area in &label.pv.metadata_areas {
        let header =
            MdaHeader::empty(*area).map_err(|source| LabelWriteError::Area { path: path.clone(), source })?;
        areas.push((area.offset, header.encode()));
    }
    let attempt = "wiping the label";
    set.write(attempt, disk, Bytes::ZERO, &[0; LABEL_SEARCH_BYTES], false)?;
    set.flush(attempt, disk)?;
    for (at, bytes) in &areas {
        set.write("making a metadata area", disk, *at, bytes, false)?;
    }
    set.flush("making a metadata area", disk)?;
    set.write("writing the label", disk, Bytes(label.offset()), &sector, true)?;
    Ok(())
}

/// Marks all PVs of a VG as used, where they are not yet. Returns what did not work.
pub(crate) fn mark_used(set: &mut DiskSet<'_>, found: &mut FoundVg) -> Vec<String> {
    let mut warnings = Vec::new();
    for place in found.places.iter_mut().flatten().filter(|place| !is_marked(place)) {
        let mut label = place.label.clone();
        let extension = label.pv.extension.take().unwrap_or(Extension::new(true));
        label.pv.extension = Some(extension.with_used(true));
        match label.encode() {
            Ok(bytes) => match set.write("marking the PV", place.disk, Bytes(label.offset()), &bytes, true) {
                Ok(()) => place.label = label,
                Err(fault) => warnings.push(fault.to_string()),
            },
            Err(error) => warnings.push(format!("marking {} as used: {error}", place.path)),
        }
    }
    warnings
}

/// A header of a version to come is left alone: rewriting would lose what we do not know.
fn is_marked(place: &PvPlace) -> bool {
    place.label.pv.extension.as_ref().is_some_and(|extension| {
        extension.version > EXTENSION_VERSION
            || (extension.version == EXTENSION_VERSION && extension.is_used())
    })
}
