//! The commands: one file each. A command reads its arguments, asks the libraries, and says what came of it.
//!
//! What must hold:
//! - Every command is listed here, and here only.
//! - With `--test` nothing is written.

mod lvs;
mod pvs;
mod vgs;

use crate::command_line::parse;
use crate::console::Console;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::Options;
use clap::Subcommand;
use std::ffi::OsString;

/// Every command.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Lvs(lvs::Lvs),
    Pvs(pvs::Pvs),
    Vgs(vgs::Vgs),
}

/// What every command gets beside its own arguments.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) console: Console,
    /// The command's name.
    pub(crate) command: String,
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Lvs(_) => "lvs",
            Self::Pvs(_) => "pvs",
            Self::Vgs(_) => "vgs",
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match self {
            Self::Lvs(arguments) => arguments.run(context),
            Self::Pvs(arguments) => arguments.run(context),
            Self::Vgs(arguments) => arguments.run(context),
        }
    }
}

/// Runs the program.
pub(crate) fn run(arguments: Vec<OsString>) -> Exit {
    let line = match parse(arguments) {
        Ok(line) => line,
        Err(nothing) => {
            let console = Console::new(0, 0);
            match nothing.exit {
                Exit::Success => console.result(&nothing.text),
                _ => console.raw_error(&nothing.text),
            }
            return nothing.exit;
        }
    };
    let console = Console::new(line.options.quiet, line.options.verbose);
    let command = line.command.name().to_owned();
    let context = Context { options: line.options, console, command };
    if context.options.test {
        console.error("TEST MODE: Metadata will NOT be updated and volumes will not be (de)activated.");
    }
    line.command.run(&context).unwrap_or_else(|error| {
        error.tell(console);
        error.exit
    })
}
