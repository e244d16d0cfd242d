//! LVM2's on-disk formats: labels, PV headers, metadata areas with their rings, and the text of a VG.
//!
//! What must hold:
//! - Bytes from a disk are hostile. Every decoder is bounded and checked, and says what it refused and where.
//! - What is not understood is kept: unknown keys, segment types, flags and historical LVs survive being written back.
//! - What we write, LVM2 2.03 reads without a warning.
//!
//! It performs no I/O and knows no clock and no randomness: times, host names and UUIDs are arguments.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

pub mod check;
pub mod crc;
pub mod extents;
pub mod fuzz;
pub mod label;
pub mod mda_header;
pub mod metadata;
pub mod pv_header;
pub mod ring;
pub mod text;
pub mod vg;
