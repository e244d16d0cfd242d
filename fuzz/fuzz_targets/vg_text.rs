//! Any bytes as the text of a VG: grammar, types, invariants, and back.
//!
//! What must hold stands with the body, which the crate's own property tests run as well.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foldback_lvm2_format::fuzz::vg_text(bytes));
