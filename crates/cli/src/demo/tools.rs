//! The programs that the demo runs: e2fsprogs, sha256sum, and this program itself.
//!
//! What must hold:
//! - A program that is missing is named with the package that has it, before anything is done.
//! - A program that fails ends the demo with what it said.

use crate::error::CliError;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

/// Where programs are looked for beside PATH: these are not in a user's.
const MORE_PLACES: [&str; 3] = ["/sbin", "/usr/sbin", "/usr/local/sbin"];

/// What the demo needs.
pub(super) struct Tools {
    /// Everything happens here.
    pub(super) folder: PathBuf,
    mkfs: PathBuf,
    debugfs: PathBuf,
    e2fsck: PathBuf,
    sha256sum: PathBuf,
    foldback: PathBuf,
}

fn find(name: &str, package: &str) -> Result<PathBuf, CliError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(MORE_PLACES.iter().map(PathBuf::from));
    let found = places.map(|place| place.join(name)).find(|candidate| candidate.is_file());
    found.ok_or_else(|| {
        CliError::failed(format!("The demo needs {name}, which is not installed."))
            .hint(format!("on Debian and Ubuntu: apt install {package}"))
    })
}

/// How a merge was stopped.
pub(super) enum Killed {
    /// In the middle, at this line.
    At(String),
    /// It was faster.
    TooLate,
}

impl Tools {
    /// Finds everything.
    pub(super) fn new(folder: &Path) -> Result<Self, CliError> {
        let own = std::env::current_exe();
        Ok(Self {
            folder: folder.to_owned(),
            mkfs: find("mkfs.ext4", "e2fsprogs")?,
            debugfs: find("debugfs", "e2fsprogs")?,
            e2fsck: find("e2fsck", "e2fsprogs")?,
            sha256sum: find("sha256sum", "coreutils")?,
            foldback: own.map_err(|error| CliError::failed(format!("finding this program: {error}.")))?,
        })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env("FOLDBACK_DEVICES", "disk.img")
            .env("LC_ALL", "C")
            .env_remove("LVM_SYSTEM_DIR")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, program: &Path, arguments: &[&OsStr]) -> Result<Output, CliError> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = self.command(program).args(arguments).output();
        output.map_err(|error| CliError::failed(format!("running {name}: {error}.")))
    }

    /// Runs and wants success; what the program said on standard output.
    fn wanted(&self, program: &Path, arguments: &[&OsStr]) -> Result<String, CliError> {
        let output = self.run(program, arguments)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let said = text(&output.stderr);
        Err(CliError::failed(format!("{name} failed ({}):\n{}", output.status, said.trim_end())))
    }

    /// Runs this program.
    pub(super) fn foldback(&self, arguments: &[&str]) -> Result<String, CliError> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        self.wanted(&self.foldback, &arguments)
    }

    /// A file system of `size` with the files below `tree`.
    pub(super) fn make_ext4(&self, tree: &str, image: &str, size: &str) -> Result<(), CliError> {
        let arguments = ["-q", "-F", "-b", "4096", "-E", "root_owner=0:0", "-d", tree, image, size];
        self.wanted(&self.mkfs, &arguments.map(OsStr::new)).map(drop)
    }

    /// Carries out debugfs commands on an image.
    pub(super) fn edit_ext4(&self, script: &str, image: &str) -> Result<(), CliError> {
        self.wanted(&self.debugfs, &["-w", "-f", script, image].map(OsStr::new)).map(drop)
    }

    /// Copies every file of an image below `folder`.
    pub(super) fn unpack_ext4(&self, image: &str, folder: &str) -> Result<(), CliError> {
        let request = format!("rdump / {folder}");
        self.wanted(&self.debugfs, &["-R", &request, image].map(OsStr::new)).map(drop)
    }

    /// Checks an image's file system; its summary line.
    pub(super) fn check_ext4(&self, image: &str) -> Result<String, CliError> {
        let said = self.wanted(&self.e2fsck, &["-f", "-n", image].map(OsStr::new))?;
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }

    /// The checksums of files below `folder`, in a list that sha256sum reads.
    pub(super) fn checksums(&self, folder: &str, files: &[String]) -> Result<String, CliError> {
        let mut command = self.command(&self.sha256sum);
        let output = command.current_dir(self.folder.join(folder)).args(files).output();
        let output = output.map_err(|error| CliError::failed(format!("running sha256sum: {error}.")))?;
        if !output.status.success() {
            return Err(CliError::failed(format!("sha256sum failed ({}).", output.status)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The files below `folder` that are not as the list says.
    pub(super) fn differing(&self, list: &str, folder: &str) -> Result<Vec<String>, CliError> {
        let list = self.folder.join(list);
        let mut command = self.command(&self.sha256sum);
        let output = command.current_dir(self.folder.join(folder)).args(["--quiet", "-c"]).arg(list).output();
        let output = output.map_err(|error| CliError::failed(format!("running sha256sum: {error}.")))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong: Vec<String> = said
            .lines()
            .filter_map(|line| line.split_once(": FAILED"))
            .map(|(path, _)| path.to_owned())
            .collect();
        if output.status.success() == wrong.is_empty() {
            return Ok(wrong);
        }
        Err(CliError::failed(format!("sha256sum failed ({}).", output.status)))
    }

    /// Starts this program and kills it (SIGKILL) at the first line for which `now` says so; `each` hears every line.
    pub(super) fn kill_foldback_at(
        &self,
        arguments: &[&str],
        now: impl Fn(&str) -> bool,
        mut each: impl FnMut(&str),
    ) -> Result<Killed, CliError> {
        let failed = |error: std::io::Error| CliError::failed(format!("running foldback: {error}."));
        let mut command = self.command(&self.foldback);
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
        let mut at = None;
        for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
            let line = line.map_err(failed)?;
            if now(&line) {
                child.kill().map_err(failed)?;
                at = Some(line);
                break;
            }
            each(&line);
        }
        let status: ExitStatus = child.wait().map_err(failed)?;
        match at {
            Some(line) if !status.success() => Ok(Killed::At(line)),
            _ if status.success() => Ok(Killed::TooLate),
            _ => Err(CliError::failed(format!("foldback {} failed ({status}).", arguments.join(" ")))),
        }
    }
}
