//! The command line of the simulator.
//!
//! A failure prints the command that repeats exactly the run that failed. The exit status is 1 when a run fails, when
//! a planted bug survives, or when thousands of runs never came across a scenario that they are meant to test.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program for people and CI logs")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::struct_excessive_bools,
    reason = "counts for a summary, switches of a command line"
)]

use clap::{Parser, ValueEnum};
use sim::{Level, Planted, RunReport, Scene, Swarm, Total, hunt};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// From so many runs on, a scenario that never occurred is a failure.
const fn runs_to_see_all(level: Option<Level>) -> u64 {
    match level {
        // One run of it is a hundred operations long.
        Some(Level::Live) => 2_000,
        Some(Level::Engine | Level::Volume) | None => 10_000,
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum LevelArg {
    Engine,
    Volume,
    Live,
}

/// Simulate power cuts, errors and bad luck
#[derive(Parser)]
struct Args {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs, each with the next seed [default: 1000; 4000 for each of --mutants]
    #[arg(long)]
    runs: Option<u64>,
    /// Only this level; all otherwise
    #[arg(long)]
    level: Option<LevelArg>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Plant this bug
    #[arg(long)]
    bug: Option<String>,
    /// Hunt every planted bug, each with at most --runs runs
    #[arg(long)]
    mutants: bool,
    /// Print every step of the first run
    #[arg(long)]
    trace: bool,
    /// Print failures and one line
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let passed = match &args.bug {
        _ if args.mutants => mutants(&args),
        None => simulate(&args, None),
        Some(name) => {
            let known = Planted::all().into_iter().find(|bug| bug.name() == *name);
            if known.is_none() {
                let names: Vec<String> = Planted::all().into_iter().map(Planted::name).collect();
                println!("no planted bug is called {name}; there are {}", names.join(", "));
            }
            known.is_some_and(|bug| simulate(&args, Some(bug)))
        }
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn level(args: &Args) -> Option<Level> {
    args.level.map(|level| match level {
        LevelArg::Engine => Level::Engine,
        LevelArg::Volume => Level::Volume,
        LevelArg::Live => Level::Live,
    })
}

fn simulate(args: &Args, bug: Option<Planted>) -> bool {
    let swarm = Swarm {
        seed: args.seed,
        runs: args.runs.unwrap_or(1000),
        level: level(args),
        threads: args.threads,
        bug,
    };
    if args.trace {
        let report = swarm.run_one(args.seed, true);
        // A reader that has seen enough (head) is no error.
        let mut out = std::io::stdout().lock();
        report.trace.iter().try_for_each(|line| writeln!(out, "{line}")).ok();
        report.failure.iter().for_each(|_| tell(&report, args));
        return report.failure.is_none();
    }
    let start = Instant::now();
    let total = swarm.run();
    let seconds = start.elapsed().as_secs_f64();
    if let Some(report) = &total.failed {
        tell(report, args);
        return false;
    }
    summary(args, &total, seconds)
}

fn tell(report: &RunReport, args: &Args) {
    let Some(failure) = &report.failure else { return };
    println!("FAILED seed {} at step {}: {failure}", report.seed, report.steps);
    let level = match args.level {
        None => "",
        Some(LevelArg::Engine) => " --level engine",
        Some(LevelArg::Volume) => " --level volume",
        Some(LevelArg::Live) => " --level live",
    };
    let bug = args.bug.as_ref().map_or_else(String::new, |bug| format!(" --bug {bug}"));
    println!("repeat: cargo run --release -p sim -- --seed {} --runs 1{level}{bug}", report.seed);
}

fn summary(args: &Args, total: &Total, seconds: f64) -> bool {
    if !args.quiet {
        let belongs = |scene: &&Scene| level(args).is_none_or(|level| scene.level() == level);
        for scene in Scene::ALL.iter().filter(belongs) {
            println!("{:>12}  {}", total.scenes.count(*scene), scene.words());
        }
    }
    let count = |scene: Scene| total.scenes.count(scene);
    let eios = count(Scene::EioRead) + count(Scene::EioWrite) + count(Scene::EioFlush);
    let rate = total.steps as f64 / seconds.max(0.001);
    println!(
        "{} runs passed: {} cut short, {} more cuts looked at, {eios} I/O errors, {} merges completed, {} steps, \
         {rate:.0} steps/s, {seconds:.1} s",
        total.runs,
        count(Scene::Cut)
            + count(Scene::VgCut)
            + count(Scene::VgMergeCut)
            + count(Scene::LiveCut)
            + count(Scene::LiveKilled),
        count(Scene::Peek),
        count(Scene::MergeFinished) + count(Scene::VgMergeDone) + count(Scene::LiveEnded),
        total.steps,
    );
    let unseen = total.unseen(level(args));
    if total.runs < runs_to_see_all(level(args)) || unseen.is_empty() {
        return true;
    }
    for scene in unseen {
        println!(
            "NEVER SEEN: {}: a simulator that never comes across it proves nothing about it",
            scene.words()
        );
    }
    false
}

fn mutants(args: &Args) -> bool {
    let mut survived = 0;
    for bug in Planted::all() {
        let verdict = hunt(bug, args.seed, args.runs.unwrap_or(4000), args.threads);
        let name = bug.name();
        if let Some((seed, failure)) = verdict.caught {
            let invariant = failure.invariant;
            println!("{name:<22} caught by {invariant:<12} at run {:>5}, seed {seed}", verdict.runs);
        } else {
            survived += 1;
            println!("{name:<22} SURVIVED {} runs", verdict.runs);
        }
    }
    println!("{} planted bugs, {survived} survived", Planted::all().len());
    survived == 0
}
