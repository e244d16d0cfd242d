//! From what an engine or a request wants to operations on disks: cut where the mapping is cut.
//!
//! What must hold:
//! - Every byte of a transfer goes to the place that the map says, from or to the place in memory that the slices say.
//! - Error stretches fail the whole; zero stretches read as zeros and swallow writes.
//! - What is not inside the map is an error, and nothing of it is begun.

use crate::map::{Map, Piece, Place};
use crate::traffic::{Begun, Owner, Traffic};
use foldback_device::{DiskId, Disks, Memory, Op, Slice};
use foldback_engine::{Buffer, Fault, Io, Space};
use foldback_units::{Bytes, SECTOR, SectorRange, Sectors};
use std::io;

/// What a transfer does with its slices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Read,
    Write { durable: bool },
}

/// Where an engine's spaces and buffers are.
pub(crate) trait Surroundings {
    fn space(&self, space: Space) -> Option<&Map>;
    /// `Zeroes` is never asked for.
    fn buffer(&self, buffer: Buffer) -> Option<Slice>;
}

fn device_error() -> io::Error {
    io::Error::other(Fault::Device)
}

/// Begins an engine's I/O.
pub(crate) fn carry<D: Disks>(
    traffic: &mut Traffic<D>,
    owner: Owner,
    surroundings: &impl Surroundings,
    io: Io,
) {
    let begun = match &io {
        Io::ReadMetadata { range, .. } => {
            let memory = bytes_of(range.len()).and_then(Memory::new);
            traffic.begin(owner, memory.map(|memory| memory.whole()))
        }
        _ => traffic.begin(owner, None),
    };
    if carry_parts(traffic, begun, surroundings, io).is_none() {
        traffic.fail(begun, device_error());
    }
    traffic.all_given(begun);
}

/// `None` where the I/O names what is not there.
fn carry_parts<D: Disks>(
    traffic: &mut Traffic<D>,
    begun: Begun,
    surroundings: &impl Surroundings,
    io: Io,
) -> Option<()> {
    let slices = |traffic: &Traffic<D>, wanted: &[foldback_engine::Slice]| -> Option<Vec<Slice>> {
        let mut slices = Vec::with_capacity(wanted.len());
        for slice in wanted {
            let len = bytes_of(slice.len)?;
            match slice.buffer {
                Buffer::Zeroes => push_zeroes(traffic, len, &mut slices)?,
                buffer => slices.push(surroundings.buffer(buffer)?.part(bytes_of(slice.offset)?, len)?),
            }
        }
        Some(slices)
    };
    match io {
        Io::Read { space, at, into } => {
            let slices = slices(traffic, &into)?;
            transfer(traffic, begun, surroundings.space(space)?, at, slices, Way::Read)
        }
        Io::Write { space, at, from, fua } => {
            if let [foldback_engine::Slice { buffer: Buffer::Zeroes, len, .. }] = from.as_slice() {
                let range = SectorRange::new(at, *len)?;
                return write_zeroes(traffic, begun, surroundings.space(space)?, range, fua);
            }
            let slices = slices(traffic, &from)?;
            transfer(traffic, begun, surroundings.space(space)?, at, slices, Way::Write { durable: fua })
        }
        Io::ReadMetadata { space, range } => {
            let into = traffic.fetched(begun)?;
            transfer(traffic, begun, surroundings.space(space)?, range.start(), vec![into], Way::Read)
        }
        Io::WriteMetadata { space, at, bytes, fua } => {
            let memory = Memory::new(bytes.len())?;
            let from = memory.whole();
            if !from.copy_from(&bytes) {
                return None;
            }
            transfer(traffic, begun, surroundings.space(space)?, at, vec![from], Way::Write { durable: fua })
        }
        Io::Flush { domain } => {
            traffic.part(begun, DiskId(domain.0), Op::Flush);
            Some(())
        }
        // Discards reach the disk on volumes without groups only; there is no such operation on disks yet.
        Io::Discard { .. } => Some(()),
    }
}

