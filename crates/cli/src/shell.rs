//! `lvm` without a command: commands from standard input, one a line.
//!
//! What must hold (compared with 2.03.16):
//! - Lines are split into words as a shell would; blank ones and those that begin with `#` are passed over.
//! - Each command is a process of its own, so that one that fails takes nothing along; what it came to is not remembered:
//!   the end of the input, `exit` and `quit` end with 0.

use crate::console::Console;
use crate::error::CliError;
use crate::exit::Exit;
use std::io::{IsTerminal, Write, stdin, stdout};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const PROMPT: &str = "lvm> ";

/// Whether `arguments` call for it.
pub(crate) fn is_meant(arguments: &[String]) -> bool {
    matches!(arguments, [program] if program.rsplit('/').next() == Some("lvm"))
}

/// Carries commands out until there are no more.
pub(crate) fn run(is_command: impl Fn(&str) -> bool) -> Exit {
    let console = Console::new(0, 0);
    let terminal = stdin().is_terminal();
    loop {
        if terminal {
            let mut out = stdout().lock();
            // A terminal that is gone is noticed by the next read.
            out.write_all(PROMPT.as_bytes()).and_then(|()| out.flush()).ok();
        }
        let mut line = String::new();
        match stdin().read_line(&mut line) {
            Ok(0) => {
                console.result("\n");
                return Exit::Success;
            }
            Ok(_) => {}
            Err(error) => {
                console.error(&format!("Reading commands: {error}."));
                return Exit::Failed;
            }
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(words) = shlex::split(line) else {
            console.error("A quote is not closed.");
            continue;
        };
        match words.first().map(String::as_str) {
            None => {}
            Some("exit" | "quit") => {
                console.say("Exiting.");
                return Exit::Success;
            }
            Some(command) if is_command(command) => {
                if let Err(error) = carry_out(&words, terminal) {
                    error.tell(console);
                }
            }
            Some(command) => console.error(&format!("No such command '{command}'.  Try 'help'.")),
        }
    }
}

/// `answers`: who types the commands may answer questions, too; what comes from a file are commands alone.
fn carry_out(words: &[String], answers: bool) -> Result<(), CliError> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| CliError::failed(format!("Finding this program: {error}.")))?;
    let mut command = Command::new(program);
    command.arg0("lvm").args(words).stdin(if answers { Stdio::inherit() } else { Stdio::null() });
    let done = command.status();
    done.map(drop).map_err(|error| CliError::failed(format!("Starting {}: {error}.", words.join(" "))))
}
