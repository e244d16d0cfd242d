//! A mounted file system and its threads.
//!
//! What must hold:
//! - A session that is dropped serves nobody: its mount goes, and whoever waits for an answer gets an error.
//! - A request that is never answered holds up no other request, and not the end of the session.
//! - A file that is claimed has no users but this process, and gets none until the claim is dropped.
//!
//! What takes a while (unmounting, invalidating, claiming) may have to wait for answers of this very session: never call
//! it on the thread that answers requests.

use crate::carry::Carry;
use crate::error::{FuseError, FuseErrorKind};
use crate::handles::Handles;
use crate::in_use::{self, InUse, User, Wanted};
use crate::mount::{self, Manner, MountOptions, Mounted};
use crate::served::Served;
use crate::volumes::{FileId, Volumes};
use fuser::{Config, INodeNo, Notifier, SessionACL};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

/// A VG's volumes, mounted as files.
#[derive(Debug)]
#[must_use = "a session that is dropped is unmounted"]
pub struct Session {
    mounted: Arc<Mounted>,
    handles: Arc<Handles>,
    notifier: Notifier,
    threads: Option<JoinHandle<io::Result<()>>>,
}

impl Session {
    /// Mounts `volumes` on a directory that exists, and serves them.
    ///
    /// # Errors
    /// [`FuseErrorKind::NoFuse`], [`FuseErrorKind::NoFusermount`], [`FuseErrorKind::Fusermount`] where FUSE cannot be
    /// had; [`FuseErrorKind::Mounted`] over a mount of ours; what the system says. Nothing stays mounted then.
    pub fn mount(dir: &Path, volumes: Arc<dyn Volumes>, options: MountOptions) -> Result<Self, FuseError> {
        let (fd, mounted) = mount::mount(dir, &options)?;
        let mounted = Arc::new(mounted);
        let handles = Arc::new(Handles::default());
        let served = Served {
            carry: Carry::new(volumes),
            handles: Arc::clone(&handles),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            since: SystemTime::now(),
        };
        let mut config = Config::default();
        config.n_threads = Some(options.threads.max(1));
        // The kernel itself keeps others out where `allow_other` was not asked for.
        let begun = fuser::Session::from_fd(served, fd, SessionACL::All, config).and_then(|session| {
            let notifier = session.notifier();
            Ok((notifier, serve(session, Arc::clone(&mounted))?))
        });
        match begun {
            Ok((notifier, threads)) => Ok(Self { mounted, handles, notifier, threads: Some(threads) }),
            Err(error) => {
                // Nobody can answer through it, and the first error is the one to tell.
                drop(mounted.unmount(Manner::Lazily));
                Err(FuseError::of("serving", dir, error))
            }
        }
    }

    /// The directory, without links in it.
    pub fn dir(&self) -> &Path {
        &self.mounted.dir
    }

