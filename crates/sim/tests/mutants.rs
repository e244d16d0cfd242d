//! Planted bugs must be caught: otherwise a run that passes says nothing. The test command hunts each of them longer.

use sim::{Planted, hunt};

/// Enough for every bug, several times over; a bug that is caught costs a few runs only.
const RUNS: u64 = 4000;

#[test]
fn every_planted_bug_is_caught() {
    let bugs = Planted::all();
    assert!(bugs.len() >= 40);
    let survivors: Vec<String> = bugs
        .into_iter()
        .map(|bug| hunt(bug, 1, RUNS, 2))
        .filter(|verdict| verdict.caught.is_none())
        .map(|verdict| verdict.bug.name())
        .collect();
    assert!(survivors.is_empty(), "survived {RUNS} runs each: {}", survivors.join(", "));
}
