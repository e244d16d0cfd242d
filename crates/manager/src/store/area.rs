//! One metadata area as it lies on its disk: header, committed text, and what is wrong with them.
//!
//! What must hold:
//! - A precommitted text is not looked at: the command that wrote it did not go on (lvm2.md 1.6).
//! - A text counts only with a right checksum, and only if it is a VG's.
//! - Damage of one area is a state of that area, not an error of the whole reading.

use crate::store::disk_set::{DiskFault, DiskSet};
use foldback_device::DiskId;
use foldback_lvm2_format::label::SECTOR_BYTES;
use foldback_lvm2_format::mda_header::{MdaHeader, TextLocation};
use foldback_lvm2_format::metadata::Metadata;
use foldback_lvm2_format::pv_header::DiskArea;
use foldback_lvm2_format::text::{self, Dialect, TEXT_MAX};
use foldback_units::Bytes;
use std::collections::HashMap;
use std::rc::Rc;

/// A metadata area that the PV's label names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundArea {
    /// Where it lies.
    pub area: DiskArea,
    /// What is in it.
    pub state: AreaState,
}

/// What is in a metadata area.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AreaState {
    /// The header cannot be used.
    Damaged {
        /// Why.
        reason: String,
    },
    /// The VG leaves it alone.
    Ignored(MdaHeader),
    /// No text was ever committed.
    Empty(MdaHeader),
    /// The header names a text that cannot be used.
    BadText {
        /// The header.
        header: MdaHeader,
        /// The text's first word, where that is a name.
        vg: Option<String>,
        /// Why.
        reason: String,
    },
    /// A VG.
    Text {
        /// The header.
        header: MdaHeader,
        /// What the text says; shared among areas with the same text.
        metadata: Rc<Metadata>,
    },
}

/// Texts that were read already: the areas of a VG hold the same one.
pub(crate) type KnownTexts = HashMap<Vec<u8>, Rc<Metadata>>;

/// Reads an area.
pub(crate) fn read(set: &mut DiskSet<'_>, disk: DiskId, area: DiskArea, known: &mut KnownTexts) -> FoundArea {
    let state = read_state(set, disk, area, known)
        .unwrap_or_else(|fault| AreaState::Damaged { reason: fault.to_string() });
    FoundArea { area, state }
}

fn read_state(
    set: &mut DiskSet<'_>,
    disk: DiskId,
    area: DiskArea,
    known: &mut KnownTexts,
) -> Result<AreaState, DiskFault> {
    let header = match read_header(set, disk, area)? {
        Ok(header) => header,
        Err(reason) => return Ok(AreaState::Damaged { reason }),
    };
    if header.is_ignored() {
        return Ok(AreaState::Ignored(header));
    }
    let Some(location) = header.committed.text else { return Ok(AreaState::Empty(header)) };
    // A crafted header must not make us take memory for gigabytes.
    if usize::try_from(location.place.size()).map_or(true, |size| size > TEXT_MAX) {
        let reason = format!("a text of {} bytes is longer than any VG's", location.place.size());
        return Ok(AreaState::BadText { header, vg: None, reason });
    }
    let text = read_text(set, disk, &header, location)?;
    if let Err(error) = location.check(&[&text]) {
        return Ok(AreaState::BadText { header, vg: None, reason: error.to_string() });
    }
    if let Some(metadata) = known.get(&text) {
        return Ok(AreaState::Text { header, metadata: Rc::clone(metadata) });
    }
    match Metadata::parse(&text, Dialect::Disk) {
        Ok(imported) => {
            let metadata = Rc::new(imported.metadata);
            known.insert(text, Rc::clone(&metadata));
            Ok(AreaState::Text { header, metadata })
        }
        Err(error) => {
            let vg = text::first_word(&text).map(|word| word.escape_debug().to_string());
            Ok(AreaState::BadText { header, vg, reason: error.to_string() })
        }
    }
}

/// Reads and checks the header; the inner error says what is wrong with it.
pub(crate) fn read_header(
    set: &mut DiskSet<'_>,
    disk: DiskId,
    area: DiskArea,
) -> Result<Result<MdaHeader, String>, DiskFault> {
    let bytes = set.read("reading a metadata area's header", disk, area.offset, SECTOR_BYTES)?;
    let Ok(bytes) = <[u8; SECTOR_BYTES]>::try_from(bytes) else {
        return Ok(Err("the header is cut off".to_owned()));
    };
    Ok(MdaHeader::decode(&bytes, area).map_err(|error| error.to_string()))
}

fn read_text(
    set: &mut DiskSet<'_>,
    disk: DiskId,
    header: &MdaHeader,
    location: TextLocation,
) -> Result<Vec<u8>, DiskFault> {
    let mut text = Vec::new();
    for piece in header.ring.pieces(location.place).iter() {
        let at = header.start.saturating_add(Bytes(piece.offset));
        let len = Bytes(piece.len).to_usize().unwrap_or(0);
        text.extend(set.read("reading a VG's text", disk, at, len)?);
    }
    Ok(text)
}

impl FoundArea {
    /// The VG's text, if a good one is there.
    pub fn metadata(&self) -> Option<&Rc<Metadata>> {
        match &self.state {
            AreaState::Text { metadata, .. } => Some(metadata),
            _ => None,
        }
    }

    /// The header, unless it is damaged.
    pub const fn header(&self) -> Option<&MdaHeader> {
        match &self.state {
            AreaState::Damaged { .. } => None,
            AreaState::Ignored(header)
            | AreaState::Empty(header)
            | AreaState::BadText { header, .. }
            | AreaState::Text { header, .. } => Some(header),
        }
    }

    /// Why the area cannot be used; `None` where it can.
    pub fn damage(&self) -> Option<&str> {
        match &self.state {
            AreaState::Damaged { reason } | AreaState::BadText { reason, .. } => Some(reason),
            _ => None,
        }
    }
}
