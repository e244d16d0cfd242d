//! `cargo xtask bench lvs`: the start of the program and the report on a VG of many LVs, beside LVM2 in the same guest.
//!
//! Holds: both run in turns on the same VG and print the same lines; whole commands are timed.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{machine, page};
use crate::program::Foldback;
use crate::rig::{self, Guest, Scratch};

const SCRIPT: &str = include_str!("../../../../rig/bench-many.sh");

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// LVs of the VG
    #[arg(long, default_value_t = 1000)]
    lvs: u32,
    /// Times that each command runs
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Put the table into README.md
    #[arg(long)]
    write: bool,
}

/// Measures and prints the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let missing = rig::missing();
    if !missing.is_empty() {
        bail!("it runs in rig 2, which needs the Debian packages {}", missing.join(" "));
    }
    ensure!(
        (1..=1400).contains(&settings.lvs),
        "the metadata of at most 1400 LVs fit into an area of the usual size"
    );
    ensure!(settings.rounds > 0, "at least one round");
    let program = Foldback::build()?;
    let load = machine::load();
    let scratch = Scratch::new("bench-many")?;
    let mut guest = Guest::new(&scratch, "bench-many", Duration::from_mins(10));
    let disk = guest.disk(&scratch.disk("many", 128)?)?;
    guest
        .set("DISK", &disk)
        .set("LVS", &settings.lvs.to_string())
        .set("ROUNDS", &settings.rounds.to_string());
    guest.set("FOLDBACK", &program.path().display().to_string());
    let console = guest.run(SCRIPT)?;
    console.expect_all()?;
    let mut text = format!(
        "`cargo xtask bench lvs`: `lvs` of a VG of {} LVs, in turns in one guest of rig 2, {} rounds, medians (fastest - slowest).\n{} Load \
         before: {load}.\n\n| LVs | LVM2 | foldback | speed |\n|---|---|---|---|\n",
        settings.lvs,
        settings.rounds,
        machine::line(scratch.path())?,
    );
    for state in ["inactive", "active"] {
        let times = |who: &str| -> Result<Vec<u64>> {
            let key = format!("{state}.{who}.ms");
            let mut times = console
                .facts(&key)
                .map(|ms| ms.parse().context("reading a time"))
                .collect::<Result<Vec<u64>>>()?;
            times.sort_unstable();
            ensure!(!times.is_empty(), "nothing was told about {key}");
            Ok(times)
        };
        let (peer, own) = (times("lvm2")?, times("foldback")?);
        let ratio = f64::from(u32::try_from(median(&peer))?) / f64::from(u32::try_from(median(&own).max(1))?);
        writeln!(text, "| {state} | {} | {} | **{ratio:.2}** |", shown(&peer), shown(&own))?;
    }
    println!("\n{text}");
    if settings.write { page::write("bench-lvs", &text) } else { Ok(()) }
}

/// Of sorted times.
fn median(times: &[u64]) -> u64 {
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn shown(times: &[u64]) -> String {
    let end = |time: Option<&u64>| time.copied().unwrap_or_default();
    format!("{} ms ({} ms - {} ms)", median(times), end(times.first()), end(times.last()))
}
