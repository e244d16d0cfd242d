//! Where NBD clients connect to: `unix:/path`, `tcp:ADDRESS:PORT`.
//!
//! What must hold:
//! - TCP is reached from this machine alone, unless an address is named.
//! - A socket is its user's alone from its first moment. A file is replaced only where it is a socket that nobody serves,
//!   and removed only where it is the one that was made.

use rustix::fs::{FileType, Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Clients that wait to be taken.
const BACKLOG: i32 = 64;

/// An address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port; 0 for any.
    Tcp(SocketAddr),
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: OwnedFd,
    pub(crate) place: Place,
}

/// Where a socket listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) address: Address,
    /// Device and inode of its file.
    file: Option<(u64, u64)>,
}

impl Address {
    /// `None` where it is no address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(tcp) = text.strip_prefix("tcp:") {
            let port = tcp.parse().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            return port.or_else(|_| tcp.parse()).ok().map(Self::Tcp);
        }
        let path = Path::new(text.strip_prefix("unix:").unwrap_or(text));
        path.is_absolute().then(|| Self::Unix(path.to_path_buf()))
    }

    /// Whether who wants `self` is served by `other` already.
    pub(crate) fn is_served_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(wanted), Self::Tcp(there)) if wanted.port() == 0 => wanted.ip() == there.ip(),
            _ => self == other,
        }
    }

    /// Begins to listen, without blocking.
    pub(crate) fn bind(&self) -> io::Result<Bound> {
        match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = Self::Tcp(listener.local_addr()?);
                Ok(Bound { socket: listener.into(), place: Place { address, file: None } })
            }
            Self::Unix(path) => {
                remove_stale(path)?;
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                // The file gets the socket's mode.
                fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
                bind(&socket, &SocketAddrUnix::new(path)?)?;
                listen(&socket, BACKLOG)?;
                Ok(Bound { socket, place: Place { address: self.clone(), file: Some(number(path)?) } })
            }
        }
    }

    /// Whether others than this machine's own users can connect.
    pub(crate) fn is_public(&self) -> bool {
        matches!(self, Self::Tcp(address) if !is_local(address.ip()))
    }
}

fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback()
}

fn number(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Place {
    /// Removes the file of a socket that listens no more.
    pub(crate) fn remove(&self) {
        if let Address::Unix(path) = &self.address
            && number(path).ok() == self.file
        {
            // Somebody may have been faster.
            std::fs::remove_file(path).ok();
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// Removes a socket's file when nobody serves it.
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path)
        .is_ok_and(|found| FileType::from_raw_mode(found.mode()) == FileType::Socket);
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).err().is_some_and(refused) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Makes the directory of sockets, which is its user's alone.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::Address;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_address_is_local_unless_it_says_otherwise() {
        let said = |text: &str| Address::parse(text).map(|address| address.to_string());
        assert_eq!(said("tcp:10809").as_deref(), Some("tcp:127.0.0.1:10809"));
        assert_eq!(said("tcp:[::1]:1").as_deref(), Some("tcp:[::1]:1"));
        assert_eq!(said("/a b").as_deref(), Some("unix:/a b"));
        assert_eq!(said("unix:/a").as_deref(), Some("unix:/a"));
        for wrong in ["", "tcp:", "tcp:x", "tcp:70000", "a", "unix:a", "udp:1"] {
            assert_eq!(said(wrong), None, "{wrong}");
        }
        assert!(Address::parse("tcp:0.0.0.0:1").unwrap().is_public());
        assert!(!Address::parse("tcp:1").unwrap().is_public());
    }

    #[test]
    fn a_socket_is_private_and_replaces_only_what_nobody_serves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let address = Address::Unix(path.clone());
        let bound = address.bind().unwrap();
        assert_eq!(path.symlink_metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(address.bind().is_err(), "it is served");
        drop(bound);
        let again = address.bind().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, []).unwrap();
        again.place.remove();
        assert!(path.exists(), "it is not the one that was made");
        assert!(address.bind().is_err(), "a file is never replaced");
    }
}
