//! `segtypes` and `lvmconfig`: what the program can do, and what it was told.
//!
//! What must hold: settings are shown as lvm.conf writes them, from where they are taken; what was not set is not shown, unless the defaults are asked for.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::system_dir;
use clap::{Args, ValueEnum};
use foldback_manager::config::{Kind, show};

/// List the segment types that can be made and served
#[derive(Args, Debug)]
pub(crate) struct SegTypes {}

/// Show settings that were given, in lvm.conf's syntax
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lvmconfig\n  lvmconfig activation/polling_interval")]
pub(crate) struct LvmConfig {
    /// current: what was given; diff: of that what is not the default; full: with the defaults; default: those alone
    #[arg(long = "type", alias = "typeconfig", value_name = "KIND", default_value = "current")]
    kind: Shown,
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
}

impl From<Shown> for Kind {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Current => Self::Current,
            Shown::Diff => Self::Diff,
            Shown::Full => Self::Full,
            Shown::Default => Self::Default,
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
        let directory = system_dir(true);
        let bad = |error: foldback_manager::config::ConfigError| CliError {
            exit: Exit::BadCommandLine,
            message: error.to_string(),
            hint: None,
        };
        let option = context.options.config.as_deref();
        let mut exit = Exit::Success;
        if self.names.is_empty() {
            context.console.result(
                &show(directory.as_deref(), option, None, self.kind.into()).map_err(bad)?.unwrap_or_default(),
            );
        }
        for name in &self.names {
            if let Some(text) =
                show(directory.as_deref(), option, Some(name), self.kind.into()).map_err(bad)?
            {
                context.console.result(&text);
            } else {
                context.console.error(&format!("Configuration node {name} not found"));
                exit = Exit::Failed;
            }
        }
        Ok(exit)
    }
}
