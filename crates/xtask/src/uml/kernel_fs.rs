//! Case `kernel-fs`: ext4 and XFS stay mounted, and fio writes and verifies, through everything that Foldback does with volumes that the
//! kernel carries.
//!
//! Holds: after each merge the files are those of the moment in which the snapshot was taken, fio finds no wrong byte, both checkers
//! find nothing; the kernel's end in the middle of two merges is a kill of the whole guest, and the next boot goes on with them.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Length;
use crate::rig::{Guest, Scratch};

const SCRIPT: &str =
    concat!(include_str!("../../../../rig/live-words.sh"), include_str!("../../../../rig/kernel-fs.sh"));
const LIMIT: Duration = Duration::from_mins(5);

/// Runs the case.
pub(super) fn run(_: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("kernel-fs")?;
    let image = scratch.disk("disk", 640)?;
    let boot = |part: &str| {
        let mut guest = Guest::new(&scratch, &format!("kernel-fs-{part}"), LIMIT);
        let disk = guest.disk(&image)?;
        guest.set("DISK", &disk).set("PART", part).set("FOLDBACK", &program.path().display().to_string());
        let (console, killed) = guest.run_or_kill(SCRIPT, &scratch.path().join("kill"))?;
        console.expect_all()?;
        anyhow::Ok((console.checks().len(), killed))
    };
    let (first, killed) = boot("first")?;
    ensure!(killed, "the first guest came to its end, and should have been killed");
    std::fs::remove_file(scratch.path().join("kill"))?;
    let (second, _) = boot("second")?;
    Ok(format!("{} checks in two guests", first + second))
}
