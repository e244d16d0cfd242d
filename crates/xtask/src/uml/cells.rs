//! The cells of the interop matrix: fill x chunk size x number of snapshots (pure).
//!
//! The short list covers every pair of values of any two columns. Four fills times four counts are sixteen pairs,
//! so no list shorter than sixteen cells can.

use crate::guest::Order;

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    /// How the volumes are filled.
    pub(super) order: Order,
    /// Bytes of a chunk.
    pub(super) chunk: u64,
    /// Snapshots of the origin.
    pub(super) snapshots: u64,
}

const ORDERS: [Order; 4] = [Order::Sequential, Order::Random, Order::Descending, Order::Partial];
const CHUNKS: [u64; 3] = [4 << 10, 64 << 10, 512 << 10];
const SNAPSHOTS: [u64; 4] = [1, 2, 3, 4];

/// All 48 cells.
pub(super) fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for order in ORDERS {
        for chunk in CHUNKS {
            cells.extend(SNAPSHOTS.map(|snapshots| Cell { order, chunk, snapshots }));
        }
    }
    cells
}

/// Sixteen cells in which every pair of values occurs.
pub(super) fn pairwise() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (row, order) in ORDERS.into_iter().enumerate() {
        for (snapshots, chunk) in SNAPSHOTS.into_iter().zip(CHUNKS.into_iter().cycle().skip(row)) {
            cells.push(Cell { order, chunk, snapshots });
        }
    }
    cells
}

impl Cell {
    /// Chunks written to the origin after each snapshot was taken: enough for several areas of 4 KiB chunks, few
    /// enough for the guest.
    pub(super) fn writes_to_origin(self) -> u64 {
        match self.chunk {
            0..=4096 => 420,
            4097..=65536 => 120,
            _ => 20,
        }
    }

    /// Chunks written to each snapshot.
    pub(super) fn writes_to_snapshot(self) -> u64 {
        self.writes_to_origin() / 2 + 1
    }

    /// Which snapshot is merged: not always the oldest.
    pub(super) fn merged(self) -> u64 {
        let turn = u64::from(self.chunk.ilog2()) + u64::from(self.order == Order::Random);
        1 + turn % self.snapshots
    }

    /// A name that fits into a VG's.
    pub(super) fn id(self) -> String {
        let order = match self.order {
            Order::Sequential => "seq",
            Order::Random => "rnd",
            Order::Descending => "dsc",
            Order::Partial => "prt",
        };
        format!("{order}{}k{}", self.chunk >> 10, self.snapshots)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{all, pairwise};

    #[test]
    fn every_pair_of_values_occurs_in_the_short_list() {
        let pairs = |cells: Vec<super::Cell>| -> BTreeSet<String> {
            let of = |cell: super::Cell| {
                let (order, chunk, count) = (format!("{:?}", cell.order), cell.chunk, cell.snapshots);
                [format!("{order} {chunk}"), format!("{order} x{count}"), format!("{chunk} x{count}")]
            };
            cells.into_iter().flat_map(of).collect()
        };
        assert_eq!(pairs(pairwise()), pairs(all()));
        assert_eq!((pairwise().len(), all().len()), (16, 48));
    }

    #[test]
    fn names_differ_and_the_merged_snapshot_exists_and_varies() {
        let names: BTreeSet<String> = all().iter().map(|cell| cell.id()).collect();
        assert_eq!(names.len(), 48);
        assert!(all().iter().all(|cell| (1..=cell.snapshots).contains(&cell.merged())));
        let merged: BTreeSet<u64> = pairwise().iter().map(|cell| cell.merged()).collect();
        assert!(merged.len() >= 3);
    }
}
