//! Planted bugs: a simulator is trusted once it has caught every one of them.

use crate::report::Failure;
use crate::swarm::{Planted, Swarm};

/// What came of hunting one bug.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The bug.
    pub bug: Planted,
    /// How many runs it took, or were made in vain.
    pub runs: u64,
    /// The seed that shows it and the invariant that it breaks; none: it survived.
    pub caught: Option<(u64, Failure)>,
}

/// Hunts one bug with at most so many runs.
pub fn hunt(bug: Planted, seed: u64, runs: u64, threads: u64) -> Verdict {
    let swarm = Swarm { seed, runs, level: Some(bug.level()), threads, bug: Some(bug) };
    let total = swarm.run();
    let caught = total.failed.and_then(|report| report.failure.map(|failure| (report.seed, failure)));
    Verdict { bug, runs: total.runs, caught }
}
