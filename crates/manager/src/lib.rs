//! The control layer: finds VGs, plans changes of them without I/O, commits them, and turns them into device-mapper's
//! verbs.
//!
//! What must hold:
//! - Planning is pure: [`ops`] take a VG and a request and return a new VG; [`store`] reads and writes.
//! - How a volume is served is not known here: [`activation`] speaks only verbs.
//! - Time, randomness and the host come in through [`environment::Environment`].
//! - A VG with a finding that refuses is listed and never changed.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

pub mod activation;
pub mod apply;
pub mod backup;
pub mod check;
pub mod config;
pub mod devices;
pub mod environment;
pub mod host;
pub mod job;
pub mod lock;
pub mod lost;
pub mod online;
pub mod ops;
pub mod recover;
pub mod report;
pub mod store;

#[cfg(test)]
mod testing;
