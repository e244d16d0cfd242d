//! The program under test: built by cargo in release mode, or the one that `FOLDBACK_PROGRAM` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::places;

/// Package and binary, as cargo knows them.
const PACKAGE: &str = "foldback-cli";
const BINARY: &str = "foldback";

static BUILT: OnceLock<Foldback> = OnceLock::new();

/// A built program.
#[derive(Debug, Clone)]
pub(crate) struct Foldback {
    path: PathBuf,
}

impl Foldback {
    /// Builds it once, unless another one is asked for.
    pub(crate) fn build() -> Result<Self> {
        if let Some(built) = BUILT.get() {
            return Ok(built.clone());
        }
        let built = Self::build_now()?;
        Ok(BUILT.get_or_init(|| built).clone())
    }

    fn build_now() -> Result<Self> {
        if let Some(path) = std::env::var_os("FOLDBACK_PROGRAM") {
            return Ok(Self { path: PathBuf::from(path) });
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--quiet", "--package", PACKAGE, "--bin", BINARY])
            .current_dir(places::root()?)
            .status()
            .context("running cargo build for the program under test")?;
        ensure!(status.success(), "the program under test does not build: {status}");
        let path = places::target()?.join("release").join(BINARY);
        let path = path.canonicalize().with_context(|| format!("finding the built {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A command on the PVs in these images.
    pub(crate) fn command(&self, images: &[&Path], words: &[&str]) -> Command {
        let names: Vec<String> = images.iter().map(|image| image.display().to_string()).collect();
        let mut command = Command::new(&self.path);
        command.args(words).arg("--devices").arg(names.join(","));
        command
    }

    /// Runs a command that has to succeed and not warn; returns its standard output.
    pub(crate) fn run(&self, images: &[&Path], words: &[&str]) -> Result<String> {
        let output = self.command(images, words).output().context("starting foldback")?;
        let Output { status, stdout, stderr } = &output;
        let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        ensure!(status.success(), "foldback {}: {status}\n{stdout}{stderr}", words.join(" "));
        Ok(stdout.into_owned())
    }
}
