//! `-M`, `--major`, `--minor`: the device number that a volume is to have whenever it is active.
//!
//! What must hold (compared with 2.03.16): the major number is device-mapper's, whatever is asked for, where the kernel has it.

use crate::console::Console;
use crate::error::CliError;
use crate::options::YesNo;
use clap::Args;
use foldback_lvm2_format::vg::{Lv, LvStatus};
use foldback_manager::ops::lv_change::Setting;

/// The options.
#[derive(Args, Default, Debug)]
pub(in crate::commands) struct Numbers {
    /// Keep the device number that --minor gives
    #[arg(short = 'M', long, value_name = "y|n")]
    persistent: Option<YesNo>,
    /// Major number; the kernel's own one is taken instead
    #[arg(long, value_name = "NUMBER", requires = "minor")]
    major: Option<i32>,
    /// Minor number
    #[arg(long, value_name = "NUMBER", requires = "persistent")]
    minor: Option<i32>,
}

impl Numbers {
    /// Says what is not taken as given.
    pub(in crate::commands) fn check(&self, console: Console) -> Result<(), CliError> {
        if self.persistent == Some(YesNo::Yes) && self.minor.is_none() {
            let message = "Please specify minor number with --minor when using -My.";
            return Err(CliError::failed(message));
        }
        if let (Some(asked), Some(kernels)) = (self.major, kernels_major())
            && asked != kernels
        {
            console.warn(&format!(
                "Ignoring supplied major number {asked} - kernel assigns major numbers dynamically. Using major number {kernels} instead."
            ));
        }
        Ok(())
    }

    /// Whether anything is asked for.
    pub(in crate::commands) fn wants(&self) -> bool {
        self.persistent.is_some()
    }

    /// What is to become of an LV's number.
    pub(in crate::commands) fn wish(&self) -> Setting<(i32, i32)> {
        match self.persistent {
            None => Setting::Kept,
            Some(YesNo::Yes) => kernels_major().or(self.major).zip(self.minor).into(),
            Some(YesNo::No) => Setting::Unset,
        }
    }

    /// Sets it.
    pub(super) fn set(&self, lv: &mut Lv) {
        if self.persistent != Some(YesNo::Yes) {
            return;
        }
        lv.set_status(LvStatus::FixedMinor, true);
        lv.minor = self.minor;
        lv.major = kernels_major().or(self.major);
    }
}

/// Device-mapper's major number.
fn kernels_major() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/devices").ok()?;
    let mut numbers = text.lines().filter_map(|line| line.trim().split_once(' '));
    numbers.find(|(_, name)| *name == "device-mapper").and_then(|(number, _)| number.parse().ok())
}
