//! `cargo xtask test`: everything that must hold, in stages, with the minutes of each.
//!
//! Holds: a stage that failed does not stop the others; a skip is printed with its reason and is a failure in
//! continuous integration; the last line counts stages and cases. Building is not part of the time budget, since it
//! depends on what was built before.

mod command;
mod install;
mod skips;
mod stages;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::outcome::{Outcome, Tally, Verdict, skips_fail};
use stages::Stage;

/// What the test command may take on two cores, after the build.
const BUDGET: Duration = Duration::from_mins(42);

/// Runs all stages. True when nothing failed.
pub(crate) fn run(long: bool) -> Result<bool> {
    let strict = skips_fail();
    let mut outcomes = Vec::new();
    let mut times = Vec::new();
    for stage in stages::all(long) {
        println!("STAGE {}", stage.name);
        let start = Instant::now();
        let results = results(&stage);
        times.push((stage.name, stage.budgeted, start.elapsed()));
        outcomes.extend(results);
    }
    println!("\nMinutes of each stage:");
    for line in time_lines(&times) {
        println!("{line}");
    }
    if !long {
        for warning in warnings(&times) {
            println!("{warning}");
        }
    }
    let bad = |outcome: &&Outcome| match outcome.verdict() {
        Verdict::Passed(_) => false,
        Verdict::Failed(_) => true,
        Verdict::Skipped(_) => strict,
    };
    for outcome in outcomes.iter().filter(bad) {
        println!("failed: {}", outcome.name());
    }
    let tally = Tally::of(&outcomes, strict);
    println!("{tally}");
    Ok(tally.good())
}

/// Runs one stage and prints its outcome, or those of its cases, which print themselves.
fn results(stage: &Stage) -> Vec<Outcome> {
    let start = Instant::now();
    let verdict = match (stage.run)() {
        Ok(stages::Done::One(verdict)) => verdict,
        Ok(stages::Done::Cases(outcomes)) => return outcomes,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    let outcome = Outcome::new(stage.name, verdict, start.elapsed());
    outcome.print();
    vec![outcome]
}

type Timed = (&'static str, bool, Duration);

fn time_lines(times: &[Timed]) -> Vec<String> {
    let minutes = |time: Duration| time.as_secs_f64() / 60.0;
    let mut lines: Vec<String> =
        times.iter().map(|(name, _, time)| format!("{:8.2}  {name}", minutes(*time))).collect();
    let (all, budget) = (minutes(budgeted(times)), minutes(BUDGET));
    lines.push(format!("{all:8.2}  together, without the builds, of {budget:.0}"));
    lines
}

fn budgeted(times: &[Timed]) -> Duration {
    times.iter().filter(|(_, counts, _)| *counts).map(|(_, _, time)| *time).sum()
}

fn warnings(times: &[Timed]) -> Vec<String> {
    let mut warnings: Vec<String> = times
        .iter()
        .filter(|(_, counts, time)| *counts && *time * 2 > BUDGET)
        .map(|(name, _, _)| format!("WARNING more than half of the budget goes to {name}"))
        .collect();
    if budgeted(times) > BUDGET {
        warnings.push("WARNING the stages take longer than their budget".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BUDGET, time_lines, warnings};

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_stage_that_takes_more_than_half_of_the_budget_is_named() {
        let times =
            [("build", false, BUDGET * 2), ("sim", true, BUDGET / 2 + MINUTE), ("tidy", true, MINUTE)];
        assert_eq!(warnings(&times), ["WARNING more than half of the budget goes to sim"]);
        let together = format!("{}.00  together", BUDGET.as_secs() / 120 + 2);
        assert!(time_lines(&times).last().unwrap().contains(&together));
    }

    #[test]
    fn going_over_the_budget_is_said() {
        let times = [("a", true, BUDGET / 3), ("b", true, BUDGET / 3), ("c", true, BUDGET / 3 + MINUTE)];
        assert!(warnings(&times)[0].contains("longer than their budget"));
    }
}
