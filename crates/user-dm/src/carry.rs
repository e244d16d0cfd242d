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
                return write_zeroes(
                    traffic,
                    begun,
                    surroundings.space(space)?,
                    range,
                    Zeros { durable: fua, holes: false },
                );
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
        // Discards reach the disks on volumes without groups only. This group has no snapshot left or none yet: that passes.
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

/// Holes in an image file begin and end at multiples of this: file systems have blocks of a page at most.
const HOLE_SECTORS: u64 = 8;

/// How zeros are written, as in [`Op::WriteZeroes`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zeros {
    pub(crate) durable: bool,
    pub(crate) holes: bool,
}

/// Begins the parts of zeros.
pub(crate) fn write_zeroes<D: Disks>(
    traffic: &mut Traffic<D>,
    begun: Begun,
    map: &Map,
    range: SectorRange,
    Zeros { durable, holes }: Zeros,
) -> Option<()> {
    for Piece { place, len } in pieces(map, range)? {
        match place {
            Place::Disk { disk, at } => {
                for (at, len) in at_borders(at, len, holes) {
                    let (at, len) = (Sectors(at).to_bytes()?, Sectors(len).to_bytes()?);
                    traffic.part(begun, disk, Op::WriteZeroes { at, len, durable, holes });
                }
            }
            Place::Zero => {}
            Place::Error => traffic.fail(begun, device_error()),
        }
    }
    Some(())
}

/// What is to be a hole, cut where holes can begin and end: file systems on a volume, and partitions, know nothing of the blocks
/// of the file system that the image is on. Sectors; the parts touch and are in order.
fn at_borders(at: u64, len: u64, holes: bool) -> impl Iterator<Item = (u64, u64)> {
    let end = at.saturating_add(len);
    let first = at.checked_next_multiple_of(HOLE_SECTORS).unwrap_or(end).min(end);
    let last = end.saturating_sub(end.checked_rem(HOLE_SECTORS).unwrap_or(0)).max(first);
    let cuts = if holes { [at, first, last, end] } else { [at, end, end, end] };
    let parts = [(cuts[0], cuts[1]), (cuts[1], cuts[2]), (cuts[2], cuts[3])];
    parts.into_iter().map(|(from, to)| (from, to.saturating_sub(from))).filter(|(_, len)| *len > 0)
}

