//! A synchronous runner for tests: spaces in memory, caches that a power cut empties, and a log of what was done.
//!
//! What must hold:
//! - A read sees what was executed before it; executing is up to the test, in any order.
//! - A flush covers the writes that were executed before it was handed out; FUA covers its own write.
//! - A power cut leaves of each sector its last durable content, or any later one.

mod cache;
pub(crate) mod model;
mod random;
mod rules;

use crate::{
    Buffer, Fault, FlushDomain, Group, GroupConfig, Io, IoId, OpenAccess, OpenedStore, Outcome, Request,
    RequestId, RequestKind, Slice, Space, SpaceGeometry, StoreId, StoreOpen, Volume,
};
use cache::Disk;
use foldback_units::{ChunkSize, SectorRange, Sectors};
use std::collections::BTreeMap;

/// A small generator: the tests are the same every time.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One snapshot of a rig.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: StoreId,
    pub(crate) size: u64,
    pub(crate) chunk: u32,
    pub(crate) store: u64,
    pub(crate) domain: u32,
    pub(crate) block: u64,
}

impl Snapshot {
    pub(crate) fn new(id: u32, size: u64, chunk: u32, store: u64) -> Self {
        Self { id: StoreId(id), size, chunk, store, domain: id, block: 1 }
    }

    pub(crate) fn geometry(&self) -> SpaceGeometry {
        SpaceGeometry {
            size: Sectors(self.store),
            domains: vec![FlushDomain(self.domain)],
            physical_block: Sectors(self.block),
        }
    }
}

pub(crate) struct Rig {
    pub(crate) group: Group,
    pub(crate) disks: BTreeMap<Space, Disk>,
    pub(crate) handed: Vec<(IoId, Io)>,
    pub(crate) buffers: BTreeMap<RequestId, Vec<u8>>,
    pub(crate) answers: BTreeMap<RequestId, Result<(), Fault>>,
    pub(crate) log: Vec<Io>,
    scratch: Vec<u8>,
    next_request: u64,
}

pub(crate) const ORIGIN_DOMAIN: FlushDomain = FlushDomain(0);

pub(crate) fn config(origin: u64, scratch: u64, window: u64) -> GroupConfig {
    let origin =
        SpaceGeometry { size: Sectors(origin), domains: vec![ORIGIN_DOMAIN], physical_block: Sectors(1) };
    GroupConfig { origin, scratch: Sectors(scratch), window: Sectors(window), depth: 8 }
}

pub(crate) fn range(start: u64, len: u64) -> SectorRange {
    SectorRange::new(Sectors(start), Sectors(len)).unwrap()
}

/// A sector that is recognised.
pub(crate) fn stamped(stamp: u64) -> [u8; 512] {
    let mut sector = [0; 512];
    for word in sector.chunks_exact_mut(8) {
        word.copy_from_slice(&stamp.to_le_bytes());
    }
    sector
}

pub(crate) fn stamp_of(sector: &[u8]) -> u64 {
    let first = u64::from_le_bytes(sector[..8].try_into().unwrap());
    assert!(sector.chunks_exact(8).all(|word| word == &sector[..8]), "a mixed sector");
    first
}

impl Rig {
    /// A group over disks that exist.
    pub(crate) fn over(config: GroupConfig, disks: BTreeMap<Space, Disk>) -> Self {
        let scratch = vec![0xee; config.scratch.0 as usize * 512];
        Self {
            group: Group::new(config).unwrap(),
            disks,
            handed: Vec::new(),
            buffers: BTreeMap::new(),
            answers: BTreeMap::new(),
            log: Vec::new(),
            scratch,
            next_request: 1,
        }
    }

    /// An origin whose sector `n` holds stamp `n + 1`, and blank stores.
    ///
    /// With `dice` only the first 4 KiB of a store are blank, as `lvcreate` leaves it: behind them lies what looks like
    /// records.
    pub(crate) fn unopened(config: GroupConfig, snapshots: &[Snapshot], mut dice: Option<&mut Dice>) -> Self {
        let size = config.origin.size.0;
        let mut origin = Disk::new(size);
        for sector in 0..size {
            origin.set(sector, &stamped(sector + 1));
        }
        let mut disks = BTreeMap::from([(Space::Origin, origin)]);
        for snapshot in snapshots {
            let mut disk = Disk::new(snapshot.store);
            if let Some(dice) = &mut dice {
                for sector in 8..snapshot.store {
                    let words = (0..64).map(|word| 2 + dice.roll(30 + word));
                    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
                    disk.set(sector, bytes.as_slice().try_into().unwrap());
                }
            }
            disks.insert(Space::Store(snapshot.id), disk);
        }
        Self::over(config, disks)
    }

