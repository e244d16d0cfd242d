//! The headers of a commit, ready to be written while devices are suspended.
//!
//! What must hold:
//! - Files are opened, neighbours in the same block read, and both states of the block laid out before anything is
//!   suspended; writing allocates nothing.
//! - A write is durable when it is done (O_DSYNC), and goes around the page cache where the file is a device.
//! - One header that was written is the commit; when none was, each gets its `revert`. Which others were not is told.

use crate::error::{KernelDmError, KernelDmErrorKind};
use foldback_dm_table::HeaderWrite;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};

/// A page: satisfies the memory alignment of every device.
const MEMORY_ALIGN: usize = 4096;
const HEADER: usize = 512;

/// Bytes at an address that direct I/O takes.
#[derive(Debug)]
struct Aligned {
    memory: Vec<u8>,
    skip: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let memory = vec![0; len.saturating_add(MEMORY_ALIGN)];
        let skip = memory.as_ptr().align_offset(MEMORY_ALIGN);
        Self { memory, skip, len }
    }

    fn bytes(&self) -> &[u8] {
        self.memory.get(self.skip..self.skip.saturating_add(self.len)).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.skip..self.skip.saturating_add(self.len)).unwrap_or_default()
    }

    fn with(block: &[u8], header: &[u8; HEADER], at: usize) -> Option<Self> {
        let mut aligned = Self::new(block.len());
        aligned.bytes_mut().copy_from_slice(block);
        aligned.bytes_mut().get_mut(at..at.checked_add(HEADER)?)?.copy_from_slice(header);
        Some(aligned)
    }
}

#[derive(Debug)]
struct Prepared {
    pv: String,
    file: File,
    /// Of the block.
    at: u64,
    commit: Aligned,
    revert: Aligned,
}

/// Which header, and why it was not written.
pub(crate) type Unwritten = (usize, io::Error);

/// All headers of one commit.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    prepared: Vec<Prepared>,
    /// PVs that failed before anything was suspended.
    unprepared: Vec<KernelDmError>,
    /// Those that a commit did not write. Its room is made before.
    unwritten: Vec<Unwritten>,
}

impl Headers {
    /// Opens every PV, and lays both states of its header out. A PV that fails already counts as one whose header could not
    /// be written: the others are the commit.
    ///
    /// # Errors
    /// The first failure where not one is left.
    pub(crate) fn prepare(writes: &[HeaderWrite]) -> Result<Self, KernelDmError> {
        let mut headers = Self::default();
        for write in writes {
            match Prepared::new(write) {
                Ok(header) => headers.prepared.push(header),
                Err(error) => headers.unprepared.push(wrong(&write.pv.0, write.offset.get(), error)),
            }
        }
        headers.unwritten.reserve(headers.prepared.len());
        if headers.prepared.is_empty() && !headers.unprepared.is_empty() {
            return Err(headers.unprepared.swap_remove(0));
        }
        Ok(headers)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.prepared.len()
    }

    /// Commits; the first failure where not one could be written.
    pub(crate) fn commit(&mut self) -> Result<(), Unwritten> {
        let Self { prepared, unwritten, .. } = self;
        for (index, header) in prepared.iter().enumerate() {
            if let Err(error) = header.file.write_all_at(header.commit.bytes(), header.at) {
                unwritten.push((index, error));
            }
        }
        let none = !unwritten.is_empty() && unwritten.len() == prepared.len();
        if none { Err(unwritten.swap_remove(0)) } else { Ok(()) }
    }

    /// After a commit, in words: what did not get its header. It holds the VG as it was before, which no reader takes where it
    /// sees another.
    pub(crate) fn left_behind(&mut self) -> Vec<String> {
        let unwritten = std::mem::take(&mut self.unwritten);
        let mut errors = std::mem::take(&mut self.unprepared);
        errors.extend(unwritten.into_iter().map(|(index, error)| {
            let (pv, offset) = self.place(index);
            wrong(pv, offset, error)
        }));
        let told = |error| {
            format!(
                "{error}; the change is committed in the VG's other metadata areas, this one is put right by the next change"
            )
        };
        errors.into_iter().map(told).collect()
    }

    fn place(&self, index: usize) -> (&str, u64) {
        self.prepared.get(index).map_or(("", 0), |header| (header.pv.as_str(), header.at))
    }

