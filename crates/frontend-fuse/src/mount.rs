//! Mounting and unmounting the file system of a VG.
//!
//! What must hold:
//! - A mount that cannot be had says what is missing: /dev/fuse, root or `fusermount3`.
//! - Unmounting never hits what somebody else has mounted at the same place: type and device number are looked at first.
//!
//! fuser would mount as well, and unmount when its session ends; but it unmounts by path alone, whatever is mounted there
//! by then. So it is handed a descriptor that was mounted here.

use crate::error::{FuseError, FuseErrorKind};
use crate::mountinfo::{self, Mount};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::ffi::CString;
use std::fs;
use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The type under which our mounts are listed.
const KIND: &str = "fuse.foldback";
/// What is listed as their source.
const SOURCE: &str = "foldback";
const DEVICE: &str = "/dev/fuse";
/// Where the program that mounts for others is looked for.
const FUSERMOUNT: &[&str] = &["fusermount3", "/usr/bin/fusermount3", "/bin/fusermount3", "fusermount"];
const ATTEMPT: &str = "mounting on";

/// How a VG is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountOptions {
    /// Threads that read requests from the kernel, at least one. Each has a buffer of 16 MiB (fuser's choice), which is
    /// resident where memory is locked.
    pub threads: usize,
    /// Other users may come in, as far as the files' modes let them: root alone. Without root it needs
    /// `user_allow_other` in /etc/fuse.conf.
    pub allow_other: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self { threads: 2, allow_other: false }
    }
}

/// A mount of ours.
#[derive(Debug)]
pub(crate) struct Mounted {
    /// The directory, without links in it.
    pub(crate) dir: PathBuf,
    /// The file system's device number.
    pub(crate) device: (u32, u32),
    means: Means,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Means {
    Kernel,
    Fusermount,
}

/// How a mount is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// Not while it is in use.
    Whole,
    /// The name goes now, the rest with its last user.
    Lazily,
}

/// Mounts on a directory that exists. The session's end of it comes back too.
pub(crate) fn mount(dir: &Path, options: &MountOptions) -> Result<(OwnedFd, Mounted), FuseError> {
    let failed = |kind: FuseErrorKind| FuseError::of(ATTEMPT, dir, kind);
    let canonical = dir.canonicalize().map_err(|error| failed(error.into()))?;
    if ours_at(&canonical).map_err(|error| failed(error.into()))?.is_some() {
        return Err(failed(FuseErrorKind::Mounted));
    }
    let (fd, means) = match direct(&canonical, options) {
        Ok(fd) => (fd, Means::Kernel),
        Err(FuseErrorKind::System(error)) if is_for_root(&error) => {
            (through_fusermount(&canonical, options).map_err(failed)?, Means::Fusermount)
        }
        Err(kind) => return Err(failed(kind)),
    };
    let found = ours_at(&canonical).map_err(|error| failed(error.into()))?;
    let device = found.ok_or_else(|| failed(FuseErrorKind::Gone))?.device;
    Ok((fd, Mounted { dir: canonical, device, means }))
}

impl Mounted {
    /// Ends the mount. False where it is not there any more.
    pub(crate) fn unmount(&self, manner: Manner) -> Result<bool, FuseError> {
        let failed = |kind: FuseErrorKind| FuseError::of("unmounting", &self.dir, kind);
        let there = ours_at(&self.dir).map_err(|error| failed(error.into()))?;
        if there.is_none_or(|mount| mount.device != self.device) {
            return Ok(false);
        }
        unmount(&self.dir, manner, self.means).map_err(failed)?;
        Ok(true)
    }

    /// Ends the connection: every request that is not answered fails now, and the session's threads end.
    pub(crate) fn abort(&self) -> Result<(), FuseError> {
        let failed = |error: io::Error| FuseError::of("aborting the FUSE connection of", &self.dir, error);
        let number = self.device.1.to_string();
        let control: PathBuf = ["/sys/fs/fuse/connections", &number, "abort"].iter().collect();
        match fs::OpenOptions::new().write(true).open(control) {
            Ok(mut control) => control.write_all(b"1").map_err(failed),
            // Not mounted there: root can have the same files without mounting them anywhere.
            Err(_) => abort_unmounted(&number).map_err(failed),
        }
    }
}

