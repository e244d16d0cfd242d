//! The dm-snapshot exception store ("P") as bytes: header, areas, records, the arithmetic of its layout, and
//! the check that tells a good store from a damaged one. What the bytes mean is told in
//! `docs/format/dm-snapshot.md`; where they lie is told by the types here and nowhere else.
//!
//! What must hold:
//! - Nothing read from a store is used before it was checked: a raw type means "as it lies there" and is private,
//!   the public type beside it has only valid values.
//! - No byte sequence makes this crate panic, loop without bound or take memory without bound.
//! - It performs no I/O and knows neither files nor time: the caller reads and writes where it is told.
//! - It keeps the kernel's allocation rule and prefix rule, so that either side can go on where the other stopped.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

pub mod allocation;
pub mod area;
pub mod blocks;
pub mod check;
mod duplicates;
pub mod findings;
pub mod fuzz;
pub mod header;
pub mod layout;
pub mod record;

pub use allocation::StoreStatus;
pub use area::{Area, RaggedArea};
pub use blocks::{BlockSpan, Blocks, BlocksError, MetadataWrite, Truncation};
pub use check::{Checker, FeedError, StoreGeometry};
pub use findings::{CheckedStore, Finding, FindingKind, Report, Severity};
pub use header::{FirstChunk, Header, HeaderError};
pub use layout::{Layout, Place, RecordPlace};
pub use record::{BadRecord, Record};
