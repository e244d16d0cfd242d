//! The engine: copy-on-write and merging of one origin group, as state machines that perform no I/O.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

mod api;

pub use api::{
    Buffer, Fault, FlushDomain, Io, IoId, Outcome, Request, RequestId, RequestKind, Slice, Space,
    SpaceGeometry, StoreId, Volume,
};
