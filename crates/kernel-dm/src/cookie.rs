//! Cookies: how udev is told what to do with a device, and how it is waited for (lvm2.md 2.3).
//!
//! What must hold:
//! - A cookie is a System V semaphore with the key `0x0d4d0000 | base`, as libdevmapper makes it, so that `dmsetup
//!   udevcomplete` in udev's own rules counts it down: 1 for its owner, 1 for each event under way.
//! - The upper half of an event's number are flags for udev's rules, the lower half the base.
//! - What has no event (the kernel says so) is not waited for, and nothing is waited for without a limit.
//! - It is made before devices are suspended; while they are, only counting goes on.

use crate::choice::{Choice, Udev};
use crate::nodes::link_of;
use crate::system::Semaphore;
use foldback_dm_table::DmName;
use std::io;
use std::path::Path;
use std::time::Duration;

const MAGIC: u32 = 0x0d4d << 16;
const FLAGS_SHIFT: u32 = 16;
/// udev's rules for subsystems, disks and others do nothing.
const NO_SCAN: u32 = 0x2 | 0x4 | 0x8;
/// A link to another device of the same file system is preferred. LVM2 says it of all that a snapshot consists of.
const LOW_PRIORITY: u32 = 0x10;
/// libdevmapper makes no node if udev has not: as LVM2's default is.
const NO_FALLBACK: u32 = 0x20;
/// The event comes from who changed the device.
const PRIMARY_SOURCE: u32 = 0x40;
/// How long udev may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How many keys are tried.
const TRIES: u32 = 64;

/// Whether udev runs and may be used.
pub(crate) fn udev_runs() -> bool {
    Choice::chosen().udev != Udev::NotAsked
        && std::env::var_os("DM_DISABLE_UDEV").is_none()
        && Path::new("/run/udev/control").exists()
}

/// What udev is told of a device with that name and UUID whose table begins with a target `kind`.
pub(crate) fn flags(name: &DmName, uuid: &str, kind: Option<&str>) -> u32 {
    if !uuid.starts_with("LVM-") {
        return PRIMARY_SOURCE;
    }
    let mut flags = PRIMARY_SOURCE | NO_FALLBACK;
    if link_of(name, uuid).is_none() || kind == Some("error") {
        flags |= NO_SCAN;
    }
    // The error device stands in the place of a snapshot that is merged.
    if uuid.ends_with("-cow") || matches!(kind, Some("snapshot" | "error")) {
        flags |= LOW_PRIORITY;
    }
    flags
}

/// The cookie of one change; without udev an empty one.
#[derive(Debug)]
pub(crate) struct Cookie {
    semaphore: Option<Semaphore>,
    base: u32,
}

impl Cookie {
    /// Of nobody: nothing is waited for.
    pub(crate) const fn none() -> Self {
        Self { semaphore: None, base: 0 }
    }

    /// A fresh one.
    pub(crate) fn make() -> io::Result<Self> {
        let mut refused = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..TRIES {
            let mut random = [0; 2];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let base = u32::from(u16::from_le_bytes(random));
            if base == 0 {
                continue;
            }
            match Semaphore::make(MAGIC | base) {
                Ok(semaphore) => return Ok(Self { semaphore: Some(semaphore), base }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// The event's number that a call carries.
    pub(crate) fn event(&self, flags: u32) -> u32 {
        flags.wrapping_shl(FLAGS_SHIFT) | self.base
    }

    /// Before a call that may make an event. What cannot be counted is not waited for.
    pub(crate) fn expect(&self) {
        if let Some(semaphore) = &self.semaphore {
            semaphore.up().ok();
        }
    }

    /// After a call that has made none.
    pub(crate) fn forget(&self) {
        if let Some(semaphore) = &self.semaphore {
            semaphore.down().ok();
        }
    }

    /// Waits until udev has seen everything; `false` when it took too long.
    pub(crate) fn wait(self, limit: Duration) -> bool {
        let Some(semaphore) = self.semaphore else { return true };
        semaphore.down().is_ok() && semaphore.wait(limit).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cookie, LOW_PRIORITY, NO_FALLBACK, NO_SCAN, PRIMARY_SOURCE, flags};
    use foldback_dm_table::DmName;
    use std::time::Duration;

    /// lvm2.md 2.3.
    #[test]
    fn hidden_devices_are_not_scanned_and_snapshots_come_second() {
        let top = format!("LVM-{}", "a".repeat(64));
        let of = |name: &str, uuid: &str, kind| flags(&DmName(name.to_owned()), uuid, Some(kind));
        let plain = PRIMARY_SOURCE | NO_FALLBACK;
        assert_eq!(of("vg-root", &top, "snapshot-origin"), plain);
        assert_eq!(of("vg-snap", &top, "snapshot"), plain | LOW_PRIORITY);
        assert_eq!(of("vg-snap", &top, "error"), plain | NO_SCAN | LOW_PRIORITY);
        assert_eq!(of("vg-root-real", &format!("{top}-real"), "linear"), plain | NO_SCAN);
        assert_eq!(of("vg-snap-cow", &format!("{top}-cow"), "linear"), plain | NO_SCAN | LOW_PRIORITY);
        assert_eq!(of("luks", "CRYPT-1", "crypt"), PRIMARY_SOURCE);
    }

    #[test]
    fn a_cookie_waits_for_each_event_and_not_for_ever() {
        let short = Duration::from_millis(30);
        let cookie = Cookie::make().unwrap();
        assert_eq!(cookie.event(PRIMARY_SOURCE) >> 16, PRIMARY_SOURCE);
        assert_ne!(cookie.event(0), 0);
        cookie.expect();
        cookie.forget();
        assert!(cookie.wait(short), "nothing is under way");
        let late = Cookie::make().unwrap();
        late.expect();
        assert!(!late.wait(short));
        assert!(Cookie::none().wait(short));
        assert_eq!(Cookie::none().event(0), 0);
    }
}
