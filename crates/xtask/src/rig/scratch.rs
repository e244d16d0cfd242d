//! The directory of one case: disks, generated scripts, LVM2's configuration. Removed with the case.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::xstate;

const LVM_CONF: &str = include_str!("../../../../rig/lvm.conf");

/// Everything that a case writes on the host, in a temporary directory.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: TempDir,
    library: PathBuf,
}

impl Scratch {
    /// Makes the directory with LVM2's configuration and the register helper in it.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("foldback-rig-{name}-"))
            .tempdir()
            .context("making a scratch directory")?;
        let lvm = dir.path().join("lvm");
        std::fs::create_dir(&lvm).with_context(|| format!("making {}", lvm.display()))?;
        std::fs::write(lvm.join("lvm.conf"), LVM_CONF).context("writing lvm.conf")?;
        let library = xstate::build(dir.path())?;
        Ok(Self { dir, library })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The library to load into the guest kernel.
    pub(super) fn library(&self) -> &Path {
        &self.library
    }

    /// A new sparse disk image of that many MiB.
    pub(crate) fn disk(&self, name: &str, mib: u64) -> Result<PathBuf> {
        let path = self.path().join(format!("{name}.img"));
        let file = File::create_new(&path).with_context(|| format!("making the image {}", path.display()))?;
        file.set_len(mib << 20).with_context(|| format!("sizing the image {}", path.display()))?;
        Ok(path)
    }
}

/// Copies an image, holes staying holes.
pub(crate) fn copy_disk(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .args(["--reflink=auto", "--sparse=always"])
        .args([from, to])
        .status()
        .context("running cp")?;
    ensure!(status.success(), "copying {} to {}: cp says {status}", from.display(), to.display());
    Ok(())
}
