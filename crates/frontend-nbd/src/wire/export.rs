//! What a client may know of a volume.
//!
//! What must hold:
//! - The flags promise what [`super::Session`] keeps, and nothing else.

use super::numbers::{flag, rep};
use foldback_units::Sectors;

/// A volume as its clients see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// The name that it is asked for by: at most 4096 bytes, without NUL.
    pub name: String,
    /// A line for people; may be empty.
    pub description: String,
    /// Its length.
    pub size: Sectors,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// Why a volume is not opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no export of this name.
    #[error("there is no export of this name")]
    Unknown,
    /// It exists and is not given to this client; the sentence says why.
    #[error("{0}")]
    Policy(String),
    /// Everything is being stopped.
    #[error("the server is being stopped")]
    Shutdown,
}

impl Refusal {
    pub(crate) fn reply(&self) -> u32 {
        match self {
            Self::Unknown => rep::ERR_UNKNOWN,
            Self::Policy(_) => rep::ERR_POLICY,
            Self::Shutdown => rep::ERR_SHUTDOWN,
        }
    }
}

/// What is known of some sectors without reading them (`base:allocation`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allocation {
    /// They occupy no space.
    pub hole: bool,
    /// They read as zeros.
    pub zero: bool,
}

impl Allocation {
    /// Nothing is known: there may be data.
    pub const DATA: Self = Self { hole: false, zero: false };
    /// They read as zeros and occupy no space.
    pub const ABSENT: Self = Self { hole: true, zero: true };
}

impl Export {
    /// In bytes. A volume whose length does not fit cannot exist; its clients would see the part that fits.
    pub(crate) fn bytes(&self) -> u64 {
        self.size.to_bytes().map_or(u64::MAX, foldback_units::Bytes::get)
    }

    /// The transmission flags. A flush covers what any connection was answered, since all of them lead to one device; so
    /// several connections are welcome.
    pub(crate) fn flags(&self, structured: bool) -> u16 {
        let always = flag::HAS_FLAGS
            | flag::SEND_FLUSH
            | flag::SEND_FUA
            | flag::SEND_TRIM
            | flag::SEND_WRITE_ZEROES
            | flag::SEND_FAST_ZERO
            | flag::CAN_MULTI_CONN;
        let read_only = if self.read_only { flag::READ_ONLY } else { 0 };
        let structured = if structured { flag::SEND_DF } else { 0 };
        always | read_only | structured
    }
}

#[cfg(test)]
mod tests {
    use super::Export;
    use foldback_units::Sectors;

    fn export(read_only: bool) -> Export {
        Export { name: "vg/lv".into(), description: String::new(), size: Sectors(8), read_only }
    }

    /// "The server MUST set this transmission flag to 1 if the `NBD_CMD_READ` request supports the `NBD_CMD_FLAG_DF` flag,
    /// and MUST leave this flag clear if structured replies have not been negotiated."
    #[test]
    fn df_is_offered_with_structured_replies_only() {
        assert_eq!(export(false).flags(true) ^ export(false).flags(false), 1 << 7);
    }

    /// Bit 0: "MUST always be 1"; bit 1: "the server MUST error subsequent write operations to the export".
    #[test]
    fn flags_are_what_the_session_keeps() {
        assert_eq!(export(false).flags(false), 0b1001_0110_1101 & !(1 << 7));
        assert_eq!(export(true).flags(false) ^ export(false).flags(false), 1 << 1);
    }

    #[test]
    fn the_length_is_sent_in_bytes() {
        assert_eq!(export(false).bytes(), 4096);
    }
}
