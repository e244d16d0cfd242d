//! Which pieces of a device a fill writes, and in which order (pure).
//!
//! Holds: no chunk twice; every piece inside one chunk and inside the device; a partial piece never covers its
//! whole chunk, so that the kernel has to copy the rest.

use anyhow::{Result, ensure};
use clap::ValueEnum;

use super::direct::Random;

const SECTOR: u64 = 512;

/// The orders of the interop matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// Neighbours, ascending, whole chunks
    Sequential,
    /// Scattered, whole chunks
    Random,
    /// Neighbours, descending, whole chunks
    Descending,
    /// Scattered, a part of each chunk
    Partial,
}

/// A planned fill.
#[derive(Debug)]
pub(super) struct Plan {
    order: Order,
    chunk: u64,
    chunks: Vec<u64>,
    random: Random,
}

impl Plan {
    /// Plans `count` chunks of a device of `size` bytes.
    pub(super) fn new(order: Order, size: u64, chunk: u64, count: u64, seed: u64) -> Result<Self> {
        ensure!(
            chunk >= SECTOR && chunk.is_multiple_of(SECTOR),
            "a chunk of {chunk} bytes is not in sectors"
        );
        let all = size / chunk;
        ensure!(count <= all, "{count} chunks asked of a device that has {all}");
        let mut random = Random::new(seed);
        let start = random.next() % (all - count + 1);
        let mut chunks: Vec<u64> = (start..start + count).collect();
        match order {
            Order::Sequential => {}
            Order::Descending => chunks.reverse(),
            Order::Random | Order::Partial => chunks = scattered(all, count, &mut random)?,
        }
        Ok(Self { order, chunk, chunks, random })
    }

    /// Byte position and length of each write.
    pub(super) fn pieces(mut self) -> impl Iterator<Item = (u64, u64)> {
        std::mem::take(&mut self.chunks).into_iter().map(move |number| {
            let start = number * self.chunk;
            let sectors = self.chunk / SECTOR;
            if self.order != Order::Partial || sectors < 2 {
                return (start, self.chunk);
            }
            let len = 1 + self.random.next() % (sectors - 1);
            let skip = self.random.next() % (sectors - len + 1);
            (start + skip * SECTOR, len * SECTOR)
        })
    }
}

/// The first `count` of a shuffled 0..all.
fn scattered(all: u64, count: u64, random: &mut Random) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = (0..all).collect();
    let (all, count) = (usize::try_from(all)?, usize::try_from(count)?);
    for at in 0..count {
        let rest = u64::try_from(all - at)?;
        numbers.swap(at, at + usize::try_from(random.next() % rest)?);
    }
    numbers.truncate(count);
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Order, Plan};

    const SIZE: u64 = 1 << 20;
    const CHUNK: u64 = 4096;

    fn pieces(order: Order) -> Vec<(u64, u64)> {
        Plan::new(order, SIZE, CHUNK, 100, 7).unwrap().pieces().collect()
    }

    #[test]
    fn each_order_touches_that_many_chunks_once_and_stays_inside_them() {
        for order in [Order::Sequential, Order::Random, Order::Descending, Order::Partial] {
            let pieces = pieces(order);
            let chunks: BTreeSet<u64> = pieces.iter().map(|(at, _)| at / CHUNK).collect();
            assert_eq!((pieces.len(), chunks.len()), (100, 100), "{order:?}");
            for (at, len) in pieces {
                assert!(len > 0 && at + len <= SIZE && at / CHUNK == (at + len - 1) / CHUNK, "{order:?}");
            }
        }
    }

    #[test]
    fn the_orders_are_what_they_are_called() {
        let starts = |order| pieces(order).iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert!(starts(Order::Sequential).windows(2).all(|pair| pair[1] == pair[0] + CHUNK));
        assert!(starts(Order::Descending).windows(2).all(|pair| pair[0] == pair[1] + CHUNK));
        let random = starts(Order::Random);
        assert!(!random.is_sorted() && !random.iter().rev().is_sorted());
    }

    #[test]
    fn a_partial_piece_never_covers_its_chunk() {
        assert!(pieces(Order::Partial).iter().all(|(_, len)| *len < CHUNK));
    }

    #[test]
    fn more_chunks_than_the_device_has_are_refused() {
        assert!(Plan::new(Order::Random, SIZE, CHUNK, 257, 1).is_err());
    }
}
