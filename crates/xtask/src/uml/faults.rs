//! Case `faults`: disks that fail below live volumes, by dm-error, dm-flakey and dm-delay under each PV.
//!
//! Holds: whatever fails, at whichever write, the old state or the new one is there and is named, nothing is suspended,
//! LVM2 agrees, and the same command succeeds once the disk works again; content is compared by checksum.

use std::time::Duration;

use anyhow::Result;

use super::Length;
use crate::rig::{Guest, Scratch};

const SCRIPT: &str = include_str!("../../../../rig/faults.sh");

/// Runs the case.
pub(super) fn run(_: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("faults")?;
    let mut guest = Guest::new(&scratch, "faults", Duration::from_mins(8));
    for (name, mib) in [("DISK", 96), ("OTHER", 96), ("SPARE", 32)] {
        let disk = guest.disk(&scratch.disk(name, mib)?)?;
        guest.set(name, &disk);
    }
    guest.set("FOLDBACK", &program.path().display().to_string());
    let console = guest.run(SCRIPT)?;
    console.expect_all()?;
    Ok(format!("{} checks in the guest", console.checks().len()))
}
