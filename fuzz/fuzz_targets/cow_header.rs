//! Any bytes as the header of an exception store.
//!
//! What must hold stands with the body, which the crate's own property tests run as well.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foldback_dm_snapshot_format::fuzz::cow_header(bytes));
