//! Device-mapper in user space: named devices with tables, carried out by our own engine on a set of disks.
//!
//! What must hold:
//! - The verbs mean what the kernel's mean (dm-snapshot.md 6, lvm2.md 2), so that one plan serves both; K8 is the
//!   exception: here a resume that fails returns to the old table.
//! - A transaction is carried out whole or taken back ([`foldback_dm_table::Stage`] says what an error leaves).
//! - Every request is answered exactly once, whatever happens to its device.
//! - Nothing here knows what a VG is: metadata headers are bytes at a place.
//! - Given the same requests and the same completions it does the same; so the simulator runs this very code.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

mod carry;
mod contents;
mod counts;
mod cut;
mod error;
mod full;
mod group;
mod handover;
mod lent;
mod map;
mod mapped;
mod pacing;
mod requests;
mod resolve;
mod routes;
mod run;
mod settle;
mod status;
mod traffic;
mod transact;
mod verbs;
mod volume;
mod wanted;
mod which;

pub use contents::Content;
pub use counts::{DiskCounts, Queue, RequestCounts};
pub use error::{DiskFailure, DmError, DmErrorKind, IoError};
pub use foldback_engine::{ChunkMap, Counters, Fault, MapOf, RequestKind, WhenFull};
pub use full::FullStore;
pub use group::Settings;
pub use lent::LentDisks;
pub use mapped::DeviceId;
pub use requests::{Ticket, VolumeRequest};
pub use run::UserDm;
pub use volume::{MergeEnd, Progress};
pub use which::Which;
