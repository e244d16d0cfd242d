//! The verbs of device-mapper carried out by the kernel: ioctls, device nodes and links, udev's cookies, transactions.
//!
//! What must hold:
//! - Knows no VG and not our engine: names, UUIDs and tables come in with the verbs; a header is 512 bytes at a place.
//! - While anything is suspended memory is locked, and nothing is allocated, logged, forked or opened (`section`).
//! - A failed change leaves the old state or the new one, says which, and leaves no device suspended.
//! - No kernel is given a table on which kernels crash (`refuse`).
//! - `unsafe` is in the three files of `system` and nowhere else.
//!
//! Decisions: docs/decisions/0007-kernel-dm.md. Facts of the ioctl: dm-snapshot.md section 6; lvm2.md 2 and 7.
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::host_endian_bytes
    )
)]

mod choice;
mod control;
mod cookie;
mod error;
mod headers;
mod kernel_dm;
mod locked;
mod message;
mod names;
mod nodes;
mod query;
mod ready;
mod refuse;
mod section;
mod specs;
mod system;
mod transact;
mod verbs;

#[cfg(test)]
mod tests;

pub use choice::{Choice, Udev};
pub use error::{KernelDmError, KernelDmErrorKind};
pub use kernel_dm::KernelDm;
pub use message::MessageError;
