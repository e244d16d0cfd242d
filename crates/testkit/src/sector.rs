//! The content of one 512-byte sector, small to hold and quick to compare.
//!
//! What must hold:
//! - Equal bytes are equal values: [`Sector::from_bytes`] finds the one form of any 512 bytes.
//! - A stamp tells who wrote it, so that a failure can name the write whose content turned up where it should not.

use std::fmt;
use std::rc::Rc;

/// Bytes in a sector.
pub(crate) const BYTES: usize = 512;
/// The top 16 bits of each word of a stamped sector. No exception record looks like this: its top byte would be set.
const MARK: u64 = 0x5afe << 48;

/// What lies in a sector.
#[derive(Clone, PartialEq, Eq)]
pub enum Sector {
    /// Zeros.
    Zero,
    /// A number below 2^48, written over and over.
    Stamp(u64),
    /// Anything else.
    Bytes(Rc<[u8; BYTES]>),
}

impl Sector {
    /// The sector of these bytes; bytes past 512 are not looked at, missing ones count as zeros.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut whole = [0; BYTES];
        let len = bytes.len().min(BYTES);
        whole[..len].copy_from_slice(&bytes[..len]);
        let first = word(&whole, 0);
        let uniform = (1..BYTES / 8).all(|index| word(&whole, index) == first);
        match first {
            0 if uniform => Self::Zero,
            word if uniform && word >> 48 == MARK >> 48 => Self::Stamp(word ^ MARK),
            _ => Self::Bytes(Rc::new(whole)),
        }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        match self {
            Self::Zero => [0; BYTES],
            Self::Stamp(stamp) => {
                let word = (stamp | MARK).to_le_bytes();
                std::array::from_fn(|at| word[at % 8])
            }
            Self::Bytes(bytes) => **bytes,
        }
    }

    /// Whole sectors from bytes.
    pub fn split(bytes: &[u8]) -> Vec<Self> {
        bytes.chunks(BYTES).map(Self::from_bytes).collect()
    }

    /// The bytes of several sectors.
    pub fn join(sectors: &[Self]) -> Vec<u8> {
        sectors.iter().flat_map(Self::to_bytes).collect()
    }
}

fn word(bytes: &[u8; BYTES], index: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
    u64::from_le_bytes(word)
}

impl fmt::Debug for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("zeros"),
            Self::Stamp(stamp) => write!(f, "stamp {:x}.{:x}", stamp >> 16, stamp & 0xffff),
            Self::Bytes(bytes) => write!(f, "bytes {:02x?}..", &bytes[..16]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sector;

    #[test]
    fn equal_bytes_are_equal_values() {
        for sector in [Sector::Zero, Sector::Stamp(0), Sector::Stamp((1 << 48) - 1)] {
            assert_eq!(Sector::from_bytes(&sector.to_bytes()), sector);
        }
        let mut bytes = Sector::Stamp(5).to_bytes();
        bytes[511] ^= 1;
        let odd = Sector::from_bytes(&bytes);
        assert!(matches!(odd, Sector::Bytes(_)));
        assert_eq!(odd.to_bytes(), bytes);
        assert_eq!(Sector::split(&Sector::join(&[Sector::Zero, odd.clone()])), vec![Sector::Zero, odd]);
    }
}
