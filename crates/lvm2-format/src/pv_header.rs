//! The PV header: who this PV is, and where its areas lie (lvm2.md 1.4).
//!
//! ```text
//! | uuid | device size | data areas, end | metadata areas, end | extension | bootloader areas, end |
//!                         each list ends with an entry whose offset is 0
//! ```
//!
//! What must hold:
//! - Every list and the extension end inside the label's sector; a list that does not is refused, never read past.
//! - There is at least one data area. A data area of size 0 reaches to the end of the device.
//! - A metadata area starts and ends on a sector, behind the sectors searched for labels, and its end fits 64 bits.
//!   No two share a byte: the text of one would be written over the text of the other that still holds.
//! - A header with an extension newer than [`EXTENSION_VERSION`] is shown and never written: what it holds
//!   beyond our fields would be lost.

use foldback_units::{BadUuid, Bytes, LvmUuid, SECTOR};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The extension version we know and write: bootloader areas and the "used" flag.
pub const EXTENSION_VERSION: u32 = 2;
/// Extension flag: the PV belongs to a VG.
const USED: u32 = 1;
/// Bytes in which LVM2 looks for labels; no metadata area starts there.
const LABEL_BYTES: u64 = 4 * SECTOR;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawPvHeader {
    id: [u8; 32],
    device_size: U64,
}
const _: () = assert!(size_of::<RawPvHeader>() == 40);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawArea {
    offset: U64,
    size: U64,
}
const _: () = assert!(size_of::<RawArea>() == 16);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawExtension {
    version: U32,
    flags: U32,
}
const _: () = assert!(size_of::<RawExtension>() == 8);

/// A stretch of a device, in bytes from the device's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskArea {
    /// Where it starts; never 0 in a list, where 0 ends the list.
    pub offset: Bytes,
    /// How long it is; for a data area 0 means "to the end of the device".
    pub size: Bytes,
}

/// What follows the two lists since 2011.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extension {
    /// As it lies on the disk; [`EXTENSION_VERSION`] in what we write.
    pub version: u32,
    /// As they lie on the disk; see [`Extension::is_used`].
    pub flags: u32,
    /// Where a boot loader may live.
    pub bootloader_areas: Vec<DiskArea>,
}

impl Extension {
    /// The extension of a PV that is, or is not, used by a VG.
    pub const fn new(used: bool) -> Self {
        Self { version: EXTENSION_VERSION, flags: if used { USED } else { 0 }, bootloader_areas: Vec::new() }
    }

    /// Whether the PV is marked as used by a VG.
    pub const fn is_used(&self) -> bool {
        self.flags & USED == USED
    }

    /// The same extension in the version we write, marked as used or not; other flags and areas stay.
    #[must_use]
    pub fn with_used(mut self, used: bool) -> Self {
        self.version = EXTENSION_VERSION;
        self.flags = if used { self.flags | USED } else { self.flags & !USED };
        self
    }
}

/// A PV's header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PvHeader {
    /// The PV's UUID.
    pub id: LvmUuid,
    /// The device's size when the header was written; a VG's text overrides it.
    pub device_size: Bytes,
    /// Where extents lie; LVM2 writes one, of size 0.
    pub data_areas: Vec<DiskArea>,
    /// Where VG texts lie: none, one or two.
    pub metadata_areas: Vec<DiskArea>,
    /// Absent on PVs of very old LVM2.
    pub extension: Option<Extension>,
}

/// Why bytes are not a PV header, or a header cannot become bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PvHeaderError {
    /// A fixed part crosses the end of the sector.
    #[error("the {part} would lie past the end of the label's sector")]
    PastSector {
        /// Which part.
        part: &'static str,
    },
    /// A list has no terminator before the sector ends, or does not fit when written.
    #[error("the list of {list} areas does not end inside the label's sector")]
    Unterminated {
        /// Which list.
        list: &'static str,
    },
    /// The UUID has characters no UUID has.
    #[error("the PV's UUID is damaged: {0}")]
    Uuid(#[from] BadUuid),
    /// Without a data area there is nowhere for extents.
    #[error("the PV has no data area")]
    NoDataArea,
    /// A metadata area in a place where none can be.
    #[error(
        "a metadata area of {size} bytes at byte {offset} is unaligned, over the labels or another area, or wraps",
        offset = area.offset.get(), size = area.size.get()
    )]
    MetadataArea {
        /// The area as it lies there.
        area: DiskArea,
    },
    /// An area in a list to be written has offset 0, which would end the list.
    #[error("an area at byte 0 cannot be written: it would end its list")]
    ZeroOffset,
    /// Writing would lose what we do not know.
    #[error("the header's extension has version {0}, newer than what this program can write")]
    NewerExtension(u32),
}

fn read_list(bytes: &mut &[u8], list: &'static str) -> Result<Vec<DiskArea>, PvHeaderError> {
    let mut areas = Vec::new();
    loop {
        // Bounded by the sector: every turn consumes 16 bytes of it.
        let (raw, rest) =
            RawArea::read_from_prefix(bytes).map_err(|_| PvHeaderError::Unterminated { list })?;
        *bytes = rest;
        if raw.offset.get() == 0 {
            return Ok(areas);
        }
        areas.push(DiskArea { offset: Bytes(raw.offset.get()), size: Bytes(raw.size.get()) });
    }
}

