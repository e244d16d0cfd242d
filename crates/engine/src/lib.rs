//! The engine: copy-on-write and merging of one origin group, as state machines that perform no I/O.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

mod api;
mod group;
mod open;
mod opened;
pub mod planted;
mod script;
mod settings;
mod status;
mod table;

pub use api::{
    Buffer, Fault, FlushDomain, Io, IoId, Outcome, Request, RequestId, RequestKind, Slice, Space,
    SpaceGeometry, StoreId, Volume,
};
pub use group::Group;
pub use open::{OpenAccess, OpenError, StoreOpen};
pub use opened::OpenedStore;
pub use settings::{ConfigError, GroupConfig, MIN_SCRATCH, MergeRefused};
pub use status::{Counters, MergeProgress, StoreStatus};
