//! `segtypes` and `lvmconfig`: what the program can do, and what it was told.
//!
//! What must hold: settings are shown as lvm.conf writes them, from where they are taken; what was not set is not shown, unless the defaults are asked for.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::system_dir;
use clap::{Args, ValueEnum};
use foldback_manager::config::{ConfigError, Kind, Profile, invalid, show, unknown};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// List the segment types that can be made and served
#[derive(Args, Debug)]
pub(crate) struct SegTypes {}

/// Show settings that were given, in lvm.conf's syntax
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lvmconfig\n  lvmconfig activation/polling_interval\n  lvmconfig --file all.conf --type full\n  lvmconfig --validate"
)]
pub(crate) struct LvmConfig {
    /// current: what was given; diff: of that what is not the default; full: with the defaults; default: those alone; missing: those
    /// of what was not given; list: all names; profilable, profilable-command, profilable-metadata: defaults of what a profile may
    /// hold; new: of what is new in this version
    #[arg(long = "type", alias = "typeconfig", value_name = "KIND")]
    kind: Option<Shown>,
    /// Write them to this file (LVM2's -f)
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// List the names of all settings
    #[arg(short, long, conflicts_with = "file")]
    list: bool,
    /// Look whether there are settings that nobody knows, or values of the wrong type
    #[arg(long)]
    validate: bool,
    /// Which settings: SECTION or SECTION/KEY; all where none is named
    #[arg(value_name = "SETTING")]
    names: Vec<String>,
}

/// The values of `--type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Shown {
    /// What was given.
    Current,
    /// Of that what is not the default.
    Diff,
    /// With the defaults.
    Full,
    /// The defaults alone.
    Default,
    /// Those of what was not given.
    Missing,
    /// The names of all settings.
    List,
    /// Defaults of what is new in this version.
    New,
    /// Defaults of what a profile may hold.
    Profilable,
    /// Of one for a command.
    ProfilableCommand,
    /// Of one for the metadata.
    ProfilableMetadata,
}

impl From<Shown> for Kind {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Current => Self::Current,
            Shown::Diff => Self::Diff,
            Shown::Full => Self::Full,
            Shown::Default => Self::Default,
            Shown::Missing => Self::Missing,
            Shown::List => Self::List,
            Shown::New => Self::New,
            Shown::Profilable => Self::Profilable(Profile::Any),
            Shown::ProfilableCommand => Self::Profilable(Profile::Command),
            Shown::ProfilableMetadata => Self::Profilable(Profile::Metadata),
        }
    }
}

/// The segment types of which volumes can be made.
const TYPES: &[&str] = &["linear", "striped", "zero", "error", "snapshot"];

impl SegTypes {
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        for name in TYPES {
            context.console.say(name);
        }
        Ok(Exit::Success)
    }
}

impl LvmConfig {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let other =
            [(self.validate, "validate"), (self.list, "list")].iter().find(|(given, _)| *given).copied();
        if let (Some(_), Some((_, other))) = (self.kind, other) {
            return Err(CliError::usage(
                &context.command,
                format!("Only one of --type and --{other} permitted."),
            ));
        }
        if self.validate {
            return validate(context);
        }
        let kind = if self.list { Kind::List } else { self.kind.unwrap_or(Shown::Current).into() };
        // Made before anything is looked up, as LVM2 makes it.
        let mut file = self.file.as_deref().map(create).transpose()?;
        let mut exit = Exit::Success;
        let mut all = String::new();
        let mut add = |name: Option<&str>| -> Result<bool, CliError> {
            let (directory, option) = (system_dir(true), context.options.config.as_deref());
            let text = show(directory.as_deref(), option, name, kind).map_err(|error| bad(&error))?;
            all.push_str(text.as_deref().unwrap_or_default());
            Ok(text.is_some())
        };
        if self.names.is_empty() {
            add(None)?;
        }
        for name in &self.names {
            if !add(Some(name))? {
                context.console.error(&format!("Configuration node {name} not found"));
                exit = Exit::Failed;
            }
        }
        match (&mut file, &self.file) {
            (Some(file), Some(path)) => {
                file.write_all(all.as_bytes()).map_err(|error| not(path, "write", &error))?;
            }
            _ => context.console.result(&all),
        }
        Ok(exit)
    }
}

/// Says what is wrong with the configuration, as far as that was not said when the command began.
fn validate(context: &Context) -> Result<Exit, CliError> {
    let (directory, option) = (system_dir(true), context.options.config.as_deref());
    let wrong = invalid(directory.as_deref(), option).map_err(|error| bad(&error))?;
    let said = if context.as_lvm2 {
        unknown(directory.as_deref(), option).map_err(|error| bad(&error))?
    } else {
        Vec::new()
    };
    for line in wrong.iter().filter(|line| !said.contains(line)) {
        context.console.error(line);
    }
    if wrong.is_empty() {
        context.console.say("LVM configuration valid.");
        return Ok(Exit::Success);
    }
    Err(CliError::failed("LVM configuration invalid."))
}

fn create(path: &Path) -> Result<File, CliError> {
    File::create(path).map_err(|error| not(path, "open", &error))
}

/// In LVM2's words, without the number of the error.
fn not(path: &Path, what: &str, error: &std::io::Error) -> CliError {
    let why = error.to_string();
    let why = why.split(" (os error").next().unwrap_or_default();
    CliError::failed(format!("{}: {what} failed: {why}", path.display()))
}

fn bad(error: &ConfigError) -> CliError {
    CliError { exit: Exit::BadCommandLine, message: error.to_string(), hint: None }
}
