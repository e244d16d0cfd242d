//! Memory that a process which serves volumes has before it needs it.
//!
//! What must hold:
//! - Called before the first thread: the allocator then has one arena, so that what any thread gives back is there for all.
//! - What was once taken is not given back to the system below the reserve; what is beyond twice of it is.
//!
//! The allocator's own memory, and not a pool for requests: a request also takes what its queues, maps and libraries take.

/// The largest piece that the reserve is good for: the largest request of a frontend, and a page for its border. Larger ones
/// (an engine's scratch memory) are taken from the system and given back to it.
#[cfg(target_env = "gnu")]
const PIECE: usize = (1 << 20) + 8192;

/// Takes and touches `bytes` of memory and leaves them with the allocator, for whatever this process allocates from now on.
/// Whether that can be had: of other allocators than glibc's it is not known.
#[must_use]
pub fn reserve_memory(bytes: usize) -> bool {
    keeps(bytes)
}

#[cfg(target_env = "gnu")]
fn keeps(bytes: usize) -> bool {
    let number = |bytes: usize| libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let wishes = [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, number(PIECE.saturating_mul(2))),
        (libc::M_TRIM_THRESHOLD, number(bytes.saturating_mul(2))),
    ];
    // SAFETY: it changes how the allocator gets and returns memory, nothing that was allocated.
    let set = wishes.into_iter().all(|(what, value)| unsafe { libc::mallopt(what, value) } == 1);
    let pieces: Vec<Vec<u8>> = (0..bytes.div_ceil(PIECE)).map(|_| vec![0xff; PIECE]).collect();
    // Nobody reads it; it must be written all the same.
    drop(std::hint::black_box(pieces));
    set
}

#[cfg(not(target_env = "gnu"))]
fn keeps(_: usize) -> bool {
    false
}
