//! One machine: a layer above the system, its disks, and boots of it, each with a script.
//!
//! Holds: processors are emulated, since a host's /dev/kvm may open and never run a guest; disks keep what was written from one boot to
//! the next; what the kernel and the script said is kept in files below the target directory.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::tree::System;
use crate::places;
use crate::program::Foldback;
use crate::rig::{Console, Ended, Running, WORDS};

const PRELUDE: &str = include_str!("../../../../rig/machine/prelude.sh");
/// Only a machine that hangs takes longer: the slowest case takes a minute and a half on two idle processors.
const LIMIT: Duration = Duration::from_mins(9);
/// What is emulated fast: a processor with all that can be emulated takes five times as long.
const CPU: &str = "qemu64,-svm";
/// The check of the timer fails where the emulator gets too little time, and what panics is to end.
const PARAMETERS: &str = "rw console=ttyS0 quiet mitigations=off no_timer_check nowatchdog panic=-1";
/// The root file system is vda, the run's own files are vdb.
const FIRST_DISK: u8 = b'c';

/// A machine that can be booted.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    system: &'a System,
    name: &'static str,
    scratch: TempDir,
    root: PathBuf,
    disks: Vec<PathBuf>,
    boots: u32,
    entry: Entry,
}

/// What the machine boots.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The initial file system, on the host.
    pub(super) initrd: PathBuf,
    /// The kernel's parameter `root`.
    pub(super) root: &'static str,
}

