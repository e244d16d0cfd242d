//! Cases `faults`, `faults-switch` and `faults-stores`: disks that fail below live volumes, by dm-error, dm-flakey and dm-delay
//! under each PV.
//!
//! Holds: whatever fails, at whichever step, the old state or the new one is there and is named, nothing is suspended,
//! LVM2 agrees, and the same command succeeds once the disk works again; content is compared by checksum.

use std::time::Duration;

use anyhow::Result;

use super::Length;
use crate::rig::{Guest, Scratch};

/// A script behind the words that all have.
macro_rules! script {
    ($name:literal) => {
        concat!(
            include_str!("../../../../rig/live-words.sh"),
            include_str!("../../../../rig/faults-words.sh"),
            include_str!(concat!("../../../../rig/", $name, ".sh"))
        )
    };
}

/// Each write of the metadata, and data while a merge runs.
pub(super) fn metadata(length: Length) -> Result<String> {
    run("faults", script!("faults"), length)
}

/// Data as devices are switched, right after it, and at the end of merges.
pub(super) fn switch(length: Length) -> Result<String> {
    run("faults-switch", script!("faults-switch"), length)
}

/// Stores of other snapshots, damaged ones, and one of two metadata areas.
pub(super) fn stores(length: Length) -> Result<String> {
    run("faults-stores", script!("faults-stores"), length)
}

fn run(name: &str, script: &str, length: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new(name)?;
    let mut guest = Guest::new(&scratch, name, Duration::from_mins(8));
    for (disk, mib) in [("DISK", 96), ("OTHER", 96), ("SPARE", 32)] {
        let device = guest.disk(&scratch.disk(disk, mib)?)?;
        guest.set(disk, &device);
    }
    guest.set("FOLDBACK", &program.path().display().to_string());
    guest.set("LONG", if length == Length::Long { "yes" } else { "" });
    let console = guest.run(script)?;
    console.expect_all()?;
    Ok(format!("{} checks in the guest", console.checks().len()))
}