fn abort_unmounted(number: &str) -> io::Result<()> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    let context = rustix::mount::fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let root = rustix::mount::fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID,
    )?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(&root, format!("{number}/abort"), flags, Mode::empty()) {
        Ok(control) => rustix::io::write(control, b"1").map(|_| ()).map_err(io::Error::from),
        // The connection is gone: nothing is left to abort.
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Ends a mount of ours whose server is gone. False where none is at this place. Lazily: its users get errors already.
///
/// # Errors
/// [`FuseErrorKind::NoFusermount`] and what the system says. The place: a directory that an earlier session named.
pub fn unmount_stale(dir: &Path) -> Result<bool, FuseError> {
    let named = dir;
    let failed = |kind: FuseErrorKind| FuseError::of("unmounting what is left on", named, kind);
    // Asking a dead mount for anything fails, so its own name is taken as it is.
    let within = dir.parent().and_then(|parent| parent.canonicalize().ok());
    let dir = match (within, dir.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => dir.to_path_buf(),
    };
    let found = ours_at(&dir).map_err(|error| failed(error.into()))?;
    if found.is_none() {
        return Ok(false);
    }
    unmount(&dir, Manner::Lazily, Means::Kernel)
        .or_else(|kind| match kind {
            FuseErrorKind::System(error) if is_for_root(&error) => {
                unmount(&dir, Manner::Lazily, Means::Fusermount)
            }
            kind => Err(kind),
        })
        .map_err(failed)?;
    Ok(true)
}

/// Our mount at this place, where the topmost there is ours.
fn ours_at(dir: &Path) -> io::Result<Option<Mount>> {
    let top = mountinfo::read("self")?.into_iter().rfind(|mount| mount.point == dir);
    Ok(top.filter(|mount| mount.kind == KIND))
}

fn is_for_root(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

/// mount(2), for root.
fn direct(dir: &Path, options: &MountOptions) -> Result<OwnedFd, FuseErrorKind> {
    let fd = match rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV | rustix::io::Errno::NXIO) => {
            return Err(FuseErrorKind::NoFuse);
        }
        // Its mode may let nobody but root in; fusermount3 has its own rights.
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
            return Err(io::Error::from_raw_os_error(libc::EPERM).into());
        }
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let mode = fs::metadata(dir)?.mode();
    let mut data = format!(
        "fd={},rootmode={mode:o},user_id={},group_id={}",
        fd.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    if options.allow_other {
        data.push_str(",allow_other,default_permissions");
    }
    let data = CString::new(data).map_err(io::Error::other)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    match rustix::mount::mount(SOURCE, dir, KIND, flags, data.as_c_str()) {
        Ok(()) => Ok(fd),
        Err(rustix::io::Errno::NODEV) => Err(FuseErrorKind::NoFuse),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// The setuid program that mounts for users: it sends the descriptor through a socket, here its standard input.
fn through_fusermount(dir: &Path, options: &MountOptions) -> Result<OwnedFd, FuseErrorKind> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut words = format!("nosuid,nodev,noexec,noatime,fsname={SOURCE},subtype={SOURCE}");
    if options.allow_other {
        words.push_str(",allow_other,default_permissions");
    }
    let child = fusermount(FUSERMOUNT, |command| {
        command.args(["-o", &words, "--"]).arg(dir).env("_FUSE_COMMFD", "0");
        Ok(command.stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?))))
    })?;
    // Ours is the only other end now: without a message there comes an end of file.
    drop(theirs);
    let received = receive(&ours);
    let output = child.wait_with_output()?;
    match received {
        Ok(Some(fd)) => Ok(fd),
        Ok(None) => Err(FuseErrorKind::Fusermount(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0_u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(rights)
}

fn unmount(dir: &Path, manner: Manner, means: Means) -> Result<(), FuseErrorKind> {
    match means {
        Means::Kernel => {
            let flags = match manner {
                Manner::Whole => UnmountFlags::NOFOLLOW,
                Manner::Lazily => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
            };
            Ok(rustix::mount::unmount(dir, flags).map_err(io::Error::from)?)
        }
        Means::Fusermount => {
            let words: &[&str] = match manner {
                Manner::Whole => &["-u", "--"],
                Manner::Lazily => &["-u", "-z", "--"],
            };
            let child = fusermount(FUSERMOUNT, |command| Ok(command.args(words).arg(dir)))?;
            let output = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if output.status.success() {
                Ok(())
            } else if said.contains("busy") {
                Err(io::Error::from_raw_os_error(libc::EBUSY).into())
            } else {
                Err(FuseErrorKind::Fusermount(said))
            }
        }
    }
}

/// Starts it from the first place where it is.
fn fusermount(
    programs: &[&str],
    with: impl Fn(&mut Command) -> io::Result<&mut Command>,
) -> Result<std::process::Child, FuseErrorKind> {
    for program in programs {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        match with(&mut command)?.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(FuseErrorKind::NoFusermount)
}

#[cfg(test)]
mod tests {
    use super::{Manner, Means, Mounted, fusermount, mount, unmount_stale};
    use crate::error::FuseErrorKind;
    use std::path::Path;

    #[test]
    fn a_missing_fusermount_is_said_so() {
        let tried = fusermount(&["/nowhere/fusermount3", "/nowhere/fusermount"], |command| Ok(command));
        assert!(matches!(tried, Err(FuseErrorKind::NoFusermount)));
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let refused = mount(Path::new("/nowhere/vg"), &super::MountOptions::default()).unwrap_err();
        assert!(refused.to_string().starts_with("mounting on /nowhere/vg: "), "{refused}");
    }

    #[test]
    fn what_is_not_ours_is_not_unmounted() {
        let proc = Path::new("/proc").to_path_buf();
        assert!(!unmount_stale(&proc).unwrap());
        let ours = Mounted { dir: proc, device: (0, 1), means: Means::Kernel };
        assert!(!ours.unmount(Manner::Lazily).unwrap());
    }
}
