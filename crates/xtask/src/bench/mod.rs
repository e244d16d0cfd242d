//! `cargo xtask bench merge`: the merge beside its peers, on the same data, in the same run.
//!
//! Holds: the two sides of a comparison alternate, on fresh copies that are on disk before the clock starts; medians
//! of rounds are quoted, with the spread; what a side did not do (a crash-safe record, a flush) is said beside it; and
//! every merged origin is compared with what the snapshot was.

mod ceiling;
mod data;
mod figures;
mod host;
mod inside;
mod live;
mod machine;
pub(crate) mod many;
mod page;
mod qemu;
pub(crate) mod serve;
pub(crate) mod stall;
mod table;

use anyhow::{Result, bail};

use crate::program::Foldback;
use crate::rig;
use data::Data;
use table::Table;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Rounds of each comparison
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Scattered exceptions of the plain comparisons
    #[arg(long, default_value_t = 65_536)]
    exceptions: u64,
    /// Scattered exceptions where a flush is slow
    #[arg(long, default_value_t = 2048)]
    slow_exceptions: u64,
    /// Leave out the rig, measure on the host alone
    #[arg(long)]
    host_only: bool,
    /// Leave out the host, measure in the rig alone
    #[arg(long)]
    rig_only: bool,
    /// Put the whole table into README.md
    #[arg(long, conflicts_with_all = ["host_only", "rig_only"])]
    write: bool,
}

/// Extra milliseconds of each flush in the slow comparison.
const FLUSH_MS: u32 = 10;

/// Measures and prints the table.
pub(crate) fn merge(settings: &Settings) -> Result<()> {
    let missing = rig::missing();
    if !missing.is_empty() {
        bail!("the data is made in rig 2, which needs the Debian packages {}", missing.join(" "));
    }
    let program = Foldback::build()?;
    let mut table = Table::default();
    println!("filling a store with {} exceptions", settings.exceptions);
    let data = Data::make("plain", settings.exceptions)?;
    if !settings.rig_only {
        host::measure(&data, &program, settings.rounds, &mut table)?;
        qemu::measure(&data, settings.rounds, &mut table)?;
        figures::measure(&data, &program, &mut table)?;
    }
    if !settings.host_only {
        inside::measure(&data, &program, settings.rounds, 0, &mut table)?;
        println!("filling a store with {} exceptions", settings.slow_exceptions);
        let slow = Data::make("slow", settings.slow_exceptions)?;
        inside::measure(&slow, &program, settings.rounds, FLUSH_MS, &mut table)?;
    }
    let rounds = settings.rounds;
    let text = format!(
        "`cargo xtask bench merge`: scattered exceptions of 4 KiB, {rounds} rounds, medians.\n{}\n\n{table}",
        machine::line(data.scratch.path())?
    );
    println!("\n{text}");
    if settings.write { page::write("bench", &text) } else { Ok(()) }
}
