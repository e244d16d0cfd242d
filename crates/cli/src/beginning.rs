//! What lvm.conf and the options say of the whole command, before it begins.
//!
//! What must hold (compared with 2.03.16):
//! - A profile that is not there, or may not set what it sets, ends the command.
//! - Settings that nobody knows, and those that have no effect here, are told under LVM2's names; what cannot be read at all
//!   is said where it is needed.

use crate::console::Console;
use crate::error::CliError;
use crate::options::{Options, YesNo};
use crate::reporting::is_time_format;
use crate::session::system_dir;
use foldback_kernel_dm::{Choice, Udev};
use foldback_manager::config::{Config, DEFAULT_SYSTEM_DIR, not_honoured, unknown, with_profile};
use std::path::PathBuf;

/// Commands of which LVM2 notes a profile in the metadata.
const STORES_PROFILE: &[&str] = &["lvchange", "lvconvert", "lvcreate", "vgchange", "vgcreate"];

/// Looks at the settings of a command; its options with those of a profile.
pub(crate) fn prepare(options: Options, console: Console, command: &str) -> Result<Options, CliError> {
    let options = with_profiles(options, command)?;
    let directory = system_dir(options.as_lvm2);
    let given = options.config.as_deref();
    let config = Config::read(directory.as_deref(), given);
    if options.as_lvm2 {
        for line in unknown(directory.as_deref(), given).unwrap_or_default() {
            console.error(&line);
        }
        for line in not_honoured(directory.as_deref(), given).unwrap_or_default() {
            console.warn(&line);
        }
    }
    let format = config.as_ref().ok().and_then(|config| config.report.time_format.as_deref());
    if let Some(format) = format.filter(|format| !is_time_format(format)) {
        let told = format!("Invalid time format \"{format}\" supplied.");
        if options.as_lvm2 {
            return Err(CliError::failed(format!("{told}\nUpdated config file invalid. Aborting.")));
        }
        console.warn(&told);
    }
    for warning in config.iter().flat_map(|config| &config.warnings) {
        console.warn(warning);
    }
    let told = |of: fn(&Config) -> bool| config.as_ref().ok().is_none_or(of);
    let driver = options.ignored.driverloaded != Some(YesNo::No) && told(|config| config.activation);
    if !driver {
        console.warn("Activation disabled. No device-mapper interaction will be attempted.");
    }
    let udev = match (told(|config| config.udev_rules), told(|config| config.udev_sync)) {
        (false, _) => Udev::NotAsked,
        (true, false) => Udev::NotWaited,
        (true, true) if options.ignored.noudevsync => Udev::NotWaited,
        (true, true) => Udev::Waited,
    };
    Choice { driver, udev }.choose();
    Ok(options)
}

fn with_profiles(options: Options, command: &str) -> Result<Options, CliError> {
    let stored = options.ignored.commandprofile.is_none() && STORES_PROFILE.contains(&command);
    let Some(name) = options.ignored.commandprofile.as_ref().or(options.ignored.profile.as_ref()) else {
        return Ok(options);
    };
    let directory = system_dir(true).unwrap_or_else(|| PathBuf::from(DEFAULT_SYSTEM_DIR));
    let config = with_profile(&directory, options.config.as_deref(), name, stored);
    let config = config.map_err(|told| CliError::failed(told.join("\n")))?;
    Ok(Options { config, ..options })
}
