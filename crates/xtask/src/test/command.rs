//! Running a program as a stage: its output goes through as it comes, its last line is kept, its status decides.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::outcome::Verdict;
use crate::places;

/// A cargo command at the workspace's root.
pub(super) fn cargo(words: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(words);
    command
}

/// Whether a cargo subcommand is installed.
pub(super) fn has(subcommand: &str) -> bool {
    let mut command = cargo(&[subcommand, "--version"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs it to its end. The last line of standard output becomes what the stage tells.
pub(super) fn run(mut command: Command) -> Result<Verdict> {
    let shown = shown(&command);
    command.current_dir(places::root()?).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {shown}"))?;
    let output = child.stdout.take().with_context(|| format!("taking the output of {shown}"))?;
    let mut last = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.with_context(|| format!("reading the output of {shown}"))?;
        println!("{line}");
        std::io::stdout().flush().ok();
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut last);
        }
    }
    let status = child.wait().with_context(|| format!("waiting for {shown}"))?;
    Ok(if status.success() { Verdict::Passed(last) } else { Verdict::Failed(format!("{shown}: {status}")) })
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Verdict, run};

    #[test]
    fn the_status_decides_and_the_last_line_is_kept() {
        let mut good = Command::new("sh");
        good.args(["-c", "echo first; echo 'last one'; echo"]);
        assert_eq!(run(good).unwrap(), Verdict::Passed("last one".to_owned()));
        let mut bad = Command::new("sh");
        bad.args(["-c", "echo fine; exit 3"]);
        assert!(matches!(run(bad).unwrap(), Verdict::Failed(why) if why.contains("exit status: 3")));
    }
}
