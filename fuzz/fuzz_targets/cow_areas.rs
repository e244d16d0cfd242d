//! Any bytes as an exception store: its areas, the check, scrub and truncation.
//!
//! What must hold stands with the body, which the crate's own property tests run as well.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foldback_dm_snapshot_format::fuzz::cow_areas(bytes));
