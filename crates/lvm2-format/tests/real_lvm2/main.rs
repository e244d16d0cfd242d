//! The real LVM2 against this crate, both ways, on loop devices and without device-mapper (lvm2.md 1.3 to 1.9).
//!
//! Goal: people's disks are read as LVM2 reads them, and what we write LVM2 reads without a warning.
//! Method: LVM2 makes VGs of many shapes; after each of its commands every label, header and text is decoded, encoded
//! back byte for byte, checked, and compared with LVM2's own reports. Then this crate writes, and LVM2 reads and goes on.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test may panic, that is how it fails; and this one is about real disks"
)]

mod agreement;
mod lab;
mod ours;
mod reading;
mod theirs;
