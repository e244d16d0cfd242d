//! The scratch memory of a merge: slots, each filled in store order and emptied in origin order.
//!
//! What must hold (dm-snapshot.md 3.4 W4):
//! - The store is read in its own order, neighbours in one read; the origin is written in its order, neighbours in one
//!   write whatever their order in the store.
//! - A slot is taken from its first read to its last write.
//! - What could not be read is not written.

use crate::api::{Buffer, Fault, Io, Slice, Space, StoreId};
use crate::ledger::{Lane, Ledger, Owner};
use crate::merge::window::Piece;
use foldback_units::{ChunkSize, Sectors};

/// The longest read or write: 1 MiB.
const MAX_IO: Sectors = Sectors(2048);
/// The most pieces of memory in one write.
const MAX_SLICES: usize = 256;
/// How many slots there are where memory allows: some are read while others are written.
const SLOTS: u64 = 4;

/// What passes through a slot.
#[derive(Debug)]
struct Job {
    window: u64,
    pieces: Vec<Piece>,
    left: usize,
    good: bool,
}

/// The slots of a merge.
#[derive(Debug)]
pub(crate) struct Slots {
    start: Sectors,
    len: Sectors,
    jobs: Vec<Option<Job>>,
}

/// What follows from an I/O of a slot.
#[derive(Debug)]
pub(crate) enum After {
    /// Others of it are under way.
    Wait,
    /// The slot is free again; these pieces of this window are copied, or could not be.
    Done { window: u64, pieces: Vec<Piece>, good: bool },
}

impl Slots {
    /// Slots in `memory` sectors from `start` on, for chunks of this size.
    pub(crate) fn new(start: Sectors, memory: Sectors, chunk: ChunkSize) -> Self {
        let whole = |sectors: u64| (sectors & !7).max(8);
        let quarter = whole(memory.0.div_euclid(SLOTS));
        let chunk = chunk.len().0;
        let len = match memory.0.checked_div(chunk) {
            _ if quarter >= chunk => quarter,
            Some(1..) => chunk,
            // Not even one chunk fits: chunks pass in pieces.
            _ => whole(memory.0.div_euclid(2)),
        };
        let count = usize::try_from(memory.0.checked_div(len).unwrap_or(1)).unwrap_or(1).max(1);
        Self { start, len: Sectors(len), jobs: (0..count).map(|_| None).collect() }
    }

    /// The length of a slot.
    pub(crate) fn len(&self) -> Sectors {
        self.len
    }

    /// A slot that is free.
    pub(crate) fn free(&self) -> Option<usize> {
        self.jobs.iter().position(Option::is_none)
    }

    fn memory(&self, slot: usize) -> Sectors {
        let before = u64::try_from(slot).unwrap_or(u64::MAX).saturating_mul(self.len.0);
        self.start.saturating_add(Sectors(before))
    }

    /// Begins to fill a free slot.
    pub(crate) fn fill(
        &mut self,
        slot: usize,
        window: u64,
        pieces: Vec<Piece>,
        store: StoreId,
        ledger: &mut Ledger,
    ) {
        let memory = self.memory(slot);
        let mut left = 0_usize;
        let follows = |first: &Piece, second: &Piece| end(first.store, first.len) == second.store;
        for run in runs(&pieces, follows) {
            let (Some(first), len) = (run.first(), length(run)) else { continue };
            let offset = memory.saturating_add(first.slot);
            let into = vec![Slice { buffer: Buffer::Scratch, offset, len }];
            let io = Io::Read { space: Space::Store(store), at: first.store, into };
            ledger.push(Lane::Background, Owner::MergeRead { slot }, io);
            left = left.saturating_add(1);
        }
        if let Some(place) = self.jobs.get_mut(slot) {
            *place = Some(Job { window, pieces, left, good: true });
        }
    }

    /// A read of a slot is done. After the last one its content goes to the origin.
    pub(crate) fn read_done(&mut self, slot: usize, result: Result<(), Fault>, ledger: &mut Ledger) -> After {
        let memory = self.memory(slot);
        let Some(job) = self.io_done(slot, result) else { return After::Wait };
        if !job.good {
            return self.finish(slot);
        }
        job.pieces.sort_unstable_by_key(|piece| piece.origin);
        let follows = |first: &Piece, second: &Piece| end(first.origin, first.len) == second.origin;
        for run in runs(&job.pieces, follows) {
            let Some(at) = run.first().map(|first| first.origin) else { continue };
            let io = Io::Write { space: Space::Origin, at, from: gather(run, memory), fua: false };
            ledger.push(Lane::Background, Owner::MergeWrite { slot }, io);
            job.left = job.left.saturating_add(1);
        }
        After::Wait
    }

    /// A write of a slot is done.
    pub(crate) fn write_done(&mut self, slot: usize, result: Result<(), Fault>) -> After {
        match self.io_done(slot, result) {
            Some(_) => self.finish(slot),
            None => After::Wait,
        }
    }

    /// The job, if that was its last I/O.
    fn io_done(&mut self, slot: usize, result: Result<(), Fault>) -> Option<&mut Job> {
        let job = self.jobs.get_mut(slot)?.as_mut()?;
        job.left = job.left.saturating_sub(1);
        job.good &= result.is_ok();
        (job.left == 0).then_some(job)
    }

