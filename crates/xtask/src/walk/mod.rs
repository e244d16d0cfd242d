//! Random walks through the life of a VG, by LVM2 and Foldback in turns: what is done, and what must be there after it (pure).
//!
//! Holds: a walk follows from its seed and from what its journal says, so that it goes on after a killed kernel where it was, and
//! a failed one is repeated by its seed; the model knows blocks, names, sizes and merges, and nothing of how either party does
//! its work. `guest::walk` carries the steps out and compares; `uml::walks` boots the guest.

mod choose;
mod journal;
mod model;
mod seen;
mod step;
mod words;

pub(crate) use journal::{Entry, Outcome, Place, replay};
pub(crate) use model::{BLOCK, Lv, Merge, Model, VG};
pub(crate) use seen::{Row, Seen, differences, merged_by_nobody};
pub(crate) use step::{Party, Step, Verdict, Write};
pub(crate) use words::words;

/// Steps of a walk.
pub(crate) const STEPS: u64 = 16;
/// With the three that end it.
pub(crate) const STEPS_AND_END: u64 = STEPS + 3;
