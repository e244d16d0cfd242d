//! An origin group that runs: its engine, its memory, and where its spaces lie.
//!
//! What must hold:
//! - A request's buffer stays here from the engine's `submit` to its answer.
//! - The engine's stores and `stores` are the same at all times.

use crate::carry::{Surroundings, bytes_of};
use crate::error::DmErrorKind;
use crate::map::Map;
use crate::mapped::Lower;
use foldback_device::{DiskId, Geometry, Memory, Slice};
use foldback_engine::{Buffer, FlushDomain, Group, GroupConfig, RequestId, Space, SpaceGeometry, StoreId};
use foldback_units::{Bytes, ChunkSize, Sectors};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How much memory a group takes, and how it merges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Memory of each group for copies.
    pub scratch: Bytes,
    /// Data of one merge window.
    pub window: Bytes,
    /// I/Os of a copy under way at once.
    pub depth: u32,
}

impl Default for Settings {
    /// 64 MiB of scratch, windows of 16 MiB, 64 I/Os under way.
    fn default() -> Self {
        Self { scratch: Bytes(64 << 20), window: Bytes(16 << 20), depth: 64 }
    }
}

/// A group's number; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct GroupId(pub(crate) u32);

/// A store that is attached to the engine.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) cow: Lower,
    pub(crate) map: Rc<Map>,
    pub(crate) geometry: SpaceGeometry,
    pub(crate) chunk: ChunkSize,
    /// The length of the snapshot.
    pub(crate) len: Sectors,
    pub(crate) merging: bool,
    /// Its snapshot is of the merged view.
    pub(crate) view: bool,
}

#[derive(Debug)]
pub(crate) struct OriginGroup {
    pub(crate) origin: Lower,
    pub(crate) map: Rc<Map>,
    pub(crate) geometry: SpaceGeometry,
    pub(crate) engine: Group,
    pub(crate) stores: BTreeMap<StoreId, Attached>,
    pub(crate) requests: BTreeMap<RequestId, Slice>,
    pub(crate) held: bool,
    scratch: Memory,
}

impl OriginGroup {
    /// A group without stores, held.
    pub(crate) fn new(
        origin: Lower,
        map: Rc<Map>,
        geometry: SpaceGeometry,
        settings: &Settings,
    ) -> Result<Self, DmErrorKind> {
        let scratch = settings.scratch.to_sectors_floor();
        let bytes = bytes_of(scratch).unwrap_or(usize::MAX);
        let memory = Memory::new(bytes).ok_or(DmErrorKind::Memory(bytes))?;
        let config = GroupConfig {
            origin: geometry.clone(),
            scratch,
            window: settings.window.to_sectors_floor(),
            depth: settings.depth,
        };
        let mut engine = Group::new(config)?;
        engine.hold();
        Ok(Self {
            origin,
            map,
            geometry,
            engine,
            stores: BTreeMap::new(),
            requests: BTreeMap::new(),
            held: true,
            scratch: memory,
        })
    }

    /// The store on `cow`.
    pub(crate) fn store_on(&self, cow: Lower) -> Option<StoreId> {
        self.stores.iter().find(|(_, store)| store.cow == cow).map(|(id, _)| *id)
    }

    /// The store that is merging.
    pub(crate) fn merging(&self) -> Option<(StoreId, &Attached)> {
        self.stores.iter().find(|(_, store)| store.merging).map(|(id, store)| (*id, store))
    }
}

impl Surroundings for OriginGroup {
    fn space(&self, space: Space) -> Option<&Map> {
        match space {
            Space::Origin => Some(&self.map),
            Space::Store(store) => self.stores.get(&store).map(|store| &*store.map),
        }
    }

    fn buffer(&self, buffer: Buffer) -> Option<Slice> {
        match buffer {
            Buffer::Scratch => Some(self.scratch.whole()),
            Buffer::Request(request) => self.requests.get(&request).cloned(),
            Buffer::Zeroes => None,
        }
    }
}

/// What the engine has to know of a space: one flush domain per disk that it lies on.
pub(crate) fn geometry_of(map: &Map, disks: impl Fn(DiskId) -> Option<Geometry>) -> SpaceGeometry {
    SpaceGeometry {
        size: map.len(),
        domains: map.disks().into_iter().map(|disk| FlushDomain(disk.0)).collect(),
        physical_block: map.physical_block(disks),
    }
}
