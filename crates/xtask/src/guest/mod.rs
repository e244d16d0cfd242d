//! What runs inside the guest of rig 2: this same program, started from the guest script.
//!
//! Holds: the writes are direct, one at a time and in the order planned, since the order decides where the
//! kernel puts each exception; the bytes are a function of the seed, so no two writes look alike.

mod direct;
mod dirty;
mod kernel;
mod order;
mod pack;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use direct::Direct;
pub(crate) use direct::Random;
use dirty::DirtyJob;
pub(crate) use order::Order;
use order::Plan;

/// A job inside the guest.
#[derive(Subcommand)]
pub(crate) enum Job {
    /// Write a whole device with bytes from a seed
    Pattern {
        /// The block device
        device: PathBuf,
        /// What to derive the bytes from
        seed: u64,
    },
    /// Write a number of chunks in an order
    Write(WriteJob),
    /// Write chunks by the rule old(i) = (i * step + first) mod chunks
    Rule(RuleJob),
    /// Dirty a file's pages for some seconds
    Dirty(DirtyJob),
    /// See that a file is as `dirty` left it
    Dirtied {
        /// The file
        file: PathBuf,
        /// What `dirty` kept
        table: PathBuf,
    },
    /// Store the metadata sectors of an exception store
    Pack {
        /// The COW device
        device: PathBuf,
        /// The file to write
        out: PathBuf,
    },
    /// Carry out the manager's plans by the kernel's device-mapper
    Kernel(kernel::KernelJob),
}

/// Arguments of `write`.
#[derive(Args)]
pub(crate) struct WriteJob {
    /// The block device
    device: PathBuf,
    /// In which order
    #[arg(value_enum)]
    order: Order,
    /// Bytes of a chunk
    chunk: u64,
    /// Number of chunks to touch
    count: u64,
    /// What to derive places and bytes from
    seed: u64,
}

/// Arguments of `rule`.
#[derive(Args)]
pub(crate) struct RuleJob {
    /// The block device
    device: PathBuf,
    /// Bytes of a chunk
    chunk: u64,
    /// The first i
    from: u64,
    /// One past the last i
    until: u64,
    /// Multiplier
    step: u64,
    /// Addend
    first: u64,
    /// Modulus
    chunks: u64,
}

/// Runs a job.
pub(crate) fn run(job: &Job) -> Result<()> {
    match job {
        Job::Pattern { device, seed } => pattern(&mut Direct::open(device)?, *seed),
        Job::Write(job) => write(job),
        Job::Rule(job) => rule(job),
        Job::Dirty(job) => dirty::dirty(job),
        Job::Dirtied { file, table } => dirty::dirtied(file, table),
        Job::Kernel(job) => kernel::run(job),
        Job::Pack { device, out } => pack::pack(&mut Direct::open(device)?, out),
    }
}

fn pattern(device: &mut Direct, seed: u64) -> Result<()> {
    const PIECE: u64 = 1 << 20;
    let size = device.size()?;
    let mut at = 0;
    while at < size {
        let len = PIECE.min(size - at);
        device.write_seeded(at, len, seed ^ at)?;
        at += len;
    }
    device.flush()
}

fn write(job: &WriteJob) -> Result<()> {
    let mut device = Direct::open(&job.device)?;
    let plan = Plan::new(job.order, device.size()?, job.chunk, job.count, job.seed)?;
    for (at, len) in plan.pieces() {
        device.write_seeded(at, len, job.seed ^ at.rotate_left(32))?;
    }
    device.flush()
}

fn rule(job: &RuleJob) -> Result<()> {
    let mut device = Direct::open(&job.device)?;
    for index in job.from..job.until {
        let chunk = (index * job.step + job.first) % job.chunks;
        device.write_seeded(chunk * job.chunk, job.chunk, index)?;
    }
    device.flush()
}
