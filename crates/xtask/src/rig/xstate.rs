//! Builds the small library that lets `linux.uml` run on hosts with large vector state (see `rig/xstate.c`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SOURCE: &str = include_str!("../../../../rig/xstate.c");

/// Compiles the library into `dir` with the system's C compiler, which Rust needs for linking anyway.
pub(super) fn build(dir: &Path) -> Result<PathBuf> {
    let (source, library) = (dir.join("xstate.c"), dir.join("xstate.so"));
    std::fs::write(&source, SOURCE).with_context(|| format!("writing {}", source.display()))?;
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .context("running cc to build the register helper of rig 2")?;
    ensure!(status.success(), "cc could not build {}: {status}", source.display());
    Ok(library)
}
