//! Why a text that parses is not a VG: the place in it, and the reason.
//!
//! What must hold:
//! - Every refusal names the section and the key it is about, in LVM2's words.

use super::types::BadExtentSize;
use foldback_units::{BadChunkSize, BadName, BadUuid};

/// A refusal, with the place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ReadError {
    /// Section and key: `vg0/logical_volumes/root/status`.
    pub place: String,
    /// What is wrong there.
    pub reason: Refusal,
}

/// What is wrong with a VG's text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A key or section that must be there is not.
    #[error("is missing")]
    Missing,
    /// A value of another type.
    #[error("is not {0}")]
    NotA(&'static str),
    /// A number out of its range.
    #[error("{0} is out of range")]
    Range(i64),
    /// A header field that says the text is something else.
    #[error("is {found}, not {expected}")]
    Not {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A word of `status` that is not known: it may change what the rest means, so the VG must not be touched.
    #[error("the status word \"{0}\" is not known to this program; the VG cannot be used with it")]
    UnknownStatus(String),
    /// Not a name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Not a UUID.
    #[error(transparent)]
    Uuid(#[from] BadUuid),
    /// Not an extent size.
    #[error(transparent)]
    ExtentSize(#[from] BadExtentSize),
    /// Not a chunk size.
    #[error(transparent)]
    ChunkSize(#[from] BadChunkSize),
    /// The count of segments is not what the text says.
    #[error("says {said} segments, {found} are there")]
    SegmentCount {
        /// By `segment_count`.
        said: u32,
        /// Sections found.
        found: usize,
    },
    /// The list of areas is not as long as the count of stripes says.
    #[error("says {said} stripes, {found} areas are there")]
    StripeCount {
        /// By `stripe_count`.
        said: u32,
        /// Areas found.
        found: usize,
    },
    /// A segment's length is not a multiple of its stripes.
    #[error("{extents} extents do not divide into {stripes} stripes")]
    Stripes {
        /// Of the segment.
        extents: u32,
        /// How many stripes.
        stripes: usize,
    },
    /// A name that is neither a PV's section nor an LV.
    #[error("\"{0}\" is neither a PV nor an LV of this VG")]
    UnknownName(String),
    /// `cow_store` and `merging_store`, or neither of them.
    #[error("a snapshot has exactly one of cow_store and merging_store")]
    SnapshotStore,
    /// Two keys of which only one is there.
    #[error("{0} is there without {1}")]
    Pair(&'static str, &'static str),
}
