//! From arguments to a command; what clap refuses is said as LVM2 says it.
//!
//! What must hold:
//! - Under a command's own name (`lvs`, `lvcreate`) the arguments are that command's; `lvm CMD` and `foldback CMD`
//!   name it first.
//! - Unknown commands end with 2, every other wrong command line with 3, help with 0.

use crate::commands::Command;
use crate::exit::Exit;
use crate::of_lvm2;
use crate::options::Options;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};
use foldback_kernel_dm::KernelDm;
use std::ffi::OsString;

/// Rolls volumes back to their snapshots, and manages LVM2's volume groups without device-mapper
#[derive(Parser, Debug)]
#[command(
    name = "foldback",
    version,
    infer_long_args = true,
    term_width = 80,
    disable_help_subcommand = false,
    after_help = "Examples:\n  foldback demo\n  foldback --devices disk.img lvs -a\n  foldback --devices disk.img \
                  lvconvert --merge vg/snap\n\nEnvironment:\n  FOLDBACK_DEVICES  the disks, where --devices names \
                  none: FILE[,FILE]\n  FOLDBACK_IO       how disks are read and written: auto (io_uring where\n\
                  \u{20}                   the kernel has it, the default), uring, blocking\n\nExit codes: 0 done, 2 \
                  no such command, 3 bad command line, 5 failed."
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Whether there is such a command under LVM2's name.
pub(crate) fn is_command(word: &str) -> bool {
    matches!(word, "help" | "version")
        || CommandLine::command()
            .get_subcommands()
            .any(|command| command.get_name() == word || command.get_all_aliases().any(|alias| alias == word))
}

/// A command line that leads to no command: what to print, where, and how to end.
#[derive(Debug)]
pub(crate) struct NoCommand {
    pub(crate) text: String,
    pub(crate) exit: Exit,
}

/// How the program was called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Called {
    /// The program's name.
    pub(crate) program: String,
    /// It is the name of a command.
    pub(crate) as_command: bool,
    /// `lvm` is the first argument: what is behind it is meant as LVM2 would.
    lvm_first: bool,
}

impl Called {
    /// By the first argument.
    pub(crate) fn by(arguments: &[String]) -> Self {
        let path = arguments.first().map(String::as_str).unwrap_or_default();
        let program = path.rsplit('/').next().unwrap_or_default().to_owned();
        let as_command = CommandLine::command().find_subcommand(&program).is_some();
        let lvm_first = !as_command && program != LVM && arguments.get(1).is_some_and(|word| word == LVM);
        let program = if lvm_first { LVM.to_owned() } else { program };
        Self { program, as_command, lvm_first }
    }

    /// By the name of one of LVM2's programs: then nothing may differ from LVM2.
    pub(crate) fn as_lvm2(&self) -> bool {
        self.as_command || self.program == LVM
    }

    /// What one calls before a command's name.
    fn plain_name(&self) -> &'static str {
        if self.program == LVM { LVM } else { "foldback" }
    }

    /// The definition, with the name before the commands' names. As with LVM2 an option takes the word behind it, whatever that is.
    fn definition(&self) -> clap::Command {
        let whatever = |argument: clap::Arg| {
            let always = argument.get_num_args().is_none_or(|range| range.min_values() > 0);
            let takes = argument.get_action().takes_values() && !argument.is_positional() && always;
            if takes { argument.allow_hyphen_values(true) } else { argument }
        };
        let known = CommandLine::command().bin_name(self.plain_name());
        let names: Vec<String> = known.get_subcommands().map(|known| known.get_name().to_owned()).collect();
        names.into_iter().fold(known.mut_args(whatever), |known, name| {
            known.mut_subcommand(name, |command| command.mut_args(whatever))
        })
    }

    /// What clap says, for whoever called a command by its own name: the program has no other then.
    fn as_called(&self, text: &str) -> String {
        if !self.as_command {
            return text.to_owned();
        }
        let (whole, own) = (format!("Usage: foldback {}", self.program), format!("Usage: {}", self.program));
        text.replacen(&whole, &own, 1)
    }
}

/// LVM2's own program, which takes the commands' names as its first argument.
const LVM: &str = "lvm";

