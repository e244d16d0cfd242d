//! `cargo xtask bench stall`: what a mounted file system waits for while snapshots of it are taken, and while a merge begins,
//! runs and ends under it.
//!
//! Holds: ext4 on a loop device on the served file stays mounted through all of it; every request of the probes is counted, in
//! the phase in which it began; the file system is unmounted and everything taken down, also after a failure.

mod mounted;
mod phases;
mod probe;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;

use super::live::Live;
use super::{machine, page};
use mounted::Mounted;
use phases::{Phase, Phases};
use probe::{Clock, Probes};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// MiB of scattered 4 KiB blocks that are merged
    #[arg(long, default_value_t = 512)]
    mib: u64,
    /// Merges
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Put the table into README.md
    #[arg(long)]
    write: bool,
}

/// MiB of the origin; its file system has one file that fills half of it.
const ORIGIN_MIB: u64 = 2048;
const FILE_MIB: u64 = 1024;
/// What is measured before the merge and behind it.
const AROUND: Duration = Duration::from_secs(4);
/// What is counted to a beginning behind it, and to an end on both of its sides.
const EDGE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Snapshots taken in each round, of the mounted volume alone and of it and another at one instant.
const SNAPSHOTS: usize = 5;
/// What lies between two of these commands.
const BETWEEN: Duration = Duration::from_millis(400);
/// How long a merge may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// The promise: of a thousand requests all but one take no longer.
const TARGET: Duration = Duration::from_millis(100);
/// The promise for a snapshot: writes are held no longer.
const HELD_TARGET: Duration = Duration::from_millis(50);

/// Measures and prints the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    if !geteuid().is_root() {
        bail!("it mounts a file system, which needs root");
    }
    ensure!(settings.mib < FILE_MIB, "at most {} MiB can be merged", FILE_MIB - 1);
    let mut phases = Phases::default();
    let load = machine::load();
    for round in 0..settings.rounds {
        measure(settings, round, &mut phases)?;
    }
    let here = std::env::temp_dir();
    let (worst, held) = (phases.worst(), phases.longest_at_a_snapshot());
    let text = format!(
        "`cargo xtask bench stall`: {} merges of {} MiB in scattered blocks of 4 KiB into the volume under a mounted ext4 \
         (`--namesnapshot`, loop device on the FUSE file), and before each {SNAPSHOTS} snapshots of the mounted volume and {SNAPSHOTS} of it and \
         another at one instant, while one thread reads and one writes 4 KiB at random places of a file, \
         O_DIRECT, each write durable before it is answered.\n{} Load before the first round: {load}.\n\n{phases}\n\
         - p99.9 of the worst phase of a merge: {:.1} ms, wanted at most {} ms.\n\
         - The longest write that met a snapshot's command: {:.1} ms; writes are to be held less than {} ms, and this has the time of the \
         write itself in it.\n",
        settings.rounds,
        settings.mib,
        machine::line(&here)?,
        worst.as_secs_f64() * 1000.0,
        TARGET.as_millis(),
        held.as_secs_f64() * 1000.0,
        HELD_TARGET.as_millis(),
    );
    println!("\n{text}");
    if settings.write { page::write("bench-stall", &text) } else { Ok(()) }
}

/// One merge, from a fresh image.
fn measure(settings: &Settings, round: u32, phases: &mut Phases) -> Result<()> {
    let live = Live::new(2 * ORIGIN_MIB + 512)?;
    live.run(&["lvcreate", "-y", "-L", &format!("{ORIGIN_MIB}m"), "-n", "origin", &live.vg])?;
    live.run(&["lvcreate", "-y", "-L", "64m", "-n", "other", &live.vg])?;
    live.run(&["vgchange", "-ay", &live.vg])?;
    let mounted = Mounted::make(&live, "origin")?;
    mounted.fill("file", FILE_MIB)?;
    take_snapshots(&live, &mounted.path("file"), u64::from(round), phases)?;
    mounted.unmount()?;
    let store = format!("{}m", settings.mib + settings.mib / 8 + 256);
    live.run(&["lvcreate", "-s", "-L", &store, "-n", "snap", &live.lv("origin")])?;
    let mounted = Mounted::of(&live, "snap")?;
    let file = mounted.path("file");
    probe::scatter(&file, settings.mib, u64::from(round))?;
    let clock = Clock::start();
    let probes = Probes::start(&file, &clock, u64::from(round))?;
    std::thread::sleep(AROUND);
    let start = clock.now();
    live.run(&["lvconvert", "--merge", "--namesnapshot", "-b", &live.lv("snap")])?;
    let started = clock.now();
    let ended = wait_for_end(&live, &clock)?;
    std::thread::sleep(AROUND);
    let samples = probes.stop()?;
    mounted.unmount()?;
    live.down()?;
    println!(
        "round {}: the command took {} ms, the merge {} ms",
        round + 1,
        started.saturating_sub(start).as_millis(),
        ended.saturating_sub(start).as_millis()
    );
    let phase = |at: Duration| match at {
        at if at < start => Phase::Before,
        at if at < started + EDGE => Phase::Start,
        at if at + EDGE < ended => Phase::During,
        at if at < ended + EDGE => Phase::End,
        _ => Phase::After,
    };
    for sample in samples {
        phases.add(phase(sample.at), &sample);
    }
    Ok(())
}

/// Snapshots of a volume in use, each removed again.
fn take_snapshots(live: &Live, file: &Path, seed: u64, phases: &mut Phases) -> Result<()> {
    let clock = Clock::start();
    let probes = Probes::start(file, &clock, seed)?;
    let (origin, other) = (live.lv("origin"), live.lv("other"));
    let mut commands = Vec::new();
    std::thread::sleep(EDGE);
    for number in 0..2 * SNAPSHOTS {
        let origins: &[&str] = if number % 2 == 0 { &[&origin] } else { &[&origin, &other] };
        let start = clock.now();
        live.run(&[&["lvcreate", "-s", "-L", "64m", "-n", "view"], origins].concat())?;
        commands.push(start..clock.now());
        std::thread::sleep(BETWEEN);
        for view in live
            .run(&["lvs", "--noheadings", "-o", "lv_name", "-S", "origin!=\"\"", &live.vg])?
            .split_whitespace()
        {
            live.run(&["lvremove", "-y", &live.lv(view)])?;
        }
        std::thread::sleep(BETWEEN);
    }
    for sample in probes.stop()? {
        let meets =
            |command: &Range<Duration>| sample.at < command.end && sample.at + sample.took > command.start;
        if commands.iter().any(meets) {
            phases.add(Phase::Snapshot, &sample);
        }
    }
    Ok(())
}

/// When the origin's own LV had gone.
fn wait_for_end(live: &Live, clock: &Clock) -> Result<Duration> {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let lvs = live.run(&["lvs", "-a", "--noheadings", "-o", "lv_name", &live.vg]).context("looking")?;
        if !lvs.contains("origin") {
            return Ok(clock.now());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    bail!("the merge does not end")
}
