//! The PVs of this host, found as LVM2 finds them: for commands under LVM2's names that name no disks.
//!
//! What must hold:
//! - lvm.conf, `--config`, `LVM_SYSTEM_DIR` and `DM_DEV_DIR` say where is looked, and what is left out.
//! - The disks of volumes that the daemon serves are among them: nothing that is active is out of sight.

use crate::console::Console;
use crate::error::CliError;
use crate::live::{is_same, vgs};
use crate::options::Options;
use crate::session::{config, system_dir};
use foldback_daemon::RunDir;
use foldback_manager::devices::DeviceSettings;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Where nodes are, where that is not `/dev`.
pub(crate) fn dev_dir() -> Option<PathBuf> {
    std::env::var_os("DM_DEV_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// What lvm.conf and the options say of devices.
fn settings(options: &Options) -> Result<DeviceSettings, CliError> {
    let mut options = options.clone();
    if let Some(name) = &options.ignored.devicesfile {
        let path = system_dir(true).unwrap_or_default().join("devices").join(name);
        if !name.is_empty() && !path.exists() {
            return Err(CliError::failed(format!("Devices file not found: {}", path.display())));
        }
        let used = u8::from(!name.is_empty());
        let more = options.config.unwrap_or_default();
        options.config =
            Some(format!("devices/use_devicesfile={used} devices/devicesfile=\"{name}\" {more}"));
    }
    let mut settings = config(&options, &[])?.devices;
    if let Some(dir) = dev_dir() {
        settings.scan = vec![dir.clone()];
        settings.dir = dir;
    }
    Ok(settings)
}

/// The PVs' paths.
pub(crate) fn scanned(options: &Options) -> Result<Vec<String>, CliError> {
    let settings = settings(options)?;
    if settings.ignores_filters() {
        let told = "Please remove the lvm.conf filter, it is ignored with the devices file.";
        Console::new(options.quiet, options.verbose).error(told);
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

/// Refuses a device that is named to become a PV, and that a scan would not find then.
pub(crate) fn refuse_rejected(options: &Options, path: &str) -> Result<(), CliError> {
    let is_block = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device());
    if !options.scans() || !is_block {
        return Ok(());
    }
    match settings(options)?.rejects(Path::new(path), RunDir::of_user().path()) {
        None => Ok(()),
        Some(why) => Err(CliError::failed(format!("Cannot use {path}: {why}"))),
    }
}
