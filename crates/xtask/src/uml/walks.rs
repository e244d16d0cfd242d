//! Case `walks`: random walks through a VG's life, LVM2 and Foldback in turns, the kernel killed in between.
//!
//! Holds: a walk is judged inside the guest after every step (`guest::walk`); here the guest is booted again after each kill, on the
//! same disk, until the walk is at its end. A failure says how to repeat it, and every step that led to it. Walks in which the parties
//! refuse most things prove little: that is a failure too.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::Length;
use crate::rig::{Console, Guest, Scratch};
use crate::walk::STEPS_AND_END;

const SCRIPT: &str = include_str!("../../../../rig/walk.sh");
const SHORT: u64 = 5;
const LONG: u64 = 200;
const FIRST_SEED: u64 = 1;
const DISK_MIB: u64 = 124;
const LIMIT: Duration = Duration::from_mins(5);
/// Walks at the same time.
const LANES: usize = 2;

/// What came of walks.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    done: u64,
    refused: u64,
    kills: u64,
    boots: u64,
}

/// Runs them, two at a time.
pub(super) fn run(length: Length) -> Result<String> {
    let (first, count) = match length {
        Length::Short => (FIRST_SEED, SHORT),
        Length::Long => (FIRST_SEED, LONG),
        Length::Walks { seed, count } => (seed, count),
    };
    let program = super::program()?;
    let seeds = Mutex::new(first..first + count);
    let next = || seeds.lock().ok()?.next();
    let lane = || -> (Count, Vec<String>) {
        let (mut sum, mut failures) = (Count::default(), Vec::new());
        while let Some(seed) = next() {
            match walk(seed, program.path(), &mut sum) {
                Ok(()) => {}
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        (sum, failures)
    };
    let lanes = std::thread::scope(|scope| {
        let started: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        let ended = started.into_iter().map(|lane| lane.join().map_err(|_| anyhow!("a lane panicked")));
        ended.collect::<Result<Vec<_>>>()
    })?;
    let (mut sum, mut failures) = (Count::default(), Vec::new());
    for (part, wrong) in lanes {
        sum.done += part.done;
        sum.refused += part.refused;
        sum.kills += part.kills;
        sum.boots += part.boots;
        failures.extend(wrong);
    }
    if !failures.is_empty() {
        bail!("{} of {count} walks failed\n{}", failures.len(), failures.join("\n"));
    }
    let Count { done, refused, kills, boots } = sum;
    ensure!(
        done > 2 * refused,
        "of the steps only {done} were done and {refused} refused: this proves little"
    );
    Ok(format!(
        "{count} walks of {STEPS_AND_END} steps: {done} done, {refused} refused, {kills} killed, {boots} boots"
    ))
}

/// One walk from its first boot to its end.
fn walk(seed: u64, program: &Path, sum: &mut Count) -> Result<()> {
    let mut steps = Vec::new();
    let ended = boots(seed, program, sum, &mut steps);
    ended.with_context(|| {
        format!(
            "walk {seed}; again with: cargo xtask uml walks --seed {seed}\nits steps:\n  {}\n",
            steps.join("\n  ")
        )
    })
}

fn boots(seed: u64, program: &Path, sum: &mut Count, steps: &mut Vec<String>) -> Result<()> {
    let scratch = Scratch::new("walk")?;
    let image = scratch.disk("disk", DISK_MIB)?;
    let ask = scratch.path().join("kill");
    for boot in 0..=STEPS_AND_END {
        let mut guest = Guest::new(&scratch, &format!("walk{seed}-{boot}"), LIMIT);
        let disk = guest.disk(&image)?;
        guest.set("DISK", &disk).set("SEED", &seed.to_string());
        guest.set("FOLDBACK", &program.display().to_string());
        let (console, killed) = guest.run_or_kill(SCRIPT, &ask)?;
        steps.extend(said(&console));
        sum.boots += 1;
        let came = |what: &str| console.facts("came").filter(|came| came.contains(what)).count();
        sum.done += u64::try_from(came(" done "))?;
        sum.refused += u64::try_from(came(" refused "))?;
        if !killed {
            return console.expect_all();
        }
        let failures: Vec<&str> = console.failures().filter_map(|check| check.failure.as_deref()).collect();
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        sum.kills += 1;
        std::fs::remove_file(&ask).context("taking the wish for an end away")?;
    }
    bail!("the kernel was killed more often than there are steps")
}

/// The steps and what came of them.
fn said(console: &Console) -> Vec<String> {
    let told = ["step", "came", "left", "stray"];
    console
        .told(&told)
        .map(|(key, value)| if key == "step" { value.to_owned() } else { format!("   {key} {value}") })
        .collect()
}
