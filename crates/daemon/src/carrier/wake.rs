//! Waking a carrier that waits for its disks and clients.
//!
//! What must hold:
//! - A wake-up that comes while the carrier works is not lost: it finds it before it waits again.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A number that is neither zero nor too large in either byte order.
const ONE: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 0];

/// Counts wake-ups until they are taken.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Wakes whoever polls it.
    pub(crate) fn wake(&self) {
        // Full means that it is awake already; nothing else can go wrong with a counter that is open.
        let woken = rustix::io::write(&self.0, &ONE);
        debug_assert!(matches!(woken, Ok(_) | Err(Errno::AGAIN)), "{woken:?}");
    }

    /// Takes the wake-ups that came.
    pub(crate) fn take(&self) {
        let mut count = [0; 8];
        let taken = rustix::io::read(&self.0, &mut count);
        debug_assert!(matches!(taken, Ok(_) | Err(Errno::AGAIN)), "{taken:?}");
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
