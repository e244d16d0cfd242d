//! Case `memory`: a machine with 192 MiB serves a volume to itself (FUSE, a loop device, ext4), and a program dirties
//! pages of it, more than there is memory.
//!
//! Holds: the daemon is started as root of the guest, with every privilege, and must have used them; that pages were
//! written back while the program ran is a check of its own, since a cache that takes everything would show nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Length;
use crate::rig::{Guest, Scratch};

const SCRIPT: &str = include_str!("../../../../rig/memory.sh");
const MEMORY_MIB: u32 = 192;
/// How long pages are dirtied.
const SECONDS: u64 = 60;
/// What is written at the least, in MiB: more than could stay in memory.
const WRITTEN_MIN: u64 = 256;
/// The longest that one write of 1 MiB may take, in ms. Throttled writers wait for seconds; one that hangs waits for ever.
const SLOWEST_MAX: u64 = 20_000;

/// Runs the case.
pub(super) fn run(_: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("memory")?;
    let image = scratch.disk("disk", 1100)?;
    let mut guest = Guest::new(&scratch, "memory", Duration::from_secs(150 + SECONDS));
    let disk = guest.disk(&image)?;
    guest.memory(MEMORY_MIB).set("DISK", &disk).set("SECONDS_LONG", &SECONDS.to_string());
    guest.set("FOLDBACK", &program.path().display().to_string());
    let console = guest.run(SCRIPT)?;
    console.expect_all()?;
    let number =
        |key: &str| -> Result<u64> { console.fact(key)?.parse().with_context(|| format!("the fact {key}")) };
    let (written, slowest) = (number("dirtied")?, number("slowest")?);
    ensure!(written >= WRITTEN_MIN, "only {written} MiB were written in {SECONDS} s");
    ensure!(slowest <= SLOWEST_MAX, "one write took {slowest} ms");
    Ok(format!(
        "{written} MiB in {SECONDS} s with {MEMORY_MIB} MiB; the slowest write of 1 MiB took {slowest} ms"
    ))
}
