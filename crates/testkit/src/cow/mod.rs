//! A second account of the exception store's bytes, written from the prose of dm-snapshot.md 1.1 to 1.4 and slow on
//! purpose: [`Builder`] plays the kernel that filled a store, [`load`] the kernel that reads one.
//!
//! Chunks, sectors and records are plain numbers here: nothing may depend on the types that are judged.

mod build;
mod load;

pub use build::Builder;
pub use load::{Loaded, Refusal, State, load};

/// Records that fit one sector.
pub const RECORDS_PER_SECTOR: u64 = 32;

/// Whether the chunk with this number is a metadata area, in a store whose chunks have so many sectors.
pub fn is_area(chunk_number: u64, chunk: u64) -> bool {
    // Walks the store as the prose draws it: header, then an area and the chunks of its slots, over and over.
    chunk_number >= 1 && (chunk_number - 1).is_multiple_of(chunk * RECORDS_PER_SECTOR + 1)
}
