//! Foldback on the host beside the raw ceiling, on copies of one image.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::ceiling;
use super::data::{Data, MERGE};
use super::table::{Row, Table};
use crate::program::Foldback;

/// Measures in turn, the order changing from round to round.
pub(super) fn measure(data: &Data, program: &Foldback, rounds: u32, table: &mut Table) -> Result<()> {
    let extents = data.extents()?;
    let (mut raw, mut other) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for turn in 0..2 {
            let image = data.copy("host")?;
            let ceiling_now = (round + turn).is_multiple_of(2);
            let time = if ceiling_now { ceiling::run(&image, &extents)? } else { foldback(program, &image)? };
            if ceiling_now {
                raw.push(time);
            } else {
                other.push(time);
            }
            data.expect_merged(&image)?;
        }
        println!("host: ceiling {:?}, foldback {:?}", raw.last(), other.last());
    }
    let depth = ceiling::DEPTH;
    table.add(
        Row::new("host", "raw ceiling", data.count, &raw)
            .note(&format!("io_uring, depth {depth}, one flush per 16 MiB, no bookkeeping, cannot resume")),
    );
    table
        .add(Row::new("host", "foldback", data.count, &other).against("ceiling", &raw).note("whole command"));
    Ok(())
}

fn foldback(program: &Foldback, image: &std::path::Path) -> Result<Duration> {
    let start = Instant::now();
    program.run(&[image], MERGE)?;
    Ok(start.elapsed())
}
