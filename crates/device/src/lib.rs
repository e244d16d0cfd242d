//! Disks: the durability contract, memory that operations own, and the backends that carry the operations out.
//!
//! What must hold:
//! - An operation owns its memory until its completion is reaped ([`Op`], [`Slice`]).
//! - Only a completed flush, or a completed durable write, makes data safe; a flush covers the writes that were
//!   *completed* when it was submitted, and no others.
//! - A failed flush poisons its disk: no write or flush succeeds on it until it is opened again.
//! - A read or write is whole or an error; a short one never passes for success.
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

mod blocking;
mod calls;
#[cfg(any(test, feature = "contract-tests"))]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test suite, compiled only for tests"
)]
pub mod contract;
mod disks;
mod error;
mod file;
mod guard;
mod hold;
mod memory;
mod reserve;
pub mod scan;
mod set;
pub mod socket;
mod synchronous;
mod transfer;
mod uring;

pub use blocking::BlockingDisks;
pub use disks::{Completion, DiskId, Disks, Geometry, Op, Tag};
pub use error::{DiskError, DiskErrorKind};
pub use file::{Access, DiskFile, DiskKind, Identity};
pub use hold::{HeldPart, Hold, HoldMode};
pub use memory::{Memory, Slice};
pub use reserve::reserve_memory;
pub use set::{Backend, open_disks, open_files, open_found};
pub use synchronous::{flush, read_exact, write_all, write_zeroes};
pub use uring::UringDisks;
