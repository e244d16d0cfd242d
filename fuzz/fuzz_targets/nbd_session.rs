//! Any bytes as a whole NBD session, with a volume behind it.
//!
//! What must hold stands with the body, which the crate's own property tests run as well.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foldback_frontend_nbd::fuzz::session(bytes));
