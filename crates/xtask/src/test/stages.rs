//! The stages of the test command, in order: what is quick and often broken first.

use anyhow::Result;

use super::command::{cargo, has, run};
use super::{install, skips};
use crate::outcome::{Outcome, Verdict};
use crate::program::Foldback;
use crate::uml::{self, Length};
use crate::{layers, machine, tidy};

/// A stage.
pub(super) struct Stage {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether its time counts against the budget. Building does not.
    pub(super) budgeted: bool,
    /// What it does.
    pub(super) run: fn() -> Result<Done>,
}

/// What a stage brings.
pub(super) enum Done {
    /// One verdict.
    One(Verdict),
    /// Several cases, already printed.
    Cases(Vec<Outcome>),
}

const fn stage(name: &'static str, run: fn() -> Result<Done>) -> Stage {
    Stage { name, budgeted: true, run }
}

const fn build(name: &'static str, run: fn() -> Result<Done>) -> Stage {
    Stage { name, budgeted: false, run }
}

/// All stages; the long form takes all cells of the matrix, 200 random walks and ten times the seeds, kills the daemon a hundred times, and compiles the fuzz
/// targets, whose library wants a C++ compiler.
pub(super) fn all(long: bool) -> Vec<Stage> {
    let mut stages = vec![
        build("packages", || install::packages().map(Done::One)),
        stage("fmt", fmt),
        stage("tidy", || holds(tidy::run()?, "cargo xtask tidy found something")),
        stage("layers", || holds(layers::run()?, "cargo xtask layers found something")),
        build("clippy library", || clippy(&["--lib", "--bins"])),
        build("clippy all targets", || clippy(&["--all-targets"])),
        build("build tests", || one(&["test", "--workspace", "--no-run"])),
        build("build programs", || {
            one(&["build", "--release", "--package", "foldback-cli", "--package", "sim"])
        }),
        stage("tests", tests),
        stage("doc tests", || one(&["test", "--workspace", "--doc"])),
        build("documentation", documentation),
        if long {
            stage("sim engine", || sim("engine", "100000"))
        } else {
            stage("sim engine", || sim("engine", "10000"))
        },
        if long {
            stage("sim volume", || sim("volume", "100000"))
        } else {
            stage("sim volume", || sim("volume", "10000"))
        },
        if long {
            stage("sim live", || sim("live", "20000"))
        } else {
            stage("sim live", || sim("live", "2000"))
        },
        stage("mutants", || one(&["run", "--release", "--package", "sim", "--", "--mutants"])),
        stage("demo", demo),
        build("system of the machine", system),
        if long {
            stage("machine", || machines(machine::Length::Long))
        } else {
            stage("machine", || machines(machine::Length::Short))
        },
        if long { stage("uml", || cases(Length::Long)) } else { stage("uml", || cases(Length::Short)) },
    ];
    if long {
        stages.push(stage("a hundred kills", || {
            one(&["test", "--package", "foldback-cli", "--test", "kills", "--", "--ignored"])
        }));
        stages.push(build("fuzz targets", || {
            one(&["check", "--locked", "--manifest-path", "fuzz/Cargo.toml"])
        }));
    }
    stages
}

fn one(words: &[&str]) -> Result<Done> {
    run(cargo(words)).map(Done::One)
}

fn holds(held: bool, otherwise: &str) -> Result<Done> {
    let verdict = if held { Verdict::Passed(String::new()) } else { Verdict::Failed(otherwise.to_owned()) };
    Ok(Done::One(verdict))
}

fn component(subcommand: &str, component: &str) -> Option<Done> {
    let why = format!("cargo {subcommand} is not installed: rustup component add {component}");
    (!has(subcommand)).then_some(Done::One(Verdict::Skipped(why)))
}

fn fmt() -> Result<Done> {
    match component("fmt", "rustfmt") {
        Some(skip) => Ok(skip),
        None => one(&["fmt", "--all", "--check"]),
    }
}

fn clippy(targets: &[&str]) -> Result<Done> {
    if let Some(skip) = component("clippy", "clippy") {
        return Ok(skip);
    }
    let mut command = cargo(&["clippy", "--workspace", "--keep-going"]);
    command.args(targets).args(["--", "-D", "warnings"]);
    run(command).map(Done::One)
}

fn tests() -> Result<Done> {
    // A fresh machine has only Rust on it; cargo's own runner judges the same.
    let words: &[&str] = if has("nextest") {
        &["nextest", "run", "--workspace", "--no-fail-fast"]
    } else {
        &["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]
    };
    skips::run("tests", cargo(words)).map(Done::Cases)
}

fn documentation() -> Result<Done> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run(command).map(Done::One)
}

/// The levels on their own, so that each has its number of runs whatever the simulator's mixture is.
fn sim(level: &str, runs: &str) -> Result<Done> {
    let words =
        ["run", "--release", "--package", "sim", "--", "--level", level, "--seed", "1", "--runs", runs];
    one(&words)
}

fn demo() -> Result<Done> {
    let mut command = std::process::Command::new(Foldback::build()?.path());
    command.arg("demo");
    run(command).map(Done::One)
}

fn cases(length: Length) -> Result<Done> {
    uml::run(&[], length).map(Done::Cases)
}

/// Debian's packages are downloaded and installed into it, once.
fn system() -> Result<Done> {
    Ok(Done::One(match machine::prepare()? {
        Ok(_) => Verdict::Passed(String::new()),
        Err(why) => Verdict::Skipped(why),
    }))
}

fn machines(length: machine::Length) -> Result<Done> {
    machine::run(&[], length).map(Done::Cases)
}
