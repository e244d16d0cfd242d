//! Rig 2: a real Linux kernel with device-mapper, as an ordinary process (User-Mode Linux).
//!
//! Holds: a guest sees the host's own files as its root, so it gets a scratch directory and disks and is asked
//! to write nowhere else; what it says on its console is kept in a file; a guest that does not come to its end
//! in time is ended together with every process it started, and that is an error, not a result.

mod boot;
mod console;
mod packages;
mod running;
mod scratch;
mod xstate;

pub(crate) use boot::{Guest, WORDS};
pub(crate) use console::Console;
pub(crate) use packages::{find, missing, missing_for_tests};
pub(crate) use running::{Ended, Running};
pub(crate) use scratch::{Scratch, copy_disk};
