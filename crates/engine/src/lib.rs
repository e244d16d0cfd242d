//! The engine: copy-on-write and merging of one origin group, as state machines that perform no I/O.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

mod api;
mod commit;
mod copies;
mod copy_out;
mod core;
mod flushes;
mod full;
mod group;
mod invalidate;
mod ledger;
mod making;
mod map;
mod merge;
mod open;
mod opened;
mod ops;
mod origin;
pub mod planted;
mod read_ahead;
#[cfg(test)]
mod rig;
mod scratch;
mod script;
mod settings;
mod slab;
mod snapshot;
mod spans;
mod status;
mod store;
mod table;
mod view;
mod wake;

pub use api::{
    Buffer, Fault, FlushDomain, Io, IoId, Outcome, Request, RequestId, RequestKind, Slice, Space,
    SpaceGeometry, StoreId, Volume,
};
pub use full::{FullStore, WhenFull};
pub use group::Group;
pub use map::{ChunkMap, MapOf};
pub use open::{OpenAccess, OpenError, StoreOpen};
pub use opened::OpenedStore;
pub use settings::{ConfigError, GroupConfig, MIN_SCRATCH, MergeRefused};
pub use status::{Counters, MergeProgress, StoreStatus};
