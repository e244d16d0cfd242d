//! One boot of the guest kernel: a generated init script, disks, a time limit, the console in a file.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::console::Console;
use super::running::{Ended, Running};
use super::scratch::Scratch;
use crate::places;

const PRELUDE: &str = include_str!("../../../../rig/prelude.sh");
/// What every script of a guest can say.
pub(crate) const WORDS: &str = include_str!("../../../../rig/words.sh");
/// The guest kernel knows ubda to ubdp.
const DISKS_MAX: usize = 16;
const MEMORY_MIB: u32 = 512;

/// A guest that is about to be booted.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    scratch: &'a Scratch,
    name: String,
    limit: Duration,
    disks: Vec<PathBuf>,
    variables: String,
    memory_mib: u32,
}

impl<'a> Guest<'a> {
    /// A guest without disks; `name` names its console file.
    pub(crate) fn new(scratch: &'a Scratch, name: &str, limit: Duration) -> Self {
        let (disks, variables) = (Vec::new(), String::new());
        Self { scratch, name: name.to_owned(), limit, disks, variables, memory_mib: MEMORY_MIB }
    }

    /// Adds a disk and returns the name that it has in the guest.
    pub(crate) fn disk(&mut self, image: &Path) -> Result<String> {
        ensure!(self.disks.len() < DISKS_MAX, "a guest takes at most {DISKS_MAX} disks");
        let name = device(self.disks.len())?;
        self.disks.push(image.to_path_buf());
        Ok(format!("/dev/{name}"))
    }

    /// Sets a shell variable for the script. Line breaks are kept, so it may hold a table.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        writeln!(self.variables, "{name}='{}'", value.replace('\'', r"'\''")).ok();
        self
    }

    /// Gives the guest another amount of memory than the usual one.
    pub(crate) fn memory(&mut self, mib: u32) -> &mut Self {
        self.memory_mib = mib;
        self
    }

    /// Boots, runs the script to its end, and reads what it said.
    pub(crate) fn run(&self, script: &str) -> Result<Console> {
        let (text, _) = self.boot(script, None)?;
        Console::parse(&text).with_context(|| self.whose())
    }

    /// The same, but the script may ask for the kernel's end: once `ask` is there, which holds a number of milliseconds, all
    /// of the guest is killed after them. Whether it was, besides what it said until then.
    pub(crate) fn run_or_kill(&self, script: &str, ask: &Path) -> Result<(Console, bool)> {
        let (text, killed) = self.boot(script, Some(ask))?;
        let console = if killed { Console::cut(&text) } else { Console::parse(&text) };
        Ok((console.with_context(|| self.whose())?, killed))
    }

    fn boot(&self, script: &str, ask: Option<&Path>) -> Result<(String, bool)> {
        let init = self.write_init(script)?;
        let log = self.log()?;
        let console = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut running =
            Running::start(self.command(&init, console)?).context("Debian package user-mode-linux")?;
        let ended = running.wait(self.limit, ask)?;
        drop(running);
        let text = String::from_utf8_lossy(&std::fs::read(&log).context("reading the console")?).into_owned();
        if ended == Ended::Late {
            let seconds = self.limit.as_secs();
            bail!("the guest did not end within {seconds} s and was stopped; see {}", log.display());
        }
        Ok((text, ended == Ended::Asked))
    }

    fn log(&self) -> Result<PathBuf> {
        Ok(places::rig_logs()?.join(format!("{}.console", self.name)))
    }

    fn whose(&self) -> String {
        format!("guest {}, console in {}.console of the rig's logs", self.name, self.name)
    }

    fn write_init(&self, script: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(format!("{}.init", self.name));
        let tool = std::env::current_exe().context("finding this program's own file")?;
        let text = format!(
            "#!/bin/sh\nSCRATCH='{}'\nXTASK='{}'\nLIMIT={}\n{}\n{WORDS}\n{PRELUDE}\n{script}\nfinish\n",
            self.scratch.path().display(),
            tool.display(),
            self.limit.as_secs(),
            self.variables,
        );
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .context("marking the script")?;
        Ok(path)
    }

    fn command(&self, init: &Path, console: File) -> Result<Command> {
        let errors = console.try_clone().context("sharing the console file")?;
        let state = self.scratch.path().join("uml");
        let mut command = Command::new("linux.uml");
        command
            .env("LD_PRELOAD", self.scratch.library())
            .arg(format!("mem={}M", self.memory_mib))
            .args(["rootfstype=hostfs", "rootflags=/", "rw", "quiet", "con=null", "con0=null,fd:1"])
            .arg(format!("init={}", init.display()))
            .arg(format!("uml_dir={}/", state.display()));
        for (at, image) in self.disks.iter().enumerate() {
            command.arg(format!("{}={}", device(at)?, image.display()));
        }
        command.stdin(Stdio::null()).stdout(console).stderr(errors);
        Ok(command)
    }
}

fn device(at: usize) -> Result<String> {
    let letter = u32::try_from(at).ok().and_then(|at| char::from_u32(u32::from(b'a') + at));
    Ok(format!("ubd{}", letter.context("naming a disk")?))
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn disks_are_lettered_as_the_guest_kernel_does() {
        assert_eq!(device(0).unwrap(), "ubda");
        assert_eq!(device(15).unwrap(), "ubdp");
    }
}
