//! Which device is meant: by its name, or by its number.
//!
//! What must hold:
//! - A number means one device for as long as it lives, whatever it is called, and no device after it. Who has a device
//!   open goes by that, as with the kernel's minor: a rename passes between two requests.

use crate::mapped::DeviceId;
use crate::run::UserDm;
use foldback_device::Disks;
use foldback_dm_table::DmName;

/// A device, as whoever asks for it knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which<'a> {
    /// What is called so now.
    Name(&'a DmName),
    /// What was given this number, whatever it is called.
    Number(DeviceId),
}

impl<'a> From<&'a DmName> for Which<'a> {
    fn from(name: &'a DmName) -> Self {
        Self::Name(name)
    }
}

impl From<DeviceId> for Which<'_> {
    fn from(number: DeviceId) -> Self {
        Self::Number(number)
    }
}

impl<D: Disks> UserDm<D> {
    /// The number of a device, which it keeps as long as it is there.
    pub fn number(&self, name: &DmName) -> Option<DeviceId> {
        self.names().device(&name.0)
    }

    /// `None` where there is no such device, or no more.
    pub(crate) fn which<'a>(&self, device: impl Into<Which<'a>>) -> Option<DeviceId> {
        match device.into() {
            Which::Name(name) => self.number(name),
            Which::Number(number) => self.devices.contains_key(&number).then_some(number),
        }
    }
}
