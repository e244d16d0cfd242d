//! LVM2's checksum: the polynomial of zlib's CRC-32, another start value, no inversion at the end.
//!
//! What must hold (lvm2.md 1.2):
//! - The register starts at [`SEED`] and is the result as it stands.
//! - Pieces are chained through the register: a text that wraps round the ring has the checksum of its bytes in order.

use crc32fast::Hasher;

/// What the register starts with.
pub const SEED: u32 = 0xf597_a6cf;

/// The checksum of `pieces`, one after the other.
///
/// `crc32fast` inverts on the way in and on the way out; inverting once more at both ends undoes that.
pub fn crc(pieces: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new_with_initial(!SEED);
    for piece in pieces {
        hasher.update(piece);
    }
    !hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::{SEED, crc};
    use proptest::prelude::*;

    /// The slow twin: one bit at a time, from the definition.
    fn bitwise(bytes: &[u8]) -> u32 {
        let mut register = SEED;
        for byte in bytes {
            register ^= u32::from(*byte);
            for _ in 0..8 {
                register = if register & 1 == 1 { (register >> 1) ^ 0xedb8_8320 } else { register >> 1 };
            }
        }
        register
    }

    #[test]
    fn nothing_leaves_the_seed() {
        assert_eq!(crc(&[]), SEED);
        assert_eq!(crc(&[&[]]), SEED);
    }

    proptest! {
        #[test]
        fn equals_the_definition_bit_by_bit(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(crc(&[&bytes]), bitwise(&bytes));
        }

        #[test]
        fn pieces_chain(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(crc(&[first, second]), crc(&[&bytes]));
        }
    }
}
