//! The header of a metadata area: where the VG's text lies in the ring (lvm2.md 1.5).
//!
//! ```text
//! | crc | magic | version | start | size | committed: offset size crc flags | precommitted: same | zero ... |
//! ```
//!
//! What must hold:
//! - One write of these 512 bytes is the atomic point of a commit, so they carry both slots (lvm2.md 1.6).
//! - `start` is where the header lies: a header that was copied elsewhere is refused.
//! - A slot that names a text names one inside the ring, of at least one byte and at most the ring's length.
//! - Offsets in slots count from the area's start; `start` counts from the device's.

use crate::crc::crc;
use crate::label::SECTOR_BYTES;
use crate::pv_header::DiskArea;
use crate::ring::{Ring, RingError, TextPlace};
use foldback_units::Bytes;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 16] = *b" LVM2 x[5A%r0N*>";
const VERSION: u32 = 1;
/// Slot flag: the area belongs to the VG and is not used.
const IGNORED: u32 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawSlot {
    offset: U64,
    size: U64,
    crc: U32,
    flags: U32,
}
const _: () = assert!(size_of::<RawSlot>() == 24);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawMdaHeader {
    crc: U32,
    magic: [u8; 16],
    version: U32,
    start: U64,
    size: U64,
    slots: [RawSlot; 2],
    // Room for further slots that no version of LVM2 ever used.
    unused: [u8; 424],
}
const _: () = assert!(size_of::<RawMdaHeader>() == SECTOR_BYTES);
const _: () = assert!(std::mem::offset_of!(RawMdaHeader, slots) == 40);
/// The checksum covers what follows itself.
const CRC_FROM: usize = std::mem::offset_of!(RawMdaHeader, magic);
const _: () = assert!(CRC_FROM == 4);

/// A text in the ring, and the checksum of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextLocation {
    /// Where it lies.
    pub place: TextPlace,
    /// Of all its bytes, the terminating NUL included.
    pub crc: u32,
}

/// The text that was read is not the text that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the text's checksum is {stored:#010x}, computed {computed:#010x}")]
pub struct TextChecksum {
    /// What the header says.
    pub stored: u32,
    /// What the bytes give.
    pub computed: u32,
}

impl TextLocation {
    /// The location of a text that is about to be written at `place`.
    pub fn of_text(place: TextPlace, text: &[u8]) -> Self {
        Self { place, crc: crc(&[text]) }
    }

    /// Whether `pieces`, one after the other, are the text that was written.
    pub fn check(&self, pieces: &[&[u8]]) -> Result<(), TextChecksum> {
        let computed = crc(pieces);
        if computed == self.crc { Ok(()) } else { Err(TextChecksum { stored: self.crc, computed }) }
    }
}

/// One of the two places where a header names a text.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Slot {
    /// The text, `None` in an empty or ignored slot.
    pub text: Option<TextLocation>,
    /// As they lie on the disk; see [`Slot::is_ignored`].
    pub flags: u32,
}

impl Slot {
    /// The slot that names nothing.
    pub const EMPTY: Self = Self { text: None, flags: 0 };

    /// The slot that names `text`.
    pub const fn naming(text: TextLocation) -> Self {
        Self { text: Some(text), flags: 0 }
    }

    /// Whether the area belongs to the VG but is not used.
    pub const fn is_ignored(&self) -> bool {
        self.flags & IGNORED == IGNORED
    }
}

/// A metadata area's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MdaHeader {
    /// Where the header lies on the device, in bytes.
    pub start: Bytes,
    /// The ring behind it; its area counts from the header's start.
    pub ring: Ring,
    /// The VG's text as it holds.
    pub committed: Slot,
    /// A text that will hold when the command that wrote it goes on; readers ignore it.
    pub precommitted: Slot,
}

/// Why 512 bytes are not a metadata area's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MdaHeaderError {
    /// A torn write, rot, or something else in that place.
    #[error("the header's checksum is {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// Of the bytes that are there.
        computed: u32,
    },
    /// Not a metadata area.
    #[error("the header does not carry LVM2's magic")]
    Magic,
    /// Of a version nobody has written yet.
    #[error("the header's version is {0}, not 1")]
    Version(u32),
    /// A copy of a header that belongs elsewhere.
    #[error("the header at byte {found} says it lies at byte {said}")]
    Start {
        /// Where it was read.
        found: u64,
        /// Where it says it lies.
        said: u64,
    },
    /// An area too small for a ring, or not made of sectors.
    #[error(transparent)]
    Size(RingError),
    /// The header claims more than the label gives it: the rest may be data.
    #[error("the header claims {said} bytes, the PV's label gives it {given}")]
    Larger {
        /// What the header says.
        said: u64,
        /// What the label says.
        given: u64,
    },
    /// A text in a place where none can be.
    #[error("the {slot} text: {error}")]
    Place {
        /// Which slot.
        slot: &'static str,
        /// Why not there.
        error: RingError,
    },
}

