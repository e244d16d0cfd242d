//! Case `kernel-dm`: the manager's plans carried out by the kernel through `kernel-dm`, LVM2 doing every second step. Case
//! `kernel-live`: the commands that change live volumes, each beside LVM2's. Case `kernel-left`: what others leave behind, and who
//! comes at the same moment.
//!
//! Holds: names, UUIDs, tables, permissions and links are compared with what LVM2 makes of the same VG; content by
//! checksum; and after each fault the state is the old one or the new one, with nothing suspended.

use std::time::Duration;

use anyhow::Result;

use super::Length;
use crate::rig::{Guest, Scratch};

const PLANS: &str =
    concat!(include_str!("../../../../rig/live-words.sh"), include_str!("../../../../rig/kernel-dm.sh"));
const LIVE: &str =
    concat!(include_str!("../../../../rig/live-words.sh"), include_str!("../../../../rig/kernel-live.sh"));
const LEFT: &str =
    concat!(include_str!("../../../../rig/live-words.sh"), include_str!("../../../../rig/kernel-left.sh"));

/// Runs the case `kernel-dm`.
pub(super) fn plans(_: Length) -> Result<String> {
    run("kernel-dm", PLANS, &[("DISK", 256), ("OTHER", 96), ("SPARE", 32)])
}

/// Runs the case `kernel-live`.
pub(super) fn live(_: Length) -> Result<String> {
    run("kernel-live", LIVE, &[("DISK", 160), ("OTHER", 160)])
}

/// Runs the case `kernel-left`.
pub(super) fn left(_: Length) -> Result<String> {
    run("kernel-left", LEFT, &[("DISK", 160), ("OTHER", 32)])
}

fn run(case: &str, script: &str, disks: &[(&str, u64)]) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new(case)?;
    let mut guest = Guest::new(&scratch, case, Duration::from_mins(4));
    for (name, mib) in disks.iter().copied() {
        let disk = guest.disk(&scratch.disk(name, mib)?)?;
        guest.set(name, &disk);
    }
    guest.set("FOLDBACK", &program.path().display().to_string());
    let console = guest.run(script)?;
    console.expect_all()?;
    Ok(format!("{} checks in the guest", console.checks().len()))
}
