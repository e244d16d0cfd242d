//! `generate`: man pages and shell completions, from the command line's own definition.
//!
//! What must hold: nothing about a command is written down twice; `docs/man` is what this made (a test compares).

use super::Context;
use crate::command_line::CommandLine;
use crate::error::CliError;
use crate::exit::Exit;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The manual's section: system administration.
const SECTION: &str = "8";

/// Write man pages and shell completions into a folder
#[derive(Args, Debug)]
#[command(hide = true)]
pub(crate) struct Generate {
    /// Write completions for bash, fish and zsh instead of man pages
    #[arg(long)]
    completions: bool,
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Generate {
    pub(crate) fn run(&self, _context: &Context) -> Result<Exit, CliError> {
        let written = if self.completions { completions(&self.folder) } else { man_pages(&self.folder) };
        written
            .map_err(|error| CliError::failed(format!("writing into {}: {error}.", self.folder.display())))?;
        Ok(Exit::Success)
    }
}

fn man_pages(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let whole = CommandLine::command();
    write_page(folder, "foldback", whole.clone())?;
    for command in whole.get_subcommands().filter(|command| !command.is_hide_set()) {
        // Global options stand in the page of the program.
        let called = format!("foldback {}", command.get_name());
        let name = called.replace(' ', "-");
        write_page(folder, &name, command.clone().bin_name(called).display_name(name.clone()))?;
    }
    Ok(())
}

fn write_page(folder: &Path, name: &str, command: Command) -> io::Result<()> {
    let page = Man::new(command).title(name).section(SECTION).date("").source("Foldback").manual("Foldback");
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(folder.join(format!("{name}.{SECTION}")), text)
}

fn completions(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut CommandLine::command(), "foldback", folder).map(drop)?;
    }
    Ok(())
}
