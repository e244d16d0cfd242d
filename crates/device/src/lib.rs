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

mod disks;
mod memory;

pub use disks::{Completion, DiskId, Disks, Geometry, Op, Tag};
pub use memory::{Memory, Slice};