/// Reads the arguments, the program's name first.
pub(crate) fn parse(mut arguments: Vec<OsString>) -> Result<CommandLine, NoCommand> {
    let mut words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let called = Called::by(&words);
    if called.lvm_first {
        arguments.remove(1);
        words.remove(1);
    }
    if wants_version(&words) {
        return Err(NoCommand { text: version(called.as_lvm2()), exit: Exit::Success });
    }
    if LVMCONFIG.contains(&command_of(&called, &words).as_str()) {
        arguments = with_file(arguments);
    }
    let read = called.definition().try_get_matches_from(with_command(&called, arguments));
    read.and_then(|matches| CommandLine::from_arg_matches(&matches))
        .map_err(|error| in_lvm2s_words(&error, &called, &words))
}

/// Puts the command's name, taken from the program's, where clap looks for it.
fn with_command(called: &Called, mut arguments: Vec<OsString>) -> Vec<OsString> {
    if called.as_command {
        arguments.insert(1, OsString::from(&called.program));
    }
    arguments
}

/// The names of the one command of LVM2's whose `-f` is no `--force`.
const LVMCONFIG: &[&str] = &["lvmconfig", "config", "dumpconfig"];

/// Its `-f` by its long name: everywhere else that letter is taken.
fn with_file(arguments: Vec<OsString>) -> Vec<OsString> {
    let told = |word: OsString| match word.to_str().and_then(|word| word.strip_prefix("-f")) {
        Some("") => OsString::from("--file"),
        Some(file) => OsString::from(format!("--file={file}")),
        None => word,
    };
    arguments.into_iter().map(told).collect()
}

/// `--version` anywhere, as LVM2 has it, or the command `version`.
fn wants_version(words: &[String]) -> bool {
    let options = words.iter().skip(1).take_while(|word| *word != "--");
    words.get(1).is_some_and(|word| word == "version") || options.into_iter().any(|word| word == "--version")
}

/// The LVM2 whose behaviour ours is, as it tells its version, and the version of its library.
const LVM_VERSION: &str = "2.03.16(2) (2022-05-18)";
const LIBRARY_VERSION: &str = "1.02.185 (2022-05-18)";

/// In LVM2's shape for those who read that: which LVM2 is stood in for, which device-mapper there is, and who we are.
fn version(as_lvm2: bool) -> String {
    let version = concat!("foldback ", env!("CARGO_PKG_VERSION"));
    if !as_lvm2 {
        return format!("{version}\n");
    }
    let driver = KernelDm::is_there().then(|| KernelDm::open(&[]).ok()).flatten();
    let driver = driver.map_or_else(String::new, |mapper| {
        let [major, minor, patch] = mapper.version();
        format!("  Driver version:  {major}.{minor}.{patch}\n")
    });
    format!(
        "  LVM version:     {LVM_VERSION}\n  Library version: {LIBRARY_VERSION}\n{driver}  Provided by:     {version}\n"
    )
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

/// The command that was meant; without one, the first word.
fn command_of(called: &Called, words: &[String]) -> String {
    if called.as_command {
        return called.program.clone();
    }
    let known = CommandLine::command();
    let mut words = words.iter().skip(1);
    let first = words.clone().next().cloned().unwrap_or_default();
    words.find(|word| known.find_subcommand(word).is_some()).cloned().unwrap_or(first)
}

/// Commands that have commands of their own show theirs.
fn no_subcommand(error: &clap::Error, called: &Called, words: &[String]) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && words.len() > 1 {
        return called.as_called(&error.render().to_string());
    }
    format!("{}  No command was given.  Try 'foldback help'.\n", CommandLine::command().render_help())
}

/// What can be done where there is no such command; nothing where nobody knows.
fn instead_of_command(error: &clap::Error) -> String {
    let asked = context(error, ContextKind::InvalidSubcommand);
    if of_lvm2::has_command(&asked) {
        return format!("  Hint: {asked} is LVM2's alone; its own lvm does it, on the same VGs\n");
    }
    match context(error, ContextKind::SuggestedSubcommand) {
        similar if similar.is_empty() => similar,
        similar => format!("  Hint: did you mean '{similar}'?\n"),
    }
}

