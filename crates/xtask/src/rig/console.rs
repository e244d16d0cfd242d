//! What a guest said: results, facts, and the text for people.
//!
//! Only complete lines that begin with a keyword count; everything else is kernel or tool chatter, kept in the
//! file for whoever has to find out why.

use anyhow::{Context, Result, anyhow, bail};

use crate::places;

/// One check of a guest script: its name, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// Name, as the script gave it.
    pub(crate) name: String,
    /// The reason, or `None` when it passed.
    pub(crate) failure: Option<String>,
}

/// A finished guest's console.
#[derive(Debug, Clone, Default)]
pub(crate) struct Console {
    checks: Vec<Check>,
    facts: Vec<(String, String)>,
}

impl Console {
    /// Reads the text; fails when the script did not reach its last line.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (console, ended) = Self::read(text)?;
        if !ended && console.failures().next().is_none() {
            bail!("the guest stopped before the end of its script; its last lines:\n{}", tail(text));
        }
        Ok(console)
    }

    /// Reads the text of a guest that was killed.
    pub(crate) fn cut(text: &str) -> Result<Self> {
        // The last line may be half of one.
        let whole = text.rfind('\n').and_then(|end| text.get(..=end)).unwrap_or_default();
        Self::read(whole).map(|(console, _)| console)
    }

    fn read(text: &str) -> Result<(Self, bool)> {
        let mut console = Self::default();
        let mut ended = false;
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            if let Some(rest) = line.strip_prefix("FACT ") {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                console.facts.push((key.to_owned(), value.to_owned()));
            } else if let Some(rest) = line.strip_prefix("RESULT ") {
                let check = parse_check(rest)?;
                ended = ended || (check.name == "guest-end" && check.failure.is_none());
                console.checks.push(check);
            }
        }
        console.checks.retain(|check| check.name != "guest-end");
        Ok((console, ended))
    }

    /// Reads again what a guest of that name said last.
    pub(crate) fn last_of(guest: &str) -> Result<Self> {
        let file = places::rig_logs()?.join(format!("{guest}.console"));
        let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// Every check, in order.
    pub(crate) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The checks that failed.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.failure.is_some())
    }

    /// The value of a fact; its absence is an error, since a comparison would otherwise be skipped.
    pub(crate) fn fact(&self, key: &str) -> Result<&str> {
        self.facts
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| anyhow!("the guest told nothing about {key}"))
    }

    /// Every value of a fact that is told several times.
    pub(crate) fn facts<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.facts.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The facts of these keys, in the order in which they were told.
    pub(crate) fn told<'a>(&'a self, keys: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let facts = self.facts.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        facts.filter(|(key, _)| keys.contains(key))
    }

    /// Fails with all reasons when any check failed, or when there was none at all.
    pub(crate) fn expect_all(&self) -> Result<()> {
        let reasons: Vec<String> = self
            .failures()
            .map(|check| format!("{}: {}", check.name, check.failure.as_deref().unwrap_or_default()))
            .collect();
        if !reasons.is_empty() {
            bail!("{}", reasons.join("\n"));
        }
        if self.checks.is_empty() {
            bail!("the guest made no check at all");
        }
        Ok(())
    }
}

fn parse_check(rest: &str) -> Result<Check> {
    let (name, verdict) = rest.split_once(' ').unwrap_or((rest, ""));
    let failure = match verdict.split_once(' ').unwrap_or((verdict, "")) {
        ("ok", "") => None,
        ("fail", why) => Some(why.to_owned()),
        _ => bail!("a result line is neither ok nor fail: RESULT {rest}"),
    };
    Ok(Check { name: name.to_owned(), failure })
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::Console;

    #[test]
    fn results_and_facts_are_found_among_chatter() {
        let text = "noise\nRESULT a ok\r\nFACT size 12 34\nRESULT b fail it broke\nRESULT guest-end ok\n";
        let console = Console::parse(text).unwrap();
        assert_eq!(console.checks().len(), 2);
        assert_eq!(console.fact("size").unwrap(), "12 34");
        assert!(console.fact("other").is_err());
        assert_eq!(console.expect_all().unwrap_err().to_string(), "b: it broke");
    }

    #[test]
    fn a_script_that_stopped_early_is_an_error_and_not_a_pass() {
        let error = Console::parse("RESULT a ok\nKernel panic\n").unwrap_err();
        assert!(error.to_string().contains("Kernel panic"));
    }

    #[test]
    fn of_a_killed_guest_whole_lines_count() {
        let console = Console::cut("RESULT a fail it broke\nFACT b 1\nRESULT c o").unwrap();
        assert_eq!((console.checks().len(), console.fact("b").unwrap()), (1, "1"));
    }

    #[test]
    fn a_script_without_checks_does_not_pass() {
        assert!(Console::parse("RESULT guest-end ok\n").unwrap().expect_all().is_err());
    }

    #[test]
    fn an_unreadable_verdict_is_refused() {
        assert!(Console::parse("RESULT a okay\nRESULT guest-end ok\n").is_err());
    }
}
