//! The result of one check, and the count of many.

use std::io::Write as _;
use std::time::Duration;

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It held; with a word about what was covered.
    Passed(String),
    /// It did not hold; why.
    Failed(String),
    /// It could not run; why.
    Skipped(String),
}

/// A named verdict with the time that it took.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    name: String,
    verdict: Verdict,
    time: Duration,
}

/// How many passed, failed, were skipped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Held.
    pub(crate) passed: usize,
    /// Did not hold.
    pub(crate) failed: usize,
    /// Could not run.
    pub(crate) skipped: usize,
}

impl Outcome {
    pub(crate) fn new(name: impl Into<String>, verdict: Verdict, time: Duration) -> Self {
        Self { name: name.into(), verdict, time }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Prints the line at once, also into a pipe.
    pub(crate) fn print(&self) {
        println!("{}", self.line());
        std::io::stdout().flush().ok();
    }

    fn line(&self) -> String {
        let (name, seconds) = (&self.name, self.time.as_secs_f64());
        match &self.verdict {
            Verdict::Passed(told) if told.is_empty() => format!("PASS {name} ({seconds:.1} s)"),
            Verdict::Passed(told) => format!("PASS {name}: {told} ({seconds:.1} s)"),
            Verdict::Failed(why) => format!("FAIL {name}: {why} ({seconds:.1} s)"),
            Verdict::Skipped(why) => format!("SKIP {name}: {why}"),
        }
    }
}

impl Tally {
    /// Counts; where a skip is not allowed it counts as failed.
    pub(crate) fn of(outcomes: &[Outcome], skips_fail: bool) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            match outcome.verdict {
                Verdict::Passed(_) => tally.passed += 1,
                Verdict::Failed(_) => tally.failed += 1,
                Verdict::Skipped(_) if skips_fail => tally.failed += 1,
                Verdict::Skipped(_) => tally.skipped += 1,
            }
        }
        tally
    }

    /// Whether nothing failed and something ran.
    pub(crate) fn good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// In continuous integration nothing may be skipped: `CI` is set, and neither empty nor `false`, as the tests judge too.
pub(crate) fn skips_fail() -> bool {
    std::env::var_os("CI").is_some_and(|value| strict(&value))
}

fn strict(ci: &std::ffi::OsStr) -> bool {
    !ci.is_empty() && ci != "false"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, Tally, Verdict};

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome::new("x", verdict, Duration::from_secs(1))
    }

    #[test]
    fn a_skip_is_counted_as_such_and_as_a_failure_where_skips_are_not_allowed() {
        let outcomes = [outcome(Verdict::Passed(String::new())), outcome(Verdict::Skipped("no rig".into()))];
        let free = Tally::of(&outcomes, false);
        assert_eq!(free.to_string(), "1 passed, 0 failed, 1 skipped");
        assert!(free.good());
        let strict = Tally::of(&outcomes, true);
        assert_eq!(strict.to_string(), "1 passed, 1 failed, 0 skipped");
        assert!(!strict.good());
    }

    #[test]
    fn any_word_but_false_means_continuous_integration() {
        let judged = ["true", "1", "yes", "false", ""].map(|word| super::strict(word.as_ref()));
        assert_eq!(judged, [true, true, true, false, false]);
    }

    #[test]
    fn nothing_run_is_not_good() {
        assert!(!Tally::of(&[], false).good());
        assert!(!Tally::of(&[outcome(Verdict::Skipped("x".into()))], false).good());
    }

    #[test]
    fn a_skip_line_names_what_and_why() {
        assert_eq!(outcome(Verdict::Skipped("no rig".into())).line(), "SKIP x: no rig");
    }
}
