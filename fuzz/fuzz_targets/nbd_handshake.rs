//! Any bytes as the client's side of an NBD handshake, cut in several ways.
//!
//! What must hold stands with the body, which the crate's own property tests run as well.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foldback_frontend_nbd::fuzz::handshake(bytes));
