//! Foldback beside the kernel, both in rig 2: one guest per round, the order changing from round to round.

use std::time::Duration;

use anyhow::{Context, Result};

use super::data::Data;
use super::table::{Row, Table};
use crate::program::Foldback;
use crate::rig::Guest;

const MERGE: &str = include_str!("../../../../rig/bench-merge.sh");

/// Measures with flushes `delay` ms slower than the disk's own.
pub(super) fn measure(
    data: &Data,
    program: &Foldback,
    rounds: u32,
    delay: u32,
    table: &mut Table,
) -> Result<()> {
    let (mut kernel, mut other) = (Vec::new(), Vec::new());
    let (mut kernel_flushes, mut other_flushes) = (0, 0);
    for round in 0..rounds {
        let (first, second) = (data.copy("kernel")?, data.copy("other")?);
        let mut guest = Guest::new(&data.scratch, &format!("bench-merge-{delay}"), Duration::from_mins(15));
        let (kernel_disk, other_disk) = (guest.disk(&first)?, guest.disk(&second)?);
        let order = if round.is_multiple_of(2) { "kernel other" } else { "other kernel" };
        guest.set("KERNEL", &kernel_disk).set("OTHER", &other_disk).set("ORDER", order);
        guest.set("DELAY", &delay.to_string()).set("SNAP", &data.snap);
        guest.set("FOLDBACK", &program.path().display().to_string());
        let console = guest.run(MERGE)?;
        console.expect_all()?;
        let number = |key: &str| -> Result<u64> {
            console.fact(key)?.parse().with_context(|| format!("reading {key}"))
        };
        kernel.push(Duration::from_millis(number("kernel.ms")?));
        other.push(Duration::from_millis(number("other.ms")?));
        (kernel_flushes, other_flushes) = (number("kernel.flushes")?, number("other.flushes")?);
        println!("rig, flush +{delay} ms: kernel {:?}, foldback {:?}", kernel.last(), other.last());
    }
    let place = if delay == 0 {
        "rig 2, plain disk".to_owned()
    } else {
        format!("rig 2, a flush costs {delay} ms more")
    };
    let count = data.count;
    table.add(
        Row::new(&place, "kernel snapshot-merge", count, &kernel).note(&format!("{kernel_flushes} flushes")),
    );
    let row = Row::new(&place, "foldback", count, &other).against("kernel", &kernel);
    table.add(row.note(&format!("{other_flushes} flushes; whole command")));
    Ok(())
}