/// Begins the parts of a discard.
pub(crate) fn discard<D: Disks>(
    traffic: &mut Traffic<D>,
    begun: Begun,
    map: &Map,
    range: SectorRange,
) -> Option<()> {
    for Piece { place, len } in pieces(map, range)? {
        match place {
            Place::Disk { disk, at } => {
                let (at, len) = (Sectors(at).to_bytes()?, Sectors(len).to_bytes()?);
                traffic.part(begun, disk, Op::Discard { at, len });
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

#[cfg(test)]
mod tests {
    use super::{Surroundings, carry};
    use crate::map::{Below, Kind, Map, Stretch};
    use crate::traffic::{Owner, Traffic};
    use foldback_device::{DiskId, Memory, Slice};
    use foldback_engine::{Buffer, Io, IoId, Space};
    use foldback_testkit::{Image, Order, Sector, SimDisks};
    use foldback_units::{SectorRange, Sectors};

    struct Place {
        map: Map,
        scratch: Memory,
    }

    impl Surroundings for Place {
        fn space(&self, space: Space) -> Option<&Map> {
            (space == Space::Origin).then_some(&self.map)
        }

        fn buffer(&self, buffer: Buffer) -> Option<Slice> {
            (buffer == Buffer::Scratch).then(|| self.scratch.whole())
        }
    }

    fn slice(buffer: Buffer, offset: u64, len: u64) -> foldback_engine::Slice {
        foldback_engine::Slice { buffer, offset: Sectors(offset), len: Sectors(len) }
    }

    /// 16 sectors: 8 on each disk, the second disk first; then 8 of zeros, then an error.
    fn place() -> (Traffic<SimDisks>, SimDisks, Place) {
        let image = Image::new(vec![vec![Sector::Stamp(1); 64], vec![Sector::Stamp(2); 64]]);
        let disks = SimDisks::new(image, &[1, 1], Order::Any, 1);
        let linear = |disk, offset| Kind::Linear { below: Below::Disk(DiskId(disk)), offset };
        let kinds = [linear(1, 8), linear(0, 32), Kind::Zero, Kind::Error];
        let stretches = (0..).zip(kinds).map(|(number, kind)| Stretch { start: number * 8, len: 8, kind });
        let scratch = Memory::new(64 * 512).unwrap();
        (Traffic::new(disks.clone()).unwrap(), disks, Place { map: Map::new(stretches.collect()), scratch })
    }

    fn run(traffic: &mut Traffic<SimDisks>, place: &Place, io: Io) -> Result<Option<Vec<u8>>, ()> {
        carry(traffic, Owner::Opener(IoId(0)), place, io);
        let ended = loop {
            if let Some(ended) = traffic.poll() {
                break ended;
            }
            assert!(traffic.reap(true).unwrap(), "it must end");
        };
        ended.outcome.map(|()| ended.fetched.map(|slice| slice.to_vec())).map_err(drop)
    }

    #[test]
    fn slices_and_pieces_are_cut_independently_of_each_other() {
        let (mut traffic, disks, place) = place();
        for sector in 0..16_u8 {
            assert!(place.scratch.slice(usize::from(sector) * 512, 512).unwrap().copy_from(&[sector; 512]));
        }
        // Three slices over two stretches; the last is the engine's zeros.
        let from =
            vec![slice(Buffer::Scratch, 5, 3), slice(Buffer::Scratch, 0, 4), slice(Buffer::Zeroes, 0, 2)];
        let write = Io::Write { space: Space::Origin, at: Sectors(4), from, fua: false };
        assert!(run(&mut traffic, &place, write).is_ok());
        let byte = |disk: usize, at: usize| disks.visible().disks[disk][at].to_bytes()[0];
        assert_eq!([12, 13, 14, 15].map(|at| byte(1, at)), [5, 6, 7, 0]);
        assert_eq!([32, 33, 34, 35, 36].map(|at| byte(0, at)), [1, 2, 3, 0, 0]);
        let into = vec![slice(Buffer::Scratch, 20, 1), slice(Buffer::Scratch, 30, 8)];
        let read = Io::Read { space: Space::Origin, at: Sectors(7), into };
        assert!(run(&mut traffic, &place, read).is_ok());
        let scratch = |sector: usize| place.scratch.slice(sector * 512, 1).unwrap().to_vec()[0];
        assert_eq!([20, 30, 31, 32].map(scratch), [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_to_be_a_hole_is_cut_at_its_borders_and_nothing_is_lost() {
        for at in 0..20 {
            for len in 1..40 {
                let parts: Vec<_> = super::at_borders(at, len, true).collect();
                let sectors: Vec<u64> = parts.iter().flat_map(|(at, len)| *at..at + len).collect();
                assert!(sectors.iter().copied().eq(at..at + len), "{at}+{len}: {parts:?}");
                let hole = parts.iter().find(|(at, len)| at % 8 == 0 && len % 8 == 0);
                let most = (at.next_multiple_of(8)..(at + len) / 8 * 8).count() as u64;
                assert_eq!(hole.map_or(0, |(_, len)| *len), most, "{at}+{len}");
                assert!(super::at_borders(at, len, false).eq([(at, len)]));
            }
        }
    }

    #[test]
    fn zeros_are_read_from_zero_and_errors_fail_the_whole() {
        let (mut traffic, _, place) = place();
        assert!(place.scratch.slice(0, 4096).unwrap().copy_from(&[9; 4096]));
        let into = vec![slice(Buffer::Scratch, 0, 8)];
        let read = |at| Io::Read { space: Space::Origin, at: Sectors(at), into: into.clone() };
        assert!(run(&mut traffic, &place, read(16)).is_ok());
        assert_eq!(place.scratch.slice(0, 4096).unwrap().to_vec(), [0; 4096]);
        assert!(run(&mut traffic, &place, read(20)).is_err());
        assert!(run(&mut traffic, &place, read(28)).is_err(), "behind the end");
    }

    #[test]
    fn metadata_goes_as_bytes_both_ways() {
        let (mut traffic, _, place) = place();
        let bytes = [[3; 512], [4; 512]].concat();
        let write =
            Io::WriteMetadata { space: Space::Origin, at: Sectors(7), bytes: bytes.clone(), fua: true };
        assert!(run(&mut traffic, &place, write).is_ok());
        let range = SectorRange::new(Sectors(7), Sectors(2)).unwrap();
        let read = Io::ReadMetadata { space: Space::Origin, range };
        assert_eq!(run(&mut traffic, &place, read).unwrap(), Some(bytes));
    }

    #[test]
    fn what_is_not_there_fails_and_begins_nothing() {
        let (mut traffic, disks, place) = place();
        let taken = disks.taken();
        let io =
            |space, buffer| Io::Write { space, at: Sectors(0), from: vec![slice(buffer, 0, 1)], fua: false };
        let store = Space::Store(foldback_engine::StoreId(1));
        assert!(run(&mut traffic, &place, io(store, Buffer::Scratch)).is_err());
        let stranger = Buffer::Request(foldback_engine::RequestId(1));
        assert!(run(&mut traffic, &place, io(Space::Origin, stranger)).is_err());
        let long = vec![slice(Buffer::Scratch, 60, 8)];
        assert!(
            run(&mut traffic, &place, Io::Read { space: Space::Origin, at: Sectors(0), into: long }).is_err()
        );
        assert_eq!(disks.taken(), taken);
    }
}
