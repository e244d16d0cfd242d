//! What goes into an engine and what comes out of it.
//!
//! What must hold:
//! - No user data passes through the engine: only where it lies ([`Slice`] of a [`Buffer`]). The bytes it builds itself
//!   are exception-store metadata.
//! - Every [`Request`] is answered exactly once, every [`Io`] is completed exactly once, in any order.
//! - A request's buffer belongs to the engine from `submit` until its answer is polled; a range of scratch from the
//!   `Io` that fills it until the engine hands it out again.

use foldback_units::{SectorRange, Sectors};

/// The submitter's number of a request; never two at once with the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// The engine's number of an I/O; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IoId(pub u64);

/// One exception store of the group, and the snapshot that it makes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StoreId(pub u32);

/// A device cache: one flush of it covers every space that lies on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlushDomain(pub u32);

/// What the engine reads and writes. Whoever runs it maps, stripes and splits below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// The origin's own data (`-real`).
    Origin,
    /// An exception store (`-cow`), metadata included.
    Store(StoreId),
}

/// What a space is like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpaceGeometry {
    /// Its length.
    pub size: Sectors,
    /// The caches that must be flushed to make a write to it durable: one per device that it lies on.
    pub domains: Vec<FlushDomain>,
    /// The unit in which metadata is written: a power of two of at least one sector, at most a chunk is used.
    pub physical_block: Sectors,
}

/// What users of the group address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Volume {
    /// The origin; while a snapshot is merging, the merged view.
    Origin,
    /// A snapshot that is not merging.
    Snapshot(StoreId),
}

/// What a request wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// Fill the request's buffer.
    Read,
    /// Write the request's buffer; with `fua`, the answer means durable.
    Write {
        /// Forced unit access.
        fua: bool,
    },
    /// Write zeros.
    WriteZeroes {
        /// Forced unit access.
        fua: bool,
    },
    /// Make durable every write that was answered before this was submitted. The range is not looked at.
    Flush,
    /// The content may be forgotten. With snapshots or a merge it completes and does nothing (architecture.md, Discard).
    Discard,
}

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// Of which volume.
    pub volume: Volume,
    /// What it wants.
    pub kind: RequestKind,
    /// Which sectors. The buffer's first sector is the range's first.
    pub range: SectorRange,
}

/// Memory that the runner of the engine provides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Buffer {
    /// The buffer of a request.
    Request(RequestId),
    /// The group's scratch memory, whose length was given at construction.
    Scratch,
    /// Zeros without end.
    Zeroes,
}

/// `len` sectors of a buffer from `offset` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slice {
    /// Which buffer.
    pub buffer: Buffer,
    /// Where in it.
    pub offset: Sectors,
    /// How much.
    pub len: Sectors,
}

/// One thing to do. I/Os that were handed out have no order among each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Io {
    /// Read into the slices, in order.
    Read {
        /// From which space.
        space: Space,
        /// From which sector on.
        at: Sectors,
        /// Where to.
        into: Vec<Slice>,
    },
    /// Write the slices, in order.
    Write {
        /// To which space.
        space: Space,
        /// From which sector on.
        at: Sectors,
        /// From where.
        from: Vec<Slice>,
        /// Completed means durable, of this write alone.
        fua: bool,
    },
    /// Read metadata; completed with [`Outcome::Metadata`].
    ReadMetadata {
        /// From which space.
        space: Space,
        /// Which sectors.
        range: SectorRange,
    },
    /// Write metadata that the engine built.
    WriteMetadata {
        /// To which space.
        space: Space,
        /// From which sector on.
        at: Sectors,
        /// Whole sectors.
        bytes: Vec<u8>,
        /// Completed means durable, of this write alone.
        fua: bool,
    },
    /// Make durable what was completed before this was handed out.
    Flush {
        /// Which cache.
        domain: FlushDomain,
    },
    /// The content of these origin sectors may be forgotten: passed down only without snapshots.
    Discard {
        /// Of which space.
        space: Space,
        /// Which sectors.
        range: SectorRange,
    },
}

/// Why an I/O, or a request, failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Fault {
    /// The device said no (EIO and everything like it).
    #[error("the device reported an error")]
    Device,
    /// The snapshot has lost its store: overflowed, or its store failed.
    #[error("the snapshot is invalid")]
    Invalid,
    /// The range does not lie in the volume, or the volume does not exist or is merging.
    #[error("no such volume or range")]
    Range,
    /// The group was torn down before the request was served.
    #[error("the volume went away")]
    Gone,
}

/// How an I/O ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Whole.
    Done,
    /// Whole: the bytes that [`Io::ReadMetadata`] asked for.
    Metadata(Vec<u8>),
    /// Not, or not known whether.
    Failed(Fault),
}