    /// The same, with all stores made and attached.
    pub(crate) fn new(config: GroupConfig, snapshots: &[Snapshot]) -> Self {
        let mut rig = Self::unopened(config, snapshots, None);
        for snapshot in snapshots {
            rig.attach(snapshot);
        }
        rig
    }

    pub(crate) fn attach(&mut self, snapshot: &Snapshot) {
        let opened = self.open(snapshot).unwrap();
        self.group.attach(snapshot.id, Sectors(snapshot.size), snapshot.geometry(), opened).unwrap();
    }

    /// Attaches a snapshot of the merged view.
    pub(crate) fn attach_view(&mut self, snapshot: &Snapshot) {
        let opened = self.open(snapshot).unwrap();
        self.group.attach_view(snapshot.id, Sectors(snapshot.size), snapshot.geometry(), opened).unwrap();
    }

    pub(crate) fn open(&mut self, snapshot: &Snapshot) -> Result<OpenedStore, crate::OpenError> {
        self.open_partly(snapshot, u64::MAX).unwrap()
    }

    /// `None` where it takes more than so many I/Os: the rest is not done.
    pub(crate) fn open_partly(
        &mut self,
        snapshot: &Snapshot,
        ios: u64,
    ) -> Option<Result<OpenedStore, crate::OpenError>> {
        let mut left = ios;
        let chunk = ChunkSize::from_sectors(snapshot.chunk).unwrap();
        let (geometry, size) = (snapshot.geometry(), Sectors(snapshot.size));
        let mut open =
            StoreOpen::new(snapshot.id, geometry, size, chunk, OpenAccess::ReadWrite, IoId(1 << 40));
        loop {
            while let Some((id, io)) = open.poll_io() {
                self.before_handing_out(&io);
                left = left.checked_sub(1)?;
                let outcome = self.perform(&io);
                self.log.push(io);
                open.complete_io(id, outcome);
            }
            if let Some(opened) = open.poll_opened() {
                return Some(opened);
            }
        }
    }

    pub(crate) fn submit(
        &mut self,
        volume: Volume,
        kind: RequestKind,
        range: SectorRange,
        data: &[u64],
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let mut buffer: Vec<u8> = data.iter().flat_map(|&stamp| stamped(stamp)).collect();
        buffer.resize(range.len().0 as usize * 512, 0xdd);
        self.buffers.insert(id, buffer);
        self.group.submit(Request { id, volume, kind, range });
        self.collect();
        id
    }

    /// Takes all I/Os and answers there are.
    pub(crate) fn collect(&mut self) {
        while let Some((id, io)) = self.group.poll_io() {
            self.before_handing_out(&io);
            self.handed.push((id, io));
        }
        while let Some((id, result)) = self.group.poll_answer() {
            assert!(self.answers.insert(id, result).is_none(), "{id:?} was answered twice");
        }
    }

    fn before_handing_out(&mut self, io: &Io) {
        if let Io::Flush { domain } = io {
            let spaces: Vec<Space> = self.spaces_of(*domain);
            for space in spaces {
                self.disks.get_mut(&space).unwrap().mark();
            }
        }
    }

    fn spaces_of(&self, domain: FlushDomain) -> Vec<Space> {
        let of = |space: &Space| match space {
            Space::Origin => 0,
            Space::Store(id) => self.disks[space].domain.unwrap_or(id.0),
        };
        self.disks.keys().filter(|space| of(space) == domain.0).copied().collect()
    }

    /// Executes the `at`-th of the I/Os that were handed out.
    pub(crate) fn execute(&mut self, at: usize) {
        let (id, io) = self.handed.remove(at);
        let outcome = self.perform(&io);
        self.log.push(io);
        self.complete(id, outcome);
    }

    /// Executes all that were handed out before it looks for more.
    pub(crate) fn execute_together(&mut self) {
        for (id, io) in std::mem::take(&mut self.handed) {
            let outcome = self.perform(&io);
            self.log.push(io);
            self.group.complete_io(id, outcome);
        }
        self.collect();
    }

    /// Fails it instead: a write may have reached the disk, in part or as a whole.
    pub(crate) fn fail(&mut self, at: usize, dice: &mut Dice) {
        let (id, io) = self.handed.remove(at);
        self.tear(&io, dice);
        self.complete(id, Outcome::Failed(Fault::Device));
    }

    /// Some of the sectors of a write, in no cache's order.
    fn tear(&mut self, io: &Io, dice: &mut Dice) {
        let (space, at, bytes) = match io {
            Io::Write { space, at, from, .. } => {
                (*space, *at, from.iter().flat_map(|slice| self.gather(*slice)).collect::<Vec<u8>>())
            }
            Io::WriteMetadata { space, at, bytes, .. } => (*space, *at, bytes.clone()),
            _ => return,
        };
        let mood = dice.roll(3);
        for (sector, data) in (at.0..).zip(bytes.chunks_exact(512)) {
            if mood == 0 || (mood == 1 && dice.roll(2) == 0) {
                self.disks.get_mut(&space).unwrap().write(sector, data, false);
            }
        }
    }

