//! Skips inside tests. What a passing test prints is captured, so a test that cannot run writes `SKIP name: reason` into
//! the file that `FOLDBACK_SKIPS` names; here each line is read, printed and counted.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::command;
use crate::outcome::{Outcome, Verdict};
use crate::places;

/// What tests look for.
const VARIABLE: &str = "FOLDBACK_SKIPS";

/// Runs a command that runs tests. Besides its own verdict there is one for each test that could not run.
pub(super) fn run(name: &str, tests: Command) -> Result<Vec<Outcome>> {
    // Absolute, since each test runs in its crate's directory.
    let target = std::path::absolute(places::target()?).context("finding the target directory")?;
    places::make(&target)?;
    run_into(name, tests, &target.join("skipped-tests"))
}

fn run_into(name: &str, mut tests: Command, file: &Path) -> Result<Vec<Outcome>> {
    let start = std::time::Instant::now();
    std::fs::write(file, "").with_context(|| format!("emptying {}", file.display()))?;
    tests.env(VARIABLE, file);
    let own = Outcome::new(name, command::run(tests)?, start.elapsed());
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut outcomes = vec![own];
    outcomes.extend(skipped(&text));
    for outcome in &outcomes {
        outcome.print();
    }
    Ok(outcomes)
}

/// One verdict for each line; a test that asks twice is one. A line that does not say what was skipped counts too.
fn skipped(text: &str) -> Vec<Outcome> {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    let outcome = |line: &str| {
        let rest = line.strip_prefix("SKIP ").unwrap_or(line);
        let (name, why) = rest.split_once(": ").unwrap_or((rest, "it does not say why"));
        Outcome::new(format!("test {name}"), Verdict::Skipped(why.to_owned()), Duration::ZERO)
    };
    lines.into_iter().map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{run_into, skipped};
    use crate::outcome::{Tally, Verdict};

    #[test]
    fn a_skip_inside_a_passing_test_is_a_line_and_is_counted() {
        let mut tests = Command::new("sh");
        tests.args(["-c", "echo 'SKIP a: no root' >>\"$FOLDBACK_SKIPS\"; echo '9 passed'"]);
        let folder = tempfile::tempdir().unwrap();
        let outcomes = run_into("tests", tests, &folder.path().join("skips")).unwrap();
        assert_eq!(Tally::of(&outcomes, false).to_string(), "1 passed, 0 failed, 1 skipped");
        assert!(!Tally::of(&outcomes, true).good());
        assert_eq!(outcomes[1].name(), "test a");
        assert_eq!(*outcomes[1].verdict(), Verdict::Skipped("no root".to_owned()));
    }

    #[test]
    fn each_test_counts_once_and_a_line_without_a_reason_is_not_lost() {
        let outcomes = skipped("SKIP b: no lvm: none\nSKIP a: x\nSKIP b: no lvm: none\n\nSKIP c\n");
        let names: Vec<&str> = outcomes.iter().map(super::Outcome::name).collect();
        assert_eq!(names, ["test a", "test b", "test c"]);
        assert_eq!(*outcomes[1].verdict(), Verdict::Skipped("no lvm: none".to_owned()));
    }
}
