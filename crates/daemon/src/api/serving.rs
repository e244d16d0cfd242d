//! The daemon's process, from its lock to its end.
//!
//! What must hold:
//! - A directory has one daemon. It looks for nothing that an earlier one left before it is that one.
//! - The service manager is told that it is ready when its socket answers.
//! - It ends by itself when nothing is active and nothing is about to be. A change that is under way is ended first,
//!   whatever ends the process.

use super::clients::{self, MAX_CONNECTIONS};
use super::listening::Listening;
use crate::own_waits;
use crate::served::Daemon;
use sd_notify::NotifyState;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

/// How long a daemon without volumes stays: the next command may need it.
const LINGER: Duration = Duration::from_secs(3);
/// How often it is looked at.
const LINGER_LOOK: Duration = Duration::from_millis(250);

/// How often it is tried to take up what could not be before.
const TAKE_UP_EVERY: Duration = Duration::from_secs(2);

/// How long a daemon that was killed may take to be gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonStopped {
    /// A system call.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The API.
    #[error("serving the API: {0}")]
    Api(#[from] zlink::Error),
}

/// Serves until nothing is active any more, or somebody asks the process to end.
///
/// # Errors
/// Another daemon runs, or the socket cannot be served.
pub fn serve(daemon: Daemon) -> Result<(), DaemonStopped> {
    let run = daemon.run_dir().clone();
    run.make()?;
    let mut lock = File::options().create(true).truncate(false).write(true).open(run.lock())?;
    take(&lock).map_err(|_| io::Error::other(format!("another daemon serves {}", run.path().display())))?;
    // For people and scripts that look for the process.
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    own_waits::prevent();
    let listening = Listening::of(&run)?;
    let to_remove = listening.to_remove();
    let mut runtime = Builder::new_current_thread();
    let runtime =
        runtime.enable_all().max_blocking_threads(MAX_CONNECTIONS).build_local(LocalOptions::default())?;
    daemon.take_up();
    let daemon = Arc::new(daemon);
    let outcome = runtime.block_on(answer(&daemon, listening));
    // A directory that was removed and made anew under this daemon is another one's by now.
    let ours = |path: PathBuf| -> io::Result<bool> {
        let (there, mine) = (std::fs::metadata(path)?, lock.metadata()?);
        Ok((there.dev(), there.ino()) == (mine.dev(), mine.ino()))
    };
    if let Some(socket) = to_remove.filter(|_| ours(run.lock()).unwrap_or(false)) {
        std::fs::remove_file(socket).ok();
    }
    tell_manager(NotifyState::Stopping);
    daemon.abandon();
    // Whoever still asks is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Locks it, and waits a while for a daemon that was killed: the kernel takes its time to close what a process had open.
fn take(lock: &File) -> Result<(), rustix::io::Errno> {
    let since = Instant::now();
    loop {
        match rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE);
            }
            other => return other,
        }
    }
}

async fn answer(daemon: &Arc<Daemon>, listening: Listening) -> Result<(), DaemonStopped> {
    let listener = listening.begin()?;
    tell_manager(NotifyState::Ready);
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = clients::answer(listener, Arc::clone(daemon)) => {}
        () = nothing_left(daemon) => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    Ok(())
}

/// Tells the service manager, where there is one.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        say!("foldback: telling the service manager: {error}");
    }
}

/// Waits until nothing has been active for a while; then nothing becomes active any more.
async fn nothing_left(daemon: &Arc<Daemon>) {
    let (mut since, mut tried) = (Instant::now(), Instant::now());
    loop {
        tokio::time::sleep(LINGER_LOOK).await;
        if tried.elapsed() >= TAKE_UP_EVERY {
            let again = Arc::clone(daemon);
            spawn_blocking(move || again.take_up_again()).await.ok();
            tried = Instant::now();
        }
        let again = Arc::clone(daemon);
        // It may wait for a volume's thread. It cannot panic; the next look would try again.
        spawn_blocking(move || again.remember_again()).await.ok();
        if !daemon.is_idle() {
            since = Instant::now();
        } else if since.elapsed() >= LINGER && daemon.close() {
            return;
        }
    }
}
