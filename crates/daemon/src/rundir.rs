//! Where a user's daemon is found (architecture.md, "Processes").
//!
//! What must hold:
//! - One daemon per user: `/run/foldback` for root, `$XDG_RUNTIME_DIR/foldback` otherwise, `/tmp/foldback-UID` where that is
//!   not set. `FOLDBACK_RUN_DIR` names another one.
//! - The directory is its user's alone; one in /tmp that somebody else made is refused.

use rustix::process::geteuid;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The environment variable that names another directory.
pub(crate) const RUN_DIR_VARIABLE: &str = "FOLDBACK_RUN_DIR";

/// A daemon's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// The calling user's.
    pub fn of_user() -> Self {
        let named = std::env::var_os(RUN_DIR_VARIABLE).filter(|path| !path.is_empty());
        if let Some(path) = named {
            return Self(PathBuf::from(path));
        }
        let uid = geteuid();
        if uid.is_root() {
            return Self(PathBuf::from("/run/foldback"));
        }
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
            Some(dir) => Self(Path::new(&dir).join("foldback")),
            None => Self(PathBuf::from(format!("/tmp/foldback-{}", uid.as_raw()))),
        }
    }

    /// At a place of the caller's choice.
    pub fn at(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// Whether it is the user's usual one, which units know, too.
    pub fn is_default() -> bool {
        std::env::var_os(RUN_DIR_VARIABLE).is_none_or(|path| path.is_empty())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("api.sock")
    }

    /// What a daemon leaves for the next one.
    pub fn active(&self) -> PathBuf {
        self.0.join("active.json")
    }

    /// Whether a daemon left volumes that were active, in this boot.
    pub fn was_active(&self) -> bool {
        crate::state::Active::read(self).is_ok_and(|active| !active.vgs.is_empty())
    }

    /// What a daemon that nobody watches says.
    pub fn log(&self) -> PathBuf {
        self.0.join("daemon.log")
    }

    /// Locked by the daemon that runs.
    pub fn lock(&self) -> PathBuf {
        self.0.join("daemon.lock")
    }

    /// Makes the directory, or makes sure that it is the user's own.
    ///
    /// # Errors
    /// It cannot be made, is no directory, or belongs to somebody else.
    pub fn make(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let found = std::fs::symlink_metadata(&self.0)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() {
            let what = format!("{} belongs to somebody else; set {RUN_DIR_VARIABLE}", self.0.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        if found.permissions().mode() & 0o022 != 0 {
            std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::RunDir;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_directory_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(&dir.path().join("a/b"));
        run.make().unwrap();
        run.make().unwrap();
        assert_eq!(run.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(run.socket(), run.path().join("api.sock"));
        std::fs::write(dir.path().join("file"), []).unwrap();
        assert!(RunDir::at(&dir.path().join("file")).make().is_err());
    }
}
