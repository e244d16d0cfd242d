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

#[cfg(test)]
mod tests {
    use super::{
        CRC_FROM, HEADER_OFFSET, LABEL_SEARCH_BYTES, LabelError, LabelSector, SECTOR_BYTES, crc, search,
    };
    use crate::pv_header::{DiskArea, Extension, PvHeader, PvHeaderError};
    use foldback_units::{Bytes, LvmUuid};

    fn area(offset: u64, size: u64) -> DiskArea {
        DiskArea { offset: Bytes(offset), size: Bytes(size) }
    }

    fn label() -> LabelSector {
        let pv = PvHeader {
            id: LvmUuid::parse("FDa1Cy-9NYr-6v3T-1C1m-xQ5F-Z2ks-ABcdef").unwrap(),
            device_size: Bytes(64 << 20),
            data_areas: vec![area(0x10_0000, 0)],
            metadata_areas: vec![area(0x1000, 0xf_f000)],
            extension: Some(Extension::new(true)),
        };
        LabelSector { sector: 1, pv }
    }

    /// Puts a right checksum over bytes that were made wrong on purpose.
    fn sealed(mut bytes: [u8; SECTOR_BYTES]) -> [u8; SECTOR_BYTES] {
        let sum = crc(&[&bytes[CRC_FROM..]]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// lvm2.md 1.4, the example sector.
    #[test]
    fn the_documents_example_byte_by_byte() {
        let bytes = label().encode().unwrap();
        assert_eq!(&bytes[..8], b"LABELONE");
        assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[20..24], [32, 0, 0, 0]);
        assert_eq!(&bytes[24..32], b"LVM2 001");
        assert_eq!(&bytes[32..64], b"FDa1Cy9NYr6v3T1C1mxQ5FZ2ksABcdef");
        assert_eq!(bytes[64..72], [0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(bytes[72..88], [0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[88..104], [0; 16]);
        assert_eq!(bytes[104..120], [0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x0f, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[120..136], [0; 16]);
        assert_eq!(bytes[136..144], [2, 0, 0, 0, 1, 0, 0, 0]);
        assert!(bytes[144..].iter().all(|&byte| byte == 0));
        assert_eq!(LabelSector::decode(&bytes, 1), Ok(Some(label())));
    }

    /// No single flipped bit goes unnoticed: the checksum covers all but the first 20 bytes, and those are compared.
    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = label().encode().unwrap();
        for bit in 0..SECTOR_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = LabelSector::decode(&bytes, 1);
            match bit / 8 {
                0..8 => assert_eq!(found, Ok(None), "bit {bit}"),
                8..16 => assert!(matches!(found, Err(LabelError::Misplaced { .. })), "bit {bit}"),
                _ => assert!(matches!(found, Err(LabelError::Checksum { .. })), "bit {bit}"),
            }
        }
    }

    /// lvm2.md 7, malformed cases: the label's offset out of range, and one past.
    #[test]
    fn a_header_offset_out_of_range_is_refused_though_the_checksum_is_right() {
        for (offset, refused) in [
            (0_u32, LabelError::HeaderOffset(0)),
            (31, LabelError::HeaderOffset(31)),
            (513, LabelError::HeaderOffset(513)),
            (u32::MAX, LabelError::HeaderOffset(u32::MAX)),
            (512, PvHeaderError::PastSector { part: "PV header" }.into()),
            (473, PvHeaderError::PastSector { part: "PV header" }.into()),
        ] {
            let mut bytes = label().encode().unwrap();
            bytes[20..24].copy_from_slice(&offset.to_le_bytes());
            assert_eq!(LabelSector::decode(&sealed(bytes), 1), Err(refused), "offset {offset}");
        }
    }

    /// lvm2.md 7, malformed cases: a list without its end, an extension past the sector.
    #[test]
    fn lists_and_extensions_that_leave_the_sector_are_refused() {
        // 440 bytes are left behind the fixed part: 27 entries and 8 bytes.
        let filled = |entries: usize, rest: &[u8]| {
            let mut bytes = label().encode().unwrap();
            bytes[72..].fill(0);
            for entry in 0..entries {
                let at = 72 + entry * 16;
                bytes[at..at + 8].copy_from_slice(&0x10_0000_u64.to_le_bytes());
            }
            bytes[512 - rest.len()..].copy_from_slice(rest);
            sealed(bytes)
        };
        let decode = |bytes| LabelSector::decode(&bytes, 1).unwrap_err();
        assert_eq!(decode(filled(27, &[])), PvHeaderError::Unterminated { list: "data" }.into());
        assert_eq!(decode(filled(26, &[])), PvHeaderError::Unterminated { list: "metadata" }.into());
        // 25 entries, both ends, and exactly the extension's fixed part behind them.
        let version_0 = LabelSector::decode(&filled(25, &[]), 1).unwrap().unwrap();
        assert_eq!(version_0.pv.extension, None);
        let past = decode(filled(25, &[2, 0, 0, 0, 1, 0, 0, 0]));
        assert_eq!(past, PvHeaderError::Unterminated { list: "bootloader" }.into());
    }

    #[test]
    fn an_extension_past_the_sector_is_refused() {
        // The header starts 16 bytes later than usual, so that its lists end where the sector ends.
        let mut bytes = label().encode().unwrap();
        bytes[20..24].copy_from_slice(&40_u32.to_le_bytes());
        bytes[32..].fill(0);
        bytes[40..72].copy_from_slice(b"FDa1Cy9NYr6v3T1C1mxQ5FZ2ksABcdef");
        for entry in 0..25 {
            bytes[80 + entry * 16] = 1;
        }
        let refused = PvHeaderError::PastSector { part: "header extension" };
        assert_eq!(LabelSector::decode(&sealed(bytes), 1), Err(refused.into()));
    }

    #[test]
    fn what_cannot_be_a_pv_is_refused() {
        let mut bytes = label().encode().unwrap();
        bytes[72..88].fill(0);
        assert_eq!(LabelSector::decode(&sealed(bytes), 1), Err(PvHeaderError::NoDataArea.into()));

        let mut bytes = label().encode().unwrap();
        bytes[HEADER_OFFSET] = b'-';
        let refused = LabelSector::decode(&sealed(bytes), 1);
        assert!(matches!(refused, Err(LabelError::Header(PvHeaderError::Uuid(_)))));

        let mut bytes = label().encode().unwrap();
        bytes[24] = b'X';
        assert_eq!(LabelSector::decode(&sealed(bytes), 1), Err(LabelError::Type("XVM2 001".to_owned())));

        for (offset, size) in
            [(512_u64, 0x1000_u64), (0x1001, 0x1000), (0x1000, 0x1001), (u64::MAX - 511, 1024)]
        {
            let mut bytes = label().encode().unwrap();
            bytes[104..112].copy_from_slice(&offset.to_le_bytes());
            bytes[112..120].copy_from_slice(&size.to_le_bytes());
            let refused = PvHeaderError::MetadataArea { area: area(offset, size) };
            assert_eq!(LabelSector::decode(&sealed(bytes), 1), Err(refused.into()));
        }
    }

    /// Two areas of one PV that share bytes: committing to the second would destroy what holds in the first.
    #[test]
    fn metadata_areas_over_one_another_are_refused() {
        let with = |areas: &[(u64, u64)]| {
            let mut label = label();
            label.pv.metadata_areas = areas.iter().map(|&(offset, size)| area(offset, size)).collect();
            label.encode().map(|bytes| LabelSector::decode(&bytes, 1).unwrap().is_some())
        };
        let refused = |offset, size| Err(PvHeaderError::MetadataArea { area: area(offset, size) }.into());
        assert_eq!(with(&[(4096, 8192), (12288, 4096), (2048, 2048)]), Ok(true));
        assert_eq!(with(&[(4096, 8192), (11776, 4096)]), refused(11776, 4096));
        assert_eq!(with(&[(8192, 8192), (4096, 4608)]), refused(4096, 4608));
        assert_eq!(with(&[(4096, 8192), (1 << 20, 512), (4096, 8192)]), refused(4096, 8192));
        // The same from a disk, under a right checksum.
        let mut two = label();
        two.pv.metadata_areas.push(area(0x20_0000, 0x1000));
        let mut bytes = two.encode().unwrap();
        bytes[120..128].copy_from_slice(&0x2000_u64.to_le_bytes());
        assert_eq!(LabelSector::decode(&sealed(bytes), 1).map(|_| true), refused(0x2000, 0x1000));
    }

    #[test]
    fn what_would_not_read_back_is_not_written() {
        let mut many = label();
        many.pv.data_areas = vec![area(0x10_0000, 0); 27];
        assert_eq!(many.encode(), Err(PvHeaderError::Unterminated { list: "data" }.into()));
        let mut none = label();
        none.pv.data_areas.clear();
        assert_eq!(none.encode(), Err(PvHeaderError::NoDataArea.into()));
        let mut zero = label();
        zero.pv.data_areas = vec![area(0, 5)];
        assert_eq!(zero.encode(), Err(PvHeaderError::ZeroOffset.into()));
        let mut newer = label();
        newer.pv.extension = Some(Extension { version: 3, flags: 0, bootloader_areas: Vec::new() });
        assert_eq!(newer.encode(), Err(PvHeaderError::NewerExtension(3).into()));
        let mut far = label();
        far.sector = 4;
        assert_eq!(far.encode(), Err(LabelError::Sector(4)));
    }

    #[test]
    fn the_first_good_label_wins_and_others_are_reported() {
        let mut device = vec![0; LABEL_SEARCH_BYTES];
        assert_eq!(search(&device).label, None);
        let mut put = |sector: usize, bytes: &[u8]| {
            device[sector * 512..][..512].copy_from_slice(bytes);
            search(&device)
        };
        let in_sector = |sector| LabelSector { sector, ..label() };
        let found = put(3, &in_sector(3).encode().unwrap());
        assert_eq!(found.label, Some(in_sector(3)));
        let found = put(1, &in_sector(1).encode().unwrap());
        assert_eq!((found.label, found.further), (Some(in_sector(1)), vec![in_sector(3)]));
        // An image of a PV inside the PV: the label says it belongs elsewhere.
        let found = put(0, &in_sector(1).encode().unwrap());
        assert_eq!(found.refused, [(0, LabelError::Misplaced { found: 0, said: 1 })]);
        assert_eq!(found.label, Some(in_sector(1)));
    }

    #[test]
    fn a_short_device_is_searched_as_far_as_it_goes() {
        let mut device = vec![0; 512];
        device.extend(label().encode().unwrap());
        assert_eq!(search(&device).label, Some(label()));
        for len in 0..device.len() {
            assert_eq!(search(&device[..len]).label, None);
        }
    }

    #[test]
    fn the_used_flag_leaves_other_flags_and_areas_alone() {
        let old = Extension { version: 1, flags: 0b110, bootloader_areas: vec![area(0x2000, 0x1000)] };
        let used = old.clone().with_used(true);
        assert_eq!((used.version, used.flags, used.is_used()), (2, 0b111, true));
        assert_eq!(used.bootloader_areas, old.bootloader_areas);
        assert_eq!(used.with_used(false).flags, 0b110);
    }
}