    /// Takes back what may have been written in part; the first failure.
    pub(crate) fn revert(&self) -> Result<(), Unwritten> {
        let mut failed = None;
        for (index, header) in self.prepared.iter().enumerate() {
            let written = header.file.write_all_at(header.revert.bytes(), header.at);
            failed = failed.or(written.err().map(|error| (index, error)));
        }
        failed.map_or(Ok(()), Err)
    }

    /// The failure of a commit with its words, and that of its `revert` where that failed, too.
    pub(crate) fn told(&self, (index, error): Unwritten, revert: Option<Unwritten>) -> KernelDmError {
        let (pv, offset) = self.place(index);
        let kind = match revert {
            None => KernelDmErrorKind::NotCommitted { offset, error },
            Some((_, revert)) => KernelDmErrorKind::Unknown { offset, error, revert },
        };
        of_header(pv, kind)
    }
}

fn of_header(pv: &str, kind: KernelDmErrorKind) -> KernelDmError {
    KernelDmError { verb: "writing the metadata header of", device: pv.to_owned(), kind }
}

fn wrong(pv: &str, offset: u64, error: io::Error) -> KernelDmError {
    of_header(pv, KernelDmErrorKind::Header { offset, error })
}

impl Prepared {
    fn new(write: &HeaderWrite) -> io::Result<Self> {
        let path = &write.pv.0;
        let device = std::fs::metadata(path)?.file_type().is_block_device();
        let flags = if device { libc::O_DIRECT | libc::O_DSYNC } else { libc::O_DSYNC };
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let block = if device { rustix::fs::ioctl_blksszget(&file)? } else { 512 };
        let block = usize::try_from(block).unwrap_or(MEMORY_ALIGN).max(HEADER);
        let size = u64::try_from(block).map_err(io::Error::other)?;
        let inside = write.offset.get().checked_rem(size).unwrap_or(0);
        let at = write.offset.get().saturating_sub(inside);
        let mut old = Aligned::new(block);
        file.read_exact_at(old.bytes_mut(), at)?;
        let inside = usize::try_from(inside).map_err(io::Error::other)?;
        let crosses = || io::Error::other("the header crosses the border of two blocks");
        let lay = |header| Aligned::with(old.bytes(), header, inside).ok_or_else(crosses);
        Ok(Self { pv: path.clone(), at, commit: lay(&write.commit)?, revert: lay(&write.revert)?, file })
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;
    use foldback_dm_table::{DeviceRef, HeaderWrite};
    use foldback_units::Bytes;

    fn write(path: &std::path::Path, offset: u64) -> HeaderWrite {
        HeaderWrite {
            pv: DeviceRef(path.display().to_string()),
            offset: Bytes(offset),
            commit: Box::new([1; 512]),
            revert: Box::new([2; 512]),
        }
    }

    #[test]
    fn one_header_is_the_commit_and_its_neighbours_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pv");
        std::fs::write(&path, [9; 8192]).unwrap();
        let mut headers = Headers::prepare(&[write(&path, 4096)]).unwrap();
        headers.commit().unwrap();
        let found = std::fs::read(&path).unwrap();
        assert!(found[..4096].iter().chain(&found[4608..]).all(|byte| *byte == 9));
        assert!(found[4096..4608].iter().all(|byte| *byte == 1));
        headers.revert().unwrap();
        assert!(std::fs::read(&path).unwrap()[4096..4608].iter().all(|byte| *byte == 2));
    }

    #[test]
    fn a_pv_that_is_not_there_is_left_out_unless_it_is_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, gone) = (dir.path().join("pv"), dir.path().join("gone"));
        std::fs::write(&path, [9; 8192]).unwrap();
        let told = Headers::prepare(&[write(&gone, 4096)]).unwrap_err().to_string();
        assert!(told.starts_with("writing the metadata header of ") && told.contains("gone"), "{told}");
        let mut headers = Headers::prepare(&[write(&gone, 4096), write(&path, 4096)]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [9; 8192], "nothing is written yet");
        headers.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[4096], 1);
        let left = headers.left_behind();
        assert!(left.len() == 1 && left[0].contains("gone") && left[0].contains("put right"), "{left:?}");
    }
}
