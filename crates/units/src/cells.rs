//! A volume in cells of equal length, and how much of each counts: what a map of the volume is drawn from.
//!
//! What must hold:
//! - A cell's length is a power of two of sectors and at least a chunk's, so that every chunk lies in one cell, and two
//!   counts of one volume by one chunk size have the same cells.
//! - There are at most [`Cells::MAX`], however long the volume is; only the last may be shorter than the others.
//! - What several ranges cover counts once ([`Cells::add_union`]); that takes bounded steps at a time.

use crate::{SectorRange, Sectors};

/// Sectors that count, by cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cells {
    size: Sectors,
    /// Of one cell, the power of two.
    shift: u32,
    counts: Vec<Sectors>,
}

impl Cells {
    /// Cells of one volume at most.
    pub const MAX: u64 = 4096;

    /// Of a volume of `size` sectors whose chunks have `chunk` sectors; nothing counts yet.
    pub fn new(size: Sectors, chunk: Sectors) -> Self {
        let least = size.0.div_ceil(Self::MAX).max(chunk.0).max(1);
        // No power of two above: a single cell, at 2^63.
        let shift = least.checked_next_power_of_two().map_or(63, u64::trailing_zeros);
        let cells = usize::try_from(size.0.div_ceil(1 << shift)).unwrap_or_default();
        Self { size, shift, counts: vec![Sectors::ZERO; cells] }
    }

    /// As they were: of a volume of `size` sectors, in cells of `length`. `None` where that cannot have been.
    pub fn from_counts(size: Sectors, length: Sectors, counts: Vec<Sectors>) -> Option<Self> {
        let shift = length.0.is_power_of_two().then(|| length.0.trailing_zeros())?;
        let cells = u64::try_from(counts.len()).ok()?;
        (cells <= Self::MAX && cells == size.0.div_ceil(length.0)).then_some(Self { size, shift, counts })
    }

    /// The volume's length.
    pub fn size(&self) -> Sectors {
        self.size
    }

    /// The length of every cell but the last.
    pub fn length(&self) -> Sectors {
        Sectors(1 << self.shift)
    }

    /// What counts of each cell.
    pub fn counts(&self) -> &[Sectors] {
        &self.counts
    }

    /// All that counts.
    pub fn total(&self) -> Sectors {
        self.counts.iter().fold(Sectors::ZERO, |sum, count| sum.saturating_add(*count))
    }

    /// Counts these sectors, as far as they lie in the volume.
    pub fn add(&mut self, range: SectorRange) {
        let volume = SectorRange::new(Sectors::ZERO, self.size);
        let Some(range) = volume.and_then(|volume| volume.intersect(range)) else { return };
        let first = range.start().0 >> self.shift;
        let cells = self.counts.iter_mut().zip(0_u64..).skip(usize::try_from(first).unwrap_or(usize::MAX));
        for (count, cell) in cells {
            let start = cell << self.shift;
            if start >= range.end().0 {
                return;
            }
            let end = start.saturating_add(1 << self.shift).min(range.end().0);
            *count = count.saturating_add(Sectors(end.saturating_sub(start.max(range.start().0))));
        }
    }

    /// Counts, from sector `from` on, what lies in any of the `parts`, each of which ascends. It ends after `steps` ranges:
    /// then the sector to go on from is returned, with parts that begin there or before.
    pub fn add_union(
        &mut self,
        parts: Vec<impl Iterator<Item = SectorRange>>,
        from: Sectors,
        steps: usize,
    ) -> Option<Sectors> {
        let mut parts: Vec<_> = parts.into_iter().map(Iterator::peekable).collect();
        let mut at = from;
        for _ in 0..steps {
            let nearest = parts
                .iter_mut()
                .filter_map(|part| Some((part.peek()?.start(), part)))
                .min_by_key(|(start, _)| *start);
            let range = nearest.and_then(|(_, part)| part.next())?;
            let start = range.start().max(at);
            if let Some(len) = range.end().checked_sub(start)
                && let Some(range) = SectorRange::new(start, len)
            {
                self.add(range);
                at = range.end();
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::Cells;
    use crate::{SectorRange, Sectors};

    fn range(start: u64, len: u64) -> SectorRange {
        SectorRange::new(Sectors(start), Sectors(len)).unwrap()
    }

    fn counts(cells: &Cells) -> Vec<u64> {
        cells.counts().iter().map(|count| count.0).collect()
    }

    #[test]
    fn there_are_never_too_many_cells_and_every_chunk_lies_in_one() {
        for size in [0, 1, 7, 8, 4096 * 8, 4096 * 8 + 1, 1 << 40, (1 << 61) + 3, u64::MAX] {
            for chunk in [1, 8, 64, 2048] {
                let cells = Cells::new(Sectors(size), Sectors(chunk));
                let number = cells.counts().len() as u64;
                assert!(number <= Cells::MAX && number == size.div_ceil(cells.length().0), "{size} {chunk}");
                assert!(cells.length().0.is_multiple_of(chunk), "{size} {chunk}");
                // As fine as may be, so that a picture of it shows something.
                assert!(
                    number > Cells::MAX / 2 || cells.length().0 == chunk || size >= 1 << 61,
                    "{size} {chunk}"
                );
            }
        }
    }

    #[test]
    fn a_range_counts_in_the_cells_it_lies_in_and_nowhere_else() {
        let mut cells = Cells::new(Sectors(30), Sectors(8));
        cells.add(range(6, 12));
        cells.add(range(29, 40));
        assert_eq!((counts(&cells), cells.total()), (vec![2, 8, 2, 1], Sectors(13)));
        cells.add(range(30, 1));
        assert_eq!(cells.total(), Sectors(13));
    }

    /// The slow twin marks single sectors.
    #[test]
    fn a_union_counts_each_sector_once_in_whatever_steps_it_is_made() {
        let parts = [
            vec![range(0, 3), range(10, 4), range(14, 2), range(40, 20), range(90, 5)],
            vec![range(2, 9), range(45, 2), range(70, 1)],
            vec![range(0, 1), range(46, 30)],
        ];
        let mut twin = vec![0_u64; 12];
        for sector in 0..96_u64 {
            let covered = parts.iter().flatten().any(|part| part.contains(range(sector, 1)));
            twin[(sector / 8) as usize] += u64::from(covered);
        }
        for steps in 1..20 {
            let mut cells = Cells::new(Sectors(96), Sectors(8));
            let mut from = Some(Sectors::ZERO);
            while let Some(at) = from {
                let rest = parts.iter().map(|part| part.iter().copied().filter(|range| range.end() > at));
                from = cells.add_union(rest.collect(), at, steps);
            }
            assert_eq!(counts(&cells), twin, "{steps} steps");
        }
    }

    #[test]
    fn counts_that_cannot_have_been_are_refused() {
        let cells = Cells::new(Sectors(30), Sectors(8));
        let again = |size, length, counts: &[Sectors]| {
            Cells::from_counts(Sectors(size), Sectors(length), counts.to_vec())
        };
        assert_eq!(again(30, 8, cells.counts()), Some(cells.clone()));
        for (size, length) in [(30, 0), (30, 7), (30, 16), (33, 8), (24, 8)] {
            assert_eq!(again(size, length, cells.counts()), None, "{size} {length}");
        }
        assert_eq!(again(8192, 1, &vec![Sectors(1); 8192]), None);
    }
}
