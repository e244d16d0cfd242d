//! What the file system serves: the border between this crate and whoever owns the devices.
//!
//! What must hold:
//! - Questions ([`Volumes::list`], [`Volumes::find`], [`Volumes::shape`]) and [`Volumes::submit`] are asked on the
//!   threads that read from the kernel. They return at once, whatever the disks do.
//! - A file's id is its inode: it means one LV as long as the session lives, through renames too.

use foldback_engine::RequestKind;
use foldback_units::{Bytes, SECTOR, SectorRange, Sectors};
use foldback_user_dm::IoError;

use crate::handles::Opener;

/// The inode of a served file. 0 and 1 cannot exist: FUSE keeps 1 for the directory. Nor can what is no positive offset,
/// since inodes are also the places in the directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(u64);

impl FileId {
    /// The highest.
    const MOST: u64 = i64::MAX.unsigned_abs() >> 1;

    /// `None` for 0, 1, and everything from 2^62 on.
    pub const fn new(inode: u64) -> Option<Self> {
        if inode > 1 && inode <= Self::MOST { Some(Self(inode)) } else { None }
    }

    /// The inode.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What decides about a request before it is submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The file's length: the LV's.
    pub size: Sectors,
    /// Whether writes are refused.
    pub read_only: bool,
}

impl Shape {
    /// The length in bytes. One that cannot be said in 63 bits, as files want it, is cut there.
    pub(crate) fn bytes(self) -> u64 {
        const MOST: u64 = i64::MAX.unsigned_abs();
        self.size.to_bytes().map_or(MOST, Bytes::get).min(MOST.saturating_sub(MOST % SECTOR))
    }
}

/// One served file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name in the directory: the LV's.
    pub name: String,
    /// Its inode.
    pub id: FileId,
    /// Its length and whether it can be written.
    pub shape: Shape,
}

/// What is wanted of a volume, in whole blocks inside its shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Read, write, zeros or flush; never a discard.
    pub kind: RequestKind,
    /// Which sectors; empty for a flush.
    pub range: SectorRange,
    /// What a write writes, as long as the range; empty for every other kind.
    pub bytes: Vec<u8>,
}

/// Answers a request, from any thread: the bytes of a read (as long as its range), nothing for the other kinds. Dropped
/// without being called it answers EIO.
pub type Done = Box<dyn FnOnce(Result<Vec<u8>, IoError>) + Send>;

/// The volumes of one VG, as the daemon carries them.
pub trait Volumes: Send + Sync + 'static {
    /// All served files, in any order that stays the same as long as the files do.
    fn list(&self) -> Vec<Entry>;

    /// The file with this name.
    fn find(&self, name: &str) -> Option<Entry>;

    /// The length of a file, and whether it can be written; `None` once it is not served any more.
    fn shape(&self, file: FileId) -> Option<Shape>;

    /// The unit in which requests are made: the largest logical block of the disks below, 1 or 8 sectors. The same as long
    /// as the session lives; every file's length is a multiple of it.
    fn block(&self) -> Sectors {
        Sectors(1)
    }

    /// A file was opened once more.
    fn opened(&self, file: FileId, by: Opener);

    /// One opening of a file ended.
    fn released(&self, file: FileId, by: Opener);

    /// Takes a request; `done` is called when it is carried out, on any thread but this one, or on this one.
    fn submit(&self, file: FileId, request: Request, done: Done);
}

#[cfg(test)]
mod tests {
    use super::{FileId, Shape};
    use foldback_units::Sectors;

    #[test]
    fn the_directory_is_no_file() {
        assert_eq!(FileId::new(0), None);
        assert_eq!(FileId::new(1), None);
        assert_eq!(FileId::new(1 << 62), None);
        assert_eq!(FileId::new(2).map(FileId::get), Some(2));
    }

    #[test]
    fn a_length_fits_a_file_and_is_whole_sectors() {
        let bytes = |sectors| Shape { size: Sectors(sectors), read_only: false }.bytes();
        assert_eq!(bytes(8), 4096);
        assert!(i64::try_from(bytes(u64::MAX)).is_ok() && bytes(u64::MAX).is_multiple_of(512));
    }
}
