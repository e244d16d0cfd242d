//! Case `control`: the comparison of `matrix` on disks that the kernel merged itself, one of them then changed.
//!
//! A harness that cannot fail proves nothing: the disk that was left alone must pass, and the one in which one byte of
//! the origin was changed must be reported, as that and as nothing else.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Length;
use super::cells::Cell;
use super::matrix::Group;
use crate::guest::Order;
use crate::rig::{Guest, Scratch};

const MERGE: &str = include_str!("../../../../rig/control-merge.sh");
const LEFT_ALONE: Cell = Cell { order: Order::Random, chunk: 4096, snapshots: 2 };
const CHANGED: Cell = Cell { order: Order::Descending, chunk: 65536, snapshots: 1 };
/// LVM2 puts the origin at the first extent, 1 MiB into the disk; this is inside it.
const ORIGIN_BYTE: u64 = (1 << 20) + 12_345_678;

/// Runs the comparison.
pub(super) fn run(_: Length) -> Result<String> {
    let group = Group::new(99, &[LEFT_ALONE, CHANGED])?;
    let outcome = group.run(&|cell, image| {
        kernel_merge(*cell, image)?;
        if *cell == CHANGED { flip(image, ORIGIN_BYTE) } else { Ok(()) }
    });
    let Err(error) = outcome else { bail!("a changed byte of the origin was not noticed") };
    let wanted = format!("{}: after the merge by other, origin is not what s1 was before", CHANGED.id());
    ensure!(format!("{error:#}") == wanted, "expected one difference, found: {error:#}");
    Ok("a disk left alone passes, one changed byte is noticed".to_owned())
}

fn kernel_merge(cell: Cell, image: &Path) -> Result<()> {
    let scratch = Scratch::new("control")?;
    let mut guest = Guest::new(&scratch, "control-merge", Duration::from_mins(1));
    let disk = guest.disk(image)?;
    guest
        .set("DISK", &disk)
        .set("VG", &format!("vg{}", cell.id()))
        .set("SNAP", &format!("s{}", cell.merged()));
    guest.run(MERGE)?.expect_all()
}

fn flip(image: &Path, at: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(image).context("opening the image")?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).context("reading the byte")?;
    file.write_all_at(&byte.map(|byte| byte ^ 1), at).context("changing the byte")
}
