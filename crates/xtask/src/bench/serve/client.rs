//! What the servers are asked for, by fio's nbd engine.
//!
//! Holds: a work is a fixed amount of data, so that a flush at its end has the same to do on all servers; its time is fio's own,
//! the flush included.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::VOLUME_MIB;
use super::server::Turn;

/// When a work flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    Never,
    AtItsEnd,
    AfterEachWrite,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) name: &'static str,
    kind: &'static str,
    /// KiB of each request, and how many.
    block: u64,
    count: u64,
    depth: u32,
    flush: Flush,
}

const fn work(
    name: &'static str,
    kind: &'static str,
    (block, count): (u64, u64),
    depth: u32,
    flush: Flush,
) -> Work {
    Work { name, kind, block, count, depth, flush }
}

/// All rows.
pub(super) const WORKS: &[Work] = &[
    work("4 KiB random read, depth 1", "randread", (4, 10_000), 1, Flush::Never),
    work("4 KiB random read, depth 32", "randread", (4, 60_000), 32, Flush::Never),
    work(
        "4 KiB random write, depth 1, a flush after each",
        "randwrite",
        (4, 3_000),
        1,
        Flush::AfterEachWrite,
    ),
    work(
        "4 KiB random write, depth 32, a flush after each",
        "randwrite",
        (4, 30_000),
        32,
        Flush::AfterEachWrite,
    ),
    work("4 KiB random write, depth 1, a flush at the end", "randwrite", (4, 10_000), 1, Flush::AtItsEnd),
    work("4 KiB random write, depth 32, a flush at the end", "randwrite", (4, 60_000), 32, Flush::AtItsEnd),
    work("1 MiB sequential read, depth 4", "read", (1024, VOLUME_MIB), 4, Flush::Never),
    work(
        "1 MiB sequential write, depth 4, a flush at the end",
        "write",
        (1024, VOLUME_MIB),
        4,
        Flush::AtItsEnd,
    ),
];

impl Work {
    /// Requests or MiB in a second.
    pub(super) fn shown(&self, requests: f64) -> String {
        if self.block < 1024 {
            format!("{:.1} k/s", requests / 1000.0)
        } else {
            format!("{requests:.0} MiB/s")
        }
    }
}

/// Requests in a second.
pub(super) fn measure(work: &Work, turn: &Turn, scratch: &Path) -> Result<f64> {
    let told = scratch.join("fio.json");
    let mut command = Command::new("fio");
    command
        .args(["--name=work", "--ioengine=nbd", "--randrepeat=1", "--output-format=json"])
        .arg(format!("--output={}", told.display()))
        .arg(format!("--uri={}", turn.uri))
        .arg(format!("--offset={}", turn.offset))
        .arg(format!("--size={VOLUME_MIB}m"))
        .arg(format!("--io_size={}k", work.block * work.count))
        .arg(format!("--rw={}", work.kind))
        .arg(format!("--bs={}k", work.block))
        .arg(format!("--iodepth={}", work.depth));
    match work.flush {
        Flush::Never => {}
        Flush::AtItsEnd => drop(command.arg("--end_fsync=1")),
        Flush::AfterEachWrite => drop(command.arg("--fsync=1")),
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().context("starting fio")?;
    ensure!(status.success(), "fio, {}: {status}", work.name);
    let text = std::fs::read_to_string(&told).context("reading what fio measured")?;
    let way = if work.kind.ends_with("read") { "read" } else { "write" };
    rate(&text, way).with_context(|| format!("fio measured nothing: {text}"))
}

/// Requests in a second of fio's report.
fn rate(text: &str, way: &str) -> Option<f64> {
    let told: serde_json::Value = serde_json::from_str(text).ok()?;
    let way = told.get("jobs")?.get(0)?.get(way)?;
    let (count, time) = (way.get("total_ios")?.as_f64()?, way.get("runtime")?.as_f64()?);
    (count > 0.0 && time > 0.0).then(|| count * 1000.0 / time)
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn a_rate_is_requests_in_a_second_and_nothing_done_is_none() {
        let told =
            |count: u32| format!(r#"{{"jobs": [{{"read": {{"total_ios": {count}, "runtime": 500}}}}]}}"#);
        assert_eq!(rate(&told(1000), "read"), Some(2000.0));
        assert_eq!(rate(&told(0), "read"), None);
        assert_eq!(rate(&told(1000), "write"), None);
    }
}