fn in_lvm2s_words(error: &clap::Error, called: &Called, words: &[String]) -> NoCommand {
    let command = command_of(called, words);
    let command = command.as_str();
    let bad = |text: String| NoCommand { text, exit: Exit::BadCommandLine };
    let argument = context(error, ContextKind::InvalidArg);
    if let Some(what) = of_lvm2_alone(error, command) {
        return lvm2s_own(&what, command, called, words);
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            NoCommand { text: called.as_called(&error.render().to_string()), exit: Exit::Success }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            bad(no_subcommand(error, called, words))
        }
        ErrorKind::InvalidSubcommand => {
            let hint = instead_of_command(error);
            NoCommand {
                text: format!("  No such command.  Try '{} help'.\n{hint}", called.plain_name()),
                exit: Exit::NoSuchCommand,
            }
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            bad(unknown_option(command, &argument, &context(error, ContextKind::SuggestedArg)))
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
                let name = option_name(&argument);
                let letter = short_of(command, &name).map(|letter| format!("-{letter}/")).unwrap_or_default();
                format!("  Option {letter}{name} may not be repeated.\n")
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
            usage(called, command)
        )),
    }
}

/// An option that nobody has; with one that is like it.
fn unknown_option(command: &str, argument: &str, similar: &str) -> String {
    let told = match argument.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
        Some(letter) => format!("invalid option -- '{letter}'"),
        None => format!("unrecognized option '{argument}'"),
    };
    // Another kind of merge is another operation.
    let hint = match similar {
        similar if similar.is_empty() || argument.starts_with("--merge") => String::new(),
        similar => format!("  Hint: did you mean '{similar}'?\n"),
    };
    format!("{command}: {told}\n  Error during parsing of command line.\n{hint}")
}

/// The option, or the type, that LVM2's command has and ours does not.
fn of_lvm2_alone(error: &clap::Error, command: &str) -> Option<String> {
    let argument = context(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => of_lvm2::has_option(command, &argument).then_some(argument),
        ErrorKind::InvalidValue if option_name(&argument) == "--type" => {
            let value = context(error, ContextKind::InvalidValue);
            of_lvm2::has_type(&value).then(|| format!("--type {value}"))
        }
        _ => None,
    }
}

/// A command line that only LVM2's own program can carry out.
fn lvm2s_own(what: &str, command: &str, called: &Called, words: &[String]) -> NoCommand {
    let mut rest: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    if let Some(at) = rest.iter().position(|word| *word == command).filter(|_| !called.as_command) {
        rest.remove(at);
    }
    NoCommand { text: of_lvm2::told(what, command, &rest), exit: Exit::Failed }
}

/// The letter of a command's option.
fn short_of(command: &str, long: &str) -> Option<char> {
    if LVMCONFIG.contains(&command) && long == "--file" {
        return Some('f');
    }
    let known = CommandLine::command();
    let command = known.find_subcommand(command)?;
    let mut arguments = command.get_arguments().chain(known.get_arguments());
    arguments.find(|argument| argument.get_long() == long.strip_prefix("--"))?.get_short()
}

