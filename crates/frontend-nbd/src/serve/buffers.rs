//! Memory for the data of requests, kept for the next ones.
//!
//! What must hold:
//! - All memory that a connection has given out and not got back is counted.
//! - Memory that is kept may hold data of earlier requests of the same connection: who takes it fills what it uses.

use foldback_device::Memory;

/// The smallest memory, in bytes: a page.
const SMALLEST: usize = 4096;
/// The largest memory that is kept, in bytes; what is larger costs less to get than to fill.
const LARGEST_KEPT: usize = 1 << 20;
/// The most that is kept, in bytes.
const KEPT_BYTES: usize = 4 << 20;
/// Powers of two from the smallest to the largest kept.
const CLASSES: usize = 9;
const _: () = assert!(SMALLEST << (CLASSES - 1) == LARGEST_KEPT);

/// The memory of one connection's requests.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    kept: [Vec<Memory>; CLASSES],
    kept_bytes: usize,
    out_bytes: usize,
}

/// How much memory a request of `len` bytes takes.
pub(super) fn size_for(len: usize) -> usize {
    if len > LARGEST_KEPT { len } else { len.next_power_of_two().max(SMALLEST) }
}

/// Where memory of this size is kept; `None` where it is not.
fn class(size: usize) -> Option<usize> {
    let fits = size.is_power_of_two() && (SMALLEST..=LARGEST_KEPT).contains(&size);
    let class = size.trailing_zeros().checked_sub(SMALLEST.trailing_zeros()).filter(|_| fits)?;
    usize::try_from(class).ok()
}

impl Buffers {
    /// Bytes that are given out.
    pub(super) fn out_bytes(&self) -> usize {
        self.out_bytes
    }

    /// At least `len` bytes; `None` where the machine cannot have them.
    pub(super) fn take(&mut self, len: usize) -> Option<Memory> {
        let size = size_for(len);
        let kept = class(size).and_then(|class| self.kept.get_mut(class)?.pop());
        let memory = match kept {
            Some(memory) => {
                self.kept_bytes = self.kept_bytes.saturating_sub(size);
                memory
            }
            None => Memory::new(size)?,
        };
        self.out_bytes = self.out_bytes.saturating_add(size);
        Some(memory)
    }

    /// Takes memory back.
    pub(super) fn give(&mut self, memory: Memory) {
        let size = memory.len();
        self.out_bytes = self.out_bytes.saturating_sub(size);
        let kept_bytes = self.kept_bytes.saturating_add(size);
        if kept_bytes <= KEPT_BYTES
            && let Some(kept) = class(size).and_then(|class| self.kept.get_mut(class))
        {
            kept.push(memory);
            self.kept_bytes = kept_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, KEPT_BYTES, LARGEST_KEPT, size_for};

    #[test]
    fn memory_is_counted_while_it_is_out_and_kept_for_the_next() {
        let mut buffers = Buffers::default();
        let first = buffers.take(512).unwrap();
        assert_eq!((first.len(), buffers.out_bytes()), (4096, 4096));
        let address = first.whole().as_ptr();
        buffers.give(first);
        assert_eq!(buffers.out_bytes(), 0);
        assert_eq!(buffers.take(4096).unwrap().whole().as_ptr(), address);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut buffers = Buffers::default();
        let many: Vec<_> = (0..100).map(|_| buffers.take(100_000).unwrap()).collect();
        assert_eq!(buffers.out_bytes(), 100 * 131_072);
        for memory in many {
            buffers.give(memory);
        }
        assert_eq!((buffers.out_bytes(), buffers.kept_bytes), (0, KEPT_BYTES));
        let large = buffers.take(LARGEST_KEPT + 1).unwrap();
        assert_eq!(large.len(), size_for(LARGEST_KEPT + 1));
        buffers.give(large);
        assert_eq!(buffers.kept_bytes, KEPT_BYTES);
    }
}
