//! The world of a run: disks, the spaces that lie on them, stores with a history, and what each volume holds.
//!
//! What must hold:
//! - What a volume holds is known from how the world was made, never from reading it back.

use super::scenario::{Fill, Scenario, StorePlan};
use crate::report::{Scene, Scenes};
use foldback_engine::{FlushDomain, Space, SpaceGeometry, StoreId};
use foldback_testkit::cow::Builder;
use foldback_testkit::{Image, Rng, Sector};
use foldback_units::Sectors;
use std::collections::{BTreeMap, BTreeSet};

/// Where a space lies: pieces of disks, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpaceMap {
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    disk: usize,
    start: u64,
    len: u64,
}

/// A stretch of a space on one disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) disk: usize,
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// Its place in the range that was asked for.
    pub(crate) offset: u64,
}

impl SpaceMap {
    pub(crate) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// The space is longer from now on.
    pub(crate) fn grow(&mut self, piece: Piece) {
        self.pieces.push(piece);
    }

    /// The disks it lies on.
    pub(crate) fn disks(&self) -> BTreeSet<usize> {
        self.pieces.iter().map(|piece| piece.disk).collect()
    }

    /// A range as stretches of disks; the range lies inside.
    pub(crate) fn stretches(&self, at: u64, len: u64) -> Vec<Stretch> {
        let mut found = Vec::new();
        let mut piece_start = 0;
        for piece in &self.pieces {
            let (from, to) = (at.max(piece_start), (at + len).min(piece_start + piece.len));
            if from < to {
                let place = piece.start + from - piece_start;
                found.push(Stretch { disk: piece.disk, at: place, len: to - from, offset: from - at });
            }
            piece_start += piece.len;
        }
        found
    }

    /// The space's content on these disks.
    pub(crate) fn gather(&self, image: &Image) -> Vec<Sector> {
        let mut content = Vec::with_capacity(self.len() as usize);
        for piece in &self.pieces {
            let start = piece.start as usize;
            content.extend_from_slice(&image.disks[piece.disk][start..start + piece.len as usize]);
        }
        content
    }
}

/// What the world is made of before the first event.
pub(crate) struct World {
    pub(crate) image: Image,
    pub(crate) physical: Vec<u64>,
    pub(crate) maps: BTreeMap<Space, SpaceMap>,
    /// What stores may be grown by, the last first.
    pub(crate) extensions: BTreeMap<StoreId, Vec<Piece>>,
    /// What the origin holds.
    pub(crate) origin: Vec<Sector>,
    /// What each snapshot holds.
    pub(crate) snapshots: BTreeMap<StoreId, Vec<Sector>>,
}

/// The stamp of what the origin held in the beginning.
fn origin_stamp(sector: u64) -> Sector {
    Sector::Stamp(0x0100_0000_0000 | sector)
}

/// The stamp of what a store held in the beginning.
fn store_stamp(store: u32, sector: u64) -> Sector {
    Sector::Stamp(0x0200_0000_0000 | (u64::from(store) << 32) | sector)
}

impl World {
    pub(crate) fn build(scenario: &Scenario, rng: &mut Rng, scenes: &mut Scenes) -> Self {
        let physical = (0..scenario.disks).map(|_| if scenario.large_blocks { 8 } else { 1 }).collect();
        let mut world = Self {
            image: Image::new(vec![Vec::new(); scenario.disks as usize]),
            physical,
            maps: BTreeMap::new(),
            extensions: BTreeMap::new(),
            origin: (0..scenario.origin_len).map(origin_stamp).collect(),
            snapshots: BTreeMap::new(),
        };
        world.place(Space::Origin, &world.origin.clone(), scenario, rng, scenes);
        for (index, plan) in (0..).zip(&scenario.stores) {
            let (device, view) = world.fill(index, plan, rng);
            world.place(Space::Store(StoreId(index)), &device, scenario, rng, scenes);
            world.extend(StoreId(index), plan, rng);
            world.snapshots.insert(StoreId(index), view);
        }
        world.count(scenario, scenes);
        world
    }

    /// Free extents for a store that is held when it is full, with what somebody left in them.
    fn extend(&mut self, store: StoreId, plan: &StorePlan, rng: &mut Rng) {
        for _ in 0..plan.held.unwrap_or(0) {
            let disk = rng.index(self.image.disks.len());
            let sectors = &mut self.image.disks[disk];
            sectors.resize(sectors.len().next_multiple_of(8), Sector::Zero);
            let len = rng.between(1, 12) * plan.chunk.max(4);
            let piece = Piece { disk, start: sectors.len() as u64, len };
            sectors.extend((0..len).map(|sector| store_stamp(99, sector)));
            self.extensions.entry(store).or_default().push(piece);
        }
    }

