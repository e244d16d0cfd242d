//! The system calls that have no safe way in. All `unsafe` of this crate is in these three files.

mod ioctl;
mod semaphore;
mod signals;

pub(crate) use ioctl::control;
pub(crate) use semaphore::Semaphore;
pub(crate) use signals::Blocked;