    fn complete(&mut self, id: IoId, outcome: Outcome) {
        self.group.complete_io(id, outcome);
        self.collect();
    }

    /// Executes everything, in order, until there is nothing left.
    pub(crate) fn settle(&mut self) {
        self.collect();
        while !self.handed.is_empty() {
            self.execute(0);
        }
    }

    fn perform(&mut self, io: &Io) -> Outcome {
        match io {
            Io::Read { space, at, into } => {
                let mut sector = at.0;
                for slice in into {
                    for index in 0..slice.len.0 {
                        let data = self.disks[space].get(sector);
                        self.memory_mut(*slice, index).copy_from_slice(&data);
                        sector += 1;
                    }
                }
                Outcome::Done
            }
            Io::Write { space, at, from, fua } => {
                let bytes: Vec<u8> = from.iter().flat_map(|slice| self.gather(*slice)).collect();
                self.disks.get_mut(space).unwrap().write(at.0, &bytes, *fua);
                Outcome::Done
            }
            Io::ReadMetadata { space, range } => {
                let sectors = range.start().0..range.end().0;
                Outcome::Metadata(sectors.flat_map(|sector| self.disks[space].get(sector)).collect())
            }
            Io::WriteMetadata { space, at, bytes, fua } => {
                assert!(!bytes.is_empty() && bytes.len() % 512 == 0);
                self.disks.get_mut(space).unwrap().write(at.0, bytes, *fua);
                Outcome::Done
            }
            Io::Flush { domain } => {
                for space in self.spaces_of(*domain) {
                    self.disks.get_mut(&space).unwrap().flush();
                }
                Outcome::Done
            }
            Io::Discard { .. } => Outcome::Done,
        }
    }

    fn memory_mut(&mut self, slice: Slice, sector: u64) -> &mut [u8] {
        let at = (slice.offset.0 + sector) as usize * 512;
        let memory = match slice.buffer {
            Buffer::Scratch => &mut self.scratch,
            Buffer::Request(id) => {
                assert!(!self.answers.contains_key(&id), "a buffer is used after the answer");
                self.buffers.get_mut(&id).unwrap()
            }
            Buffer::Zeroes => panic!("zeros are not written to"),
        };
        &mut memory[at..at + 512]
    }

    fn gather(&self, slice: Slice) -> Vec<u8> {
        let (from, len) = (slice.offset.0 as usize * 512, slice.len.0 as usize * 512);
        match slice.buffer {
            Buffer::Scratch => self.scratch[from..from + len].to_vec(),
            Buffer::Request(id) => {
                assert!(!self.answers.contains_key(&id), "a buffer is used after the answer");
                self.buffers[&id][from..from + len].to_vec()
            }
            Buffer::Zeroes => vec![0; len],
        }
    }

    /// What was read into a request's buffer.
    pub(crate) fn stamps(&self, id: RequestId) -> Vec<u64> {
        self.buffers[&id].chunks_exact(512).map(stamp_of).collect()
    }

    /// Reads a range to the end, executing whatever is there.
    pub(crate) fn read_now(&mut self, volume: Volume, range: SectorRange) -> Result<Vec<u64>, Fault> {
        let id = self.submit(volume, RequestKind::Read, range, &[]);
        self.settle();
        self.answers[&id].map(|()| self.stamps(id))
    }

    pub(crate) fn write_now(
        &mut self,
        volume: Volume,
        range: SectorRange,
        data: &[u64],
    ) -> Result<(), Fault> {
        let id = self.submit(volume, RequestKind::Write { fua: false }, range, data);
        self.settle();
        self.answers[&id]
    }

    pub(crate) fn flush_now(&mut self, volume: Volume) -> Result<(), Fault> {
        let id = self.submit(volume, RequestKind::Flush, range(0, 0), &[]);
        self.settle();
        self.answers[&id]
    }

    /// The place of the first I/O handed out for which `is` holds.
    pub(crate) fn position(&self, is: impl Fn(&Io) -> bool) -> Option<usize> {
        self.handed.iter().position(|(_, io)| is(io))
    }

    /// Executes everything for which `is` holds, again and again, until nothing is left of that kind.
    pub(crate) fn execute_all(&mut self, is: impl Fn(&Io) -> bool) {
        while let Some(at) = self.position(&is) {
            self.execute(at);
        }
    }

    /// Pulls the plug: new disks with what survives.
    pub(crate) fn power_cut(mut self, dice: &mut Dice) -> BTreeMap<Space, Disk> {
        for (_, io) in std::mem::take(&mut self.handed) {
            self.tear(&io, dice);
        }
        self.disks.into_iter().map(|(space, disk)| (space, disk.after_power_cut(dice))).collect()
    }
}