    /// The path of a file by its name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.mounted.dir.join(name)
    }

    /// Whether requests are still taken. False once it was unmounted (by anyone) and the last user has gone.
    pub fn is_serving(&self) -> bool {
        self.threads.as_ref().is_some_and(|threads| !threads.is_finished())
    }

    /// Makes the kernel forget what it knows of a file: its length, and data that a private mapping has read.
    ///
    /// # Errors
    /// What the kernel says; not that it knows nothing.
    pub fn invalidate(&self, file: FileId) -> Result<(), FuseError> {
        let whole = self.notifier.inval_inode(INodeNo(file.get()), 0, 0);
        whole.map_err(|error| FuseError::of("invalidating a file of", self.dir(), error))
    }

    /// Makes the kernel forget a name, after it was taken away or given to another file.
    ///
    /// # Errors
    /// What the kernel says; not that it knows no such name.
    pub fn forget_name(&self, name: &str) -> Result<(), FuseError> {
        let gone = self.notifier.inval_entry(INodeNo::ROOT, OsStr::new(name));
        gone.map_err(|error| FuseError::of("invalidating a name in", self.dir(), error))
    }

    /// Who has a file open, this process apart (so not who uses a loop device that is attached to it).
    pub fn users(&self, file: FileId) -> Vec<User> {
        if self.handles.foreign(file) == 0 {
            return Vec::new();
        }
        InUse::by(in_use::processes(Wanted::File(self.mounted.device, file.get()))).users
    }

    /// Whether a program has a file open, who uses a loop device on it apart. Cheap: no process is looked at.
    pub fn is_open(&self, file: FileId) -> bool {
        self.handles.foreign(file) > 0
    }

    /// Waits up to half a second until nobody but this process has the file open, then keeps it so: until the claim is
    /// dropped, opening fails with EBUSY. A loop device that this process has attached is claimed by itself.
    ///
    /// # Errors
    /// [`FuseErrorKind::InUse`] with the processes.
    pub fn claim(&self, file: FileId) -> Result<FileClaim, FuseError> {
        let held = in_use::patiently(|| if self.handles.hold(file) { Ok(()) } else { Err(()) });
        held.map(|()| FileClaim { handles: Arc::clone(&self.handles), file }).map_err(|()| {
            let users = in_use::processes(Wanted::File(self.mounted.device, file.get()));
            FuseError::of("claiming a file of", self.dir(), InUse::by(users))
        })
    }

    /// Unmounts if nobody uses it. Nothing to do where somebody else did.
    ///
    /// # Errors
    /// [`FuseErrorKind::InUse`] with the processes; what the system says. It is still mounted then.
    pub fn unmount(&self) -> Result<(), FuseError> {
        let outcome = in_use::patiently(|| self.mounted.unmount(Manner::Whole));
        outcome.map(|_| ()).map_err(|error| match &error.kind {
            FuseErrorKind::System(system) if system.raw_os_error() == Some(libc::EBUSY) => {
                let mut users = in_use::processes(Wanted::FileSystem(self.mounted.device));
                if self.handles.own() {
                    users.push(User::Attached);
                }
                FuseError::of("unmounting", self.dir(), InUse::by(users))
            }
            _ => error,
        })
    }

    /// Takes the directory's content away; who has files open keeps them, and the session ends with the last.
    ///
    /// # Errors
    /// What the system says.
    pub fn detach(&self) -> Result<(), FuseError> {
        self.mounted.unmount(Manner::Lazily).map(|_| ())
    }

    /// Ends the session now: whoever waits for an answer gets ECONNABORTED, whoever asks for more ENOTCONN. Without root it
    /// needs /sys/fs/fuse/connections to be mounted, as systemd does; the end of the process does the same.
    ///
    /// # Errors
    /// What the system says; the mount is gone all the same, if the name could be taken away.
    pub fn abort(&self) -> Result<(), FuseError> {
        let detached = self.detach();
        self.mounted.abort()?;
        detached
    }

    /// Waits until the session has ended. After [`Session::unmount`] that is at once, after [`Session::detach`] when the
    /// last user has gone.
    ///
    /// # Errors
    /// [`FuseErrorKind::Ended`] where a thread failed.
    pub fn join(mut self) -> Result<(), FuseError> {
        let Some(threads) = self.threads.take() else { return Ok(()) };
        let outcome = threads.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
        outcome.map_err(|error| FuseError::of("serving", self.dir(), FuseErrorKind::Ended(error)))
    }
}

/// Runs the session on threads of its own until its mount and its users are gone.
fn serve(session: fuser::Session<Served>, mounted: Arc<Mounted>) -> io::Result<JoinHandle<io::Result<()>>> {
    thread::Builder::new().name("fuse".to_owned()).spawn(move || {
        let outcome = session.run();
        if outcome.is_err() {
            // No thread reads requests any more, and the notifier keeps the connection: nobody would ever be answered.
            drop(mounted.abort());
        }
        outcome
    })
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_serving() {
            // There is nobody left to tell; a mount that stays is found and ended by the next session.
            drop(self.abort());
        }
    }
}

/// A file that nobody else has open or opens, until this is dropped.
#[derive(Debug)]
#[must_use = "the file can be opened again when this is dropped"]
pub struct FileClaim {
    handles: Arc<Handles>,
    file: FileId,
}

impl FileClaim {
    /// Which.
    pub fn file(&self) -> FileId {
        self.file
    }
}

impl Drop for FileClaim {
    fn drop(&mut self) {
        self.handles.let_go(self.file);
    }
}
