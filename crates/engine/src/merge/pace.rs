//! How fast a merge may go, without a clock: an allowance that is used up by windows and topped up by the runner.
//!
//! What must hold:
//! - A window begins only when the allowance holds at least one chunk, and is no longer than the allowance: a low rate comes
//!   as many small windows, evenly.
//! - What is not used piles up to one whole window, no further.

use foldback_units::{ChunkSize, Sectors};

/// The allowance of a group's merges; without one they go as fast as they can.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Pace {
    left: Option<u64>,
}

impl Pace {
    pub(crate) fn new(left: Option<Sectors>) -> Self {
        Self { left: left.map(|left| left.0) }
    }

    /// Tops up, to `most` at most.
    pub(crate) fn add(&mut self, sectors: Sectors, most: Sectors) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_add(sectors.0).min(most.0.max(*left));
        }
    }

    /// How many records the next window may have, of at most `length`; zero where it has to wait.
    pub(crate) fn take(&mut self, length: u64, chunk: ChunkSize) -> u64 {
        let Some(left) = &mut self.left else { return length };
        let chunk = chunk.len().0;
        let length = length.min(left.checked_div(chunk).unwrap_or(0));
        *left = left.saturating_sub(length.saturating_mul(chunk));
        length
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use foldback_units::{ChunkSize, Sectors};

    #[test]
    fn windows_are_as_long_as_the_allowance_and_what_is_unused_is_bounded() {
        let chunk = ChunkSize::from_sectors(8).unwrap();
        let mut pace = Pace::new(Some(Sectors(7)));
        assert_eq!(pace.take(10, chunk), 0, "not one chunk");
        pace.add(Sectors(20), Sectors(80));
        assert_eq!((pace.take(10, chunk), pace.take(10, chunk)), (3, 0));
        pace.add(Sectors(500), Sectors(80));
        assert_eq!((pace.take(9, chunk), pace.take(9, chunk), pace.take(9, chunk)), (9, 1, 0));
        assert_eq!(Pace::default().take(10, chunk), 10, "without one there is no limit");
    }
}
