//! A write of any bytes, as steps of whole sectors.
//!
//! What must hold:
//! - The steps write every byte of the range once, and give back to each sector at its edges the bytes outside the range
//!   as they were read.
//! - A range of whole sectors is one step and reads nothing.

use foldback_units::{Bytes, SECTOR, SectorRange, Sectors};

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

    /// Less than a sector of it, as bytes.
    fn small(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Zeros(len) => Some(vec![0; len.to_usize()?]),
        }
    }
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Write these whole sectors.
    Whole {
        /// From which sector on.
        at: Sectors,
        /// What, a whole number of sectors.
        content: Content,
    },
    /// Read a sector, change bytes in it, write it.
    Patch {
        /// Which.
        sector: Sectors,
        /// Bytes of it to keep before the new ones.
        skip: usize,
        /// The new ones.
        bytes: Vec<u8>,
    },
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
    /// The steps that write `content` at `at`; `None` where the end cannot be said in 64 bits.
    pub(crate) fn of(at: Bytes, content: Content) -> Option<Self> {
        let end = at.checked_add(content.len()?)?;
        let first = at.to_sectors_floor();
        let range = SectorRange::new(first, end.to_sectors_ceil().checked_sub(first)?)?;
        let mut steps = Vec::new();
        let mut rest = content;
        let mut place = at;
        let skip = at.checked_sub(first.to_bytes()?)?;
        if !skip.is_zero() {
            let len = Bytes(SECTOR.checked_sub(skip.get())?).min(rest.len()?);
            let (head, behind) = rest.split(len)?;
            steps.push(Step::Patch { sector: first, skip: skip.to_usize()?, bytes: head.small()? });
            place = place.checked_add(len)?;
            rest = behind;
        }
        let whole = rest.len()?.to_sectors_floor();
        if !whole.is_zero() {
            let (middle, behind) = rest.split(whole.to_bytes()?)?;
            let at = place.to_sectors()?;
            steps.push(Step::Whole { at, content: middle });
            place = place.checked_add(whole.to_bytes()?)?;
            rest = behind;
        }
        if !rest.len()?.is_zero() {
            steps.push(Step::Patch { sector: place.to_sectors()?, skip: 0, bytes: rest.small()? });
        }
        Some(Self { range, steps })
    }

    /// Whether a step reads.
    pub(crate) fn reads_first(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Patch { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Step, Steps};
    use foldback_units::{Bytes, Sectors};
    use proptest::prelude::*;

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
                Step::Patch { sector, skip, bytes } => {
                    assert!(skip + bytes.len() <= 512 && bytes.len() < 512);
                    let at = sector.get() as usize * 512 + skip;
                    disk[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
    }

    #[test]
    fn whole_sectors_are_one_step() {
        let steps = Steps::of(Bytes(1024), Content::Bytes(vec![7; 1536])).unwrap();
        assert_eq!(steps.steps, [Step::Whole { at: Sectors(2), content: Content::Bytes(vec![7; 1536]) }]);
        assert!(!steps.reads_first());
    }

    #[test]
    fn a_few_bytes_inside_one_sector_are_one_patch() {
        let steps = Steps::of(Bytes(700), Content::Bytes(vec![7; 100])).unwrap();
        assert_eq!(steps.steps, [Step::Patch { sector: Sectors(1), skip: 188, bytes: vec![7; 100] }]);
        assert_eq!((steps.range.start(), steps.range.len()), (Sectors(1), Sectors(1)));
    }

    #[test]
    fn a_place_beyond_all_numbers_is_refused() {
        assert_eq!(Steps::of(Bytes(u64::MAX), Content::Zeros(Bytes(2))), None);
    }

    proptest! {
        #[test]
        fn the_steps_write_what_was_asked_for_and_nothing_else(
            at in 0..3000_usize, len in 0..3000_usize, zeros in any::<bool>()
        ) {
            let mut disk: Vec<u8> = (0..6144).map(|at| (at % 251) as u8).collect();
            let mut wanted = disk.clone();
            let bytes: Vec<u8> = if zeros { vec![0; len] } else { (0..len).map(|at| (at % 13) as u8).collect() };
            wanted[at..at + len].copy_from_slice(&bytes);
            let content = if zeros { Content::Zeros(Bytes(len as u64)) } else { Content::Bytes(bytes) };
            let steps = Steps::of(Bytes(at as u64), content).unwrap();
            carry_out(&mut disk, &steps.steps);
            prop_assert_eq!(disk, wanted);
            prop_assert!(steps.steps.len() <= 3);
            prop_assert!(steps.range.start().get() * 512 <= at as u64);
            prop_assert!(steps.range.end().get() * 512 >= (at + len) as u64);
        }
    }
}
