//! Case `kernel-dm`: the manager's plans carried out by the kernel through `kernel-dm`, LVM2 doing every second step.
//!
//! Holds: names, UUIDs, tables, permissions and links are compared with what LVM2 makes of the same VG; content by
//! checksum; and after each fault the state is the old one or the new one, with nothing suspended.

use std::time::Duration;

use anyhow::Result;

use super::Length;
use crate::rig::{Guest, Scratch};

const SCRIPT: &str = include_str!("../../../../rig/kernel-dm.sh");

/// Runs the case.
pub(super) fn run(_: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("kernel-dm")?;
    let mut guest = Guest::new(&scratch, "kernel-dm", Duration::from_mins(4));
    for (name, mib) in [("DISK", 256), ("OTHER", 96), ("SPARE", 32)] {
        let disk = guest.disk(&scratch.disk(name, mib)?)?;
        guest.set(name, &disk);
    }
    guest.set("FOLDBACK", &program.path().display().to_string());
    let console = guest.run(SCRIPT)?;
    console.expect_all()?;
    Ok(format!("{} checks in the guest", console.checks().len()))
}
