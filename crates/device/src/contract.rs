//! What every implementation of [`Disks`] has to pass. Panics where it does not: for tests only.
//!
//! Goal: a caller cannot tell two implementations apart. Method: [`run`] is handed a maker of two disks, 64 KiB and
//! 1 MiB long, filled with zeros, and works through the contract's sentences, one function each.

use crate::disks::{Completion, DiskId, Disks, Op, Tag};
use crate::{Memory, flush, read_exact, write_all, write_zeroes};
use foldback_units::Bytes;
use std::io;

/// The lengths of the two disks.
pub const SIZES: [u64; 2] = [64 << 10, 1 << 20];

const FIRST: DiskId = DiskId(0);
const SECOND: DiskId = DiskId(1);

/// Runs the whole suite, each part on fresh disks of the lengths [`SIZES`].
///
/// # Panics
/// Where the implementation breaks the contract.
pub fn run(make: &mut dyn FnMut() -> Box<dyn Disks>) {
    what_was_written_is_read(&mut *make());
    every_operation_completes_once(&mut *make());
    slices_are_filled_in_order(&mut *make());
    the_end_is_an_error(&mut *make());
    off_the_blocks_is_refused(&mut *make());
    zeros_are_zeros(&mut *make());
    a_discard_touches_its_range_alone_and_what_is_written_after_it_stays(&mut *make());
    nothing_under_way_is_nothing_to_reap(&mut *make());
    bytes_between_blocks_keep_their_neighbours(&mut *make());
}

fn what_was_written_is_read(disks: &mut dyn Disks) {
    let mut bytes = vec![0; 8192];
    for (disk, fill, durable) in [(FIRST, 0x11, false), (SECOND, 0x22, true)] {
        write_all(disks, disk, Bytes(8192), &[fill; 8192], durable).unwrap();
        flush(disks, disk).unwrap();
        read_exact(disks, disk, Bytes(8192), &mut bytes).unwrap();
        assert_eq!(bytes, [fill; 8192]);
    }
    read_exact(disks, FIRST, Bytes(0), &mut bytes).unwrap();
    assert_eq!(bytes, [0; 8192]);
}

fn every_operation_completes_once(disks: &mut dyn Disks) {
    const COUNT: u64 = 600;
    let memory = Memory::new(4096).unwrap();
    for number in 0..COUNT {
        let at = Bytes((number % 256) * 4096);
        let op = match number % 3 {
            0 => Op::Read { at, into: vec![memory.whole()] },
            1 => Op::WriteZeroes { at, len: Bytes(4096), durable: number % 2 == 0, holes: number % 5 == 0 },
            _ => Op::Flush,
        };
        disks.submit(Tag(number), SECOND, op);
    }
    let mut tags = Vec::new();
    while let Some(Completion { tag, outcome }) = disks.reap(true).unwrap() {
        outcome.unwrap();
        tags.push(tag.0);
    }
    tags.sort_unstable();
    assert!(tags.iter().copied().eq(0..COUNT), "each once: {tags:?}");
}

fn slices_are_filled_in_order(disks: &mut dyn Disks) {
    let memory = Memory::new(16384).unwrap();
    let part = |page: usize| memory.slice(page * 4096, 4096).unwrap();
    for page in 0..4_u8 {
        assert!(part(page.into()).copy_from(&[page + 1; 4096]));
    }
    let from = vec![part(3), part(1), part(1), part(0)];
    assert!(one(disks, SECOND, Op::Write { at: Bytes(4096), from, durable: false }).is_ok());
    assert!(one(disks, SECOND, Op::Read { at: Bytes(8192), into: vec![part(0), part(2)] }).is_ok());
    assert_eq!(part(0).to_vec(), [2; 4096]);
    assert_eq!(part(2).to_vec(), [2; 4096]);
    let mut last = [0; 4096];
    read_exact(disks, SECOND, Bytes(16384), &mut last).unwrap();
    assert_eq!(last, [1; 4096]);
}

