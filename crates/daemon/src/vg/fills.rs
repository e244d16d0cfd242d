//! What is to become of stores that fill: LVM2's settings, and which activation said so.
//!
//! What must hold:
//! - They are those of the VG's first activation, until a later one names others in its `--config`. One that names none
//!   changes nothing: a snapshot that is held when it is full must not be lost because another LV was brought up.
//! - They hold before the first volume of the activation that names them is resumed, and for all others of the VG as well.
//! - The next daemon has them, too.

use super::{ActivateError, Setting, Vg, locked};
use crate::carrier::{Carrier, CarrierGone};
use foldback_dm_table::DeviceMapper;
use foldback_manager::config::Config;
use foldback_manager::ops::autoextend::Policy;
use foldback_user_dm::WhenFull;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Fills {
    /// `activation/snapshot_autoextend_threshold`, in per cent.
    threshold: u32,
    /// `activation/snapshot_autoextend_percent`.
    percent: u32,
    /// `foldback/hold_seconds`.
    hold_seconds: u64,
}

impl Fills {
    pub(super) fn of(config: &Config) -> Self {
        let Policy { threshold, percent } = config.snapshot_autoextend;
        Self { threshold, percent, hold_seconds: config.hold.as_secs() }
    }

    /// When and by how much stores are extended.
    pub(super) fn policy(self) -> Policy {
        Policy { threshold: self.threshold, percent: self.percent }
    }

    /// How long writes wait where that fails.
    pub(super) fn hold(self) -> Duration {
        Duration::from_secs(self.hold_seconds)
    }

    /// What becomes of a store that is full: without a threshold it is invalidated at once, as in the kernel.
    fn when_full(self) -> WhenFull {
        if self.policy().is_on() { WhenFull::Hold } else { WhenFull::Invalidate }
    }
}

impl Vg {
    /// What is to become of stores that fill.
    pub(crate) fn fills(&self) -> Fills {
        *locked(&self.fills)
    }

    /// Whether stores are extended before they are full.
    pub(crate) fn extends_stores(&self) -> bool {
        self.fills().policy().is_on()
    }

    /// Takes over what an activation of more LVs says, before any of them is brought up.
    ///
    /// # Errors
    /// Its settings cannot be read, or the carrier is gone; nothing was changed.
    pub(crate) fn follow_setting(&self, setting: &Setting) -> Result<(), ActivateError> {
        if let Some(fills) = self.ground.fills_of(setting).map_err(super::GroundError::from)? {
            self.set_fills(fills).map_err(super::ChangeError::from)?;
        }
        Ok(())
    }

    /// Sets what is to become of all stores, those that come as well.
    ///
    /// # Errors
    /// The carrier is gone.
    pub(crate) fn set_fills(&self, fills: Fills) -> Result<(), CarrierGone> {
        let when = fills.when_full();
        let choose = move |carrier: &mut Carrier| {
            carrier.dm.otherwise_when_full(when);
            for info in carrier.dm.list().unwrap_or_default() {
                // Most devices are no snapshots.
                carrier.dm.set_when_full(&info.name, when).ok();
            }
        };
        self.carrier.call(choose)?;
        *locked(&self.fills) = fills;
        Ok(())
    }
}
