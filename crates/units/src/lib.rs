//! The units and names of the field, as types.
//!
//! What must hold:
//! - A number never loses its unit: there is no `Deref`, no `From<u64>` between two units, only named conversions.
//! - Arithmetic on what came from a disk is checked; overflow is `None` or an error, never a wrap.
//! - A value that exists is valid: a [`ChunkSize`] is a power of two, a [`VgName`] is a name LVM2 accepts.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)
)]

mod cells;
mod chunk;
mod names;
mod sectors;
mod uuid;

pub use cells::Cells;
pub use chunk::{BadChunkSize, Chunk, ChunkSize};
pub use names::{BadName, LvName, TagName, VgName, dm_name};
pub use sectors::{Bytes, SECTOR, SectorRange, Sectors};
pub use uuid::{BadUuid, LvmUuid};
