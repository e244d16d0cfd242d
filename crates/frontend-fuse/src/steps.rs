//! A write of any bytes, as steps of whole blocks: the unit in which the volumes' disks are addressed.
//!
//! What must hold:
//! - The steps write every byte of the range once, and give back to each block at its edges the bytes outside the range
//!   as they were read.
//! - A range of whole blocks is one step and reads nothing; zeros of any length are, too, and leave it in bounded pieces.

use foldback_units::{Bytes, SectorRange, Sectors};

/// What to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many zeros.
    Zeros(Bytes),
}

impl Content {
    pub(crate) fn len(&self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).ok().map(Bytes),
            Self::Zeros(len) => Some(*len),
        }
    }

    /// The first `len` bytes and the rest.
    fn split(self, len: Bytes) -> Option<(Self, Self)> {
        match self {
            Self::Bytes(mut bytes) => {
                let at = len.to_usize().filter(|at| *at <= bytes.len())?;
                let rest = bytes.split_off(at);
                Some((Self::Bytes(bytes), Self::Bytes(rest)))
            }
            Self::Zeros(all) => Some((Self::Zeros(len), Self::Zeros(all.checked_sub(len)?))),
        }
    }

    /// Less than a block of it, as bytes.
    fn small(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Zeros(len) => Some(vec![0; len.to_usize()?]),
        }
    }
}

/// The most zeros that go to a volume at once; the same as NBD's largest request.
const PIECE: Bytes = Bytes(32 << 20);

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Write these whole blocks.
    Whole {
        /// From which sector on.
        at: Sectors,
        /// What, a whole number of blocks.
        content: Content,
    },
    /// Read a block, change bytes in it, write it.
    Patch {
        /// Which: its sectors.
        block: SectorRange,
        /// Bytes of it to keep before the new ones.
        skip: usize,
        /// The new ones.
        bytes: Vec<u8>,
    },
}

impl Step {
    /// What of it goes to the volume now, and what is left for later.
    pub(crate) fn piece(self) -> (Self, Option<Self>) {
        match self {
            Self::Whole { at, content: Content::Zeros(len) } if len > PIECE => {
                let rest = Content::Zeros(len.saturating_sub(PIECE));
                // Inside the range of the write, whose end fits.
                let behind = at.saturating_add(PIECE.to_sectors_floor());
                let now = Self::Whole { at, content: Content::Zeros(PIECE) };
                (now, Some(Self::Whole { at: behind, content: rest }))
            }
            step => (step, None),
        }
    }
}

/// A write in steps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Steps {
    /// All sectors that it touches.
    pub(crate) range: SectorRange,
    /// In order.
    pub(crate) steps: Vec<Step>,
}

impl Steps {
    /// The steps that write `content` at `at`, in blocks of `unit`; `None` where the end cannot be said in 64 bits.
    pub(crate) fn of(at: Bytes, content: Content, unit: Sectors) -> Option<Self> {
        let Covered { range, skip } = cover(at, content.len()?, unit)?;
        let block = unit.to_bytes()?;
        let mut steps = Vec::new();
        let mut rest = content;
        let mut place = range.start();
        if !skip.is_zero() {
            let len = block.checked_sub(skip)?.min(rest.len()?);
            let (head, behind) = rest.split(len)?;
            let edge = SectorRange::new(place, unit)?;
            steps.push(Step::Patch { block: edge, skip: skip.to_usize()?, bytes: head.small()? });
            place = edge.end();
            rest = behind;
        }
        let left = rest.len()?;
        let whole = left.checked_sub(Bytes(left.get().checked_rem(block.get())?))?;
        if !whole.is_zero() {
            let (middle, behind) = rest.split(whole)?;
            steps.push(Step::Whole { at: place, content: middle });
            place = place.checked_add(whole.to_sectors()?)?;
            rest = behind;
        }
        if !rest.len()?.is_zero() {
            let edge = SectorRange::new(place, unit)?;
            steps.push(Step::Patch { block: edge, skip: 0, bytes: rest.small()? });
        }
        Some(Self { range, steps })
    }

    /// Whether a step reads.
    pub(crate) fn reads_first(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Patch { .. }))
    }
}

/// The whole blocks around some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Covered {
    pub(crate) range: SectorRange,
    /// Bytes of the range before the first that was meant.
    pub(crate) skip: Bytes,
}

/// The blocks of `unit` around `len` bytes at `at`; `None` where their end cannot be said.
pub(crate) fn cover(at: Bytes, len: Bytes, unit: Sectors) -> Option<Covered> {
    let block = unit.to_bytes()?.get();
    let skip = at.get().checked_rem(block)?;
    let first = at.get().checked_sub(skip)?;
    let end = at.get().checked_add(len.get())?.div_ceil(block).checked_mul(block)?;
    let len = end.checked_sub(first)?;
    let range = SectorRange::new(Bytes(first).to_sectors()?, Bytes(len).to_sectors()?)?;
    Some(Covered { range, skip: Bytes(skip) })
}

