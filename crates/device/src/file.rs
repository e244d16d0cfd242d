//! An image file or a block device, opened.
//!
//! What must hold:
//! - The page cache is bypassed (O_DIRECT) wherever the file system takes it; where it does not, the same operations run
//!   buffered, and are flushed at the same places.
//! - Opening writes nothing, creates nothing and truncates nothing.
//! - Block sizes are what the medium says, never assumed.
//!
//! Not here: holding (`hold.rs`), and every read and write (`uring.rs`, `blocking.rs`).

use crate::disks::Geometry;
use crate::error::{DiskError, DiskErrorKind};
use crate::guard::HOLE_BORDER;
use foldback_units::Bytes;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, StatxFlags};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The unit in which an image file's file system writes, at most: the page.
const LARGEST_FILE_BLOCK: u32 = 4096;

/// The most data ranges that [`DiskFile::data_ranges`] lists one by one; what lies behind them counts as data.
const MAX_DATA_RANGES: usize = 1 << 20;

/// What a disk is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// What a disk is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskKind {
    /// A regular file.
    Image,
    /// A block device.
    Block,
}

/// Which file or device it is, whatever path led there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    /// The file system's device number; for a block device its own.
    pub device: u64,
    /// The inode; 0 for a block device.
    pub inode: u64,
}

/// An opened disk. Shared (`Arc`) between the queue that reads and writes it and whoever holds it.
#[derive(Debug)]
pub struct DiskFile {
    pub(crate) file: File,
    path: PathBuf,
    access: Access,
    kind: DiskKind,
    direct: bool,
    identity: Identity,
    geometry: Geometry,
}

impl DiskFile {
    /// Opens an image file or a block device that exists.
    ///
    /// # Errors
    /// [`DiskError`] with the path: missing, denied, of a wrong kind, or with a block size that cannot be served.
    pub fn open(path: &Path, access: Access) -> Result<Self, DiskError> {
        let system = |error: io::Error| DiskError::system("opening", path, error);
        let mode = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        // NONBLOCK: a FIFO named by mistake must not hang the program; it means nothing to files and disks.
        let flags = mode | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| system(error.into()))?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| system(error.into()))?;
        let (kind, identity) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => (DiskKind::Image, Identity { device: stat.st_dev, inode: stat.st_ino }),
            FileType::BlockDevice => (DiskKind::Block, Identity { device: stat.st_rdev, inode: 0 }),
            _ => return Err(DiskError::of("opening", path, DiskErrorKind::Kind)),
        };
        let file = File::from(fd);
        let (geometry, direct) = match kind {
            DiskKind::Image => image_geometry(&file),
            DiskKind::Block => block_geometry(&file),
        }
        .map_err(system)?;
        if !matches!(geometry.logical_block, 512 | 4096) {
            return Err(DiskError::of("opening", path, DiskErrorKind::Block(geometry.logical_block)));
        }
        Ok(Self { file, path: path.to_path_buf(), access, kind, direct, identity, geometry })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was opened for.
    pub fn access(&self) -> Access {
        self.access
    }

    /// What it is made of.
    pub fn kind(&self) -> DiskKind {
        self.kind
    }

    /// Whether the page cache is bypassed.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Which file or device it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its length and block sizes.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether zeros cost nothing: it is an image file that is open for writing, on a file system that makes holes. Tried
    /// behind the file's end, where there is nothing to lose.
    pub fn makes_holes(&self) -> bool {
        let behind = self.geometry.size.get().checked_next_multiple_of(HOLE_BORDER);
        let punch =
            |at| crate::calls::allocate(&self.file, crate::calls::ZERO_IMAGE, at, HOLE_BORDER).is_ok();
        self.kind == DiskKind::Image && self.access == Access::Write && behind.is_some_and(punch)
    }

    /// The parts of `within` that hold data, in order; the rest is holes and reads as zeros. A block device, and a file
    /// system that cannot tell, is all data.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn data_ranges(&self, within: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let mut ranges = Vec::new();
        let mut at = within.start;
        while at < within.end {
            if ranges.len() == MAX_DATA_RANGES {
                ranges.push(at..within.end);
                break;
            }
            let Some(range) = self.first_data(at..within.end)? else { break };
            at = range.end;
            ranges.push(range);
        }
        Ok(ranges)
    }

    /// The first of these parts; `None` where all of `within` is a hole.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn first_data(&self, within: Range<u64>) -> io::Result<Option<Range<u64>>> {
        if self.kind == DiskKind::Block {
            return Ok((within.start < within.end).then_some(within));
        }
        // Nobody uses the file's own position.
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(within.start)) {
            Ok(start) => start.max(within.start),
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => within.start,
            Err(error) => return Err(error.into()),
        };
        if start >= within.end {
            return Ok(None);
        }
        let end = match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) if end > start => end.min(within.end),
            _ => within.end,
        };
        Ok(Some(start..end))
    }
}