    fn count(&self, scenario: &Scenario, scenes: &mut Scenes) {
        let begins = |plan: &&StorePlan| !plan.later && plan.exceptions > 0;
        scenes.saw_if(scenario.stores.iter().filter(begins).any(|plan| plan.holes), Scene::Holes);
        scenes.saw_if(scenario.stores.iter().filter(begins).any(|plan| plan.duplicates), Scene::Duplicates);
        let chunks: BTreeSet<u64> = scenario.stores.iter().map(|plan| plan.chunk).collect();
        scenes.saw_if(chunks.len() > 1, Scene::MixedChunks);
        let beside = |plan: &&StorePlan| !plan.later && !plan.invalid;
        let beside = scenario.stores.iter().skip(1).filter(beside).count();
        scenes.saw_if(scenario.merge && beside == 4, Scene::FourOthers);
        let ends_inside = |plan: &StorePlan| !scenario.origin_len.is_multiple_of(plan.chunk);
        scenes.saw_if(scenario.stores.iter().any(ends_inside), Scene::PartialChunk);
        let is_shorter = |plan: &StorePlan| plan.snapshot_len < scenario.origin_len;
        scenes.saw_if(scenario.stores.iter().any(is_shorter), Scene::ShorterSnapshot);
        scenes.saw_if(scenario.large_blocks, Scene::LargeBlocks);
        let origin = self.maps[&Space::Origin].disks();
        let shares = |(space, map): (&Space, &SpaceMap)| *space != Space::Origin && map.disks() == origin;
        scenes.saw_if(self.maps.iter().any(shares), Scene::SharedDisk);
    }

    /// A store's device, and what its snapshot reads as.
    fn fill(&self, index: u32, plan: &StorePlan, rng: &mut Rng) -> (Vec<Sector>, Vec<Sector>) {
        let mut view = self.origin[..plan.snapshot_len as usize].to_vec();
        let mut builder = Builder::new(plan.device_len, plan.chunk, rng);
        for old in fill_order(plan, rng) {
            if plan.holes && rng.one_in(5) {
                builder.leak();
            }
            let start = old * plan.chunk;
            let end = (start + plan.chunk).min(plan.snapshot_len);
            let data: Vec<Sector> = (start..end)
                .map(|sector| if rng.one_in(4) { origin_stamp(sector) } else { store_stamp(index, sector) })
                .collect();
            if !builder.push(old, &data) {
                break;
            }
            view[start as usize..end as usize].clone_from_slice(&data);
            if plan.duplicates && rng.one_in(6) {
                let again = rng.index(builder.records().len());
                builder.repeat(again);
            }
        }
        if plan.stale {
            builder.leave_stale(&stale_records(plan, builder.records(), rng));
        }
        (builder.finish(!plan.invalid, plan.blank), view)
    }

    fn place(
        &mut self,
        space: Space,
        content: &[Sector],
        scenario: &Scenario,
        rng: &mut Rng,
        scenes: &mut Scenes,
    ) {
        let mut map = SpaceMap::default();
        let first = if scenario.spread { rng.between(1, content.len() as u64 - 1) & !7 } else { 0 };
        let mut rest = content;
        while !rest.is_empty() {
            let len = if map.pieces.is_empty() && first > 0 { first as usize } else { rest.len() };
            let disk = rng.index(self.image.disks.len());
            let sectors = &mut self.image.disks[disk];
            // Spaces begin at a physical block, as extents do.
            sectors.resize(sectors.len().next_multiple_of(8), Sector::Zero);
            map.pieces.push(Piece { disk, start: sectors.len() as u64, len: len as u64 });
            sectors.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
        }
        scenes.saw_if(map.disks().len() > 1, Scene::SpreadSpace);
        self.maps.insert(space, map);
    }
}

/// What the engine is told of a space.
pub(crate) fn geometry(map: &SpaceMap, physical: &[u64]) -> SpaceGeometry {
    let block = map.disks().iter().map(|disk| physical[*disk]).max().unwrap_or(1);
    SpaceGeometry {
        size: Sectors(map.len()),
        domains: map.disks().iter().map(|disk| FlushDomain(*disk as u32)).collect(),
        physical_block: Sectors(block),
    }
}

fn fill_order(plan: &StorePlan, rng: &mut Rng) -> Vec<u64> {
    let chunks = plan.snapshot_len.div_ceil(plan.chunk);
    let mut order: Vec<u64> = (0..chunks).collect();
    match plan.fill {
        Fill::Ascending => {}
        Fill::Descending => order.reverse(),
        Fill::Random => rng.shuffle(&mut order),
        Fill::Clustered => {
            let mut clusters: Vec<Vec<u64>> = order.chunks(5).map(<[u64]>::to_vec).collect();
            rng.shuffle(&mut clusters);
            order = clusters.concat();
        }
    }
    if matches!(plan.fill, Fill::Ascending | Fill::Descending) {
        let skip = rng.below(chunks - plan.exceptions.min(chunks) + 1);
        order.rotate_left(skip as usize);
    }
    order.truncate(plan.exceptions as usize);
    order
}

/// Records that a torn commit could have left: plausible ones, so that taking them for real does harm.
fn stale_records(plan: &StorePlan, records: &[(u64, u64)], rng: &mut Rng) -> Vec<(u64, u64)> {
    let chunks = plan.snapshot_len.div_ceil(plan.chunk);
    let next = records.iter().map(|(_, new)| new + 1).max().unwrap_or(2);
    (0..rng.between(1, 40))
        .map(|index| if rng.one_in(3) { (0, 0) } else { (rng.below(chunks), next + index) })
        .collect()
}
