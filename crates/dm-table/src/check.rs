//! What a table must be before anybody, the kernel included, is given it.
//!
//! What must hold:
//! - The lines touch, the first begins at 0, none is empty, the end fits a `u64`.
//! - A striped line divides evenly into its stripes and their pieces, as the kernel demands.
//! - No merge of a transient store: a fresh load of one makes kernels dereference a null pointer (K6).

use crate::table::{Persistence, Table, Target};
use foldback_units::{BadChunkSize, Sectors};

/// The longest device: what the kernel's signed byte offsets can address.
const MAX_SECTORS: u64 = (1 << 63) / 512;

/// Why a table, or its text, is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    /// Not a line of a table.
    #[error("not a line of a table: {0:?}; it needs START LENGTH TARGET PARAMETERS")]
    Line(String),
    /// Parameters that the target cannot have.
    #[error("parameters {params:?} do not fit target {kind}")]
    Parameters {
        /// The target's name.
        kind: String,
        /// Its parameters.
        params: String,
    },
    /// A snapshot's chunk size.
    #[error(transparent)]
    ChunkSize(#[from] BadChunkSize),
    /// A merge of a store that is not on disk (K6).
    #[error("a transient (N) exception store cannot be merged; kernels crash on such a table")]
    TransientMerge,
    /// A line that does not begin where the one before it ends.
    #[error("a line begins at sector {found}, but the lines before it end at sector {expected}")]
    Gap {
        /// Where it had to begin.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// A line of no length, or one that ends behind what can be addressed.
    #[error("the line at sector {0} is empty or too long")]
    Length(u64),
    /// A striped line that cannot be divided.
    #[error("a length of {len} is not divisible by {stripes} stripes in pieces of {chunk}")]
    Stripes {
        /// The line's length.
        len: Sectors,
        /// The stripes.
        stripes: usize,
        /// The piece.
        chunk: Sectors,
    },
    /// A table without lines.
    #[error("the table is empty")]
    Empty,
}

impl Table {
    /// Whether the table may be loaded, by anybody.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self) -> Result<(), TableError> {
        let mut expected = Sectors::ZERO;
        for line in &self.lines {
            if line.start != expected {
                return Err(TableError::Gap { expected: expected.get(), found: line.start.get() });
            }
            let end = line.start.checked_add(line.len).filter(|end| end.get() <= MAX_SECTORS);
            let Some(end) = end.filter(|_| !line.len.is_zero()) else {
                return Err(TableError::Length(line.start.get()));
            };
            expected = end;
            check_target(&line.target, line.len)?;
        }
        if self.lines.is_empty() { Err(TableError::Empty) } else { Ok(()) }
    }
}

fn check_target(target: &Target, len: Sectors) -> Result<(), TableError> {
    match target {
        Target::Striped { chunk, areas } => {
            let width = u64::try_from(areas.len()).ok().and_then(|stripes| chunk.checked_mul(stripes));
            match width {
                Some(width) if !width.is_zero() && len.get().is_multiple_of(width.get()) => Ok(()),
                _ => Err(TableError::Stripes { len, stripes: areas.len(), chunk: *chunk }),
            }
        }
        Target::SnapshotMerge(params) if params.persistence == Persistence::Transient => {
            Err(TableError::TransientMerge)
        }
        _ => Ok(()),
    }
}
