//! From arguments to a command; what clap refuses is said as LVM2 says it.
//!
//! What must hold:
//! - Under a command's own name (`lvs`, `lvcreate`) the arguments are that command's; `lvm CMD` and `foldback CMD`
//!   name it first.
//! - Unknown commands end with 2, every other wrong command line with 3, help with 0.

use crate::commands::Command;
use crate::exit::Exit;
use crate::options::Options;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::path::Path;

/// Rolls volumes back to their snapshots, and manages LVM2's volume groups without device-mapper
#[derive(Parser, Debug)]
#[command(
    name = "foldback",
    version,
    infer_long_args = true,
    max_term_width = 100,
    disable_help_subcommand = false,
    after_help = "Examples:\n  foldback demo\n  foldback --devices disk.img lvs -a\n  foldback --devices disk.img \
                  lvconvert --merge vg/snap\n\nEnvironment:\n  FOLDBACK_DEVICES  the disks, where --devices names \
                  none: FILE[,FILE]\n  FOLDBACK_IO       how disks are read and written: auto (io_uring where the \
                  kernel has it, the default), uring, blocking\n\nExit codes: 0 done, 2 no such command, 3 bad \
                  command line, 5 failed."
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command line that leads to no command: what to print, where, and how to end.
#[derive(Debug)]
pub(crate) struct NoCommand {
    pub(crate) text: String,
    pub(crate) exit: Exit,
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<CommandLine, NoCommand> {
    let arguments = with_command(arguments);
    let name = arguments.get(1).map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    CommandLine::try_parse_from(arguments).map_err(|error| in_lvm2s_words(&error, &name, &words))
}

/// Puts the command's name, taken from the program's, where clap looks for it.
fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().and_then(|name| Path::new(name).file_name()).map(OsString::from);
    let known = CommandLine::command();
    let is_command = |name: &OsString| known.get_subcommands().any(|command| *command.get_name() == **name);
    if let Some(name) = called
        && is_command(&name)
    {
        arguments.insert(1, name);
    }
    arguments
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}

/// `--size <SIZE>` as `--size`, `-n, --name` and the like as the long name.
fn option_name(shown: &str) -> String {
    shown.split_whitespace().find(|word| word.starts_with("--")).unwrap_or(shown).to_owned()
}

fn in_lvm2s_words(error: &clap::Error, command: &str, words: &[String]) -> NoCommand {
    let bad = |text: String| NoCommand { text, exit: Exit::BadCommandLine };
    let argument = context(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            NoCommand { text: error.render().to_string(), exit: Exit::Success }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => bad(format!(
            "{}  No command was given.  Try 'foldback help'.\n",
            CommandLine::command().render_help()
        )),
        ErrorKind::InvalidSubcommand => {
            let similar = context(error, ContextKind::SuggestedSubcommand);
            let similar =
                if similar.is_empty() { similar } else { format!("  Hint: did you mean '{similar}'?\n") };
            NoCommand {
                text: format!("  No such command.  Try 'foldback help'.\n{similar}"),
                exit: Exit::NoSuchCommand,
            }
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let similar = context(error, ContextKind::SuggestedArg);
            let similar =
                if similar.is_empty() { similar } else { format!("  Hint: did you mean '{similar}'?\n") };
            let told = match argument.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
                Some(letter) => format!("invalid option -- '{letter}'"),
                None => format!("unrecognized option '{argument}'"),
            };
            bad(format!("{command}: {told}\n  Error during parsing of command line.\n{similar}"))
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let value = context(error, ContextKind::InvalidValue);
            let name = option_name(&argument);
            if value.is_empty() {
                let told =
                    match short_of(command, &name).filter(|letter| words.contains(&format!("-{letter}"))) {
                        Some(letter) => format!("option requires an argument -- '{letter}'"),
                        None => format!("option '{name}' requires an argument"),
                    };
                return bad(format!("{command}: {told}\n  Error during parsing of command line.\n"));
            }
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            let why = if why.is_empty() { why } else { format!("  {why}\n") };
            let valid = context(error, ContextKind::ValidValue);
            let valid =
                if valid.is_empty() { valid } else { format!("  Hint: possible values are {valid}\n") };
            bad(format!(
                "{why}  Invalid argument for {name}: {value}\n  Error during parsing of command line.\n{valid}"
            ))
        }
        ErrorKind::ArgumentConflict => {
            let other = context(error, ContextKind::PriorArg);
            let text = if other == argument || other.is_empty() {
                format!("  Option {} may not be repeated.\n", option_name(&argument))
            } else {
                format!(
                    "  Options {} and {} cannot be given together.\n",
                    option_name(&argument),
                    option_name(&other)
                )
            };
            bad(format!("{text}  Error during parsing of command line.\n"))
        }
        _ => bad(format!(
            "{}  No command with matching syntax recognised.  Run '{command} --help' for more information.\n",
            usage(command)
        )),
    }
}

/// The letter of a command's option.
fn short_of(command: &str, long: &str) -> Option<char> {
    let known = CommandLine::command();
    let command = known.find_subcommand(command)?;
    let mut arguments = command.get_arguments().chain(known.get_arguments());
    arguments.find(|argument| argument.get_long() == long.strip_prefix("--"))?.get_short()
}

/// How the command is called.
fn usage(command: &str) -> String {
    let mut known = CommandLine::command();
    known.build();
    known.find_subcommand_mut(command).map_or_else(String::new, |command| {
        let usage = command.render_usage().to_string();
        usage.lines().flat_map(|line| ["  ", line.trim(), "\n"]).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::{CommandLine, parse};
    use crate::exit::Exit;
    use clap::CommandFactory;

    fn refused(arguments: &[&str]) -> (Exit, String) {
        let refused = parse(arguments.iter().map(Into::into).collect()).unwrap_err();
        (refused.exit, refused.text)
    }

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn an_unknown_command_ends_with_2() {
        let (exit, text) = refused(&["foldback", "nosuchcmd"]);
        assert_eq!(
            (exit, text.as_str()),
            (Exit::NoSuchCommand, "  No such command.  Try 'foldback help'.\n")
        );
    }

    #[test]
    fn a_wrong_option_ends_with_3_under_every_name() {
        let said = "lvs: unrecognized option '--wrong'\n  Error during parsing of command line.\n";
        for called in [&["foldback", "lvs"][..], &["/usr/sbin/lvs"]] {
            let arguments = [called, &["--wrong"]].concat();
            let (exit, text) = refused(&arguments);
            assert_eq!(exit, Exit::BadCommandLine);
            assert!(text.starts_with(said), "{text}");
        }
    }

    #[test]
    fn help_ends_with_0() {
        let (exit, text) = refused(&["lvs", "--help"]);
        assert_eq!(exit, Exit::Success);
        assert!(text.contains("--reportformat"), "{text}");
    }
}
