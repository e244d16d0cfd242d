//! The header of a store: the first 16 bytes of chunk 0, the rest of the chunk being zeros.
//!
//! ```text
//! magic "SnAp" | valid | version | chunk size in sectors      four little-endian u32
//! ```
//!
//! What must hold (dm-snapshot.md 1.1, 1.3, 1.4):
//! - A magic of zero is an empty store that nobody has opened yet, and no error, whatever follows it.
//! - Any other magic, an unknown version and an impossible chunk size are refused with what was found.
//! - Any `valid` other than zero is valid, as it is for the kernel. There is no checksum: 31 of its 32 bits can flip
//!   unnoticed. Every other single bit is noticed.
//! - Of a store that was invalidated the header still decodes: what that means is for the caller to say.

use foldback_units::{BadChunkSize, ChunkSize};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// "SnAp", read as little-endian.
const MAGIC: u32 = 0x7041_6e53;
/// The only version there is.
const VERSION: u32 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RawHeader {
    magic: U32,
    valid: U32,
    version: U32,
    chunk_sectors: U32,
}
const _: () = assert!(size_of::<RawHeader>() == Header::BYTES);
const _: () = assert!(std::mem::offset_of!(RawHeader, valid) == 4);
const _: () = assert!(std::mem::offset_of!(RawHeader, chunk_sectors) == 12);

/// What chunk 0 of a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstChunk {
    /// The magic is zero: a store as `lvcreate` leaves it, without exceptions. Its first opener writes the header.
    Blank,
    /// A store with a header.
    Store(Header),
}

/// A store's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// False once the snapshot was invalidated: the exceptions are no longer complete.
    pub valid: bool,
    /// The chunk size of the store. It wins over the one in the table line or in the volume group's metadata.
    pub chunk_size: ChunkSize,
}

/// Why the first bytes of a store are not a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    #[error("the store's header takes {bytes} bytes, only {0} were read", bytes = Header::BYTES)]
    Short(usize),
    /// Something else lies there.
    #[error("the store's magic is {0:#010x}, neither {MAGIC:#010x} nor zero: this is no exception store")]
    Magic(u32),
    /// A later format, or damage.
    #[error("the store's version is {0}, only version {VERSION} is known")]
    Version(u32),
    /// Not a power of two, or out of bounds.
    #[error("the store's header is damaged: {0}")]
    ChunkSize(BadChunkSize),
}

impl Header {
    /// Bytes of a header: what has to be read to know the chunk size.
    pub const BYTES: usize = 16;

    /// The header of a new store.
    pub const fn new(chunk_size: ChunkSize) -> Self {
        Self { valid: true, chunk_size }
    }

    /// The same store, invalidated (dm-snapshot.md 1.5).
    #[must_use]
    pub const fn invalidated(self) -> Self {
        Self { valid: false, ..self }
    }

    /// The header's bytes. The rest of chunk 0 is zeros.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let raw = RawHeader {
            magic: U32::new(MAGIC),
            valid: U32::new(u32::from(self.valid)),
            version: U32::new(VERSION),
            chunk_sectors: U32::new(self.chunk_size.sectors()),
        };
        zerocopy::transmute!(raw)
    }
}

/// Decodes the first bytes of chunk 0 (at least [`Header::BYTES`]; more are ignored).
pub fn decode(bytes: &[u8]) -> Result<FirstChunk, HeaderError> {
    let (raw, _) = RawHeader::read_from_prefix(bytes).map_err(|_| HeaderError::Short(bytes.len()))?;
    match raw.magic.get() {
        // Userspace zeroes the start of a new store, and that is all it does. What lies behind is not looked at.
        0 => return Ok(FirstChunk::Blank),
        MAGIC => {}
        // Another volume's data (the wrong device, or extents that were reused), or a flipped bit.
        other => return Err(HeaderError::Magic(other)),
    }
    match raw.version.get() {
        VERSION => {}
        other => return Err(HeaderError::Version(other)),
    }
    // The header race of old kernels left chunk size 0 behind (dm-snapshot.md 4.1, 61578dcd); an attacker could ask
    // for a chunk that no memory holds.
    let chunk_size = ChunkSize::from_sectors(raw.chunk_sectors.get()).map_err(HeaderError::ChunkSize)?;
    Ok(FirstChunk::Store(Header { valid: raw.valid.get() != 0, chunk_size }))
}

#[cfg(test)]
mod tests {
    use super::{FirstChunk, Header, HeaderError, decode};
    use foldback_units::ChunkSize;

    fn header(sectors: u32) -> Header {
        Header::new(ChunkSize::from_sectors(sectors).unwrap())
    }

    /// dm-snapshot.md 1.1: the dump of a store that the kernel made with chunks of 512 bytes.
    #[test]
    fn golden_bytes_of_a_fresh_store() {
        let golden = *b"SnAp\x01\0\0\0\x01\0\0\0\x01\0\0\0";
        assert_eq!(header(1).encode(), golden);
        assert_eq!(decode(&golden), Ok(FirstChunk::Store(header(1))));
    }

    #[test]
    fn every_chunk_size_round_trips_valid_and_invalid() {
        for shift in 0..=21 {
            for header in [header(1 << shift), header(1 << shift).invalidated()] {
                let mut chunk = [0; 512];
                chunk[..Header::BYTES].copy_from_slice(&header.encode());
                assert_eq!(decode(&chunk), Ok(FirstChunk::Store(header)));
            }
        }
    }

    /// dm-snapshot.md 1.3: only the magic says that a store is new.
    #[test]
    fn a_zero_magic_is_a_blank_store_whatever_follows() {
        assert_eq!(decode(&[0; 16]), Ok(FirstChunk::Blank));
        let mut bytes = [0xff; 16];
        bytes[..4].fill(0);
        assert_eq!(decode(&bytes), Ok(FirstChunk::Blank));
    }

    #[test]
    fn each_reason_to_refuse_is_named() {
        let good = header(8).encode();
        for len in 0..Header::BYTES {
            assert_eq!(decode(&good[..len]), Err(HeaderError::Short(len)));
        }
        let with = |at: usize, value: u32| {
            let mut bytes = good;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            decode(&bytes)
        };
        assert_eq!(with(0, 0x1234), Err(HeaderError::Magic(0x1234)));
        assert_eq!(with(8, 0), Err(HeaderError::Version(0)));
        assert_eq!(with(8, 2), Err(HeaderError::Version(2)));
        for bad in [0, 3, 1 << 22, u32::MAX] {
            let expected = ChunkSize::from_sectors(bad).unwrap_err();
            assert_eq!(with(12, bad), Err(HeaderError::ChunkSize(expected)));
        }
    }

    /// Without a checksum the 31 upper bits of `valid` are blind, for the kernel as for us: any value but zero is
    /// valid. Each of the other 97 bits is noticed.
    #[test]
    fn every_single_bit_flip_is_noticed_but_31_of_valid() {
        for sectors in [1, 8, 128, 1 << 21] {
            let original = header(sectors);
            let mut unnoticed = Vec::new();
            for bit in 0..Header::BYTES * 8 {
                let mut bytes = original.encode();
                bytes[bit / 8] ^= 1 << (bit % 8);
                match decode(&bytes) {
                    Ok(FirstChunk::Store(read)) if read == original => unnoticed.push(bit),
                    Ok(FirstChunk::Store(read)) => assert_eq!((bit, read), (32, original.invalidated())),
                    Ok(FirstChunk::Blank) => panic!("bit {bit} makes the store look blank"),
                    Err(_) => {}
                }
            }
            assert_eq!(unnoticed, (33..64).collect::<Vec<_>>());
        }
    }
}
