//! Hostile clients: the fuzz bodies on any bytes, on sessions with something changed, and on sessions cut short.
//!
//! What must hold stands with the bodies.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use foldback_frontend_nbd::fuzz::{self, greeted, option};
use foldback_frontend_nbd::wire::{Cookie, Request};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

/// A request that a volume of 64 sectors may admit, with its data.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop_oneof![8 => 0_u16..8, 1 => any::<u16>()];
    let flags = prop_oneof![8 => 0_u16..2, 1 => 0_u16..64, 1 => any::<u16>()];
    let offset = prop_oneof![8 => (0_u64..64).prop_map(|at| at * 512), 1 => any::<u64>()];
    let length = prop_oneof![8 => (0_u32..65).prop_map(|len| len * 512), 1 => 0_u32..20_000];
    (odd, flags, any::<u64>(), offset, length).prop_map(|(command, flags, cookie, offset, length)| {
        let request = Request { flags, command, cookie: Cookie(cookie), offset, length };
        let mut bytes = request.encode().to_vec();
        bytes.resize(bytes.len() + request.payload() as usize, 0x5a);
        bytes
    })
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(request(), 0..40).prop_map(|requests| requests.concat())
}

/// A session of every command that ends with a disconnect.
fn every_command() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, command) in [1, 0, 6, 4, 3, 7, 0, 2].into_iter().enumerate() {
        let request =
            Request { flags: 0, command, cookie: Cookie(at as u64), offset: 512 * at as u64, length: 1024 };
        bytes.extend_from_slice(&request.encode());
        bytes.resize(bytes.len() + request.payload() as usize, 0x5a);
    }
    bytes
}

fn handshakes() -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    greeted(&mut whole, "vg/lv", true);
    let mut old = vec![0, 0, 0, 0];
    option(1, b"vg/ro", &mut old);
    let mut many = vec![0, 0, 0, 3];
    for (number, data) in [(3, &b""[..]), (5, b""), (6, b"\0\0\0\x02vg\0\0"), (99, &[7; 9000]), (2, b"")] {
        option(number, data, &mut many);
    }
    vec![whole, old, many]
}

#[test]
fn real_handshakes_cut_short_and_with_every_bit_flipped() {
    for bytes in handshakes() {
        for len in 0..=bytes.len().min(300) {
            fuzz::handshake(&bytes[..len]);
        }
        for bit in 0..bytes.len().min(150) * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fuzz::handshake(&changed);
        }
    }
}

#[test]
fn a_session_cut_short_at_every_length_ends_and_gives_all_back() {
    let bytes = every_command();
    for len in 0..=bytes.len() {
        for seed in [[3, 0, 0, 0], [3, 255, 255, 1], [1, 1, 3, 2]] {
            fuzz::session(&[&seed[..], &bytes[..len]].concat());
        }
    }
}

#[test]
fn a_session_with_every_bit_of_its_heads_flipped_ends_and_gives_all_back() {
    let bytes = every_command();
    for bit in (0..28 * 8).chain((28 + 1024) * 8..bytes.len() * 8) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fuzz::session(&[&[3, 9, 200, 1][..], &changed].concat());
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        fuzz::handshake(&bytes);
        fuzz::handshake(&[&[0, 0, 0, 3][..], b"IHAVEOPT", &bytes].concat());
        fuzz::session(&bytes);
    }

    #[test]
    fn sessions_that_a_client_ends(seed in any::<[u8; 4]>(), requests in requests()) {
        let [_, receive, send, order] = seed;
        let disconnect = Request { flags: 0, command: 2, cookie: Cookie(0), offset: 0, length: 0 };
        let bytes = [&[3, receive, send, order][..], &requests, &disconnect.encode()].concat();
        fuzz::session(&bytes);
    }

    #[test]
    fn changed_sessions(
        seed in any::<[u8; 4]>(),
        requests in requests(),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = [&seed[..], &requests].concat();
        for (at, byte) in changes {
            let at = 4 + at % (bytes.len() - 3);
            if let Some(changed) = bytes.get_mut(at) {
                *changed = byte;
            }
        }
        fuzz::session(&bytes);
    }
}