/// How the command is called.
fn usage(called: &Called, command: &str) -> String {
    let mut known = called.definition();
    known.build();
    known.find_subcommand_mut(command).map_or_else(String::new, |command| {
        let usage = called.as_called(&command.render_usage().to_string());
        usage.lines().flat_map(|line| ["  ", line.trim(), "\n"]).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::{Called, CommandLine, parse, usage, version};
    use crate::exit::Exit;
    use clap::CommandFactory;

    fn refused(arguments: &[&str]) -> (Exit, String) {
        let refused = parse(arguments.iter().map(Into::into).collect()).unwrap_err();
        (refused.exit, refused.text)
    }

    #[test]
    fn what_only_lvm2_has_is_said_to_be_lvm2s_and_is_not_ours() {
        let (exit, text) = refused(&["lvm", "pvmove", "vg"]);
        assert_eq!(exit, Exit::NoSuchCommand);
        assert!(text.contains("Hint: pvmove is LVM2's alone"), "{text}");
        assert!(!refused(&["lvm", "vgfoo"]).1.contains("LVM2's alone"));
        for (called, what, call) in [
            (&["foldback", "lvconvert", "--uncache", "vg/a"][..], "--uncache", "lvconvert --uncache vg/a"),
            (&["lvcreate", "--type", "raid1", "-m1", "vg"], "-m", "lvcreate --type raid1 -m1 vg"),
            (&["lvm", "lvextend", "-i2", "vg/a"], "-i", "lvextend -i2 vg/a"),
            (&["lvcreate", "-L1m", "--type", "vdo", "vg"], "--type vdo", "lvcreate -L1m --type vdo vg"),
        ] {
            let (exit, text) = refused(called);
            assert_eq!(exit, Exit::Failed, "{text}");
            assert!(text.starts_with(&format!("  {what} is for LVM2's own ")), "{text}");
            assert!(text.ends_with(&format!("lvm {call}\n")), "{text}");
        }
        assert_eq!(refused(&["lvcreate", "--type", "nosuch", "vg"]).0, Exit::BadCommandLine);
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
    fn lvm_before_a_command_is_lvm() {
        let (exit, text) = refused(&["foldback", "lvm", "nosuchcmd"]);
        assert_eq!((exit, text.as_str()), (Exit::NoSuchCommand, "  No such command.  Try 'lvm help'.\n"));
        let called =
            |words: &[&str]| Called::by(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(called(&["foldback", "lvm", "lvs"]).as_lvm2() && called(&["/sbin/lvm", "lvs"]).as_lvm2());
        assert!(!called(&["foldback", "lvs", "lvm"]).as_lvm2());
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

    fn names() -> Vec<String> {
        CommandLine::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
    }

    #[test]
    fn usage_names_the_program_as_it_was_called() {
        for name in names() {
            let ways = [
                (vec![format!("/sbin/{name}")], name.clone()),
                (vec!["lvm".to_owned(), name.clone()], format!("lvm {name}")),
                (vec!["foldback".to_owned(), name.clone()], format!("foldback {name}")),
            ];
            for (called, shown) in ways {
                let words: Vec<&str> = called.iter().map(String::as_str).chain(["--help"]).collect();
                let (_, text) = refused(&words);
                let line = text.lines().find(|line| line.starts_with("Usage: ")).unwrap();
                assert!(format!("{line} ").starts_with(&format!("Usage: {shown} ")), "{called:?}: {line}");
                let bare = format!("{} ", usage(&Called::by(&called), &name).lines().next().unwrap());
                assert!(bare.starts_with(&format!("  Usage: {shown} ")), "{called:?}: {bare}");
            }
        }
    }

    #[test]
    fn no_help_is_wider_than_80_columns() {
        let mut all: Vec<Vec<String>> = vec![vec!["foldback".to_owned()]];
        let known = CommandLine::command();
        for command in known.get_subcommands() {
            let name = command.get_name().to_owned();
            all.push(vec!["foldback".to_owned(), name.clone()]);
            all.push(vec![name.clone()]);
            let below = command.get_subcommands().map(|below| below.get_name().to_owned());
            all.extend(below.map(|below| vec!["foldback".to_owned(), name.clone(), below]));
        }
        for called in &all {
            for help in ["-h", "--help"] {
                let words: Vec<&str> = called.iter().map(String::as_str).chain([help]).collect();
                let (exit, text) = refused(&words);
                assert_eq!(exit, Exit::Success, "{words:?}: {text}");
                for line in text.lines() {
                    assert!(line.chars().count() <= 80, "{words:?}: {line:?}");
                }
            }
        }
    }

    #[test]
    fn versions_are_lvm2s_in_shape_under_its_names() {
        let plain = format!("foldback {}\n", env!("CARGO_PKG_VERSION"));
        let shaped = version(true);
        assert!(shaped.starts_with(
            "  LVM version:     2.03.16(2) (2022-05-18)\n  Library version: 1.02.185 (2022-05-18)\n"
        ));
        assert!(shaped.ends_with(&format!("  Provided by:     {plain}")), "{shaped}");
        for (called, text) in [
            (&["foldback", "--version"][..], &plain),
            (&["foldback", "-V"], &plain),
            (&["foldback", "version"], &plain),
            (&["foldback", "lvs", "--version"], &plain),
            (&["lvs", "--version"], &shaped),
            (&["lvcreate", "--version"], &shaped),
            (&["lvm", "version"], &shaped),
            (&["lvm", "lvs", "--version"], &shaped),
        ] {
            assert_eq!(refused(called), (Exit::Success, text.clone()), "{called:?}");
        }
    }

    #[test]
    fn help_ends_with_0() {
        let (exit, text) = refused(&["lvs", "--help"]);
        assert_eq!(exit, Exit::Success);
        assert!(text.contains("--reportformat"), "{text}");
    }
}
