//! `qemu-img commit`: the same scattered writes in a qcow2 overlay, folded into its raw base.
//!
//! It flushes at its end and not between, and cannot be resumed; `-d` spares it emptying the overlay afterwards.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::data::{CHUNK, Data};
use super::table::{Row, Table};
use crate::rig;

/// Each write in flight costs qemu-io a stack.
const WRITES_AT_ONCE: usize = 64;

/// Measures with small and with default clusters; without the tools it says so and goes on.
pub(super) fn measure(data: &Data, rounds: u32, table: &mut Table) -> Result<()> {
    if rig::find("qemu-img").is_none() || rig::find("qemu-io").is_none() {
        println!("SKIP qemu-img commit: missing Debian package qemu-utils");
        return Ok(());
    }
    let base = data.scratch.path().join("base.raw");
    extract_origin(data, &base)?;
    for cluster in ["4k", "64k"] {
        let overlay = data.scratch.path().join(format!("overlay-{cluster}.qcow2"));
        make_overlay(data, &base, &overlay, cluster)?;
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(commit(data, &base, &overlay)?);
            println!("host: qemu-img commit, clusters of {cluster}: {:?}", times.last());
        }
        let what = format!("qemu-img commit, clusters of {cluster}");
        table.add(Row::new("host", &what, data.count, &times).note("one flush at the end, cannot resume"));
    }
    Ok(())
}

fn extract_origin(data: &Data, base: &Path) -> Result<()> {
    let mut words = vec![format!("if={}", data.image().display()), format!("of={}", base.display())];
    words.extend(["bs=1M".to_owned(), "count=1024".to_owned(), "status=none".to_owned()]);
    words.push(format!("skip={}", data.origin() >> 20));
    succeed(Command::new("dd").args(words))
}

/// An overlay with one write of 4 KiB for each exception, in the order in which the store got them.
fn make_overlay(data: &Data, base: &Path, overlay: &Path, cluster: &str) -> Result<()> {
    let options = format!("cluster_size={cluster}");
    succeed(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-o", &options, "-b"])
            .args([base, overlay]),
    )?;
    let mut script = String::new();
    for together in data.extents()?.chunks(WRITES_AT_ONCE) {
        for extent in together {
            let at = extent.to - data.origin();
            writeln!(script, "aio_write -q -P {} {at} {CHUNK}", 1 + (at / CHUNK) % 250)?;
        }
        script.push_str("aio_flush\n");
    }
    script.push_str("flush\nquit\n");
    let path = overlay.with_extension("script");
    std::fs::write(&path, script).context("writing the script for qemu-io")?;
    let input = File::open(&path).context("opening the script for qemu-io")?;
    let mut command = Command::new("qemu-io");
    command.args(["-f", "qcow2", "-t", "writeback"]).arg(overlay).stdin(input).stdout(Stdio::null());
    succeed(&mut command)
}

/// Commits copies of both, so that each round starts from the same.
fn commit(data: &Data, base: &Path, overlay: &Path) -> Result<Duration> {
    let (run_base, run_overlay) =
        (data.scratch.path().join("run.raw"), data.scratch.path().join("run.qcow2"));
    for (from, to) in [(base, &run_base), (overlay, &run_overlay)] {
        rig::copy_disk(from, to)?;
    }
    succeed(
        Command::new("qemu-img")
            .args(["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b"])
            .args([&run_base, &run_overlay]),
    )?;
    for path in [&run_base, &run_overlay] {
        File::open(path).and_then(|file| file.sync_all()).context("syncing a copy")?;
    }
    let start = Instant::now();
    succeed(
        Command::new("qemu-img").args(["commit", "-q", "-d", "-t", "none", "-f", "qcow2"]).arg(&run_overlay),
    )?;
    Ok(start.elapsed())
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}