/// Whether the file takes O_DIRECT, and what it is like then.
fn image_geometry(file: &File) -> io::Result<(Geometry, bool)> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN;
    let (size, block, dio) = if let Ok(found) = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, asked) {
        let told = found.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        (found.stx_size, found.stx_blksize, told.then_some(found.stx_dio_offset_align))
    } else {
        // Kernels and sandboxes without statx.
        let found = rustix::fs::fstat(file)?;
        (u64::try_from(found.st_size).unwrap_or(0), u32::try_from(found.st_blksize).unwrap_or(512), None)
    };
    let direct = set_direct(file).is_ok();
    let logical = match dio {
        _ if !direct => 0,
        Some(alignment) => alignment,
        None => probe_alignment(file),
    };
    // 0: no O_DIRECT; more than a page: alignment that the callers' memory does not promise.
    let direct = (1..=LARGEST_FILE_BLOCK).contains(&logical);
    if !direct {
        clear_direct(file)?;
    }
    let logical_block = if direct { logical.max(512) } else { 512 };
    let physical_block = block.clamp(logical_block, LARGEST_FILE_BLOCK).next_power_of_two();
    Ok((Geometry { size: Bytes(size), logical_block, physical_block }, direct))
}

fn block_geometry(file: &File) -> io::Result<(Geometry, bool)> {
    let size = rustix::fs::seek(file, SeekFrom::End(0))?;
    let logical_block = rustix::fs::ioctl_blksszget(file)?;
    let physical_block = rustix::fs::ioctl_blkpbszget(file).unwrap_or(logical_block).max(logical_block);
    let direct = set_direct(file).is_ok();
    Ok((Geometry { size: Bytes(size), logical_block, physical_block }, direct))
}

fn set_direct(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags.union(OFlags::DIRECT).difference(OFlags::NONBLOCK))?)
}

fn clear_direct(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags.difference(OFlags::DIRECT.union(OFlags::NONBLOCK)))?)
}

/// Which block size reads with O_DIRECT take, where statx does not say (before Linux 6.1); 0 for none.
fn probe_alignment(file: &File) -> u32 {
    let Some(memory) = crate::Memory::new(4096) else { return 0 };
    for (block, len) in [(512, 512_usize), (4096, 4096)] {
        if crate::calls::read_once(file, &memory.whole(), len, u64::from(block)).is_ok() {
            return block;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{Access, DiskFile, DiskKind};
    use crate::error::DiskErrorKind;
    use std::fs;
    use std::os::unix::fs::FileExt;

    #[test]
    fn an_image_is_opened_with_its_size_and_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pv.img");
        fs::write(&path, vec![1; 8192]).unwrap();
        let disk = DiskFile::open(&path, Access::Write).unwrap();
        assert_eq!(disk.kind(), DiskKind::Image);
        assert_eq!(disk.geometry().size.get(), 8192);
        assert!(matches!(disk.geometry().logical_block, 512 | 4096));
        assert!(disk.geometry().physical_block >= disk.geometry().logical_block);
    }

    #[test]
    fn what_cannot_be_a_disk_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let missing = DiskFile::open(&dir.path().join("none"), Access::Read).unwrap_err();
        assert!(matches!(missing.kind, DiskErrorKind::Missing));
        assert!(missing.to_string().contains("none"), "{missing}");
        let folder = DiskFile::open(dir.path(), Access::Read).unwrap_err();
        assert!(matches!(folder.kind, DiskErrorKind::Kind), "{folder}");
        let null = DiskFile::open("/dev/null".as_ref(), Access::Read).unwrap_err();
        assert!(matches!(null.kind, DiskErrorKind::Kind), "{null}");
    }

    #[test]
    fn opening_creates_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pv.img");
        assert!(DiskFile::open(&path, Access::Write).is_err());
        assert!(!path.exists());
        fs::write(&path, [7; 1024]).unwrap();
        drop(DiskFile::open(&path, Access::Write).unwrap());
        assert_eq!(fs::read(&path).unwrap(), [7; 1024]);
    }

    #[test]
    fn whether_it_makes_holes_is_found_out_without_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pv.img");
        fs::write(&path, [7; 5000]).unwrap();
        let holes = DiskFile::open(&path, Access::Write).unwrap().makes_holes();
        assert_eq!(fs::read(&path).unwrap(), [7; 5000]);
        assert!(!DiskFile::open(&path, Access::Read).unwrap().makes_holes());
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mode = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert_eq!(rustix::fs::fallocate(&file, mode, 0, 4096).is_ok(), holes);
    }

    #[test]
    fn holes_are_told_from_data() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pv.img");
        let file = fs::File::create(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(&[7; 4096], 512 << 10).unwrap();
        let disk = DiskFile::open(&path, Access::Read).unwrap();
        let ranges = disk.data_ranges(0..1 << 20).unwrap();
        // A file system without holes says that all is data; then there is one range.
        assert!(ranges.iter().any(|range| range.start <= 512 << 10 && range.end >= (512 << 10) + 4096));
        assert!(disk.data_ranges(0..4096).unwrap().len() <= 1);
    }
}
