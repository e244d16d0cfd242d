//! The cases, as files of rig/acceptance tell them.
//!
//! What must hold: a line is understood, or the file is refused with its name and line. `= NAME` begins a case; `  COMMAND`
//! must succeed on both sides; `$ COMMAND` is compared whole, `% COMMAND` without standard error; `~ [PARAGRAPH] COMMAND` is run, and
//! its exit code compared where `~=` is said; `& COMMAND` is the shell's and must succeed, `? COMMAND` is the shell's and compared
//! whole; `> SENTENCE` behind a command of `~` or `~=` is a line that ours must say there, and then it must fail;
//! `~ [PARAGRAPH] metadata` leaves the metadata out. Every file of the directory is read; those of `long` below it in the long
//! form only, and where one file is named.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::Length;
use super::heard::{Said, difference};
use crate::places;

/// Below the workspace's root.
const DIRECTORY: &str = "rig/acceptance";
/// What is too much for every run.
const LONG: &str = "rig/acceptance/long";

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
    /// Not a command of LVM2's; what it says of what was made is compared.
    Look,
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
            Self::All | Self::Look if lvm2.all() == ours.all() => None,
            Self::Output | Self::All | Self::Look => Some(format!("differs{}", told())),
        }
    }
}

/// A command.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) command: String,
    pub(super) how: How,
    /// Lines of ours on standard error, where it has to refuse in its own words.
    says: Vec<String>,
}

impl Step {
    /// Why what two sides said is not as it should be.
    pub(super) fn differs(&self, lvm2: &Said, ours: &Said) -> Option<String> {
        let missing = self.says.iter().find(|line| !ours.err.lines().any(|said| said.trim() == *line));
        if let Some(line) = missing {
            return Some(format!("should say {line}{}", difference("", &ours.all())));
        }
        if !self.says.is_empty() && ours.code == 0 {
            return Some("should be refused".to_owned());
        }
        self.how.differs(lvm2, ours)
    }
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

/// All of them, without those for which a short run has no time, or those of one file.
pub(super) fn all(length: Length, only: Option<&str>) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut paths = files(DIRECTORY)?;
    if only.is_some() || length == Length::Long {
        paths.extend(files(LONG)?);
    }
    for path in paths {
        let file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if only.is_none_or(|only| only == file) {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            cases.extend(parse(&file, &text)?);
        }
    }
    let mut names = BTreeSet::new();
    for case in &cases {
        ensure!(names.insert(&case.name), "two cases are called {}", case.name);
    }
    Ok(cases)
}

/// The files of a directory in the order of their names.
fn files(directory: &str) -> Result<Vec<PathBuf>> {
    let directory = places::root()?.join(directory);
    let entries =
        std::fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    Ok(files)
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
        if let Some(line) = line.strip_prefix("> ") {
            let step = case.steps.last_mut().with_context(place)?;
            ensure!(
                matches!(step.how, How::Nothing | How::Code),
                "{}: what it says is compared already",
                place()
            );
            step.says.push(line.trim().to_owned());
            continue;
        }
        let (how, rest) = match line.split_at_checked(2).with_context(place)? {
            ("  ", rest) => (How::SetUp, rest),
            ("$ ", rest) => (How::All, rest),
            ("% ", rest) => (How::Output, rest),
            ("& ", rest) => (How::Shell, rest),
            ("? ", rest) => (How::Look, rest),
            ("~ ", rest) => (How::Nothing, rest),
            ("~=", rest) => (How::Code, rest.trim_start()),
            _ => bail!("{}: begins with none of = $ % & ? ~ > and blanks", place()),
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
        case.steps.push(Step { command: command.to_owned(), how, says: Vec::new() });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::uml::acceptance::heard::Said;

    fn said(err: &str, code: i32) -> Said {
        Said { err: err.to_owned(), code, ..Said::default() }
    }

    #[test]
    fn a_refusal_must_be_one_and_have_its_sentence() {
        let cases = parse("file", "= one\n~ [Kinds] lvremove vg/thin\n> It is thin.\n").unwrap();
        let step = &cases[0].steps[0];
        assert_eq!(step.differs(&said("", 0), &said("  It is thin.\n", 5)), None);
        assert!(step.differs(&said("", 0), &said("  It is thin.\n", 0)).is_some());
        assert!(step.differs(&said("", 0), &said("  It is thick.\n", 5)).is_some());
        assert!(parse("file", "= one\n$ lvs\n> It is thin.\n").is_err());
        assert!(parse("file", "= one\n> It is thin.\n").is_err());
    }

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