fn the_end_is_an_error(disks: &mut dyn Disks) {
    let memory = Memory::new(8192).unwrap();
    for at in [SIZES[0] - 4096, SIZES[0], u64::MAX - 4095] {
        let (at, len) = (Bytes(at), Bytes(8192));
        for op in [
            Op::Read { at, into: vec![memory.whole()] },
            Op::Write { at, from: vec![memory.whole()], durable: false },
            Op::WriteZeroes { at, len, durable: false, holes: false },
            Op::Discard { at, len },
        ] {
            let error = one(disks, FIRST, op).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }
    let error = one(disks, DiskId(2), Op::Flush).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    assert!(one(disks, FIRST, Op::Read { at: Bytes(SIZES[0] - 8192), into: vec![memory.whole()] }).is_ok());
}

fn off_the_blocks_is_refused(disks: &mut dyn Disks) {
    let memory = Memory::new(8192).unwrap();
    let (whole, off) = (memory.slice(0, 4096).unwrap(), memory.slice(1, 4096).unwrap());
    for op in [
        Op::Read { at: Bytes(1), into: vec![whole.clone()] },
        Op::Read { at: Bytes(0), into: vec![off] },
        Op::Write { at: Bytes(0), from: vec![memory.slice(0, 100).unwrap()], durable: true },
        Op::WriteZeroes { at: Bytes(100), len: Bytes(4096), durable: false, holes: true },
        Op::Discard { at: Bytes(4096), len: Bytes(100) },
    ] {
        let error = one(disks, FIRST, op).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
}

fn zeros_are_zeros(disks: &mut dyn Disks) {
    let all = usize::try_from(SIZES[1]).unwrap();
    for (at, len, durable) in [(4096, 4096, false), (128 << 10, 512 << 10, true), (0, SIZES[1], false)] {
        write_all(disks, SECOND, Bytes(0), &vec![0xff; all], false).unwrap();
        if len > 4096 {
            write_zeroes(disks, SECOND, Bytes(at), Bytes(len), durable).unwrap();
        } else {
            let op = Op::WriteZeroes { at: Bytes(at), len: Bytes(len), durable, holes: true };
            one(disks, SECOND, op).unwrap();
        }
        let mut bytes = vec![0; all];
        read_exact(disks, SECOND, Bytes(0), &mut bytes).unwrap();
        let zeros = usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap();
        assert!(bytes.iter().enumerate().all(|(index, byte)| (*byte == 0) == zeros.contains(&index)));
    }
}

fn a_discard_touches_its_range_alone_and_what_is_written_after_it_stays(disks: &mut dyn Disks) {
    let all = usize::try_from(SIZES[1]).unwrap();
    write_all(disks, SECOND, Bytes(0), &vec![0xff; all], false).unwrap();
    let mut bytes = vec![0; all];
    for (at, len) in [(4096, 4096), (128 << 10, 512 << 10), (12288, 4096), (16384, 8192)] {
        one(disks, SECOND, Op::Discard { at: Bytes(at), len: Bytes(len) }).unwrap();
        read_exact(disks, SECOND, Bytes(0), &mut bytes).unwrap();
        let forgotten = usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap();
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == 0xff || forgotten.contains(&at)));
        write_all(disks, SECOND, Bytes(at), &vec![0xff; forgotten.len()], true).unwrap();
        read_exact(disks, SECOND, Bytes(0), &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0xff));
    }
}

fn nothing_under_way_is_nothing_to_reap(disks: &mut dyn Disks) {
    assert!(disks.reap(false).unwrap().is_none());
    assert!(disks.reap(true).unwrap().is_none());
}

fn bytes_between_blocks_keep_their_neighbours(disks: &mut dyn Disks) {
    write_all(disks, SECOND, Bytes(4096), &[0xee; 8192], false).unwrap();
    write_all(disks, SECOND, Bytes(4096 + 512), &[0x11; 512], true).unwrap();
    write_all(disks, SECOND, Bytes(4096 + 2047), &[0x22; 2], true).unwrap();
    let mut bytes = [0; 4096];
    read_exact(disks, SECOND, Bytes(4096 + 1), &mut bytes).unwrap();
    let mut expected = [0xee; 4096];
    expected[511..1023].fill(0x11);
    expected[2046..2048].fill(0x22);
    assert_eq!(bytes, expected);
}

fn one(disks: &mut dyn Disks, disk: DiskId, op: Op) -> io::Result<()> {
    disks.submit(Tag(7), disk, op);
    let completion = disks.reap(true).unwrap().unwrap();
    assert_eq!(completion.tag, Tag(7));
    completion.outcome
}
