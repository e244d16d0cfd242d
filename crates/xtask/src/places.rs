//! Where things are: the workspace, the target directory, the logs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's root: two levels above this crate.
pub(crate) fn root() -> Result<PathBuf> {
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("crates/xtask"), PathBuf::from);
    let root = here.join("../..");
    root.canonicalize().with_context(|| format!("finding the workspace from {}", here.display()))
}

/// Cargo's target directory.
pub(crate) fn target() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => Ok(root()?.join("target")),
    }
}

/// Where consoles of the rigs are kept for reading.
pub(crate) fn rig_logs() -> Result<PathBuf> {
    let dir = target()?.join("rig");
    make(&dir)?;
    Ok(dir)
}

/// Makes a directory and its parents.
pub(crate) fn make(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making the directory {}", dir.display()))
}
