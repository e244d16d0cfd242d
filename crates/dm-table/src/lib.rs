//! What device-mapper is told, as types: target lines, tables, status lines, the verbs, and the transaction made of them.
//!
//! What must hold:
//! - Every table that can be built can be written as the kernel's text and read back unchanged.
//! - A target of a kind that is not ours is kept as text ([`Target::Other`]), never dropped.
//! - Nothing here knows who executes a verb: our engine (`user-dm`) or the kernel (`kernel-dm`).
//!
//! Source: dm-snapshot.md 1.7, 1.8 and 6; lvm2.md 2.2.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

mod check;
mod status;
mod table;
mod text;
mod verbs;

pub use check::TableError;
pub use status::{SnapshotStatus, StatusError, TargetStatus};
pub use table::{DeviceRef, Line, Persistence, SnapshotParams, StripeArea, Table, Target};
pub use verbs::{DeviceMapper, DmName, HeaderWrite, Info, Stage, Transaction, Verb};
