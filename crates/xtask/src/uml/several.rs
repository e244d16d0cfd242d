//! Case `several-pvs`: a VG on three PVs, its origin striped over two, the store striped over three and in two pieces.
//! LVM2 and the kernel make and fill it; Foldback merges, is killed in the middle and goes on; the kernel merges copies.
//!
//! Holds: that the volumes are in these pieces is a check of its own; origin and the other snapshot read the same after
//! both merges, and as before; LVM2 finds the same LVs and nothing to say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Length;
use super::handover::kill_at_first_progress;
use crate::rig::{Console, Guest, Scratch, copy_disk};

const FILL: &str = include_str!("../../../../rig/several-fill.sh");
const COMPARE: &str = include_str!("../../../../rig/several-compare.sh");
const DISKS: usize = 3;
const IMAGE_MIB: u64 = 160;
const LIMIT: Duration = Duration::from_mins(2);
const MERGE: &[&str] = &["lvconvert", "--merge", "-i", "0", "vgp/s1"];

/// Runs the case.
pub(super) fn run(_: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("several-pvs")?;
    let name = |at: usize| format!("disk{at}");
    let disks = (0..DISKS).map(|at| scratch.disk(&name(at), IMAGE_MIB)).collect::<Result<Vec<_>>>()?;
    let before = boot(&scratch, "fill", &[("DISKS", &disks)], FILL)?;
    let mut copies = Vec::new();
    for (at, disk) in disks.iter().enumerate() {
        let copy = scratch.path().join(format!("copy{at}.img"));
        copy_disk(disk, &copy)?;
        copies.push(copy);
    }
    let images: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let seen = kill_at_first_progress(&program, &images, MERGE)?;
    program.run(&images, MERGE).context("going on after the kill")?;
    let after = boot(&scratch, "compare", &[("DISKS", &disks), ("COPIES", &copies)], COMPARE)?;
    for who in ["kernel", "other"] {
        for (volume, source) in [("origin", "s1"), ("s2", "s2")] {
            let same = after.fact(&format!("{who}.{volume}"))? == before.fact(source)?;
            ensure!(same, "after the merge by {who}, {volume} is not what {source} was before");
        }
    }
    Ok(format!("killed at {seen}, went on, equal to the kernel's merge"))
}

/// Boots with these lists of disks and runs the script, in which every check must hold.
fn boot(scratch: &Scratch, part: &str, lists: &[(&str, &Vec<PathBuf>)], script: &str) -> Result<Console> {
    let mut guest = Guest::new(scratch, &format!("several-pvs-{part}"), LIMIT);
    for (variable, images) in lists {
        let disks = images.iter().map(|image| guest.disk(image)).collect::<Result<Vec<_>>>()?;
        guest.set(variable, &disks.join(" "));
    }
    let console = guest.run(script)?;
    console.expect_all()?;
    Ok(console)
}
