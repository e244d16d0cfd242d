//! Loop devices on image files, and the real LVM2 that is shown those and nothing else.
//!
//! What must hold:
//! - LVM2 sees the lab's own devices only: its filter, its locks and its configuration are in the lab's folder.
//! - Whatever a test does, its loop devices are detached and its folder is removed.
//! - What cannot run here is skipped loudly, by name; in continuous integration that is a failure.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What LVM2 says in any case when it runs without device-mapper and without backups.
const EXPECTED_NOISE: [&str; 2] = [
    "WARNING: Activation disabled. No device-mapper interaction will be attempted.",
    "WARNING: This metadata update is NOT backed up.",
];
/// Another test may take the free loop device between the asking and the taking.
const ATTACH_TRIES: u32 = 20;

/// An image file and the loop device on it.
#[derive(Debug)]
pub struct Disk {
    pub image: PathBuf,
    pub device: String,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let status = Command::new("losetup").arg("-d").arg(&self.device).status();
        let detached = status.is_ok_and(|status| status.success());
        assert!(detached || std::thread::panicking(), "{} stays", self.device);
    }
}

impl Disk {
    pub fn new(image: PathBuf, mib: u64) -> Result<Self, String> {
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(mib << 20).map_err(|error| error.to_string())?;
        let mut said = String::new();
        for _ in 0..ATTACH_TRIES {
            let output = Command::new("losetup").args(["-f", "--show"]).arg(&image).output();
            let output = output.map_err(|error| format!("losetup does not start: {error}"))?;
            if output.status.success() {
                let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                return Ok(Self { image, device });
            }
            String::from_utf8_lossy(&output.stderr).trim().clone_into(&mut said);
        }
        Err(format!("no loop device: {said}"))
    }
}

/// What a command of LVM2 said.
#[derive(Debug)]
pub struct Answer {
    pub ok: bool,
    pub stdout: String,
    /// Without the lines that come in any case.
    pub stderr: String,
}

/// Says that a test does not run here: past the capture of a passing test's output, and in the file that
/// `FOLDBACK_SKIPS` names, where it is counted. In continuous integration (`CI`, neither empty nor `false`) it fails.
fn skip(test: &str, reason: &str) {
    let strict = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!strict, "{test} must not be skipped in CI: {reason}");
    let line = format!("SKIP {test}: {}\n", reason.trim().replace('\n', " "));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("FOLDBACK_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Disks, and LVM2 on them.
#[derive(Debug)]
pub struct Lab {
    pub disks: Vec<Disk>,
    folder: PathBuf,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.disks.clear();
        let removed = std::fs::remove_dir_all(&self.folder);
        assert!(removed.is_ok() || std::thread::panicking(), "{} stays", self.folder.display());
    }
}

impl Lab {
    /// A lab with disks of these sizes in MiB; `None` where it cannot be, which was said.
    pub fn new(test: &str, mib: &[u64]) -> Option<Self> {
        match Self::build(test, mib) {
            Ok(lab) => Some(lab),
            Err(reason) => {
                skip(test, &reason);
                None
            }
        }
    }

    fn build(test: &str, mib: &[u64]) -> Result<Self, String> {
        let root = Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0);
        if !root {
            return Err("loop devices and LVM2 need root".to_owned());
        }
        let version = Command::new("lvm").arg("version").output();
        version.map_err(|error| format!("package lvm2 is missing ({error})"))?;
        let folder = std::env::temp_dir().join(format!("foldback-lab-{}-{test}", std::process::id()));
        std::fs::create_dir_all(folder.join("lock")).map_err(|error| error.to_string())?;
        let mut lab = Self { disks: Vec::new(), folder };
        for (index, &mib) in mib.iter().enumerate() {
            lab.disks.push(Disk::new(lab.folder.join(format!("pv{index}.img")), mib)?);
        }
        lab.configure(None);
        Ok(lab)
    }

    /// Writes LVM2's configuration, for a host with this system ID.
    pub fn configure(&self, system_id: Option<&str>) {
        let filter: Vec<String> = self.disks.iter().map(|disk| format!("\"a|^{}$|\"", disk.device)).collect();
        let filter = filter.join(", ");
        let source = if system_id.is_some() { "lvmlocal" } else { "none" };
        let text = format!(
            "devices {{ dir=\"{}/dev\" filter=[{filter}, \"r|.*|\"] use_devicesfile=0 scan=[\"/dev\"] hints=\"none\" }}
             activation {{ udev_sync=0 udev_rules=0 verify_udev_operations=0 }}
             global {{ use_lvmpolld=0 event_activation=0 locking_dir=\"{}/lock\" system_id_source=\"{source}\" }}
             local {{ system_id=\"{}\" }}
             backup {{ backup=0 archive=0 }}",
            // Volumes of the same name that this machine has in /dev are nothing to the lab.
            self.folder.display(),
            self.folder.display(),
            system_id.unwrap_or_default(),
        );
        std::fs::write(self.folder.join("lvm.conf"), text).unwrap();
    }

    /// Takes the last disk away. The filter must not name it afterwards: its device may soon be another lab's.
    pub fn lose_last_disk(&mut self) {
        let gone = self.disks.pop();
        self.configure(None);
        drop(gone);
    }

    /// Runs a command, `pvN` standing for the N-th disk's device and `@NAME` for a file of the lab.
    pub fn ask(&self, command: &str) -> Answer {
        let words = command.split_whitespace().map(|word| self.word(word));
        let output = Command::new("lvm")
            .args(words)
            .args(["--driverloaded", "n"])
            .env("LVM_SYSTEM_DIR", &self.folder)
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().map(str::trim).filter(|line| !EXPECTED_NOISE.contains(line));
        Answer {
            ok: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: lines.collect::<Vec<_>>().join("\n"),
        }
    }

    fn word(&self, word: &str) -> String {
        let number = word.strip_prefix("pv").and_then(|number| number.parse::<usize>().ok());
        match (number, word.strip_prefix('@')) {
            (Some(number), _) => self.disks[number].device.clone(),
            (None, Some(name)) => self.file(name).display().to_string(),
            (None, None) => word.to_owned(),
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs commands that must succeed, one a line.
    pub fn run(&self, commands: &str) {
        for command in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let answer = self.ask(command);
            assert!(answer.ok, "{command}: {answer:?}");
        }
    }

    /// Runs a command that must succeed and complain of nothing.
    pub fn quietly(&self, command: &str) -> String {
        let answer = self.ask(command);
        assert!(answer.ok && answer.stderr.is_empty(), "{command}: {answer:?}");
        answer.stdout
    }

    /// A report as rows of fields, sizes in sectors.
    pub fn report(&self, command: &str, fields: &str) -> Vec<Vec<String>> {
        let options = "--noheadings --separator | --units s --nosuffix --foreign";
        let answer = self.ask(&format!("{command} {options} -o {fields}"));
        assert!(answer.ok, "{command}: {answer:?}");
        let row = |line: &str| line.trim_start().split('|').map(str::to_owned).collect();
        answer.stdout.lines().map(row).collect()
    }
}
