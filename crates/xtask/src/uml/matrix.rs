//! Case `matrix`: LVM2 and the kernel make and fill, Foldback merges, LVM2 and the kernel read.
//!
//! Three values have to agree for the origin: what the merged snapshot read as before, what the kernel's own
//! merge of a copy gives, and what Foldback's merge gives. Each remaining snapshot must read as before in both.
//! LVM2 must find the same LVs in both and say nothing about the metadata.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::Length;
use super::cells::{self, Cell};
use crate::rig::{Console, Guest, Scratch, copy_disk};

const FILL: &str = include_str!("../../../../rig/matrix-fill.sh");
const COMPARE: &str = include_str!("../../../../rig/matrix-compare.sh");
/// The comparing guest takes two disks for each cell, and sixteen in all.
const CELLS_A_BOOT: usize = 8;
const IMAGE_MIB: u64 = 144;
const LIMIT: Duration = Duration::from_mins(5);
/// Guests that run at the same time.
const LANES: usize = 2;

/// Runs the matrix, two groups at a time.
pub(super) fn run(length: Length) -> Result<String> {
    let cells = if length == Length::Long { cells::all() } else { cells::pairwise() };
    let program = super::program()?;
    let merge = |cell: &Cell, image: &Path| -> Result<()> {
        let snapshot = format!("vg{}/s{}", cell.id(), cell.merged());
        program.run(&[image], &["lvconvert", "--merge", &snapshot]).map(|_| ())
    };
    let groups: Vec<(usize, &[Cell])> = cells.chunks(CELLS_A_BOOT).enumerate().collect();
    for lanes in groups.chunks(LANES) {
        std::thread::scope(|scope| {
            let started: Vec<_> = lanes
                .iter()
                .map(|(number, group)| scope.spawn(|| Group::new(*number, group)?.run(&merge)))
                .collect();
            let ended =
                started.into_iter().map(|lane| lane.join().map_err(|_| anyhow!("a lane panicked"))?);
            ended.collect::<Result<Vec<()>>>()
        })?;
    }
    Ok(format!("{} cells", cells.len()))
}

/// The cells of one boot.
pub(super) struct Group<'a> {
    name: String,
    cells: &'a [Cell],
    scratch: Scratch,
}

impl<'a> Group<'a> {
    pub(super) fn new(number: usize, cells: &'a [Cell]) -> Result<Self> {
        let name = format!("matrix{number}");
        Ok(Self { scratch: Scratch::new(&name)?, name, cells })
    }

    /// Fill, merge one copy by `merge` and the other by the kernel, compare.
    pub(super) fn run(&self, merge: &dyn Fn(&Cell, &Path) -> Result<()>) -> Result<()> {
        let images = self.images()?;
        let before = self.fill(&images)?;
        let mut copies = Vec::new();
        for (cell, image) in self.cells.iter().zip(&images) {
            let copy = self.scratch.path().join(format!("{}-copy.img", cell.id()));
            copy_disk(image, &copy)?;
            copies.push(copy);
            merge(cell, image).with_context(|| format!("merging the cell {}", cell.id()))?;
        }
        let after = self.compare(&images, &copies)?;
        let found: Vec<String> = self
            .cells
            .iter()
            .filter_map(|cell| differences(*cell, &before, &after).err())
            .map(|error| format!("{error:#}"))
            .collect();
        after.expect_all()?;
        if !found.is_empty() {
            bail!("{}", found.join("\n"));
        }
        Ok(())
    }

    fn images(&self) -> Result<Vec<PathBuf>> {
        self.cells.iter().map(|cell| self.scratch.disk(&cell.id(), IMAGE_MIB)).collect()
    }

    fn fill(&self, images: &[PathBuf]) -> Result<Console> {
        let mut guest = Guest::new(&self.scratch, &format!("{}-fill", self.name), LIMIT);
        let mut table = Vec::new();
        for (seed, (cell, image)) in (1000_u64..).step_by(1000).zip(self.cells.iter().zip(images)) {
            let disk = guest.disk(image)?;
            let order = format!("{:?}", cell.order).to_lowercase();
            let (chunk, snapshots) = (cell.chunk, cell.snapshots);
            let (to_origin, to_snapshot) = (cell.writes_to_origin(), cell.writes_to_snapshot());
            table.push(format!(
                "{} {disk} {order} {chunk} {snapshots} {to_origin} {to_snapshot} {seed}",
                cell.id()
            ));
        }
        guest.set("CELLS", &table.join("\n"));
        let console = guest.run(FILL)?;
        console.expect_all()?;
        Ok(console)
    }

    fn compare(&self, images: &[PathBuf], copies: &[PathBuf]) -> Result<Console> {
        let mut guest = Guest::new(&self.scratch, &format!("{}-compare", self.name), LIMIT);
        let mut table = Vec::new();
        for (cell, (image, copy)) in self.cells.iter().zip(images.iter().zip(copies)) {
            let (disk, copy) = (guest.disk(image)?, guest.disk(copy)?);
            table.push(format!("{} {disk} {copy} {} {}", cell.id(), cell.snapshots, cell.merged()));
        }
        guest.set("CELLS", &table.join("\n"));
        guest.run(COMPARE)
    }
}

/// Compares the digests of one cell.
fn differences(cell: Cell, before: &Console, after: &Console) -> Result<()> {
    let (id, merged) = (cell.id(), cell.merged());
    let mut pairs = vec![("origin".to_owned(), format!("s{merged}"))];
    pairs.extend((1..=cell.snapshots).filter(|n| *n != merged).map(|n| (format!("s{n}"), format!("s{n}"))));
    for (volume, source) in pairs {
        let wanted = before.fact(&format!("{id}.{source}"))?;
        for who in ["kernel", "other"] {
            let found = after.fact(&format!("{who}.{id}.{volume}"))?;
            if found != wanted {
                bail!("{id}: after the merge by {who}, {volume} is not what {source} was before");
            }
        }
    }
    Ok(())
}
