//! The cases, as files of rig/acceptance tell them.
//!
//! What must hold: a line is understood, or the file is refused with its name and line. `= NAME` begins a case; `  COMMAND`
//! must succeed on both sides; `$ COMMAND` is compared whole, `% COMMAND` without standard error; `~ [PARAGRAPH] COMMAND` is run, and
//! its exit code compared where `~=` is said; `& COMMAND` is the shell's; `~ [PARAGRAPH] metadata` leaves the metadata out.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

use super::heard::{Said, difference};

const FILES: &[(&str, &str)] = &[
    ("create", include_str!("../../../../../rig/acceptance/create.txt")),
    ("convert", include_str!("../../../../../rig/acceptance/convert.txt")),
    ("resize", include_str!("../../../../../rig/acceptance/resize.txt")),
    ("manage", include_str!("../../../../../rig/acceptance/manage.txt")),
    ("program", include_str!("../../../../../rig/acceptance/program.txt")),
];

/// What of a command is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// Nothing: it must succeed.
    SetUp,
    /// Output, errors, exit code.
    All,
    /// Output and exit code.
    Output,
    /// The exit code.
    Code,
    /// Nothing at all.
    Nothing,
    /// Not a command of LVM2's; it must succeed.
    Shell,
}

impl How {
    /// Why what two sides said is not the same.
    pub(super) fn differs(self, lvm2: &Said, ours: &Said) -> Option<String> {
        let told = || difference(&lvm2.all(), &ours.all());
        match self {
            Self::SetUp | Self::Shell if lvm2.code != 0 || ours.code != 0 => {
                Some(format!("is a step that must succeed{}", told()))
            }
            Self::Nothing | Self::SetUp | Self::Shell => None,
            _ if lvm2.code != ours.code => {
                Some(format!("exit code {} and not {}{}", ours.code, lvm2.code, told()))
            }
            Self::Code => None,
            Self::Output if lvm2.out == ours.out => None,
            Self::All if lvm2.all() == ours.all() => None,
            Self::Output | Self::All => Some(format!("differs{}", told())),
        }
    }
}

/// A command.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) command: String,
    pub(super) how: How,
}

/// A case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    /// Whether the metadata are compared at its end.
    pub(super) metadata: bool,
    /// Paragraphs of the list of differences.
    reasons: Vec<String>,
}

impl Case {
    /// Whether every difference that is let pass stands in the list.
    pub(super) fn check_reasons(&self, list: &str) -> Result<()> {
        for reason in &self.reasons {
            ensure!(
                list.contains(&format!("**{reason}")) || list.contains(&format!("## {reason}")),
                "case {}: docs/lvm2-differences.md has no paragraph {reason}",
                self.name
            );
        }
        Ok(())
    }
}

/// All of them.
pub(super) fn all() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (file, text) in FILES {
        cases.extend(parse(file, text)?);
    }
    let mut names = BTreeSet::new();
    for case in &cases {
        ensure!(names.insert(&case.name), "two cases are called {}", case.name);
    }
    Ok(cases)
}

/// Reads one file.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = || format!("rig/acceptance/{file}.txt, line {}", index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("= ") {
            let (steps, reasons) = (Vec::new(), Vec::new());
            cases.push(Case { name: name.trim().to_owned(), steps, metadata: true, reasons });
            continue;
        }
        let case = cases.last_mut().with_context(place)?;
        let (how, rest) = match line.split_at_checked(2).with_context(place)? {
            ("  ", rest) => (How::SetUp, rest),
            ("$ ", rest) => (How::All, rest),
            ("% ", rest) => (How::Output, rest),
            ("& ", rest) => (How::Shell, rest),
            ("~ ", rest) => (How::Nothing, rest),
            ("~=", rest) => (How::Code, rest.trim_start()),
            _ => bail!("{}: begins with none of = $ % & ~ and blanks", place()),
        };
        let mut command = rest;
        if matches!(how, How::Nothing | How::Code) {
            let (reason, behind) =
                rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")).with_context(place)?;
            case.reasons.push(reason.to_owned());
            command = behind;
        }
        if command == "metadata" {
            case.metadata = false;
            continue;
        }
        case.steps.push(Step { command: command.to_owned(), how });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_line_that_is_not_understood_is_refused_with_its_place() {
        let error = parse("file", "= one\n$ lvs\nlvs\n").unwrap_err().to_string();
        assert!(error.starts_with("rig/acceptance/file.txt, line 3"), "{error}");
        assert!(parse("file", "$ lvs\n").is_err() && parse("file", "= a\n~ lvs\n").is_err());
    }

    #[test]
    fn a_difference_needs_its_paragraph() {
        let cases = parse("file", "= one\n~ [Words] lvs\n").unwrap();
        assert!(cases[0].check_reasons("**Words.** Some differ.").is_ok());
        assert!(cases[0].check_reasons("**Locks.** Some differ.").is_err());
    }
}