    fn finish(&mut self, slot: usize) -> After {
        match self.jobs.get_mut(slot).and_then(Option::take) {
            Some(job) => After::Done { window: job.window, pieces: job.pieces, good: job.good },
            None => After::Wait,
        }
    }
}

fn end(start: Sectors, len: Sectors) -> Sectors {
    start.saturating_add(len)
}

fn length(pieces: &[Piece]) -> Sectors {
    pieces.iter().fold(Sectors::ZERO, |sum, piece| sum.saturating_add(piece.len))
}

/// `pieces` cut into runs in which each piece follows the one before, none longer than one I/O may be.
fn runs(pieces: &[Piece], follows: impl Fn(&Piece, &Piece) -> bool) -> impl Iterator<Item = &[Piece]> {
    let mut rest = pieces;
    std::iter::from_fn(move || {
        let mut last = rest.first()?;
        let mut len = last.len;
        let mut count = 1_usize;
        for piece in rest.iter().skip(1) {
            len = len.saturating_add(piece.len);
            if count >= MAX_SLICES || len > MAX_IO || !follows(last, piece) {
                break;
            }
            (last, count) = (piece, count.saturating_add(1));
        }
        let (run, behind) = rest.split_at_checked(count)?;
        rest = behind;
        Some(run)
    })
}

/// Where the pieces lie in memory, in their order; those that lie side by side as one.
fn gather(pieces: &[Piece], memory: Sectors) -> Vec<Slice> {
    let mut slices: Vec<Slice> = Vec::with_capacity(1);
    for piece in pieces {
        let offset = memory.saturating_add(piece.slot);
        match slices.last_mut() {
            Some(last) if end(last.offset, last.len) == offset => {
                last.len = last.len.saturating_add(piece.len);
            }
            _ => slices.push(Slice { buffer: Buffer::Scratch, offset, len: piece.len }),
        }
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::{After, Slots};
    use crate::api::{Io, StoreId};
    use crate::ledger::{Ledger, Owner};
    use crate::merge::window::Piece;
    use foldback_units::{ChunkSize, Sectors};

    fn piece(item: usize, origin: u64, store: u64) -> Piece {
        let slot = Sectors(item as u64 * 8);
        Piece { item, origin: Sectors(origin), store: Sectors(store), slot, len: Sectors(8) }
    }

    fn drain(ledger: &mut Ledger) -> Vec<(Owner, Io)> {
        std::iter::from_fn(|| ledger.pop()).map(|(_, owner, io)| (owner, io)).collect()
    }

    #[test]
    fn w4_reads_are_joined_in_store_order_and_writes_in_origin_order() {
        let mut slots = Slots::new(Sectors(100), Sectors(400), ChunkSize::from_sectors(8).unwrap());
        let mut ledger = Ledger::new(99);
        // A descending fill: one read, and one write that gathers from the slot backwards.
        let pieces = vec![piece(0, 80, 16), piece(1, 72, 24), piece(2, 64, 32), piece(3, 200, 48)];
        slots.fill(1, 7, pieces, StoreId(1), &mut ledger);
        let reads = drain(&mut ledger);
        assert_eq!(reads.len(), 2);
        assert!(matches!(&reads[0].1, Io::Read { at: Sectors(16), into, .. } if into[0].len == Sectors(24)));
        assert!(matches!(slots.read_done(1, Ok(()), &mut ledger), After::Wait));
        assert!(matches!(slots.read_done(1, Ok(()), &mut ledger), After::Wait));
        let writes = drain(&mut ledger);
        let Io::Write { at, from, .. } = &writes[0].1 else { panic!("{writes:?}") };
        let offsets: Vec<u64> = from.iter().map(|slice| slice.offset.0).collect();
        assert_eq!((at.0, offsets, writes.len()), (64, vec![212, 204, 196], 2));
        assert!(matches!(slots.write_done(1, Ok(())), After::Wait));
        let After::Done { window: 7, pieces, good: true } = slots.write_done(1, Ok(())) else { panic!() };
        assert_eq!((pieces.len(), slots.free()), (4, Some(0)));
    }

    #[test]
    fn what_could_not_be_read_is_not_written() {
        let mut slots = Slots::new(Sectors(0), Sectors(64), ChunkSize::from_sectors(8).unwrap());
        let mut ledger = Ledger::new(99);
        slots.fill(0, 7, vec![piece(0, 80, 16)], StoreId(1), &mut ledger);
        drain(&mut ledger);
        let after = slots.read_done(0, Err(crate::api::Fault::Device), &mut ledger);
        assert!(matches!(after, After::Done { good: false, .. }));
        assert_eq!(drain(&mut ledger), []);
    }

    #[test]
    fn slots_fit_the_memory_whatever_the_chunk_size() {
        for memory in [16, 24, 64, 1000, 8192] {
            for shift in 0..=21 {
                let chunk = ChunkSize::from_sectors(1 << shift).unwrap();
                let slots = Slots::new(Sectors(0), Sectors(memory), chunk);
                let all = slots.jobs.len() as u64 * slots.len.0;
                assert!(
                    all <= memory && slots.len.0 >= 8,
                    "{memory} {chunk}: {} of {}",
                    slots.jobs.len(),
                    slots.len
                );
                assert!(slots.len >= chunk.len() || memory < chunk.len().0);
            }
        }
    }
}