impl<'a> Machine<'a> {
    /// A machine that was never booted; `name` names its logs.
    pub(super) fn new(system: &'a System, name: &'static str) -> Result<Self> {
        let scratch =
            tempfile::Builder::new().prefix("foldback-machine-").tempdir().context("making a directory")?;
        let root = scratch.path().join("root.qcow2");
        let mut layer = Command::new("qemu-img");
        layer.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&system.root).arg(&root);
        succeeds(&mut layer)?;
        let entry = Entry { initrd: system.initrd.clone(), root: "/dev/disk/by-label/rig-root" };
        Ok(Self { system, name, scratch, root, disks: Vec::new(), boots: 0, entry })
    }

    /// What the next boots begin with, instead of the system's own.
    pub(super) fn enter(&mut self, entry: Entry) {
        self.entry = entry;
    }

    /// Copies a file from a disk that has an ext4 file system to the machine's scratch directory.
    pub(super) fn take(&self, disk: usize, file: &str) -> Result<PathBuf> {
        let image = self.disks.get(disk).with_context(|| format!("there is no disk {disk}"))?;
        let to = self.scratch.path().join(file);
        let mut dump = Command::new("debugfs");
        dump.arg("-R").arg(format!("dump /{file} {}", to.display())).arg(image);
        succeeds(&mut dump)?;
        // debugfs succeeds also where there is no such file.
        ensure!(to.metadata().is_ok_and(|found| found.len() > 0), "disk {disk} has no file {file}");
        Ok(to)
    }

    /// Adds an empty disk: the first is `/dev/vdc` in the machine.
    pub(super) fn disk(&mut self, mib: u64) -> Result<()> {
        let path = self.scratch.path().join(format!("disk{}.img", self.disks.len()));
        let file = File::create_new(&path).with_context(|| format!("making {}", path.display()))?;
        file.set_len(mib << 20).with_context(|| format!("sizing {}", path.display()))?;
        self.disks.push(path);
        Ok(())
    }

    /// Boots, runs the script, and waits until the machine is off or wants to boot again, or asks for its power to be cut.
    pub(super) fn boot(&mut self, script: &str) -> Result<Console> {
        self.boots += 1;
        let log = |kind: &str| -> Result<PathBuf> {
            Ok(places::rig_logs()?.join(format!("machine-{}-{}.{kind}", self.name, self.boots)))
        };
        let (console, said) = (log("console")?, log("said")?);
        let ask = self.scratch.path().join("ask");
        let files = self.files(script)?;
        let mut running = Running::start(self.command(&files, [&console, &said, &ask])?)?;
        let ended = running.wait(LIMIT, Some(&ask))?;
        drop(running);
        let text =
            String::from_utf8_lossy(&std::fs::read(&said).context("reading what was said")?).into_owned();
        if ended == Ended::Late {
            let (minutes, told) = (LIMIT.as_secs() / 60, said.display());
            bail!(
                "the machine did not end within {minutes} minutes and was stopped; see {told} and {}",
                console.display()
            );
        }
        let read = if ended == Ended::Asked { Console::cut(&text) } else { Console::parse(&text) };
        read.with_context(|| format!("see {} and {}", said.display(), console.display()))
    }

    /// The run's own disk: the script, the program, the judge (this program), and the units.
    fn files(&self, script: &str) -> Result<PathBuf> {
        let dir = self.scratch.path().join("files");
        if dir.exists() {
            std::fs::remove_dir_all(&dir).context("emptying the run's files")?;
        }
        places::make(&dir)?;
        let mut text = format!("BOOT={}\n", self.boots);
        for (at, letter) in (FIRST_DISK..=b'z').take(self.disks.len()).enumerate() {
            writeln!(text, "DISK{at}=/dev/vd{}", char::from(letter)).context("naming a disk")?;
        }
        std::fs::write(dir.join("script"), format!("{text}{WORDS}\n{PRELUDE}\n{script}\nfinish\n"))
            .context("writing the script")?;
        let program = Foldback::build()?;
        // What the debugger reads is four fifths of it, and an initrd has room for less.
        succeeds(Command::new("strip").arg("-o").arg(dir.join("foldback")).arg(program.path()))?;
        let tool = std::env::current_exe().context("finding this program's own file")?;
        std::fs::copy(&tool, dir.join("xtask")).context("copying the judge")?;
        let dist = places::root()?.join("dist");
        succeeds(Command::new("cp").arg("-r").arg(dist.join("systemd/system")).arg(dir.join("units")))?;
        succeeds(Command::new("cp").arg("-r").arg(dist.join("initramfs-tools")).arg(&dir))?;
        let image = self.scratch.path().join("files.img");
        std::fs::remove_file(&image).ok();
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-O", "^has_journal", "-d"]).arg(&dir).arg(&image).arg("400M");
        succeeds(&mut mkfs)?;
        Ok(image)
    }

    /// The emulator; its serial ports are the kernel's console, what the script says, and what it asks for.
    fn command(&self, files: &Path, ports: [&Path; 3]) -> Result<Command> {
        let mut command = self.system.emulator.command();
        command.args(["-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "2", "-m", "1G", "-nodefaults"]);
        command.args(["-no-user-config", "-display", "none", "-no-reboot", "-append"]);
        command.arg(format!("root={} {PARAMETERS}", self.entry.root));
        command.arg("-kernel").arg(&self.system.kernel).arg("-initrd").arg(&self.entry.initrd);
        for log in ports {
            File::create(log).with_context(|| format!("making {}", log.display()))?;
            command.arg("-serial").arg(format!("file:{}", log.display()));
        }
        attach(&mut command, "root", &self.root, "format=qcow2,cache=unsafe");
        attach(&mut command, "rig", files, "format=raw,readonly=on");
        for (at, disk) in self.disks.iter().enumerate() {
            attach(&mut command, &format!("disk{at}"), disk, "format=raw,cache=writeback,discard=unmap");
        }
        let errors = File::options().append(true).open(ports[0]).context("sharing the console")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Ok(command)
    }
}

/// Adds a disk; the name is its serial number, too.
fn attach(command: &mut Command, name: &str, image: &Path, options: &str) {
    command.arg("-drive").arg(format!("file={},if=none,id={name},{options}", image.display()));
    command.arg("-device").arg(format!("virtio-blk-pci,drive={name},serial={name}"));
}

fn succeeds(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
