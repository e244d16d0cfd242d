//! The emulator: qemu-system-x86_64 of this machine, or Debian's package unpacked below the target directory.
//!
//! Holds: no package of this machine is installed, removed or changed for it. Debian's `qemu-utils` from a newer release, which the
//! tests use, and `qemu-system-x86` of this one cannot be installed together.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{places, rig};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// What dpkg knows to be installed.
const STATUS: &str = "/var/lib/dpkg/status";

/// An emulator that starts.
#[derive(Debug, Clone)]
pub(super) struct Emulator {
    program: PathBuf,
    /// Where it was unpacked, when it is not this machine's own.
    unpacked: Option<PathBuf>,
}

impl Emulator {
    /// A command that starts it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(root) = &self.unpacked {
            command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
            for firmware in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(root.join(firmware));
            }
        }
        command
    }

    fn starts(&self) -> bool {
        self.command().arg("--version").output().is_ok_and(|output| output.status.success())
    }
}

/// Finds it, or unpacks it. The inner error says why it cannot be had.
pub(super) fn find() -> Result<Result<Emulator, String>> {
    if let Some(program) = rig::find(PROGRAM) {
        return Ok(Ok(Emulator { program, unpacked: None }));
    }
    let dir = places::target()?.join("machine").join("emulator");
    let root = dir.join("root");
    let emulator = Emulator { program: root.join("usr/bin").join(PROGRAM), unpacked: Some(root.clone()) };
    if emulator.starts() {
        return Ok(Ok(emulator));
    }
    if rig::find("apt-get").is_none() {
        return Ok(Err(format!("no {PROGRAM} here, and no apt-get to get {PACKAGE} with")));
    }
    if let Err(error) = unpack(&dir, &root) {
        return Ok(Err(format!("no {PROGRAM} here, and {PACKAGE} cannot be had: {error:#}")));
    }
    ensure!(emulator.starts(), "the unpacked {} does not start", emulator.program.display());
    Ok(Ok(emulator))
}

/// Downloads the package with what it depends on and this machine lacks, and unpacks all of it.
fn unpack(dir: &Path, root: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    places::make(root)?;
    let installed = std::fs::read_to_string(STATUS).with_context(|| format!("reading {STATUS}"))?;
    let status = dir.join("status");
    std::fs::write(&status, without_emulator(&installed)).context("writing the list of packages")?;
    let setting = format!("Dir::State::status={}", status.display());
    let plan = output(
        Command::new("apt-get")
            .args(["install", "--simulate", "--no-install-recommends", "-o", &setting])
            .arg(PACKAGE),
    )?;
    output(Command::new("apt-get").arg("download").args(to_install(&plan)).current_dir(dir))?;
    for entry in std::fs::read_dir(dir).context("listing the downloaded packages")? {
        let path = entry.context("listing the downloaded packages")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            output(Command::new("dpkg").arg("-x").args([&path, root]))?;
            std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// The list of packages without the emulator's own, whose versions may exclude each other.
fn without_emulator(installed: &str) -> String {
    let stanzas = installed.split_inclusive("\n\n");
    stanzas.filter(|stanza| !stanza.starts_with("Package: qemu-")).collect()
}

/// The packages that apt would install: `Inst NAME (VERSION ...)`.
fn to_install(plan: &str) -> Vec<&str> {
    plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next()).collect()
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{to_install, without_emulator};

    #[test]
    fn the_emulators_own_packages_are_left_out_and_nothing_else() {
        let list = "Package: a\nStatus: ok\n\nPackage: qemu-utils\nStatus: ok\n\nPackage: b\nDepends: qemu-utils\n\n";
        assert_eq!(without_emulator(list), "Package: a\nStatus: ok\n\nPackage: b\nDepends: qemu-utils\n\n");
    }

    #[test]
    fn what_would_be_installed_is_read_from_aptitude_like_lines() {
        let plan = "Reading package lists...\nInst libfdt1 (1.6.1-4+b1 Debian:12 [amd64])\nInst seabios (1 x)\nConf seabios (1 x)\n";
        assert_eq!(to_install(plan), ["libfdt1", "seabios"]);
    }
}
