//! Cases `live-kernel` and `live-behind`: the kernel uses what our daemon serves, and LVM2 changes what it serves.
//!
//! Holds: what the daemon served is compared with what LVM2 and the kernel make of the same disk afterwards; how soon a
//! change was noticed is measured in the guest, with a bound that leaves room for an interval and a slow machine.

use std::time::Duration;

use anyhow::Result;

use super::Length;
use crate::rig::{Console, Guest, Scratch};

const KERNEL: &str = include_str!("../../../../rig/live-kernel.sh");
const BEHIND: &str = include_str!("../../../../rig/live-behind.sh");

/// The kernel's NBD client on our export; then LVM2 and the kernel on the same VG.
pub(super) fn kernel(_: Length) -> Result<String> {
    let console = boot("live-kernel", 640, KERNEL)?;
    Ok(format!("{} checks in the guest", console.checks().len()))
}

/// LVM2 behind our back.
pub(super) fn behind(_: Length) -> Result<String> {
    let console = boot("live-behind", 128, BEHIND)?;
    Ok(format!("an LV's removal was noticed after {} tenths of a second", console.fact("noticed")?))
}

fn boot(name: &str, mib: u64, script: &str) -> Result<Console> {
    let program = super::program()?;
    let scratch = Scratch::new(name)?;
    let image = scratch.disk("disk", mib)?;
    let mut guest = Guest::new(&scratch, name, Duration::from_mins(3));
    let disk = guest.disk(&image)?;
    guest.set("DISK", &disk).set("FOLDBACK", &program.path().display().to_string());
    let console = guest.run(script)?;
    console.expect_all()?;
    Ok(console)
}
