//! What a side said, step for step, as the guest's script wrote it down.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::normal::Normal;

/// What one command said.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Said {
    pub(super) out: String,
    pub(super) err: String,
    pub(super) code: i32,
}

impl Said {
    /// As a person would read it.
    pub(super) fn all(&self) -> String {
        let errors: String = self.err.lines().flat_map(|line| ["! ", line, "\n"]).collect();
        format!("{}{errors}= {}\n", self.out, self.code)
    }
}

/// What was said in one case.
#[derive(Clone, Default, Debug)]
pub(super) struct OneCase {
    steps: BTreeMap<String, Said>,
}

impl OneCase {
    /// What was said in a step; nothing where it was not run.
    pub(super) fn step(&self, name: &str) -> Said {
        self.steps.get(name).cloned().unwrap_or_default()
    }
}

/// Everything that a side said.
#[derive(Clone, Default, Debug)]
pub(super) struct Heard {
    cases: BTreeMap<String, OneCase>,
}

impl Heard {
    /// From the two files, with what may differ made equal.
    pub(super) fn parse(out: &str, err: &str) -> Result<Self> {
        let mut heard = Self::default();
        heard.add(out, |said| &mut said.out)?;
        heard.add(err, |said| &mut said.err)?;
        for case in heard.cases.values_mut() {
            let mut normal = Normal::default();
            for said in case.steps.values_mut() {
                said.out = normal.text(&said.out);
                said.err = normal.text(&said.err);
            }
        }
        Ok(heard)
    }

    fn add(&mut self, text: &str, part: fn(&mut Said) -> &mut String) -> Result<()> {
        let (mut case, mut step) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("@case ") {
                name.clone_into(&mut case);
                continue;
            }
            if let Some(name) = line.strip_prefix("@step ") {
                name.clone_into(&mut step);
            }
            let said = self.cases.entry(case.clone()).or_default().steps.entry(step.clone()).or_default();
            if let Some(code) = line.strip_prefix("@code ") {
                said.code = code.parse().with_context(|| format!("reading {line} of {case}"))?;
            } else if !line.starts_with('@') {
                writeln!(part(said), "{line}")?;
            }
        }
        Ok(())
    }

    /// A case.
    pub(super) fn case(&self, name: &str) -> Option<&OneCase> {
        self.cases.get(name)
    }
}

/// The lines that only one of the two has.
pub(super) fn difference(lvm2: &str, ours: &str) -> String {
    let mut told = String::new();
    for line in lvm2.lines().filter(|line| !ours.lines().any(|other| other == *line)) {
        write!(told, "\n    LVM2:     {line}").ok();
    }
    for line in ours.lines().filter(|line| !lvm2.lines().any(|other| other == *line)) {
        write!(told, "\n    Foldback: {line}").ok();
    }
    if told.is_empty() { "\n    the order of the lines".to_owned() } else { told }
}
