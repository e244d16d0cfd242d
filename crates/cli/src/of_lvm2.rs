//! What LVM2 has and this program does not: commands, options, types of volumes. It is said, and how to call LVM2's own program.
//!
//! What must hold:
//! - What stands here ends with the code of a command that could not be carried out (5), before anything was looked at; a
//!   command that only LVM2 has is no command here (2). What nobody has is a wrong command line (3), and does not stand here.
//! - Nothing stands here that the program has (a test looks).

use foldback_lvm2_format::vg::lvm2_knows;
use std::path::Path;

/// Commands that stay with LVM2: it works on the same VGs, at the same time.
const COMMANDS: &[&str] = &[
    "devtypes",
    "formats",
    "fullreport",
    "lastlog",
    "lvmchange",
    "lvmdevices",
    "lvmdiskscan",
    "lvmpolld",
    "pvchange",
    "pvck",
    "pvmove",
    "pvresize",
    "systemid",
    "tags",
    "vgcfgbackup",
    "vgcfgrestore",
    "vgck",
    "vgconvert",
    "vgexport",
    "vgextend",
    "vgimport",
    "vgimportclone",
    "vgimportdevices",
    "vgmerge",
    "vgreduce",
    "vgrename",
    "vgsplit",
];
/// Options of 2.03.16 by command: COMMAND [LETTER/]OPTION ...
const OPTIONS: &str = include_str!("of_lvm2.txt");
/// Where LVM2's program lies.
const PROGRAMS: &[&str] = &["/usr/sbin/lvm", "/sbin/lvm"];

/// Whether that command is LVM2's alone.
pub(crate) fn has_command(name: &str) -> bool {
    COMMANDS.contains(&name)
}

/// Whether LVM2's command has an option, `-x` or `--word`, that this program's does not have.
pub(crate) fn has_option(command: &str, option: &str) -> bool {
    let line = OPTIONS.lines().find_map(|line| line.strip_prefix(command)?.strip_prefix(' '));
    let known = line
        .into_iter()
        .flat_map(str::split_whitespace)
        .map(|option| option.split_once('/').map_or((None, option), |(letter, word)| (Some(letter), word)));
    match option.strip_prefix("--") {
        // LVM2 takes every beginning of a word that is no other's.
        Some(word) if known.clone().any(|(_, known)| known == word) => true,
        Some(word) => !word.is_empty() && known.filter(|(_, known)| known.starts_with(word)).count() == 1,
        None => option
            .strip_prefix('-')
            .is_some_and(|given| known.filter_map(|(letter, _)| letter).any(|letter| letter == given)),
    }
}

/// Whether LVM2 makes volumes of that type.
pub(crate) fn has_type(name: &str) -> bool {
    lvm2_knows(name)
}

/// What to say of something in a command line that is for LVM2's own program, and how to call that.
pub(crate) fn told(what: &str, command: &str, arguments: &[&str]) -> String {
    let mut call = vec![program(), command.to_owned()];
    call.extend(arguments.iter().map(|word| quoted(word)));
    format!(
        "  {what} is for LVM2's own {command}; nothing was changed.\n  Hint: it works on the same VGs, and is called: {}\n",
        call.join(" ")
    )
}

/// LVM2's program, by its path where that is not a link to this one.
fn program() -> String {
    let ours = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    let is_lvm2s = |path: &&&str| std::fs::canonicalize(Path::new(path)).is_ok_and(|path| Some(path) != ours);
    PROGRAMS.iter().find(is_lvm2s).map_or_else(|| "lvm".to_owned(), ToString::to_string)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, OPTIONS, has_option, quoted, told};
    use crate::command_line::CommandLine;
    use clap::CommandFactory;

    #[test]
    fn nothing_stands_here_that_is_there() {
        let mut known = CommandLine::command();
        known.build();
        for name in COMMANDS {
            assert!(known.find_subcommand(name).is_none(), "{name}");
        }
        for line in OPTIONS.lines() {
            let (name, options) = line.split_once(' ').unwrap();
            let command = known.find_subcommand(name).unwrap_or_else(|| panic!("{name}"));
            for option in options.split(' ') {
                let (letter, word) = option.split_once('/').map_or((None, option), |(a, b)| (Some(a), b));
                let has = command.get_arguments().any(|argument| {
                    let aliases = argument.get_all_aliases().unwrap_or_default();
                    let short = argument.get_short().map(String::from);
                    argument.get_long() == Some(word)
                        || aliases.contains(&word)
                        || (letter.is_some() && short.as_deref() == letter)
                });
                assert!(!has, "{name} has --{word}");
            }
        }
    }

    #[test]
    fn options_are_told_from_what_nobody_has() {
        for (command, option, is) in [
            ("lvconvert", "--splitcache", true),
            ("lvconvert", "--splitc", true),
            ("lvconvert", "--cache", true),
            ("lvconvert", "--cachem", false),
            ("lvconvert", "-m", true),
            ("lvconvert", "-l", false),
            ("lvs", "--splitcache", false),
            ("lvchange", "--syncaction", true),
            ("lvs", "--", false),
            ("nosuch", "--thin", false),
        ] {
            assert_eq!(has_option(command, option), is, "{command} {option}");
        }
    }

    #[test]
    fn the_call_can_be_pasted() {
        let said = told("--thin", "lvcreate", &["--thin", "-n", "it's", "vg"]);
        assert!(said.starts_with("  --thin is for LVM2's own lvcreate; nothing was changed.\n"), "{said}");
        assert!(said.ends_with("lvm lvcreate --thin -n 'it'\\''s' vg\n"), "{said}");
        assert_eq!(quoted(""), "''");
    }
}
