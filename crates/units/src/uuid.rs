//! LVM2's UUIDs: 32 characters of `0-9a-zA-Z!#`, shown in groups of 6-4-4-4-4-4-6 (lvm2.md 1.8).
//!
//! What must hold:
//! - Reading drops hyphens wherever they stand; writing puts them where LVM2 puts them.
//! - A made UUID uses the 62 alphanumeric characters only. Randomness is an argument.

use std::fmt;

const LENGTH: usize = 32;
const MADE_OF: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

/// The UUID of a PV, a VG or an LV.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LvmUuid([u8; LENGTH]);

/// Why a text is not a UUID.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{text}\" is not an LVM2 UUID: 32 characters of 0-9a-zA-Z!# are needed, hyphens aside")]
pub struct BadUuid {
    /// The text that was refused, control characters escaped.
    pub text: String,
}

impl LvmUuid {
    /// From text, with or without hyphens.
    pub fn parse(text: &str) -> Result<Self, BadUuid> {
        Self::from_bytes(text.bytes().filter(|&byte| byte != b'-'))
            .ok_or_else(|| BadUuid { text: text.escape_debug().to_string() })
    }

    /// From the 32 bytes of a PV header.
    pub fn from_disk(bytes: &[u8; LENGTH]) -> Result<Self, BadUuid> {
        Self::from_bytes(bytes.iter().copied())
            .ok_or_else(|| BadUuid { text: bytes.escape_ascii().to_string() })
    }

    fn from_bytes(bytes: impl Iterator<Item = u8>) -> Option<Self> {
        let bytes: Vec<u8> = bytes.take(LENGTH.saturating_add(1)).collect();
        let good = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'#'));
        if good { Some(Self(bytes.try_into().ok()?)) } else { None }
    }

    /// Made of 32 random bytes, each taken modulo 62 as LVM2 does.
    #[must_use]
    pub fn from_random(random: [u8; LENGTH]) -> Self {
        Self(random.map(|byte| MADE_OF.get(usize::from(byte % 62)).copied().unwrap_or(b'0')))
    }

    /// The 32 characters without hyphens, as in a PV header and in device-mapper's UUIDs.
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The 32 characters without hyphens, as text.
    pub fn compact(&self) -> String {
        self.0.iter().copied().map(char::from).collect()
    }
}

impl fmt::Display for LvmUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(LENGTH.saturating_add(GROUPS.len()));
        let mut characters = self.0.iter().copied().map(char::from);
        for (index, group) in GROUPS.iter().enumerate() {
            if index > 0 {
                text.push('-');
            }
            text.extend(characters.by_ref().take(*group));
        }
        f.pad(&text)
    }
}

impl fmt::Debug for LvmUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LvmUuid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::LvmUuid;

    #[test]
    fn text_round_trips_with_hyphens_dropped_and_put_back() {
        let text = "FDa1Cy-9NYr-6v3T-1C1m-xQ5F-Z2ks-ABcd!#";
        let uuid = LvmUuid::parse(text).unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(LvmUuid::parse(&uuid.compact()).unwrap(), uuid);
        assert_eq!(LvmUuid::from_disk(uuid.as_bytes()).unwrap(), uuid);
    }

    #[test]
    fn wrong_length_or_character_is_refused() {
        for bad in ["", "abc", &"a".repeat(31), &"a".repeat(33), &format!("{} ", "a".repeat(31))] {
            assert!(LvmUuid::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn made_ones_are_alphanumeric() {
        let uuid = LvmUuid::from_random(std::array::from_fn(|index| (index * 8) as u8));
        assert!(uuid.as_bytes().iter().all(u8::is_ascii_alphanumeric));
    }
}
