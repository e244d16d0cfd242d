//! Where a mapped device's sectors lie: tables flattened down to disks.
//!
//! What must hold:
//! - Every sector of a map has exactly one place; pieces cover what was asked for, in order, without a gap.
//! - Striping is the kernel's: piece i goes to stripe i mod n, at piece i div n of it.
//! - A map is made whole or not at all, and is bounded in depth.

use foldback_device::{DiskId, Geometry};
use foldback_units::Sectors;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What a line of a table stands on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Below {
    Disk(DiskId),
    Map(Rc<Map>),
}

/// One stretch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Linear { below: Below, offset: u64 },
    Striped { chunk: u64, lanes: Vec<(Below, u64)> },
    Error,
    Zero,
}

/// A device's stretches, in order and touching.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Map {
    stretches: Vec<Stretch>,
}

/// Where a piece lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Disk { disk: DiskId, at: u64 },
    Error,
    Zero,
}

/// A piece of what was asked for; lengths and places in sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) place: Place,
    pub(crate) len: u64,
}

impl Map {
    /// The caller has checked the table: stretches touch and lie inside what they stand on.
    pub(crate) fn new(stretches: Vec<Stretch>) -> Self {
        Self { stretches }
    }

    /// A map of one whole disk.
    pub(crate) fn of_disk(disk: DiskId, len: u64) -> Self {
        Self::new(vec![Stretch { start: 0, len, kind: Kind::Linear { below: Below::Disk(disk), offset: 0 } }])
    }

    /// The length.
    pub(crate) fn len(&self) -> Sectors {
        Sectors(self.stretches.last().map_or(0, |last| last.start.saturating_add(last.len)))
    }

    /// The places of `len` sectors from `at` on; what lies behind the end is an error piece.
    pub(crate) fn pieces(&self, at: u64, len: u64) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(1);
        self.collect(at, len, &mut pieces);
        pieces
    }

    fn collect(&self, at: u64, len: u64, pieces: &mut Vec<Piece>) {
        let mut at = at;
        let mut left = len;
        let first = self.stretches.partition_point(|stretch| stretch.start.saturating_add(stretch.len) <= at);
        for stretch in self.stretches.iter().skip(first) {
            if left == 0 {
                return;
            }
            let inside = at.saturating_sub(stretch.start);
            let here = stretch.len.saturating_sub(inside).min(left);
            stretch.collect(inside, here, pieces);
            at = at.saturating_add(here);
            left = left.saturating_sub(here);
        }
        if left > 0 {
            push(pieces, Place::Error, left);
        }
    }

    /// The disks that it lies on.
    pub(crate) fn disks(&self) -> BTreeSet<DiskId> {
        let mut disks = BTreeSet::new();
        for stretch in &self.stretches {
            match &stretch.kind {
                Kind::Linear { below, .. } => below.disks(&mut disks),
                Kind::Striped { lanes, .. } => lanes.iter().for_each(|(below, _)| below.disks(&mut disks)),
                Kind::Error | Kind::Zero => {}
            }
        }
        disks
    }

    /// The largest physical block of its disks, in sectors: a power of two.
    pub(crate) fn physical_block(&self, geometry: impl Fn(DiskId) -> Option<Geometry>) -> Sectors {
        let blocks = self.disks().into_iter().filter_map(geometry).map(|disk| disk.physical_block / 512);
        Sectors(u64::from(blocks.max().unwrap_or(1)).max(1).next_power_of_two())
    }
}

impl Below {
    fn collect(&self, at: u64, len: u64, pieces: &mut Vec<Piece>) {
        match self {
            Self::Disk(disk) => push(pieces, Place::Disk { disk: *disk, at }, len),
            Self::Map(map) => map.collect(at, len, pieces),
        }
    }

    fn disks(&self, into: &mut BTreeSet<DiskId>) {
        match self {
            Self::Disk(disk) => drop(into.insert(*disk)),
            Self::Map(map) => into.extend(map.disks()),
        }
    }
}

impl Stretch {
    fn collect(&self, inside: u64, len: u64, pieces: &mut Vec<Piece>) {
        match &self.kind {
            Kind::Linear { below, offset } => below.collect(offset.saturating_add(inside), len, pieces),
            Kind::Striped { chunk, lanes } => striped(*chunk, lanes, inside, len, pieces),
            Kind::Error => push(pieces, Place::Error, len),
            Kind::Zero => push(pieces, Place::Zero, len),
        }
    }
}

/// Sectors from `inside` on, piece after piece of `chunk` sectors over the lanes.
fn striped(chunk: u64, lanes: &[(Below, u64)], inside: u64, len: u64, pieces: &mut Vec<Piece>) {
    let count = u64::try_from(lanes.len()).unwrap_or(0);
    let mut at = inside;
    let mut left = len;
    while left > 0 {
        // A table with no lanes, or pieces of nothing, is refused when it is loaded.
        let (Some(number), Some(offset)) = (at.checked_div(chunk), at.checked_rem(chunk)) else { return };
        let (Some(row), Some(lane)) = (number.checked_div(count), number.checked_rem(count)) else { return };
        let here = chunk.saturating_sub(offset).min(left);
        let Some((below, start)) = usize::try_from(lane).ok().and_then(|lane| lanes.get(lane)) else {
            return;
        };
        let on_lane = start.saturating_add(row.saturating_mul(chunk)).saturating_add(offset);
        below.collect(on_lane, here, pieces);
        at = at.saturating_add(here);
        left = left.saturating_sub(here);
    }
}

