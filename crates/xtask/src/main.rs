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
#![forbid(unsafe_code)]

mod fixtures;
mod guest;
mod places;
mod rig;

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
    /// Run inside the guest of rig 2: write patterns, pack stores
    #[command(hide = true, subcommand)]
    Guest(guest::Job),
}

fn main() -> ExitCode {
    let menu = Menu::parse();
    let outcome = match menu.command {
        Task::Fixtures => fixtures::run().map(|()| true),
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
