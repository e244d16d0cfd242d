//! Cases `kernel-finishes` and `foldback-finishes`: one party is stopped in the middle of a merge, the other ends it.
//!
//! Holds: that the merge really was half done is a check of its own, made from the kernel's count of the store;
//! Foldback is stopped by SIGKILL at its first line of progress above zero, after which a window of its work must be gone
//! from the store; the kernel is stopped by the machine's end without a sync.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Length;
use crate::program::Foldback;
use crate::rig::{Console, Guest, Scratch};

const FILL: &str = include_str!("../../../../rig/handover-fill.sh");
const BEGIN: &str = include_str!("../../../../rig/handover-begin.sh");
const FINISH: &str = include_str!("../../../../rig/handover-finish.sh");
const CHECK: &str = include_str!("../../../../rig/handover-check.sh");
/// Sectors of the store that Foldback must have merged: a little less than a window of 16 MiB.
const SHARE: &str = "30000";
const IMAGE_MIB: u64 = 640;
const LIMIT: Duration = Duration::from_mins(3);
const MERGE: &[&str] = &["lvconvert", "--merge", "-i", "0", "vgh/s1"];

/// Foldback begins, the kernel ends.
pub(super) fn to_kernel(_: Length) -> Result<String> {
    let program = super::program()?;
    let disk = Disk::filled("kernel-finishes")?;
    let seen = kill_at_first_progress(&program, &[&disk.image], MERGE)?;
    let console = disk.boot("end", &format!("{FINISH}\n{CHECK}"))?;
    console.expect_all()?;
    Ok(format!(
        "killed at {seen}; the kernel went on from {} of {} sectors",
        console.fact("left")?,
        disk.used
    ))
}

/// The kernel begins, Foldback ends.
pub(super) fn to_foldback(_: Length) -> Result<String> {
    let program = super::program()?;
    let disk = Disk::filled("foldback-finishes")?;
    let begun = disk.boot("begin", BEGIN)?;
    begun.expect_all()?;
    program.run(&[&disk.image], MERGE)?;
    disk.boot("end", CHECK)?.expect_all()?;
    Ok(format!("the kernel stopped at {} of {} sectors, Foldback went on", begun.fact("left")?, disk.used))
}

/// The image, and what was learned when it was filled.
struct Disk {
    name: &'static str,
    scratch: Scratch,
    image: std::path::PathBuf,
    s1: String,
    s2: String,
    used: String,
}

impl Disk {
    fn filled(name: &'static str) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let image = scratch.disk("disk", IMAGE_MIB)?;
        let mut disk =
            Self { name, scratch, image, s1: String::new(), s2: String::new(), used: String::new() };
        let console = disk.boot("fill", FILL)?;
        console.expect_all()?;
        for (value, key) in [(&mut disk.s1, "s1"), (&mut disk.s2, "s2"), (&mut disk.used, "used")] {
            console.fact(key)?.clone_into(value);
        }
        Ok(disk)
    }

    fn boot(&self, part: &str, script: &str) -> Result<Console> {
        let mut guest = Guest::new(&self.scratch, &format!("{}-{part}", self.name), LIMIT);
        let disk = guest.disk(&self.image)?;
        guest.set("DISK", &disk).set("S1", &self.s1).set("S2", &self.s2).set("USED", &self.used);
        guest.set("SHARE", SHARE);
        guest.run(script)
    }
}

/// Starts the merge and kills it at the first line that tells of durable progress. Returns that line.
pub(super) fn kill_at_first_progress(program: &Foldback, images: &[&Path], words: &[&str]) -> Result<String> {
    let mut command = program.command(images, words);
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting foldback")?;
    let stdout = child.stdout.take().context("taking its standard output")?;
    let mut seen = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading its progress")?;
        if progress(&line).is_some_and(|percent| percent > 0.0) {
            seen = Some(line.trim().to_owned());
            break;
        }
    }
    child.kill().context("killing foldback")?;
    let status = child.wait().context("waiting for foldback")?;
    let seen = seen.with_context(|| format!("foldback told of no progress and ended with {status}"))?;
    ensure!(
        progress(&seen).is_some_and(|percent| percent < 100.0),
        "the first progress is already the end: {seen}"
    );
    Ok(seen)
}

/// The number in a line like `VG/LV: Merged: 12.34%`.
fn progress(line: &str) -> Option<f64> {
    line.split_once("Merged:")?.1.trim().strip_suffix('%')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::progress;

    #[test]
    fn a_progress_line_is_read_and_others_are_not() {
        assert_eq!(progress("  vg/lv: Merged: 12.50%"), Some(12.5));
        assert_eq!(progress("  Merging of volume vg/s1 started."), None);
    }
}
