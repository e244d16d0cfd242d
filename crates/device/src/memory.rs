//! Page-aligned memory that several operations may share, each its own part.
//!
//! What must hold:
//! - A [`Slice`] keeps its [`Memory`] alive: the kernel never writes into memory that was given back.
//! - Nobody ever holds a Rust reference into the memory; bytes are copied in and out. So an operation under way
//!   on one slice cannot invalidate a reference to another.
//! - Every slice lies inside its memory: checked when it is made.
//!
//! Who uses which part at what time is decided by one owner (the engine's scratch, a request's buffer); `Memory` is
//! not `Sync`, so copies and submissions happen on that owner's thread.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

/// Alignment of every memory: a page, enough for O_DIRECT on any logical block size in use.
const ALIGNMENT: usize = 4096;

/// The allocation asks for a page more than is used and for no alignment, and finds the first page border itself: an
/// allocator that is asked for both zeros and a page border writes the zeros, and so touches every page of memory that
/// may never be used. Asked for zeros alone, it hands out large memory as the kernel gave it.
struct Block {
    allocated: NonNull<u8>,
    layout: Layout,
    start: NonNull<u8>,
    len: usize,
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `allocated` came from `alloc_zeroed` with this very layout and is freed once, here.
        unsafe { dealloc(self.allocated.as_ptr(), self.layout) }
    }
}

/// Zeroed, page-aligned memory of fixed length. Clones share it.
#[derive(Clone)]
pub struct Memory(Rc<Block>);

/// `len` bytes of a [`Memory`] from `offset` on.
#[derive(Clone)]
pub struct Slice {
    memory: Memory,
    offset: usize,
    len: usize,
}

impl Memory {
    /// Allocates `len` bytes of zeros; `None` where `len` is 0 or beyond what the machine can address.
    pub fn new(len: usize) -> Option<Self> {
        let with_border = len.checked_add(ALIGNMENT).filter(|_| len > 0)?;
        let layout = Layout::array::<u8>(with_border).ok()?;
        // SAFETY: the layout's size is not zero.
        let allocated = unsafe { alloc_zeroed(layout) };
        let allocated = NonNull::new(allocated).unwrap_or_else(|| handle_alloc_error(layout));
        let skip = allocated.addr().get().wrapping_neg() & (ALIGNMENT - 1);
        // SAFETY: `skip` is less than a page, and the allocation is a page longer than `len`.
        let start = unsafe { allocated.add(skip) };
        Some(Self(Rc::new(Block { allocated, layout, start, len })))
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Never: memory of no bytes does not exist.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// A part of it, `None` where that is not inside.
    pub fn slice(&self, offset: usize, len: usize) -> Option<Slice> {
        (offset.checked_add(len)? <= self.len()).then(|| Slice { memory: self.clone(), offset, len })
    }

    /// All of it.
    pub fn whole(&self) -> Slice {
        Slice { memory: self.clone(), offset: 0, len: self.len() }
    }
}

impl Slice {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of it, `None` where that is not inside.
    pub fn part(&self, offset: usize, len: usize) -> Option<Self> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        Some(Self { memory: self.memory.clone(), offset: self.offset.checked_add(offset)?, len })
    }

    /// Copies `bytes` to the slice's start; `false`, and nothing done, where they do not fit.
    #[must_use]
    pub fn copy_from(&self, bytes: &[u8]) -> bool {
        if bytes.len() > self.len {
            return false;
        }
        // SAFETY: the slice lies inside its allocation (checked when made), `bytes` is a live reference that cannot
        // overlap memory to which no reference is ever given out.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_ptr(), bytes.len()) }
        true
    }

    /// Copies the slice's start into `bytes`; `false`, and nothing done, where it is shorter.
    #[must_use]
    pub fn copy_to(&self, bytes: &mut [u8]) -> bool {
        if bytes.len() > self.len {
            return false;
        }
        // SAFETY: as in `copy_from`; the memory is initialised since it was allocated zeroed.
        unsafe { std::ptr::copy_nonoverlapping(self.as_ptr(), bytes.as_mut_ptr(), bytes.len()) }
        true
    }

    /// A copy of its bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        // Cannot be refused: the lengths are equal.
        let copied = self.copy_to(&mut bytes);
        debug_assert!(copied);
        bytes
    }

    /// Its address, for the system call that fills or reads it. Valid while the slice (or a clone) lives.
    pub fn as_ptr(&self) -> *mut u8 {
        // SAFETY: `offset` is inside the allocation or one past its end.
        unsafe { self.memory.0.start.as_ptr().add(self.offset) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.len())
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({}+{} of {:?})", self.offset, self.len, self.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn a_slice_lies_inside_and_keeps_its_memory_alive() {
        let slice = {
            let memory = Memory::new(8192).unwrap();
            assert!(memory.slice(4096, 4097).is_none());
            assert!(memory.slice(usize::MAX, 2).is_none());
            memory.slice(4096, 512).unwrap()
        };
        assert!(slice.copy_from(&[7; 512]));
        assert_eq!(slice.to_vec(), vec![7; 512]);
        assert!(!slice.copy_from(&[7; 513]));
        assert!(slice.part(500, 13).is_none());
        assert_eq!(slice.part(500, 12).unwrap().to_vec(), vec![7; 12]);
        assert!(Memory::new(0).is_none());
    }

    #[test]
    fn memory_is_page_aligned() {
        for len in [1, 512, 4096, 100_000, 3 << 20] {
            let memory = Memory::new(len).unwrap();
            assert_eq!((memory.whole().as_ptr() as usize % 4096, memory.len()), (0, len));
            assert!(memory.whole().copy_from(&vec![1; len]));
        }
    }
}