impl MdaHeader {
    /// The header of an area that holds no text yet.
    pub fn empty(area: DiskArea) -> Result<Self, MdaHeaderError> {
        let ring = Ring::new(area.size).map_err(MdaHeaderError::Size)?;
        Ok(Self { start: area.offset, ring, committed: Slot::EMPTY, precommitted: Slot::EMPTY })
    }

    /// From the first 512 bytes of `area`, which the PV's label named.
    pub fn decode(bytes: &[u8; SECTOR_BYTES], area: DiskArea) -> Result<Self, MdaHeaderError> {
        let computed = crc(&[bytes.get(CRC_FROM..).unwrap_or_default()]);
        let raw: RawMdaHeader = zerocopy::transmute!(*bytes);
        if raw.crc.get() != computed {
            return Err(MdaHeaderError::Checksum { stored: raw.crc.get(), computed });
        }
        if raw.magic != MAGIC {
            return Err(MdaHeaderError::Magic);
        }
        if raw.version.get() != VERSION {
            return Err(MdaHeaderError::Version(raw.version.get()));
        }
        // A stale or crafted copy must not make us write into another area.
        if raw.start.get() != area.offset.get() {
            return Err(MdaHeaderError::Start { found: area.offset.get(), said: raw.start.get() });
        }
        let ring = Ring::new(Bytes(raw.size.get())).map_err(MdaHeaderError::Size)?;
        if raw.size.get() > area.size.get() {
            return Err(MdaHeaderError::Larger { said: raw.size.get(), given: area.size.get() });
        }
        let [committed, precommitted] = &raw.slots;
        Ok(Self {
            start: area.offset,
            ring,
            committed: decode_slot(committed, ring, "committed")?,
            precommitted: decode_slot(precommitted, ring, "precommitted")?,
        })
    }

    /// As the 512 bytes that belong at `self.start`.
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut raw = RawMdaHeader {
            crc: U32::ZERO,
            magic: MAGIC,
            version: U32::new(VERSION),
            start: U64::new(self.start.get()),
            size: U64::new(self.ring.area_size().get()),
            slots: [encode_slot(&self.committed), encode_slot(&self.precommitted)],
            unused: [0; 424],
        };
        let bytes: [u8; SECTOR_BYTES] = zerocopy::transmute!(raw);
        raw.crc = U32::new(crc(&[bytes.get(CRC_FROM..).unwrap_or_default()]));
        zerocopy::transmute!(raw)
    }

    /// Whether the VG leaves this area alone.
    pub const fn is_ignored(&self) -> bool {
        self.committed.is_ignored()
    }

    /// The header after pass 2 of a commit: `text` is precommitted, the old one still holds (lvm2.md 1.6).
    #[must_use]
    pub const fn with_precommitted(mut self, text: TextLocation) -> Self {
        self.precommitted = Slot::naming(text);
        self
    }

    /// The header after pass 3: `text` holds, nothing is precommitted.
    #[must_use]
    pub const fn with_committed(mut self, text: TextLocation) -> Self {
        self.committed = Slot::naming(text);
        self.precommitted = Slot::EMPTY;
        self
    }

    /// The header after giving up: nothing is precommitted.
    #[must_use]
    pub const fn reverted(mut self) -> Self {
        self.precommitted = Slot::EMPTY;
        self
    }
}

fn decode_slot(raw: &RawSlot, ring: Ring, slot: &'static str) -> Result<Slot, MdaHeaderError> {
    let flags = raw.flags.get();
    let (offset, size) = (raw.offset.get(), raw.size.get());
    if offset == 0 {
        return Ok(Slot { text: None, flags });
    }
    let place =
        ring.place(Bytes(offset), Bytes(size)).map_err(|error| MdaHeaderError::Place { slot, error })?;
    Ok(Slot { text: Some(TextLocation { place, crc: raw.crc.get() }), flags })
}

fn encode_slot(slot: &Slot) -> RawSlot {
    let (offset, size, crc) =
        slot.text.map_or((0, 0, 0), |text| (text.place.offset(), text.place.size(), text.crc));
    RawSlot {
        offset: U64::new(offset),
        size: U64::new(size),
        crc: U32::new(crc),
        flags: U32::new(slot.flags),
    }
}

#[cfg(test)]
mod tests {
    use super::{CRC_FROM, MdaHeader, MdaHeaderError, SECTOR_BYTES, Slot, TextLocation, crc};
    use crate::pv_header::DiskArea;
    use crate::ring::RingError;
    use foldback_units::Bytes;

    const AREA: DiskArea = DiskArea { offset: Bytes(4096), size: Bytes(36864) };

    fn location(offset: u64, size: u64, crc: u32) -> TextLocation {
        let ring = MdaHeader::empty(AREA).unwrap().ring;
        TextLocation { place: ring.place(Bytes(offset), Bytes(size)).unwrap(), crc }
    }

