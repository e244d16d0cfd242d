//! The PVs of this host, found as LVM2 finds them: for commands under LVM2's names that name no disks.
//!
//! What must hold:
//! - lvm.conf, `--config`, `LVM_SYSTEM_DIR` and `DM_DEV_DIR` say where is looked, and what is left out.
//! - The disks of volumes that the daemon serves are among them: nothing that is active is out of sight.

use crate::error::CliError;
use crate::live::{is_same, vgs};
use crate::options::Options;
use crate::session::config;
use foldback_daemon::RunDir;
use std::path::{Path, PathBuf};

/// Where nodes are, where that is not `/dev`.
pub(crate) fn dev_dir() -> Option<PathBuf> {
    std::env::var_os("DM_DEV_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// The PVs' paths.
pub(crate) fn scanned(options: &Options) -> Result<Vec<String>, CliError> {
    let mut settings = config(options, &[])?.devices;
    if let Some(dir) = dev_dir() {
        settings.scan = vec![dir.clone()];
        settings.dir = dir;
    }
    let found = settings.find(RunDir::of_user().path());
    let mut paths: Vec<String> = found.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    for served in vgs()?.into_iter().flat_map(|vg| vg.devices) {
        let known = paths.iter().any(|path| is_same(path, &served));
        if !known && Path::new(&served).exists() {
            paths.push(served);
        }
    }
    Ok(paths)
}
