//! `cargo xtask`: the one menu of this repository's checks, rigs and measurements.
//!
//! What must hold: a check that could not run is never reported as passed; every process that is started here
//! is ended here, by its own id; nothing outside the target directory and temporary directories is written,
//! except by `fixtures`, which says so.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people to read")]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "release builds keep overflow checks; no disk is at stake"
)]
#![deny(unsafe_code)]

mod bench;
mod fixtures;
mod guest;
mod layers;
mod machine;
mod outcome;
mod places;
mod program;
mod rig;
mod test;
mod tidy;
mod uml;
mod walk;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Check, prove and measure this repository")]
struct Menu {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make the golden files of fixtures/cow again, with the real kernel and LVM2 in rig 2
    Fixtures,
    /// Run everything that must hold, in stages
    Test {
        /// All 48 cells of the matrix, 200 random walks, ten times the seeds, a hundred kills of the daemon, a minute short of memory, and the fuzz
        /// targets compiled; the time budget does not apply
        #[arg(long)]
        long: bool,
    },
    /// Measure
    #[command(subcommand)]
    Bench(Measure),
    /// Check the shape of files, names, lists
    Tidy,
    /// Check which crate uses which
    Layers,
    /// Run Foldback, LVM2 and the kernel on the same disks, in rig 2
    Uml {
        /// The cases to run; all when none is named
        cases: Vec<String>,
        /// All 48 cells of the matrix instead of the pairwise ones, and 200 random walks instead of 5
        #[arg(long)]
        long: bool,
        /// Of the case `walks`: the seed of the first random walk
        #[arg(long, conflicts_with = "long")]
        seed: Option<u64>,
        /// With --seed: how many random walks
        #[arg(long, requires = "seed", default_value_t = 1)]
        count: u64,
    },
    /// Run Foldback and LVM2 on a whole Debian machine with systemd and udev, in rig 3
    Machine {
        /// The cases to run; those of the test command when none is named
        cases: Vec<String>,
        /// All cases when none is named
        #[arg(long)]
        long: bool,
    },
    /// Run inside the guests of rigs 2 and 3: write patterns, pack stores, read udev's database
    #[command(hide = true, subcommand)]
    Guest(guest::Job),
}

#[derive(Subcommand)]
enum Measure {
    /// The merge of scattered exceptions beside the kernel's, the raw ceiling and qemu-img commit
    Merge(bench::Settings),
    /// A served volume beside qemu-nbd and nbdkit on the same file
    Serve(bench::serve::Settings),
    /// What a mounted file system waits for while a merge begins, runs and ends
    Stall(bench::stall::Settings),
    /// `lvs` of a VG of many LVs beside LVM2
    Lvs(bench::many::Settings),
}

fn main() -> ExitCode {
    let menu = Menu::parse();
    let outcome = match menu.command {
        Task::Fixtures => fixtures::run().map(|()| true),
        Task::Test { long } => test::run(long),
        Task::Bench(Measure::Merge(settings)) => bench::merge(&settings).map(|()| true),
        Task::Bench(Measure::Serve(settings)) => bench::serve::run(&settings).map(|()| true),
        Task::Bench(Measure::Stall(settings)) => bench::stall::run(&settings).map(|()| true),
        Task::Bench(Measure::Lvs(settings)) => bench::many::run(&settings).map(|()| true),
        Task::Tidy => tidy::run(),
        Task::Layers => layers::run(),
        Task::Uml { cases, long: true, .. } => run_uml(&cases, uml::Length::Long),
        Task::Uml { cases, seed: Some(seed), count, .. } => {
            run_uml(&cases, uml::Length::Walks { seed, count })
        }
        Task::Uml { cases, .. } => run_uml(&cases, uml::Length::Short),
        Task::Machine { cases, long } => run_machine(&cases, long),
        Task::Guest(job) => guest::run(&job).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_uml(cases: &[String], length: uml::Length) -> anyhow::Result<bool> {
    Ok(counted(&uml::run(cases, length)?))
}

fn run_machine(cases: &[String], long: bool) -> anyhow::Result<bool> {
    let length = if long { machine::Length::Long } else { machine::Length::Short };
    Ok(counted(&machine::run(cases, length)?))
}

fn counted(outcomes: &[outcome::Outcome]) -> bool {
    let tally = outcome::Tally::of(outcomes, outcome::skips_fail());
    println!("{tally}");
    tally.good()
}
