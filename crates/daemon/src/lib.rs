//! The process that stays: it serves the live volumes of any number of VGs, and does the jobs that they need.
//!
//! What must hold (architecture.md, "Who touches what"; docs/decisions/0005-daemon.md):
//! - Volumes are served by one thread per VG, which waits for its disks and its clients and for nothing else.
//! - Metadata is changed by commands and by the keepers, under LVM2's locks; never by the thread that serves.
//! - Whatever ends the process loses nothing that was acknowledged.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

#[macro_use]
mod said;

pub mod api;
mod carrier;
mod events;
mod exposition;
mod front;
mod own_waits;
mod rundir;
mod served;
mod state;
mod taking_up;
mod vg;

pub use rundir::RunDir;
pub use served::{Daemon, DaemonError};
pub use vg::{LvStatus, MergeStatus, Setting, StoreWait, Terms};
