//! The servers, one at a time on the image.
//!
//! Holds: no peer runs beside another, and while one works ours has nothing to do; a peer that is started is ended by its own id,
//! also after a failure.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

use crate::bench::live::Live;

/// Where extents begin on the PV.
const PE_START: u64 = 1 << 20;
/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who serves, and with which caching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    Foldback,
    Qemu,
    Nbdkit,
    QemuCached,
    NbdkitCached,
}

/// All, in the order of the table.
pub(super) const SERVERS: [Server; 5] =
    [Server::Foldback, Server::Qemu, Server::Nbdkit, Server::QemuCached, Server::NbdkitCached];

impl Server {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Foldback => "foldback",
            Self::Qemu => "qemu-nbd",
            Self::Nbdkit => "nbdkit",
            Self::QemuCached => "qemu-nbd, cached",
            Self::NbdkitCached => "nbdkit, cached",
        }
    }

    fn command(self, image: &Path, socket: &Path) -> Option<Command> {
        let words: &[&str] = match self {
            Self::Foldback => return None,
            Self::Qemu => &["qemu-nbd", "-t", "-f", "raw", "--cache=none", "--aio=io_uring", "-k"],
            Self::QemuCached => &["qemu-nbd", "-t", "-f", "raw", "-k"],
            Self::Nbdkit | Self::NbdkitCached => &["nbdkit", "-f", "--exit-with-parent", "-U"],
        };
        let (program, words) = words.split_first()?;
        let mut command = Command::new(program);
        command.args(words).arg(socket);
        if matches!(self, Self::Nbdkit | Self::NbdkitCached) {
            command.arg("file");
        }
        command.arg(image);
        if self == Self::Nbdkit {
            command.arg("cache=none");
        }
        Some(command)
    }
}

/// Writes all of the volume, so that no server meets a hole.
pub(super) fn fill(live: &Live) -> Result<()> {
    let mut piece = vec![0; 1 << 20];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for word in piece.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    let path = live.path().join("content.raw");
    let mut file = File::create(&path).context("making the content")?;
    for _ in 0..super::VOLUME_MIB {
        file.write_all(&piece).context("writing the content")?;
    }
    drop(file);
    live.run(&["import", &path.display().to_string(), &live.lv("root")])?;
    std::fs::remove_file(&path).context("removing the content")
}

/// A server that listens; dropping it ends it, but for ours, which stays.
pub(super) struct Turn {
    _peer: Option<Peer>,
    pub(super) uri: String,
    /// Where the volume begins in what is served.
    pub(super) offset: u64,
}

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Turn {
    /// Makes memory what it is for this server at each of its turns, and starts it.
    pub(super) fn begin(server: Server, live: &Live, ours: &str) -> Result<Self> {
        prepare(&live.image, matches!(server, Server::QemuCached | Server::NbdkitCached))?;
        let socket = live.path().join("peer.sock");
        let Some(mut command) = server.command(&live.image, &socket) else {
            return Ok(Self { _peer: None, uri: ours.to_owned(), offset: 0 });
        };
        if socket.exists() {
            std::fs::remove_file(&socket).context("removing a stale socket")?;
        }
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut peer = Peer(child.with_context(|| format!("starting {}", server.name()))?);
        let since = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            ensure!(peer.0.try_wait()?.is_none(), "{} ended", server.name());
            ensure!(since.elapsed() < PATIENCE, "{} does not listen", server.name());
            std::thread::sleep(Duration::from_millis(20));
        }
        let uri = format!("nbd+unix:///?socket={}", socket.display());
        Ok(Self { _peer: Some(peer), uri, offset: PE_START })
    }
}

/// Nothing of the image is dirty, and all of it, or nothing, is in the page cache.
fn prepare(image: &Path, cached: bool) -> Result<()> {
    let mut file = File::open(image).context("opening the image")?;
    file.sync_all().context("syncing the image")?;
    if cached {
        std::io::copy(&mut file, &mut std::io::sink()).context("reading the image")?;
        return Ok(());
    }
    fadvise(&file, 0, None, Advice::DontNeed).context("dropping the image's pages")
}