#[cfg(test)]
mod tests {
    use super::{Content, Step, Steps};
    use foldback_units::{Bytes, SectorRange, Sectors};
    use proptest::prelude::*;

    const ONE: Sectors = Sectors(1);

    /// The slow twin: bytes in memory.
    fn carry_out(disk: &mut [u8], steps: &[Step]) {
        for step in steps {
            match step {
                Step::Whole { at, content } => {
                    let at = at.get() as usize * 512;
                    match content {
                        Content::Bytes(bytes) => disk[at..at + bytes.len()].copy_from_slice(bytes),
                        Content::Zeros(len) => disk[at..at + len.get() as usize].fill(0),
                    }
                }
                Step::Patch { block, skip, bytes } => {
                    let len = block.len().get() as usize * 512;
                    assert!(skip + bytes.len() <= len && bytes.len() < len);
                    let at = block.start().get() as usize * 512 + skip;
                    disk[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
    }

    #[test]
    fn whole_blocks_are_one_step() {
        let steps = Steps::of(Bytes(1024), Content::Bytes(vec![7; 1536]), ONE).unwrap();
        assert_eq!(steps.steps, [Step::Whole { at: Sectors(2), content: Content::Bytes(vec![7; 1536]) }]);
        assert!(!steps.reads_first());
        assert!(Steps::of(Bytes(1024), Content::Bytes(vec![7; 1536]), Sectors(8)).unwrap().reads_first());
    }

    #[test]
    fn zeros_leave_in_bounded_pieces() {
        let mut left =
            Some(Step::Whole { at: Sectors(8), content: Content::Zeros(Bytes((100 << 20) + 512)) });
        let mut pieces = Vec::new();
        while let Some(step) = left {
            let (now, rest) = step.piece();
            let Step::Whole { at, content: Content::Zeros(len) } = now else { unreachable!() };
            pieces.push((at.get(), len.get()));
            left = rest;
        }
        let mib = |count: u64| count << 11;
        let expected =
            [(8, 32 << 20), (8 + mib(32), 32 << 20), (8 + mib(64), 32 << 20), (8 + mib(96), (4 << 20) + 512)];
        assert_eq!(pieces, expected);
        let bytes = Step::Whole { at: Sectors(0), content: Content::Bytes(vec![1; 512]) };
        assert_eq!(bytes.clone().piece(), (bytes, None));
    }

    #[test]
    fn a_few_bytes_inside_one_block_are_one_patch() {
        let steps = Steps::of(Bytes(700), Content::Bytes(vec![7; 100]), ONE).unwrap();
        let block = SectorRange::new(Sectors(1), ONE).unwrap();
        assert_eq!(steps.steps, [Step::Patch { block, skip: 188, bytes: vec![7; 100] }]);
        assert_eq!(steps.range, block);
    }

    #[test]
    fn a_place_beyond_all_numbers_is_refused() {
        assert_eq!(Steps::of(Bytes(u64::MAX), Content::Zeros(Bytes(2)), ONE), None);
        assert_eq!(Steps::of(Bytes(u64::MAX - 1), Content::Zeros(Bytes(1)), Sectors(8)), None);
        assert_eq!(Steps::of(Bytes(0), Content::Zeros(Bytes(1)), Sectors(0)), None);
    }

    proptest! {
        #[test]
        fn the_steps_write_what_was_asked_for_and_nothing_else(
            at in 0..3000_usize, len in 0..3000_usize, zeros in any::<bool>(), large in any::<bool>()
        ) {
            let unit = if large { 8 } else { 1 };
            let mut disk: Vec<u8> = (0..8192).map(|at| (at % 251) as u8).collect();
            let mut wanted = disk.clone();
            let bytes: Vec<u8> = if zeros { vec![0; len] } else { (0..len).map(|at| (at % 13) as u8).collect() };
            wanted[at..at + len].copy_from_slice(&bytes);
            let content = if zeros { Content::Zeros(Bytes(len as u64)) } else { Content::Bytes(bytes) };
            let steps = Steps::of(Bytes(at as u64), content, Sectors(unit)).unwrap();
            carry_out(&mut disk, &steps.steps);
            prop_assert_eq!(disk, wanted);
            prop_assert!(steps.steps.len() <= 3);
            prop_assert!(steps.range.start().get() * 512 <= at as u64);
            prop_assert!(steps.range.end().get() * 512 >= (at + len) as u64);
            prop_assert!(steps.range.start().get().is_multiple_of(unit));
            prop_assert!(steps.range.len().get().is_multiple_of(unit));
        }
    }
}
