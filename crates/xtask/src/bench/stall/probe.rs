//! Threads that read and write a file and note how long each request took.
//!
//! Holds: O_DIRECT, so that the disk is asked; a request is noted when it began; a thread that fails fails the measurement.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use foldback_device::{Access, Backend, DiskId, Disks, flush, open_disks, open_files, read_exact, write_all};
use foldback_units::Bytes;

const BLOCK: u64 = 4096;
const DISK: DiskId = DiskId(0);

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) way: Way,
    /// When it began.
    pub(super) at: Duration,
    pub(super) took: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Read,
    Write,
}

/// The time since a measurement began, the same for all threads.
#[derive(Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }

    pub(super) fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Places in a file, in no order.
struct Places {
    state: u64,
    blocks: u64,
}

impl Places {
    fn new(len: u64, seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, blocks: len / BLOCK }
    }

    fn next(&mut self) -> Bytes {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        Bytes((self.state >> 11) % self.blocks * BLOCK)
    }
}

fn open(file: &Path) -> Result<(Box<dyn Disks>, u64)> {
    let files = open_files(&[file], Access::Write).context("opening the file")?;
    let disks = open_disks(&files, Backend::Blocking).context("making its queue")?;
    let len = disks.geometry(DISK).context("asking for its length")?.size.get();
    Ok((disks, len))
}

/// Changes that many MiB of the file, no two blocks of it neighbours.
pub(super) fn scatter(file: &Path, mib: u64, seed: u64) -> Result<()> {
    let (mut disks, len) = open(file)?;
    let (count, blocks) = (mib << 20 >> 12, len / BLOCK);
    // An odd number of steps of this many blocks meets each block of a power of two once.
    let step = (blocks * 5 / 8) | 1;
    let content = [u8::try_from(seed % 200).unwrap_or_default() + 1; 4096];
    for number in 0..count {
        let at = Bytes(number.wrapping_mul(step) % blocks * BLOCK);
        write_all(&mut *disks, DISK, at, &content, false).context("scattering writes")?;
    }
    flush(&mut *disks, DISK).context("flushing")
}

/// Two threads at work.
#[derive(Debug)]
pub(super) struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Sample>>>>,
}

impl Probes {
    pub(super) fn start(file: &Path, clock: &Arc<Clock>, seed: u64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (number, way) in (0..).zip([Way::Read, Way::Write]) {
            let (file, clock, stop) = (file.to_path_buf(), Arc::clone(clock), Arc::clone(&stop));
            let work = move || probe(&file, way, &clock, &stop, seed * 2 + number);
            threads.push(std::thread::Builder::new().name("probe".to_owned()).spawn(work)?);
        }
        Ok(Self { stop, threads })
    }

    /// What they have noted.
    pub(super) fn stop(mut self) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads.drain(..) {
            all.extend(thread.join().map_err(|_| anyhow!("a probe panicked"))??);
        }
        Ok(all)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The measurement has failed for another reason.
            drop(thread.join());
        }
    }
}

fn probe(file: &Path, way: Way, clock: &Clock, stop: &AtomicBool, seed: u64) -> Result<Vec<Sample>> {
    let (mut disks, len) = open(file)?;
    let mut places = Places::new(len, seed);
    let mut block = [7; 4096];
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (place, at) = (places.next(), clock.now());
        match way {
            Way::Read => read_exact(&mut *disks, DISK, place, &mut block).context("reading")?,
            Way::Write => write_all(&mut *disks, DISK, place, &block, true).context("writing")?,
        }
        samples.push(Sample { way, at, took: clock.now().saturating_sub(at) });
    }
    Ok(samples)
}
