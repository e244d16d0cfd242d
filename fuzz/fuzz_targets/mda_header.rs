//! Any bytes as the header of a metadata area, and the arithmetic of its ring.
//!
//! What must hold stands with the body, which the crate's own property tests run as well.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foldback_lvm2_format::fuzz::mda_header(bytes));
