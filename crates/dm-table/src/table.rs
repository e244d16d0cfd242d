//! A table: the lines that say what each stretch of a mapped device is made of.
//!
//! What must hold:
//! - Lines are in order and touch: each begins where the one before it ends, the first at 0.

use foldback_units::{ChunkSize, Sectors};

/// A device as a table names it: a path, `MAJ:MIN`, or the name of a mapped device of the same executor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceRef(pub String);

/// One stripe of a striped target: where it begins on its device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StripeArea {
    /// The device.
    pub device: DeviceRef,
    /// The first sector on it.
    pub offset: Sectors,
}

/// How a snapshot target keeps its exceptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persistence {
    /// `P`: on disk. What LVM2 writes.
    Persistent,
    /// `PO`: on disk, and user space understands `Overflow`.
    PersistentOverflow,
    /// `N`: in memory only. Known, so that it can be refused (K6).
    Transient,
}

/// The parameters of `snapshot` and `snapshot-merge`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotParams {
    /// The origin's lower device (`-real`).
    pub origin: DeviceRef,
    /// The exception store's device (`-cow`).
    pub cow: DeviceRef,
    /// How exceptions are kept.
    pub persistence: Persistence,
    /// The chunk size; the store's header wins where they differ.
    pub chunk_size: ChunkSize,
}

/// One target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// `linear DEVICE OFFSET`.
    Linear(StripeArea),
    /// `striped COUNT CHUNK [DEVICE OFFSET]...`.
    Striped {
        /// Sectors that go to one stripe before the next.
        chunk: Sectors,
        /// The stripes in order.
        areas: Vec<StripeArea>,
    },
    /// `snapshot-origin DEVICE`.
    SnapshotOrigin {
        /// The origin's lower device.
        origin: DeviceRef,
    },
    /// `snapshot ORIGIN COW P|PO|N CHUNK`.
    Snapshot(SnapshotParams),
    /// `snapshot-merge ORIGIN COW P|PO|N CHUNK`.
    SnapshotMerge(SnapshotParams),
    /// `error`: every request fails.
    Error,
    /// `zero`: reads give zeros, writes go nowhere.
    Zero,
    /// A target we do not carry, kept as text.
    Other {
        /// The target's name.
        kind: String,
        /// Its parameters.
        params: String,
    },
}

/// `len` sectors from `start` on are `target`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The first sector.
    pub start: Sectors,
    /// How many.
    pub len: Sectors,
    /// What they are.
    pub target: Target,
}

/// A whole table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// The lines in order.
    pub lines: Vec<Line>,
}

impl Table {
    /// A table of one line from 0 on.
    pub fn of(len: Sectors, target: Target) -> Self {
        Self { lines: vec![Line { start: Sectors::ZERO, len, target }] }
    }

    /// The length of the mapped device.
    pub fn len(&self) -> Sectors {
        self.lines.last().map_or(Sectors::ZERO, |line| line.start.saturating_add(line.len))
    }

    /// Whether it maps nothing.
    pub fn is_empty(&self) -> bool {
        self.len().is_zero()
    }

    /// Every device that the table names; none in targets that are kept as text.
    pub fn devices_mut(&mut self) -> impl Iterator<Item = &mut DeviceRef> {
        self.lines.iter_mut().flat_map(|line| match &mut line.target {
            Target::Linear(area) => vec![&mut area.device],
            Target::Striped { areas, .. } => areas.iter_mut().map(|area| &mut area.device).collect(),
            Target::SnapshotOrigin { origin } => vec![origin],
            Target::Snapshot(params) | Target::SnapshotMerge(params) => {
                vec![&mut params.origin, &mut params.cow]
            }
            Target::Error | Target::Zero | Target::Other { .. } => Vec::new(),
        })
    }
}
