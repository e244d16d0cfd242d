//! What a merge takes besides time: memory for each exception, flushes for each window, the process's peak.
//!
//! Holds: these runs are apart from the timed ones; the first two figures are the engine's own counts, taken from the same
//! merge carried out in this process; the peak is the kernel's count of the whole program, its check of the store included.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foldback_device::{Access, Backend, open_disks, open_files};
use foldback_dm_table::{DeviceMapper as _, DmName, Table as DmTable, Verb};
use foldback_user_dm::{MergeEnd, Settings, UserDm};

use super::data::{CHUNK, Data, MERGE};
use super::table::Table;
use crate::program::Foldback;

const SECTOR: u64 = 512;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the engine counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    exceptions: u64,
    table_bytes: u64,
    flushes: u64,
    records: u64,
    windows: u64,
}

/// Measures and adds the lines that stand under the table.
pub(super) fn measure(data: &Data, program: &Foldback, table: &mut Table) -> Result<()> {
    let image = data.copy("figures")?;
    let counted = merge_here(data, &image)?;
    data.expect_merged(&image)?;
    let image = data.copy("figures")?;
    let peak = peak_memory(program, &image)?;
    data.expect_merged(&image)?;
    for line in lines(counted, peak) {
        println!("host: {line}");
        table.say(line);
    }
    Ok(())
}

/// Merges through the device-mapper that the program uses, in this process.
fn merge_here(data: &Data, image: &Path) -> Result<Counted> {
    let files = open_files(&[image], Access::Write).context("opening the image")?;
    let disks = open_disks(&files, Backend::Auto).context("opening the queue")?;
    let pv = image.display().to_string();
    let mut mapper = UserDm::new(disks, std::slice::from_ref(&pv), Settings::default())?;
    let (origin, store) = (data.origin_range(), data.store_range());
    let linear = |(start, len): (u64, u64)| format!("0 {} linear {pv} {}", len / SECTOR, start / SECTOR);
    let merge = format!("0 {} snapshot-merge real cow P {}", origin.1 / SECTOR, CHUNK / SECTOR);
    for (name, table) in [("real", linear(origin)), ("cow", linear(store)), ("merged", merge)] {
        let (name, table) = (DmName(name.to_owned()), DmTable::parse(&table)?);
        mapper.apply(&Verb::Create { name: name.clone(), uuid: String::new(), minor: None })?;
        mapper.apply(&Verb::Load { name: name.clone(), table, read_only: false })?;
        mapper.apply(&Verb::Resume { name })?;
    }
    let device = DmName("merged".to_owned());
    let exceptions = mapper.merge_progress(&device).context("nothing merges")?.chunks_total;
    ensure!(exceptions == data.count, "the store holds {exceptions} exceptions, not {}", data.count);
    let (_, table_bytes) = mapper.counters(&device).context("nothing is counted")?;
    let end = mapper.run_until_merged(&device, &mut |_| ControlFlow::Continue(()))?;
    ensure!(end == MergeEnd::Finished, "the merge was stopped");
    let (counters, _) = mapper.counters(&device).context("nothing is counted")?;
    let table_bytes = u64::try_from(table_bytes)?;
    let (flushes, records, windows) = (counters.flushes, counters.metadata_writes, counters.windows);
    Ok(Counted { exceptions, table_bytes, flushes, records, windows })
}

/// The program's largest resident memory in KiB. `wait4` would tell this process's own where that was larger, since the
/// program starts as a copy of it; so the program's own record is read until it ends.
fn peak_memory(program: &Foldback, image: &Path) -> Result<u64> {
    let mut command: Command = program.command(&[image], MERGE);
    let mut child = command.stdout(Stdio::null()).spawn().context("starting foldback")?;
    let record = format!("/proc/{}/status", child.id());
    let mut peak = None;
    let status = loop {
        peak = std::fs::read_to_string(&record).ok().and_then(|text| high_water(&text)).or(peak);
        if let Some(status) = child.try_wait().context("waiting for foldback")? {
            break status;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    ensure!(status.success(), "foldback: {status}");
    peak.context("foldback ended before its memory was read; take more exceptions")
}

/// `VmHWM` of a process's status, in KiB; a process that has ended has none.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn lines(counted: Counted, peak: u64) -> [String; 2] {
    let Counted { exceptions, table_bytes, flushes, records, windows } = counted;
    let settings = Settings::default();
    let (scratch, window) = (settings.scratch.get() >> 20, settings.window.get() >> 20);
    [
        format!(
            "Memory: {:.1} bytes of table for each of {exceptions} exceptions; the whole process took {} MiB at its peak, \
             up to {scratch} of them for copies. While a store is opened, its records and the table in the making stand beside \
             each other: up to 40 bytes for each exception; a check of it takes 24.",
            ratio(table_bytes, exceptions),
            peak >> 10,
        ),
        format!(
            "Flushes: {:.1} for each window of {window} MiB ({flushes} in {windows} windows). Of the {:.1} metadata writes of \
             a window the last is durable, which costs a flush more where a disk has no such writes.",
            ratio(flushes, windows),
            ratio(records, windows),
        ),
    ]
}

fn ratio(all: u64, parts: u64) -> f64 {
    let number = |value: u64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    number(all) / number(parts)
}

#[cfg(test)]
mod tests {
    use super::{Counted, high_water, lines};

    #[test]
    fn the_high_water_mark_is_read_and_an_ended_process_has_none() {
        assert_eq!(high_water("Name:\tx\nVmHWM:\t  102400 kB\nVmRSS:\t 1 kB\n"), Some(102_400));
        assert_eq!(high_water("Name:\tx\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn figures_are_for_each_exception_and_each_window() {
        let counted = Counted { exceptions: 1000, table_bytes: 16_000, flushes: 9, records: 8, windows: 4 };
        let [memory, flushes] = lines(counted, 100 << 10);
        assert!(memory.contains("16.0 bytes") && memory.contains("100 MiB at its peak"), "{memory}");
        assert!(flushes.contains("2.2 for each") || flushes.contains("2.3 for each"), "{flushes}");
    }
}
