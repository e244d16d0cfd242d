//! Counts allocations of a thread from the moment when it is asked to.
//!
//! What must hold:
//! - Only the thread that counts is counted, and not what the stand-in for the kernel does itself.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static PAUSED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    let counts = ARMED.try_with(Cell::get).unwrap_or(false) && !PAUSED.try_with(Cell::get).unwrap_or(true);
    if counts {
        COUNT.try_with(|count| count.set(count.get() + 1)).ok();
    }
}

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: as the caller's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Counts from now on, or no more.
pub(super) fn arm(armed: bool) {
    ARMED.with(|cell| cell.set(armed));
}

/// Runs something that does not count.
pub(super) fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    let before = PAUSED.with(|cell| cell.replace(true));
    let done = work();
    PAUSED.with(|cell| cell.set(before));
    done
}

/// How many there were since it was last asked.
pub(super) fn taken() -> u32 {
    COUNT.with(|count| count.replace(0))
}

#[test]
fn an_allocation_is_counted_where_it_is_to_be() {
    taken();
    drop(vec![1_u8; 100]);
    assert_eq!(taken(), 0);
    arm(true);
    uncounted(|| drop(vec![1_u8; 100]));
    assert_eq!(taken(), 0);
    drop(std::hint::black_box(vec![1_u8; 100]));
    arm(false);
    assert_eq!(taken(), 2, "one taken, one given back");
}
