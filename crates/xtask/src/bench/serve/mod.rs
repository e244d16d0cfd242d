//! `cargo xtask bench serve`: a served volume without snapshots, beside qemu-nbd and nbdkit's file plugin on the same bytes of the
//! same file.
//!
//! Holds: one client (fio's nbd engine) asks all servers for the same over a Unix socket; in each round every server has its turn
//! at each work, right behind one another, and the first one changes; what is in memory is the same before each turn; a flush
//! that a work asks for is inside its time; medians of rounds are quoted, with the spread, and ratios are medians of each round's.

mod client;
mod report;
mod server;

use anyhow::{Context, Result, bail};

use super::live::Live;
use super::{machine, page};
use crate::rig;
use client::{WORKS, Work};
use report::Results;
use server::{SERVERS, Turn};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only works whose name has this in it
    #[arg(long)]
    only: Option<String>,
    /// Put the table into README.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// MiB of the volume.
const VOLUME_MIB: u64 = 1024;
const WANTED: [(&str, &str); 3] = [("fio", "fio"), ("qemu-nbd", "qemu-utils"), ("nbdkit", "nbdkit")];

/// Measures and prints the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let missing: Vec<&str> = WANTED
        .iter()
        .filter(|(program, _)| rig::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        bail!("it needs the Debian packages {}", missing.join(" "));
    }
    let live = Live::new(VOLUME_MIB + 64)?;
    live.run(&["lvcreate", "-y", "-L", &format!("{VOLUME_MIB}m"), "-n", "root", &live.vg])?;
    server::fill(&live)?;
    let mut results = Results::default();
    let load = machine::load();
    let ours = live.run(&["lvchange", "-ay", "--export", "nbd", &live.lv("root")])?;
    let ours = ours.split_whitespace().last().context("foldback names no address")?;
    let wanted = |work: &&Work| settings.only.as_ref().is_none_or(|part| work.name.contains(part));
    for round in 0..settings.rounds {
        for work in WORKS.iter().filter(wanted) {
            for server in SERVERS.iter().copied().cycle().skip(round).take(SERVERS.len()) {
                let turn = Turn::begin(server, &live, ours)?;
                let rate = client::measure(work, &turn, live.path())?;
                println!("round {}: {}, {}: {}", round + 1, work.name, server.name(), work.shown(rate));
                results.add(server, work, rate);
            }
        }
    }
    live.down()?;
    let text = format!(
        "`cargo xtask bench serve`: a volume of {VOLUME_MIB} MiB without snapshots over NBD, {} rounds, medians (lowest - highest).\n\
         {} Load before the first round: {load}.\n\n{results}",
        settings.rounds,
        machine::line(live.path())?,
    );
    println!("\n{text}");
    if settings.write { page::write("bench-serve", &text) } else { Ok(()) }
}
