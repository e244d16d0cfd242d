//! The raw ceiling: the same extents read and written with io_uring, and nothing else.
//!
//! What it does: windows of 16 MiB; the reads of one window go on while the window before it is written; reads are as
//! long as the store is contiguous, writes gather neighbours of the origin; one flush per window. What it does not do:
//! look anything up, record what is done, survive a crash. So nothing that does these can be faster by much.
#![expect(unsafe_code, reason = "a submission points at memory that the compiler cannot see the kernel use")]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

use super::data::{CHUNK, Extent};

/// Operations with the kernel at once.
pub(super) const DEPTH: usize = 64;
const WINDOW: usize = 4096;
const READ_CHUNKS: usize = 256;
const WRITE_CHUNKS: usize = 64;
const ALIGN: usize = 4096;
const CHUNK_LEN: usize = 4096;

/// Copies all extents inside the image and returns how long it took.
pub(super) fn run(image: &Path, extents: &[Extent]) -> Result<Duration> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(image);
    let file = file.with_context(|| format!("opening {}", image.display()))?;
    let mut ring = IoUring::new(128).context("making a ring")?;
    let mut buffers = [Buffer::new(), Buffer::new()];
    let start = Instant::now();
    let mut before: &[Extent] = &[];
    // The merge goes from the end of the store to its beginning; one empty window writes the last one out.
    for window in extents.rchunks(WINDOW).chain([&[][..]]) {
        let [reading, writing] = &mut buffers;
        let reads = reading.reads(&file, window)?;
        let mut vectors = Vec::new();
        let writes = writing.writes(&file, before, &mut vectors)?;
        exchange(&mut ring, reads.into_iter().chain(writes))?;
        if !before.is_empty() {
            file.sync_data().context("flushing")?;
        }
        before = window;
        buffers.swap(0, 1);
    }
    Ok(start.elapsed())
}

/// Memory for one window, aligned for direct I/O.
struct Buffer {
    memory: Vec<u8>,
    skip: usize,
}

/// A submission and how many bytes it must move.
type Operation = (Entry, u32);

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; WINDOW * CHUNK_LEN + ALIGN];
        let skip = memory.as_ptr().align_offset(ALIGN);
        Self { memory, skip }
    }

    fn at(&mut self, chunk: usize) -> *mut u8 {
        self.memory.get_mut(self.skip + chunk * CHUNK_LEN..).map_or(std::ptr::null_mut(), <[u8]>::as_mut_ptr)
    }

    fn reads(&mut self, file: &File, window: &[Extent]) -> Result<Vec<Operation>> {
        let fd = types::Fd(file.as_raw_fd());
        let mut operations = Vec::new();
        let mut at = 0;
        for run in window.chunk_by(|a, b| a.from + CHUNK == b.from).flat_map(|run| run.chunks(READ_CHUNKS)) {
            let len = u32::try_from(run.len() * CHUNK_LEN)?;
            let from = run.first().context("an empty run")?.from;
            operations.push((opcode::Read::new(fd, self.at(at), len).offset(from).build(), len));
            at += run.len();
        }
        Ok(operations)
    }

    fn writes(
        &mut self,
        file: &File,
        window: &[Extent],
        vectors: &mut Vec<libc::iovec>,
    ) -> Result<Vec<Operation>> {
        let fd = types::Fd(file.as_raw_fd());
        let mut order: Vec<(u64, usize)> =
            window.iter().enumerate().map(|(at, extent)| (extent.to, at)).collect();
        order.sort_unstable();
        vectors.extend(
            order.iter().map(|(_, at)| libc::iovec { iov_base: self.at(*at).cast(), iov_len: CHUNK_LEN }),
        );
        let mut operations = Vec::new();
        let mut done = 0;
        for run in order.chunk_by(|a, b| a.0 + CHUNK == b.0).flat_map(|run| run.chunks(WRITE_CHUNKS)) {
            let memory = vectors.get(done..).context("counting vectors")?.as_ptr();
            let to = run.first().context("an empty run")?.0;
            let entry = opcode::Writev::new(fd, memory, u32::try_from(run.len())?).offset(to).build();
            operations.push((entry, u32::try_from(run.len() * CHUNK_LEN)?));
            done += run.len();
        }
        Ok(operations)
    }
}

/// Keeps [`DEPTH`] operations with the kernel until all are complete; a short one is an error.
fn exchange(ring: &mut IoUring, operations: impl Iterator<Item = Operation>) -> Result<()> {
    let mut operations = operations.peekable();
    let mut with_kernel = 0;
    while with_kernel > 0 || operations.peek().is_some() {
        while with_kernel < DEPTH {
            let Some((entry, len)) = operations.next() else { break };
            // SAFETY: the buffers and vectors that the entry points at live in `run` until `exchange` has returned,
            // which it does only after every completion, or with an error that ends the program.
            unsafe { ring.submission().push(&entry.user_data(u64::from(len))) }
                .context("filling the ring")?;
            with_kernel += 1;
        }
        ring.submit_and_wait(1).context("submitting")?;
        for completion in ring.completion() {
            with_kernel -= 1;
            let moved = u64::try_from(completion.result()).ok();
            ensure!(moved == Some(completion.user_data()), "an operation answered {}", completion.result());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::{CHUNK, Extent, WINDOW, run};

    #[test]
    fn every_extent_is_copied_over_more_than_one_window() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let file = std::fs::File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        let count = u64::try_from(WINDOW).unwrap() + 100;
        file.set_len(2 * count * CHUNK).unwrap();
        let place = |at: u64| (at * 7) % count;
        let extents: Vec<Extent> =
            (0..count).map(|at| Extent { from: (count + at) * CHUNK, to: place(at) * CHUNK }).collect();
        for at in 0..count {
            file.write_all_at(&at.to_le_bytes(), (count + at) * CHUNK).unwrap();
        }
        file.sync_all().unwrap();
        run(&path, &extents).unwrap();
        for at in 0..count {
            let mut found = [0; 8];
            file.read_exact_at(&mut found, place(at) * CHUNK).unwrap();
            assert_eq!(u64::from_le_bytes(found), at);
        }
    }
}
