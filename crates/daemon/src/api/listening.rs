//! Where the API listens: at a socket that the service manager passes, or at one that is made here.
//!
//! What must hold:
//! - Clients look for `api.sock` in the daemon's directory, so a passed socket is that one or the daemon does not start.
//! - A passed socket stays the manager's: it is not removed, and whoever connects while a daemon ends is served by the next.

use crate::rundir::RunDir;
use foldback_device::socket;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use zlink::tokio::unix;

/// Where to listen, decided before anything is served.
#[derive(Debug)]
pub(super) enum Listening {
    /// At a socket of the service manager's.
    Passed(OwnedFd),
    /// At one of our own.
    Own(PathBuf),
}

impl Listening {
    /// A passed socket, else the directory's, of which an older daemon may have left the name.
    ///
    /// # Errors
    /// Something else was passed, or the name cannot be had.
    pub(super) fn of(run: &RunDir) -> io::Result<Self> {
        let path = run.socket();
        let mut passed = sd_notify::listen_fds()?;
        match (passed.next(), passed.next()) {
            (None, _) => {
                remove(&path)?;
                Ok(Self::Own(path))
            }
            (Some(number), None) => Self::passed(socket::copy_of(number)?, &path),
            (Some(_), Some(_)) => Err(io::Error::other("the service manager passed more than one socket")),
        }
    }

    fn passed(descriptor: OwnedFd, path: &Path) -> io::Result<Self> {
        let listener = UnixListener::from(descriptor);
        let address = listener.local_addr()?;
        if address.as_pathname() == Some(path) {
            return Ok(Self::Passed(listener.into()));
        }
        let what = format!("the service manager passed the socket {address:?}, and not {}", path.display());
        Err(io::Error::other(what))
    }

    /// Begins to listen, for the owner alone.
    ///
    /// # Errors
    /// The system, or the API's library.
    pub(super) fn begin(self) -> zlink::Result<unix::Listener> {
        match self {
            Self::Passed(descriptor) => unix::Listener::try_from(descriptor),
            Self::Own(path) => {
                let listener = unix::bind(&path)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
                Ok(listener)
            }
        }
    }

    /// The name that is to be removed at the end.
    pub(super) fn to_remove(&self) -> Option<PathBuf> {
        match self {
            Self::Passed(_) => None,
            Self::Own(path) => Some(path.clone()),
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Listening;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_the_socket_that_clients_look_for_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (right, wrong) = (dir.path().join("api.sock"), dir.path().join("other.sock"));
        let socket = |path| UnixListener::bind(path).unwrap().into();
        assert!(Listening::passed(socket(&right), &right).unwrap().to_remove().is_none());
        let refused = Listening::passed(socket(&wrong), &right).unwrap_err().to_string();
        assert!(refused.contains("other.sock"), "{refused}");
    }
}
