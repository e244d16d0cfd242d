//! Volumes for clients of the Network Block Device protocol.
//!
//! What must hold:
//! - Nothing waits, starts a thread or reads a clock: a [`Connection`] is driven by the owner of an epoll loop.
//! - Bytes from a client are hostile: bounded, checked, and refused with the reason; never a panic.
//! - Every request is answered exactly once, in the order in which requests are completed.
//! - A client that sends slowly, reads slowly or vanishes costs bounded memory and nobody else's time.
//!
//! The protocol is `doc/proto.md` of <https://github.com/NetworkBlockDevice/nbd>, fixed newstyle without TLS. Tests name
//! its sentences.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

pub mod fuzz;
mod serve;
pub mod wire;

pub use serve::{
    Connection, End, Interest, MAX_BYTES, MAX_REQUESTS, Opened, Ready, State, Stream, VolumeId, Volumes,
};
pub use wire::{Allocation, Export, Refusal};
