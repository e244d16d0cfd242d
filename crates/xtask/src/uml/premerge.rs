//! Case `premerge`: merges of inactive volumes by our engine, while others of the VG are active in the kernel.
//!
//! Holds: meanwhile neither LVM2 nor Foldback activates them; whoever was killed is gone on after by the kernel or by the same
//! command; content is compared with what it was when the snapshot was taken.

use std::time::Duration;

use anyhow::Result;

use super::Length;
use crate::rig::{Guest, Scratch};

const SCRIPT: &str =
    concat!(include_str!("../../../../rig/live-words.sh"), include_str!("../../../../rig/premerge.sh"));

/// Runs the case.
pub(super) fn run(_: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("premerge")?;
    let mut guest = Guest::new(&scratch, "premerge", Duration::from_mins(8));
    let disk = guest.disk(&scratch.disk("disk", 256)?)?;
    guest.set("DISK", &disk).set("FOLDBACK", &program.path().display().to_string());
    let console = guest.run(SCRIPT)?;
    console.expect_all()?;
    Ok(format!("{} checks in the guest", console.checks().len()))
}