fn check_metadata_areas(areas: &[DiskArea]) -> Result<(), PvHeaderError> {
    for (number, area) in areas.iter().enumerate() {
        let aligned = area.offset.get().is_multiple_of(SECTOR) && area.size.get().is_multiple_of(SECTOR);
        let end = area.offset.checked_add(area.size).filter(|_| aligned && area.offset.get() >= LABEL_BYTES);
        // Few turns: the label's sector bounds the list.
        let apart = |other: &DiskArea, end: Bytes| {
            end <= other.offset || other.offset.saturating_add(other.size) <= area.offset
        };
        if !end.is_some_and(|end| areas.iter().take(number).all(|other| apart(other, end))) {
            return Err(PvHeaderError::MetadataArea { area: *area });
        }
    }
    Ok(())
}

impl PvHeader {
    /// From the bytes between the header's start and the end of its sector.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, PvHeaderError> {
        let (raw, rest) = RawPvHeader::read_from_prefix(bytes)
            .map_err(|_| PvHeaderError::PastSector { part: "PV header" })?;
        bytes = rest;
        let id = LvmUuid::from_disk(&raw.id)?;
        let data_areas = read_list(&mut bytes, "data")?;
        if data_areas.is_empty() {
            return Err(PvHeaderError::NoDataArea);
        }
        let metadata_areas = read_list(&mut bytes, "metadata")?;
        check_metadata_areas(&metadata_areas)?;
        let extension = Self::decode_extension(bytes)?;
        Ok(Self { id, device_size: Bytes(raw.device_size.get()), data_areas, metadata_areas, extension })
    }

    fn decode_extension(bytes: &[u8]) -> Result<Option<Extension>, PvHeaderError> {
        let (raw, mut bytes) = RawExtension::read_from_prefix(bytes)
            .map_err(|_| PvHeaderError::PastSector { part: "header extension" })?;
        if raw.version.get() == 0 {
            return Ok(None);
        }
        let bootloader_areas = read_list(&mut bytes, "bootloader")?;
        Ok(Some(Extension { version: raw.version.get(), flags: raw.flags.get(), bootloader_areas }))
    }

    /// As bytes that fill `room` from its start; the rest of `room` becomes zero.
    pub fn encode_into(&self, room: &mut [u8]) -> Result<(), PvHeaderError> {
        if self.data_areas.is_empty() {
            return Err(PvHeaderError::NoDataArea);
        }
        check_metadata_areas(&self.metadata_areas)?;
        room.fill(0);
        let mut room = Room(room);
        let raw = RawPvHeader { id: *self.id.as_bytes(), device_size: U64::new(self.device_size.get()) };
        room.put(raw.as_bytes(), PvHeaderError::PastSector { part: "PV header" })?;
        room.put_list(&self.data_areas, "data")?;
        room.put_list(&self.metadata_areas, "metadata")?;
        if let Some(extension) = &self.extension {
            if extension.version > EXTENSION_VERSION {
                return Err(PvHeaderError::NewerExtension(extension.version));
            }
            let raw = RawExtension { version: U32::new(extension.version), flags: U32::new(extension.flags) };
            room.put(raw.as_bytes(), PvHeaderError::PastSector { part: "header extension" })?;
            room.put_list(&extension.bootloader_areas, "bootloader")?;
        } else {
            let none = RawExtension { version: U32::ZERO, flags: U32::ZERO };
            room.put(none.as_bytes(), PvHeaderError::PastSector { part: "header extension" })?;
        }
        Ok(())
    }

    /// Whether a VG uses this PV, as far as the header knows.
    pub fn is_used(&self) -> bool {
        self.extension.as_ref().is_some_and(Extension::is_used)
    }
}

/// What is left of the sector while a header is laid into it.
struct Room<'a>(&'a mut [u8]);

impl Room<'_> {
    fn put(&mut self, bytes: &[u8], full: PvHeaderError) -> Result<(), PvHeaderError> {
        let room = std::mem::take(&mut self.0);
        let Some((here, rest)) = room.split_at_mut_checked(bytes.len()) else { return Err(full) };
        here.copy_from_slice(bytes);
        self.0 = rest;
        Ok(())
    }

    fn put_list(&mut self, areas: &[DiskArea], list: &'static str) -> Result<(), PvHeaderError> {
        for area in areas {
            if area.offset.is_zero() {
                return Err(PvHeaderError::ZeroOffset);
            }
            self.put_area(*area, list)?;
        }
        self.put_area(DiskArea { offset: Bytes::ZERO, size: Bytes::ZERO }, list)
    }

    fn put_area(&mut self, area: DiskArea, list: &'static str) -> Result<(), PvHeaderError> {
        let raw = RawArea { offset: U64::new(area.offset.get()), size: U64::new(area.size.get()) };
        self.put(raw.as_bytes(), PvHeaderError::Unterminated { list })
    }
}