/// Adds a piece, to the last one where it goes on from there.
fn push(pieces: &mut Vec<Piece>, place: Place, len: u64) {
    if let Some(last) = pieces.last_mut() {
        let goes_on = match (last.place, place) {
            (Place::Disk { disk, at }, Place::Disk { disk: next_disk, at: next }) => {
                disk == next_disk && at.saturating_add(last.len) == next
            }
            (before, now) => before == now,
        };
        if goes_on {
            last.len = last.len.saturating_add(len);
            return;
        }
    }
    pieces.push(Piece { place, len });
}

#[cfg(test)]
mod tests {
    use super::{Below, Kind, Map, Piece, Place, Stretch};
    use foldback_device::DiskId;
    use proptest::prelude::*;
    use std::rc::Rc;

    /// The slow twin: one sector at a time, as the kernel's documents say it.
    fn walk(map: &Map, sector: u64) -> Place {
        let Some(stretch) = map
            .stretches
            .iter()
            .find(|stretch| (stretch.start..stretch.start + stretch.len).contains(&sector))
        else {
            return Place::Error;
        };
        let inside = sector - stretch.start;
        let (below, at) = match &stretch.kind {
            Kind::Error => return Place::Error,
            Kind::Zero => return Place::Zero,
            Kind::Linear { below, offset } => (below, offset + inside),
            Kind::Striped { chunk, lanes } => {
                let piece = inside / chunk;
                let (below, start) = &lanes[(piece % lanes.len() as u64) as usize];
                (below, start + piece / lanes.len() as u64 * chunk + inside % chunk)
            }
        };
        match below {
            Below::Disk(disk) => Place::Disk { disk: *disk, at },
            Below::Map(map) => walk(map, at),
        }
    }

    fn each_sector(pieces: &[Piece]) -> Vec<Place> {
        let places = |piece: &Piece| {
            let piece = *piece;
            (0..piece.len).map(move |sector| match piece.place {
                Place::Disk { disk, at } => Place::Disk { disk, at: at + sector },
                other => other,
            })
        };
        pieces.iter().flat_map(places).collect()
    }

    fn kind(below: impl Strategy<Value = Below> + Clone) -> impl Strategy<Value = (u64, Kind)> {
        prop_oneof![
            (1_u64..50, 0_u64..100, below.clone())
                .prop_map(|(len, offset, below)| (len, Kind::Linear { below, offset })),
            (1_u64..9, 1_u64..4, prop::collection::vec((below, 0_u64..100), 1..4)).prop_map(
                |(chunk, rows, lanes)| (chunk * rows * lanes.len() as u64, Kind::Striped { chunk, lanes })
            ),
            (1_u64..9).prop_map(|len| (len, Kind::Error)),
            (1_u64..9).prop_map(|len| (len, Kind::Zero)),
        ]
    }

    fn map(below: impl Strategy<Value = Below> + Clone) -> impl Strategy<Value = Map> {
        prop::collection::vec(kind(below), 1..5).prop_map(|kinds| {
            let mut start = 0;
            let stretches = kinds.into_iter().map(|(len, kind)| {
                start += len;
                Stretch { start: start - len, len, kind }
            });
            Map::new(stretches.collect())
        })
    }

    fn stacked() -> impl Strategy<Value = Map> {
        let disk = (0_u32..3).prop_map(|disk| Below::Disk(DiskId(disk)));
        let lower = map(disk.clone()).prop_map(|map| Below::Map(Rc::new(map)));
        map(prop_oneof![disk, lower])
    }

    proptest! {
        #[test]
        fn pieces_are_where_the_slow_walk_says(map in stacked(), at in 0_u64..200, len in 1_u64..200) {
            let pieces = map.pieces(at, len);
            let expected: Vec<_> = (at..at + len).map(|sector| walk(&map, sector)).collect();
            prop_assert_eq!(each_sector(&pieces), expected);
        }
    }

    #[test]
    fn neighbours_on_a_disk_are_one_piece() {
        let linear = |offset| Kind::Linear { below: Below::Disk(DiskId(0)), offset };
        let map = Map::new(vec![
            Stretch { start: 0, len: 8, kind: linear(100) },
            Stretch { start: 8, len: 8, kind: linear(108) },
            Stretch { start: 16, len: 8, kind: linear(200) },
        ]);
        let disk = |at, len| Piece { place: Place::Disk { disk: DiskId(0), at }, len };
        assert_eq!(map.pieces(4, 16), [disk(104, 12), disk(200, 4)]);
        assert_eq!(map.pieces(20, 8), [disk(204, 4), Piece { place: Place::Error, len: 4 }]);
    }
}
