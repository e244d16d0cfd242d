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
        Ok(Self { system, name, scratch, root, disks: Vec::new(), boots: 0 })
    }

    /// Adds an empty disk: the first is `/dev/vdc` in the machine.
    pub(super) fn disk(&mut self, mib: u64) -> Result<()> {
        let path = self.scratch.path().join(format!("disk{}.img", self.disks.len()));
        let file = File::create_new(&path).with_context(|| format!("making {}", path.display()))?;
        file.set_len(mib << 20).with_context(|| format!("sizing {}", path.display()))?;
        self.disks.push(path);
        Ok(())
    }

    /// Boots, runs the script, and waits until the machine is off or wants to boot again.
    pub(super) fn boot(&mut self, script: &str) -> Result<Console> {
        self.boots += 1;
        let log = |kind: &str| -> Result<PathBuf> {
            Ok(places::rig_logs()?.join(format!("machine-{}-{}.{kind}", self.name, self.boots)))
        };
        let (console, said) = (log("console")?, log("said")?);
        let files = self.files(script)?;
        let mut running = Running::start(self.command(&files, &console, &said)?)?;
        let ended = running.wait(LIMIT, None)?;
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
        Console::parse(&text).with_context(|| format!("see {} and {}", said.display(), console.display()))
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
        std::fs::copy(program.path(), dir.join("foldback")).context("copying the program")?;
        let tool = std::env::current_exe().context("finding this program's own file")?;
        std::fs::copy(&tool, dir.join("xtask")).context("copying the judge")?;
        let units = places::root()?.join("dist/systemd/system");
        succeeds(Command::new("cp").arg("-r").arg(&units).arg(dir.join("units")))?;
        let image = self.scratch.path().join("files.img");
        std::fs::remove_file(&image).ok();
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-O", "^has_journal", "-d"]).arg(&dir).arg(&image).arg("400M");
        succeeds(&mut mkfs)?;
        Ok(image)
    }

    fn command(&self, files: &Path, console: &Path, said: &Path) -> Result<Command> {
        let mut command = self.system.emulator.command();
        command.args(["-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "2", "-m", "1G", "-nodefaults"]);
        command.args(["-no-user-config", "-display", "none", "-no-reboot", "-append"]);
        // The check of the timer fails where the emulator gets too little time, and what panics is to end.
        command.arg("root=/dev/disk/by-label/rig-root rw console=ttyS0 quiet mitigations=off no_timer_check nowatchdog panic=-1");
        command.arg("-kernel").arg(&self.system.kernel).arg("-initrd").arg(&self.system.initrd);
        for log in [console, said] {
            File::create(log).with_context(|| format!("making {}", log.display()))?;
            command.arg("-serial").arg(format!("file:{}", log.display()));
        }
        attach(&mut command, "root", &self.root, "format=qcow2,cache=unsafe");
        attach(&mut command, "rig", files, "format=raw,readonly=on");
        for (at, disk) in self.disks.iter().enumerate() {
            attach(&mut command, &format!("disk{at}"), disk, "format=raw,cache=writeback,discard=unmap");
        }
        let errors = File::options().append(true).open(console).context("sharing the console")?;
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
