//! A map of a volume: which parts of it are kept in stores, or go through a merge. Values and pictures; who reads them is
//! in `read`.
//!
//! What must hold:
//! - A picture has a sign for every part of the volume, each for equally many cells, and nothing is left out.
//! - What differs anywhere in a sign's part is seen in the sign, however little it is.

mod read;
mod svg;
mod text;

pub(crate) use read::Reader;
pub(crate) use svg::svg;
pub(crate) use text::{Signs, in_words, legend, text};

use foldback_units::{Cells, Sectors};

/// What a map is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A volume without snapshots.
    Plain,
    /// A snapshot of this origin.
    Snapshot(String),
    /// An origin of these snapshots.
    Origin(Vec<String>),
    /// An origin that this snapshot merges into.
    Merge(String),
}

/// A map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct VolumeMap {
    /// `VG/LV`.
    pub(crate) name: String,
    pub(crate) what: What,
    /// Somebody serves it.
    pub(crate) live: bool,
    /// What is kept in stores; of a merge: what is left to merge.
    pub(crate) kept: Cells,
    /// What was merged, where that is known.
    pub(crate) merged: Option<Cells>,
}

/// One part of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// How much of the volume it stands for.
    pub(crate) size: Sectors,
    /// What of it is kept.
    pub(crate) kept: Sectors,
    /// What of it was merged.
    pub(crate) merged: Sectors,
}

/// A map as fine as there is room for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Picture {
    /// What every part but the last stands for.
    pub(crate) each: Sectors,
    pub(crate) parts: Vec<Part>,
}

impl VolumeMap {
    /// In at most `room` parts.
    pub(crate) fn picture(&self, room: usize) -> Picture {
        let cells = self.kept.counts().len();
        let cells_each = cells.div_ceil(room.max(1)).max(1);
        let each = self.kept.length().checked_mul(u64::try_from(cells_each).unwrap_or(u64::MAX));
        let each = each.unwrap_or(self.kept.size());
        let sum = |counts: &[Sectors]| counts.iter().fold(Sectors::ZERO, |sum, one| sum.saturating_add(*one));
        let merged = self.merged.as_ref().filter(|merged| merged.counts().len() == cells);
        let mut merged = merged.map(|merged| merged.counts().chunks(cells_each)).into_iter().flatten();
        let mut left = self.kept.size();
        let parts = self.kept.counts().chunks(cells_each).map(|kept| {
            let size = each.min(left);
            left = left.saturating_sub(size);
            let kept = sum(kept).min(size);
            let merged = merged.next().map(sum).unwrap_or_default().min(size.saturating_sub(kept));
            Part { size, kept, merged }
        });
        Picture { each, parts: parts.collect() }
    }
}

impl Part {
    /// How much of it is kept: 0 nothing, 4 all, and the thirds in between rounded up, so that very little is 1.
    pub(crate) fn level(self) -> usize {
        let rest = self.size.saturating_sub(self.kept);
        match (self.kept.is_zero(), rest.is_zero()) {
            (true, _) => 0,
            (false, true) => 4,
            (false, false) => {
                let third = u128::from(self.kept.get()).saturating_mul(3);
                let third = third.div_ceil(u128::from(self.size.get()).max(1));
                usize::try_from(third.clamp(1, 3)).unwrap_or(3)
            }
        }
    }
}

/// Hundredths of a percent, where there is a whole.
pub(crate) fn share_of(part: Sectors, whole: Sectors) -> u64 {
    let scaled = u128::from(part.get()).saturating_mul(10_000).checked_div(u128::from(whole.get()));
    let share = scaled.and_then(|share| u64::try_from(share).ok()).unwrap_or_default();
    if share == 0 && !part.is_zero() { 1 } else { share }
}

/// `12.34%`.
pub(crate) fn percent(hundredths: u64) -> String {
    format!("{}.{:02}%", hundredths.div_euclid(100), hundredths.rem_euclid(100))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{VolumeMap, What};
    use foldback_units::{Cells, SectorRange, Sectors};

    /// A volume of 1 GiB in chunks of 4 KiB of which these parts, in MiB, are kept and merged.
    pub(crate) fn map(what: What, kept: &[(u64, u64)], merged: Option<&[(u64, u64)]>) -> VolumeMap {
        let cells = |parts: &[(u64, u64)]| {
            let mut cells = Cells::new(Sectors(1 << 21), Sectors(8));
            for (start, len) in parts {
                cells.add(SectorRange::new(Sectors(start * 2048), Sectors(len * 2048)).unwrap());
            }
            cells
        };
        VolumeMap {
            name: "vg/root".to_owned(),
            what,
            live: true,
            kept: cells(kept),
            merged: merged.map(cells),
        }
    }

    #[test]
    fn a_picture_leaves_nothing_out_whatever_room_there_is() {
        let map = map(What::Merge("snap".to_owned()), &[(3, 40), (900, 1)], Some(&[(500, 20)]));
        for room in [1, 2, 7, 64, 1000, 4096, 100_000] {
            let picture = map.picture(room);
            assert!(picture.parts.len() <= room);
            let sum = |of: fn(&super::Part) -> Sectors| {
                picture.parts.iter().map(|part| of(part).get()).sum::<u64>()
            };
            assert_eq!(sum(|part| part.size), 1 << 21);
            assert_eq!((sum(|part| part.kept), sum(|part| part.merged)), (41 * 2048, 20 * 2048), "{room}");
        }
    }

    #[test]
    fn very_little_is_seen_and_all_is_told_from_nearly_all() {
        let level =
            |kept| super::Part { size: Sectors(900), kept: Sectors(kept), merged: Sectors(0) }.level();
        assert_eq!([0, 1, 300, 301, 600, 601, 899, 900].map(level), [0, 1, 1, 2, 2, 3, 3, 4]);
    }
}
