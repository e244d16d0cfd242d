//! A set of disks behind one queue: io_uring where the system allows it, blocking calls where not.
//!
//! What must hold:
//! - A disk is never in a set twice, whatever paths name it: two queues of one disk would not know of each other.

use crate::blocking::BlockingDisks;
use crate::disks::Disks;
use crate::error::{DiskError, DiskErrorKind};
use crate::file::{Access, DiskFile};
use crate::uring::UringDisks;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Which system calls carry the operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// io_uring, else blocking calls.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// Blocking calls.
    Blocking,
}

impl Backend {
    /// The environment variable that chooses: `auto`, `uring` or `blocking`.
    pub const VARIABLE: &str = "FOLDBACK_IO";

    /// What the environment chooses; [`Backend::Auto`] where it says nothing that is known.
    pub fn from_environment() -> Self {
        match std::env::var(Self::VARIABLE).as_deref() {
            Ok("uring") => Self::Uring,
            Ok("blocking") => Self::Blocking,
            _ => Self::Auto,
        }
    }
}

/// Opens the disks in the order given.
///
/// # Errors
/// The first that cannot be opened, or is the same disk as an earlier one.
pub fn open_files<P: AsRef<Path>>(paths: &[P], access: Access) -> Result<Vec<Arc<DiskFile>>, DiskError> {
    once_each(paths, |path| DiskFile::open(path, access))
}

/// Opens disks that nobody named, in the order given, to change what is on some of them: one that must not be written is opened
/// for reading, since it may have nothing to do with the change.
///
/// # Errors
/// As [`open_files`].
pub fn open_found<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Arc<DiskFile>>, DiskError> {
    once_each(paths, |path| {
        let opened = DiskFile::open(path, Access::Write);
        if opened.as_ref().is_err_and(DiskError::forbids_writing) {
            return DiskFile::open(path, Access::Read);
        }
        opened
    })
}

fn once_each<P: AsRef<Path>>(
    paths: &[P],
    open: impl Fn(&Path) -> Result<DiskFile, DiskError>,
) -> Result<Vec<Arc<DiskFile>>, DiskError> {
    let mut seen = BTreeMap::new();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let file = open(path.as_ref())?;
        if let Some(first) = seen.insert(file.identity(), file.path().to_path_buf()) {
            return Err(DiskError::of("opening", file.path(), DiskErrorKind::Twice(first)));
        }
        files.push(Arc::new(file));
    }
    Ok(files)
}

/// A queue for these disks: the first is disk 0.
///
/// # Errors
/// Only for [`Backend::Uring`], where the kernel refuses io_uring.
pub fn open_disks(files: &[Arc<DiskFile>], backend: Backend) -> io::Result<Box<dyn Disks>> {
    match backend {
        Backend::Blocking => Ok(Box::new(BlockingDisks::new(files))),
        Backend::Uring => Ok(Box::new(UringDisks::new(files)?)),
        Backend::Auto => Ok(match UringDisks::new(files) {
            Ok(disks) => Box::new(disks),
            Err(_) => Box::new(BlockingDisks::new(files)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, open_disks, open_files, open_found};
    use crate::error::{DiskError, DiskErrorKind};
    use crate::file::Access;
    use std::io::ErrorKind;

    /// What must not be written answers with one of these; with a disk like that the rig's case `left` does it.
    #[test]
    fn only_what_must_not_be_written_is_opened_for_reading_instead() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("pv.img");
        std::fs::write(&image, [0; 512]).unwrap();
        assert_eq!(open_found(&[&image]).unwrap()[0].access(), Access::Write);
        let of =
            |kind: std::io::ErrorKind| DiskError::system("opening", &image, kind.into()).forbids_writing();
        assert!(of(ErrorKind::ReadOnlyFilesystem) && of(ErrorKind::PermissionDenied));
        assert!(!of(ErrorKind::NotFound) && !of(ErrorKind::ResourceBusy));
    }

    #[test]
    fn a_disk_is_not_opened_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("pv.img"), dir.path().join("link"));
        std::fs::write(&path, [0; 512]).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = open_files(&[&path, &link], Access::Read).unwrap_err();
        assert!(matches!(error.kind, DiskErrorKind::Twice(ref first) if *first == path), "{error}");
    }

    #[test]
    fn the_order_of_the_paths_is_the_order_of_the_disks() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("b"), dir.path().join("a")];
        std::fs::write(&paths[0], [0; 1024]).unwrap();
        std::fs::write(&paths[1], [0; 512]).unwrap();
        let files = open_files(&paths, Access::Write).unwrap();
        let disks = open_disks(&files, Backend::Auto).unwrap();
        assert_eq!(disks.count(), 2);
        assert_eq!(disks.geometry(crate::DiskId(0)).unwrap().size.get(), 1024);
        assert_eq!(disks.geometry(crate::DiskId(1)).unwrap().size.get(), 512);
        assert!(disks.geometry(crate::DiskId(2)).is_err());
    }
}
