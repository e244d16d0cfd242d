//! The state of the process while devices are suspended (lvm2.md trap 14).
//!
//! What must hold:
//! - Every page is in memory and stays there: one that had to be read could lie on a device that is suspended.
//! - Nobody ends the process meanwhile, but who kills it.
//! - Memory the kernel needs for us is not got by writing to devices (PR_SET_IO_FLUSHER).
//! - Afterwards all is as before: a process that had locked its memory keeps it locked.

use crate::system::Blocked;
use rustix::mm::{MlockAllFlags, mlockall, munlockall};
use std::io;

/// As long as this lives the process is ready to hold devices suspended.
#[derive(Debug)]
pub(crate) struct Locked {
    _blocked: Blocked,
    unlock: bool,
    flusher: bool,
}

impl Locked {
    /// Locks memory and holds signals back.
    pub(crate) fn enter() -> io::Result<Self> {
        let unlock = !has_locked_memory();
        mlockall(MlockAllFlags::CURRENT)?;
        let mut locked = Self { _blocked: Blocked::all()?, unlock, flusher: false };
        // A kernel before 5.6, or a process that may not: what is left is the rest.
        if rustix::process::is_io_flusher() == Ok(false) {
            locked.flusher = rustix::process::configure_io_flusher_behavior(true).is_ok();
        }
        Ok(locked)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.flusher {
            rustix::process::configure_io_flusher_behavior(false).ok();
        }
        if self.unlock {
            munlockall().ok();
        }
    }
}

fn has_locked_memory() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    locked.is_some_and(|line| line.split_ascii_whitespace().next() != Some("0"))
}

#[cfg(test)]
mod tests {
    use super::{Locked, has_locked_memory};

    #[test]
    fn memory_is_locked_for_as_long_as_devices_are_suspended() {
        let before = has_locked_memory();
        match Locked::enter() {
            Ok(locked) => {
                assert!(has_locked_memory());
                drop(locked);
                assert_eq!(has_locked_memory(), before);
            }
            // Whoever has no right to more sees the limit's error, and keeps what it had.
            Err(error) => {
                let limit = [Some(libc::ENOMEM), Some(libc::EPERM), Some(libc::EAGAIN)];
                assert!(limit.contains(&error.raw_os_error()), "{error}");
                assert_eq!(has_locked_memory(), before);
            }
        }
    }
}