    fn header() -> MdaHeader {
        MdaHeader::empty(AREA).unwrap().with_committed(location(512, 1000, 7))
    }

    fn sealed(mut bytes: [u8; SECTOR_BYTES]) -> [u8; SECTOR_BYTES] {
        let sum = crc(&[&bytes[CRC_FROM..]]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn golden_bytes() {
        let bytes = header().with_precommitted(location(1536, 2000, 9)).encode();
        assert_eq!(
            bytes[4..20],
            [0x20, 0x4c, 0x56, 0x4d, 0x32, 0x20, 0x78, 0x5b, 0x35, 0x41, 0x25, 0x72, 0x30, 0x4e, 0x2a, 0x3e]
        );
        assert_eq!(bytes[20..24], [1, 0, 0, 0]);
        assert_eq!(bytes[24..32], 4096_u64.to_le_bytes());
        assert_eq!(bytes[32..40], 36864_u64.to_le_bytes());
        assert_eq!(
            bytes[40..64],
            [0, 2, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            bytes[64..88],
            [0, 6, 0, 0, 0, 0, 0, 0, 0xd0, 7, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]
        );
        assert!(bytes[88..].iter().all(|&byte| byte == 0));
        assert_eq!(bytes, sealed(bytes));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = header().encode();
        for bit in 0..SECTOR_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = MdaHeader::decode(&bytes, AREA);
            assert!(matches!(found, Err(MdaHeaderError::Checksum { .. })), "bit {bit}");
        }
    }

    /// lvm2.md 7, malformed cases, each under a right checksum.
    #[test]
    fn crafted_headers_are_refused_though_the_checksum_is_right() {
        let with = |at: usize, value: &[u8]| {
            let mut bytes = header().encode();
            bytes[at..at + value.len()].copy_from_slice(value);
            MdaHeader::decode(&sealed(bytes), AREA)
        };
        let place = |slot, error| Err(MdaHeaderError::Place { slot, error });
        assert_eq!(with(4, b"X"), Err(MdaHeaderError::Magic));
        assert_eq!(with(20, &[2]), Err(MdaHeaderError::Version(2)));
        assert_eq!(with(24, &8192_u64.to_le_bytes()), Err(MdaHeaderError::Start { found: 4096, said: 8192 }));
        for size in [0_u64, 1, 511, 512, u64::MAX] {
            let refused = Err(MdaHeaderError::Size(RingError::AreaSize(size)));
            assert_eq!(with(32, &size.to_le_bytes()), refused);
        }
        assert_eq!(
            with(32, &36864_u64.wrapping_add(512).to_le_bytes()),
            Err(MdaHeaderError::Larger { said: 37376, given: 36864 })
        );
        for (slot, name) in [(40, "committed"), (64, "precommitted")] {
            for offset in [1_u64, 511, 36864, u64::MAX] {
                let refused = place(name, RingError::Offset { offset, area_size: 36864 });
                assert_eq!(with(slot, &offset.to_le_bytes()), refused);
            }
            for size in [0_u64, 36353, 1 << 32, u64::MAX] {
                let value = [512_u64.to_le_bytes(), size.to_le_bytes()].concat();
                let refused = place(name, RingError::Size { size, ring_size: 36352 });
                assert_eq!(with(slot, &value), refused);
            }
        }
    }

    /// lvm2.md 1.6: the three passes, and giving up.
    #[test]
    fn the_slots_of_a_commit() {
        let (old, new) = (location(512, 1000, 7), location(1536, 2000, 9));
        let waiting = header().with_precommitted(new);
        assert_eq!((waiting.committed, waiting.precommitted), (Slot::naming(old), Slot::naming(new)));
        let done = waiting.with_committed(new);
        assert_eq!((done.committed, done.precommitted), (Slot::naming(new), Slot::EMPTY));
        assert_eq!(waiting.reverted(), header());
        for header in [waiting, done, header(), MdaHeader::empty(AREA).unwrap()] {
            assert_eq!(MdaHeader::decode(&header.encode(), AREA), Ok(header));
        }
    }

    #[test]
    fn an_ignored_area_is_seen_and_kept() {
        let mut ignored = MdaHeader::empty(AREA).unwrap();
        ignored.committed.flags = 1;
        let read = MdaHeader::decode(&ignored.encode(), AREA).unwrap();
        assert!(read.is_ignored() && !header().is_ignored());
        assert_eq!(read, ignored);
    }

    #[test]
    fn a_text_is_checked_piece_by_piece() {
        let text = b"vg {\n}\n\0";
        let ring = MdaHeader::empty(AREA).unwrap().ring;
        let location = TextLocation::of_text(ring.place(Bytes(512), Bytes(8)).unwrap(), text);
        assert!(location.check(&[&text[..3], &text[3..]]).is_ok());
        assert!(location.check(&[&text[3..], &text[..3]]).is_err());
    }
}
