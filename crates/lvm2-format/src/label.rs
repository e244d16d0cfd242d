//! The label: the sector that says "here is a PV" (lvm2.md 1.3).
//!
//! ```text
//! | LABELONE | own sector number | crc of the rest | offset of the PV header | LVM2 001 | ... PV header ... |
//! ```
//!
//! What must hold:
//! - A label lies in one of the first [`LABEL_SECTORS`] sectors and names its own sector.
//! - The first good label is the PV's; further ones are reported and not used.
//! - A sector without `LABELONE` is no error: most sectors hold none.

use crate::crc::crc;
use crate::pv_header::{PvHeader, PvHeaderError};
use foldback_units::SECTOR;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// How many sectors are searched, from the device's start.
pub const LABEL_SECTORS: u64 = 4;
/// How many bytes [`search`] wants to see.
pub const LABEL_SEARCH_BYTES: usize = 2048;
/// Where LVM2 puts the label unless told otherwise.
pub const DEFAULT_LABEL_SECTOR: u64 = 1;

/// The bytes of one sector.
pub const SECTOR_BYTES: usize = 512;
const _: () = assert!(LABEL_SEARCH_BYTES == SECTOR_BYTES * 4);

const ID: [u8; 8] = *b"LABELONE";
const TYPE: [u8; 8] = *b"LVM2 001";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawLabel {
    id: [u8; 8],
    sector: U64,
    crc: U32,
    header_offset: U32,
    label_type: [u8; 8],
}
const HEADER_OFFSET: usize = size_of::<RawLabel>();
const _: () = assert!(HEADER_OFFSET == 32);
/// The checksum covers what follows itself.
const CRC_FROM: usize = std::mem::offset_of!(RawLabel, header_offset);
const _: () = assert!(CRC_FROM == 20);

/// A label with its PV header: all of the sector's meaning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelSector {
    /// In which sector it lies, 0 to 3.
    pub sector: u64,
    /// What it says.
    pub pv: PvHeader,
}

/// Why a sector that starts with `LABELONE` is not a label, or a label cannot become a sector.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LabelError {
    /// Beyond the sectors LVM2 looks at.
    #[error("a label cannot lie in sector {0}; LVM2 looks at sectors 0 to 3")]
    Sector(u64),
    /// A copy of a label that belongs elsewhere, for instance an image of a PV inside a PV.
    #[error("the label in sector {found} says it belongs to sector {said}")]
    Misplaced {
        /// Where it lies.
        found: u64,
        /// Where it says it lies.
        said: u64,
    },
    /// A torn write, rot, or another tool.
    #[error("the label's checksum is {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// Of the bytes that are there.
        computed: u32,
    },
    /// A label of something that is not LVM2.
    #[error("the label's type is \"{0}\", not LVM2 001")]
    Type(String),
    /// A crafted or damaged offset.
    #[error("the label says its PV header starts at byte {0} of the sector")]
    HeaderOffset(u32),
    /// The header behind the label.
    #[error(transparent)]
    Header(#[from] PvHeaderError),
}

impl LabelSector {
    /// From the 512 bytes of sector number `sector`; `None` where they do not start with `LABELONE`.
    pub fn decode(bytes: &[u8; SECTOR_BYTES], sector: u64) -> Result<Option<Self>, LabelError> {
        let Ok((raw, _)) = RawLabel::read_from_prefix(bytes) else { return Ok(None) };
        if raw.id != ID {
            return Ok(None);
        }
        if sector >= LABEL_SECTORS {
            return Err(LabelError::Sector(sector));
        }
        if raw.sector.get() != sector {
            return Err(LabelError::Misplaced { found: sector, said: raw.sector.get() });
        }
        let computed = crc(&[bytes.get(CRC_FROM..).unwrap_or_default()]);
        if raw.crc.get() != computed {
            return Err(LabelError::Checksum { stored: raw.crc.get(), computed });
        }
        if raw.label_type != TYPE {
            return Err(LabelError::Type(raw.label_type.escape_ascii().to_string()));
        }
        // The checksum is no protection against a crafted offset.
        let offset = raw.header_offset.get();
        let header = usize::try_from(offset)
            .ok()
            .filter(|&from| from >= HEADER_OFFSET)
            .and_then(|from| bytes.get(from..))
            .ok_or(LabelError::HeaderOffset(offset))?;
        Ok(Some(Self { sector, pv: PvHeader::decode(header)? }))
    }

    /// As the 512 bytes that belong into sector `self.sector`.
    pub fn encode(&self) -> Result<[u8; SECTOR_BYTES], LabelError> {
        if self.sector >= LABEL_SECTORS {
            return Err(LabelError::Sector(self.sector));
        }
        let mut bytes = [0; SECTOR_BYTES];
        self.pv.encode_into(bytes.get_mut(HEADER_OFFSET..).unwrap_or_default())?;
        let mut raw = RawLabel {
            id: ID,
            sector: U64::new(self.sector),
            crc: U32::ZERO,
            header_offset: U32::new(32),
            label_type: TYPE,
        };
        put_prefix(&mut bytes, &raw);
        raw.crc = U32::new(crc(&[bytes.get(CRC_FROM..).unwrap_or_default()]));
        put_prefix(&mut bytes, &raw);
        Ok(bytes)
    }

    /// Where the sector lies on its device, in bytes.
    pub const fn offset(&self) -> u64 {
        self.sector.saturating_mul(SECTOR)
    }
}

fn put_prefix(bytes: &mut [u8; SECTOR_BYTES], raw: &RawLabel) {
    for (to, from) in bytes.iter_mut().zip(raw.as_bytes()) {
        *to = *from;
    }
}

/// What the first sectors of a device hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelSearch {
    /// The first good label: this is a PV.
    pub label: Option<LabelSector>,
    /// Sectors of further good labels: LVM2 reports and ignores them.
    pub further: Vec<LabelSector>,
    /// Sectors that start like a label and are none, with the reason.
    pub refused: Vec<(u64, LabelError)>,
}

/// Searches the first four sectors. A device shorter than that is searched as far as it goes.
pub fn search(start_of_device: &[u8]) -> LabelSearch {
    let mut found = LabelSearch { label: None, further: Vec::new(), refused: Vec::new() };
    let (sectors, _) = start_of_device.as_chunks::<SECTOR_BYTES>();
    for (number, bytes) in (0..LABEL_SECTORS).zip(sectors) {
        match LabelSector::decode(bytes, number) {
            Ok(None) => {}
            Ok(Some(label)) if found.label.is_none() => found.label = Some(label),
            Ok(Some(label)) => found.further.push(label),
            Err(error) => found.refused.push((number, error)),
        }
    }
    found
}
