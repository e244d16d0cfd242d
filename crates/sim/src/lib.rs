//! The simulator: the engine, the executor of transactions and the metadata commit on simulated disks, judged by a
//! model too simple to be wrong and by the invariants of dm-snapshot.md 3.5. See docs/decisions/0003-simulator.md.
//!
//! What must hold:
//! - A seed repeats a run exactly.
//! - The judges do not share code with what they judge.
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::struct_excessive_bools,
    reason = "numbers here are small and chosen by the simulator; a panic is a failed run, not lost data"
)]

mod group;
mod live;
mod mutants;
mod report;
mod swarm;
mod volume;

pub use live::LiveBug;
pub use mutants::{Verdict, hunt};
pub use report::{Failure, RunReport, Scene, Scenes};
pub use swarm::{Level, Planted, Swarm, Total};
pub use volume::DiskBug;
