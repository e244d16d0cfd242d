//! Why a disk could not be opened or held: a kind to match on, and a sentence that names the disk and what to do.

use std::io;
use std::path::PathBuf;

/// A disk that could not be opened, measured or held.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} {path}: {kind}", path = path.display())]
pub struct DiskError {
    /// What was attempted, as the beginning of a sentence: `opening`, `holding the data of`.
    pub attempt: &'static str,
    /// The disk.
    pub path: PathBuf,
    /// Why it failed.
    pub kind: DiskErrorKind,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskErrorKind {
    /// Nothing is there under this name.
    #[error("no such file or device; check the path given with --devices")]
    Missing,
    /// Not for this user.
    #[error("permission denied; run as its owner or as root")]
    Denied,
    /// Neither a regular file nor a block device.
    #[error("it is neither an image file nor a block device")]
    Kind,
    /// Somebody else holds it.
    #[error("it is in use{}; wait until that ends, or stop it", by(*.holder))]
    Held {
        /// The process that holds it, where that can be told.
        holder: Option<u32>,
    },
    /// The same disk was named twice.
    #[error("it is the same disk as {}; name each disk once", .0.display())]
    Twice(PathBuf),
    /// A block size that nothing here can serve.
    #[error("its logical block of {0} bytes is not supported; only 512 and 4096 are")]
    Block(u32),
    /// It was opened for reading only.
    #[error("it is opened for reading only, and an exclusive hold needs writing")]
    ReadOnly,
    /// The system said no.
    #[error("{0}")]
    System(#[from] io::Error),
}

fn by(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

impl DiskError {
    pub(crate) fn system(attempt: &'static str, path: &std::path::Path, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => DiskErrorKind::Missing,
            io::ErrorKind::PermissionDenied => DiskErrorKind::Denied,
            io::ErrorKind::ResourceBusy => DiskErrorKind::Held { holder: None },
            _ => DiskErrorKind::System(error),
        };
        Self { attempt, path: path.to_path_buf(), kind }
    }

    /// Whether it may be there for reading.
    pub(crate) fn forbids_writing(&self) -> bool {
        match &self.kind {
            DiskErrorKind::Denied => true,
            DiskErrorKind::System(error) => error.kind() == io::ErrorKind::ReadOnlyFilesystem,
            _ => false,
        }
    }

    pub(crate) fn of(attempt: &'static str, path: &std::path::Path, kind: DiskErrorKind) -> Self {
        Self { attempt, path: path.to_path_buf(), kind }
    }
}
