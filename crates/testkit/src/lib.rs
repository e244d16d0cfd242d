//! What tests judge by: disks that can lose power, a model of what may be read afterwards, and a second, independent
//! account of the exception store's bytes.
//!
//! What must hold:
//! - Everything follows from a seed: the same seed gives the same completions, the same cuts and the same faults.
//! - Nothing here uses the code that it judges: the store is built and read as dm-snapshot.md section 1 says in prose,
//!   byte by byte, without `foldback-dm-snapshot-format`.
//! - Where the real world leaves a choice (which unflushed sector survives, which write completes first), the choice
//!   is random, never the kind one.
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "numbers here are small and chosen by the test; a panic is a failed test, not lost data"
)]

pub mod cow;
mod cut;
mod disk;
mod disks;
mod model;
mod rng;
mod sector;
mod set;

pub use cut::{Cut, Image};
pub use disks::SimDisks;
pub use model::{Moment, VolumeModel, WriteToken};
pub use rng::Rng;
pub use sector::Sector;
pub use set::{FaultKind, InjectedFault, Order, SimOp, SimOutcome, SimSet};
