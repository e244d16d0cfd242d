//! The disks a command was given, by number and by path, with errors that name both place and attempt.
//!
//! What must hold:
//! - A path is the name under which tables and metadata hints know a disk; the number is its place in the set.
//! - One operation at a time, waited for: metadata has no other traffic beside it.

use foldback_device::{DiskId, Disks};
use foldback_dm_table::DeviceRef;
use foldback_units::{Bytes, Sectors};
use std::io;

/// What was attempted on a disk, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} of {path} at byte {at}: {source}")]
pub struct DiskFault {
    /// In words, such as `reading the label`.
    pub attempt: &'static str,
    /// The disk.
    pub path: String,
    /// Where.
    pub at: u64,
    /// The system's reason.
    pub source: io::Error,
}

/// Disks and their paths.
pub struct DiskSet<'d> {
    disks: &'d mut dyn Disks,
    paths: &'d [String],
}

impl std::fmt::Debug for DiskSet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskSet").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<'d> DiskSet<'d> {
    /// `paths` in the order in which the disks were opened. Disks without a path are not looked at.
    pub fn new(disks: &'d mut dyn Disks, paths: &'d [String]) -> Self {
        Self { disks, paths }
    }

    /// Every disk that has a path.
    pub fn ids(&self) -> impl Iterator<Item = DiskId> + use<> {
        let named = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        (0..named.min(self.disks.count())).map(DiskId)
    }

    /// The path of `disk`; empty for one that does not exist.
    pub fn path(&self, disk: DiskId) -> &str {
        usize::try_from(disk.0).ok().and_then(|index| self.paths.get(index)).map_or("", String::as_str)
    }

    /// The disk as tables name it.
    pub fn device_ref(&self, disk: DiskId) -> DeviceRef {
        DeviceRef(self.path(disk).to_owned())
    }

    /// The disk whose path is `path`.
    pub fn find(&self, path: &str) -> Option<DiskId> {
        let index = self.paths.iter().position(|known| known == path)?;
        u32::try_from(index).ok().map(DiskId)
    }

    fn fault(&self, attempt: &'static str, disk: DiskId, at: Bytes, source: io::Error) -> DiskFault {
        DiskFault { attempt, path: self.path(disk).to_owned(), at: at.get(), source }
    }

    /// The disk's length.
    pub fn size(&self, disk: DiskId) -> Result<Bytes, DiskFault> {
        self.disks
            .geometry(disk)
            .map(|geometry| geometry.size)
            .map_err(|error| self.fault("reading the size", disk, Bytes::ZERO, error))
    }

    /// `len` bytes from `at` on.
    pub fn read(
        &mut self,
        attempt: &'static str,
        disk: DiskId,
        at: Bytes,
        len: usize,
    ) -> Result<Vec<u8>, DiskFault> {
        let mut bytes = vec![0; len];
        foldback_device::read_exact(self.disks, disk, at, &mut bytes)
            .map_err(|error| self.fault(attempt, disk, at, error))?;
        Ok(bytes)
    }

    /// Writes, and with `durable` makes this write safe.
    pub fn write(
        &mut self,
        attempt: &'static str,
        disk: DiskId,
        at: Bytes,
        bytes: &[u8],
        durable: bool,
    ) -> Result<(), DiskFault> {
        foldback_device::write_all(self.disks, disk, at, bytes, durable)
            .map_err(|error| self.fault(attempt, disk, at, error))
    }

    /// Zeros a range of whole sectors in pieces, so that a large one needs no large memory.
    pub fn zero(
        &mut self,
        attempt: &'static str,
        disk: DiskId,
        at: Bytes,
        len: Sectors,
    ) -> Result<(), DiskFault> {
        const PIECE: u64 = 1 << 20;
        let overflow = || io::Error::from(io::ErrorKind::InvalidInput);
        let mut left = len.to_bytes().ok_or_else(|| self.fault(attempt, disk, at, overflow()))?.get();
        let mut here = at;
        while left > 0 {
            let piece = left.min(PIECE);
            let zeros = vec![0; Bytes(piece).to_usize().unwrap_or(0)];
            self.write(attempt, disk, here, &zeros, false)?;
            left = left.saturating_sub(piece);
            here = here.saturating_add(Bytes(piece));
        }
        Ok(())
    }

    /// Makes durable what was written to `disk`.
    pub fn flush(&mut self, attempt: &'static str, disk: DiskId) -> Result<(), DiskFault> {
        foldback_device::flush(self.disks, disk)
            .map_err(|error| self.fault(attempt, disk, Bytes::ZERO, error))
    }
}