/// Begins the parts of a transfer.
pub(crate) fn transfer<D: Disks>(
    traffic: &mut Traffic<D>,
    begun: Begun,
    map: &Map,
    at: Sectors,
    slices: Vec<Slice>,
    way: Way,
) -> Option<()> {
    let total =
        slices.iter().try_fold(0_u64, |sum, slice| sum.checked_add(u64::try_from(slice.len()).ok()?))?;
    let pieces = pieces(map, SectorRange::new(at, Bytes(total).to_sectors()?)?)?;
    let mut rest = Cursor { slices: slices.into_iter(), open: None };
    for Piece { place, len } in pieces {
        let slices = rest.take(bytes_of(Sectors(len))?)?;
        match (place, way) {
            (Place::Disk { disk, at }, Way::Read) => {
                traffic.part(begun, disk, Op::Read { at: Sectors(at).to_bytes()?, into: slices });
            }
            (Place::Disk { disk, at }, Way::Write { durable }) => {
                traffic.part(begun, disk, Op::Write { at: Sectors(at).to_bytes()?, from: slices, durable });
            }
            (Place::Zero, Way::Read) => {
                slices.iter().try_for_each(|slice| fill_with_zeroes(traffic, slice))?;
            }
            (Place::Zero, Way::Write { .. }) => {}
            (Place::Error, _) => traffic.fail(begun, device_error()),
        }
    }
    Some(())
}

/// Begins the parts of zeros.
pub(crate) fn write_zeroes<D: Disks>(
    traffic: &mut Traffic<D>,
    begun: Begun,
    map: &Map,
    range: SectorRange,
    durable: bool,
) -> Option<()> {
    for Piece { place, len } in pieces(map, range)? {
        match place {
            Place::Disk { disk, at } => {
                let (at, len) = (Sectors(at).to_bytes()?, Sectors(len).to_bytes()?);
                traffic.part(begun, disk, Op::WriteZeroes { at, len, durable });
            }
            Place::Zero => {}
            Place::Error => traffic.fail(begun, device_error()),
        }
    }
    Some(())
}

/// `None` where the range is empty or ends behind the map.
fn pieces(map: &Map, range: SectorRange) -> Option<Vec<Piece>> {
    (!range.is_empty() && range.end() <= map.len())
        .then(|| map.pieces(range.start().get(), range.len().get()))
}

/// The length in bytes.
pub(crate) fn bytes_of(sectors: Sectors) -> Option<usize> {
    sectors.get().checked_mul(SECTOR).and_then(|bytes| usize::try_from(bytes).ok())
}

fn push_zeroes<D: Disks>(traffic: &Traffic<D>, len: usize, slices: &mut Vec<Slice>) -> Option<()> {
    let mut left = len;
    while left > 0 {
        let slice = traffic.zeroes(left)?;
        left = left.saturating_sub(slice.len());
        slices.push(slice);
    }
    Some(())
}

fn fill_with_zeroes<D: Disks>(traffic: &Traffic<D>, slice: &Slice) -> Option<()> {
    let mut done = 0_usize;
    while done < slice.len() {
        let zeroes = traffic.zeroes(slice.len().saturating_sub(done))?.to_vec();
        let filled = slice.part(done, zeroes.len())?.copy_from(&zeroes);
        done = filled.then(|| done.saturating_add(zeroes.len()))?;
    }
    Some(())
}

/// Slices, taken byte by byte in order.
struct Cursor {
    slices: std::vec::IntoIter<Slice>,
    open: Option<Slice>,
}

impl Cursor {
    /// The next `len` bytes; `None` where fewer are left.
    fn take(&mut self, len: usize) -> Option<Vec<Slice>> {
        let mut taken = Vec::new();
        let mut left = len;
        while left > 0 {
            let slice = match self.open.take() {
                Some(slice) => slice,
                None => self.slices.next()?,
            };
            if slice.len() <= left {
                left = left.saturating_sub(slice.len());
                taken.push(slice);
            } else {
                taken.push(slice.part(0, left)?);
                self.open = slice.part(left, slice.len().saturating_sub(left));
                left = 0;
            }
        }
        Some(taken)
    }
}
