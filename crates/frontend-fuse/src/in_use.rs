//! Who uses a volume (architecture.md, "Served names", *In use*).
//!
//! What must hold:
//! - Looking asks the kernel's own tables only: no file is opened, no file system is asked for anything, so a volume that
//!   hangs does not hang the one who looks.
//! - What cannot be seen (another user's process, another mount namespace) is said to be there, not passed over.
//! - A user who is just leaving gets [`PATIENCE`] to do so.

use crate::mountinfo;
use rustix::fs::{AtFlags, CWD, Statx, StatxFlags};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a user has to go away by itself: udev looks at every new block device for a moment.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The most processes that are looked at.
const MAX_PROCESSES: usize = 65_536;
/// The most descriptors of one process that are looked at.
const MAX_DESCRIPTORS: usize = 1 << 20;

/// Somebody who uses a volume.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum User {
    /// A process has it open.
    Process {
        /// Its number.
        pid: u32,
        /// Its name: 15 bytes of it, as the kernel keeps it.
        name: String,
    },
    /// It is mounted there.
    Mount(PathBuf),
    /// Another block device is built on it.
    Holder(String),
    /// This process has attached a loop device to one of the files.
    Attached,
    /// The kernel says so, and nobody is to be seen: another mount namespace, swap, another user's process.
    Unseen,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, name } => write!(f, "process {pid} ({name}) has it open"),
            Self::Mount(point) => write!(f, "it is mounted on {}", point.display()),
            Self::Holder(name) => write!(f, "device {name} is built on it"),
            Self::Attached => f.write_str("a loop device is attached to one of its files"),
            Self::Unseen => {
                f.write_str("by something unseen from here (a container, another user, a loop device, swap)")
            }
        }
    }
}

/// A volume is in use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is in use: {}", list(.users))]
pub struct InUse {
    /// By whom; at least one.
    pub users: Vec<User>,
}

impl InUse {
    pub(crate) fn by(mut users: Vec<User>) -> Self {
        users.sort();
        users.dedup();
        if users.is_empty() {
            users.push(User::Unseen);
        }
        Self { users }
    }
}

fn list(users: &[User]) -> String {
    let users: Vec<String> = users.iter().map(ToString::to_string).collect();
    users.join("; ")
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// A file: its file system's device number, and its inode.
    File((u32, u32), u64),
    /// Any file of a file system.
    FileSystem((u32, u32)),
    /// A block device.
    Block((u32, u32)),
}

impl Wanted {
    fn is(self, found: &Statx) -> bool {
        let system = (found.stx_dev_major, found.stx_dev_minor);
        let device = (found.stx_rdev_major, found.stx_rdev_minor);
        let is_block = u32::from(found.stx_mode) & libc::S_IFMT == libc::S_IFBLK;
        match self {
            Self::File(on, inode) => system == on && found.stx_ino == inode,
            Self::FileSystem(on) => system == on,
            Self::Block(wanted) => is_block && device == wanted,
        }
    }
}

/// The other processes that have it open.
pub(crate) fn processes(wanted: Wanted) -> Vec<User> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = all.take(MAX_PROCESSES).flatten().filter_map(|it| it.file_name().to_str()?.parse().ok());
    let others = numbers.filter(|pid| *pid != std::process::id());
    others.filter(|pid| has_open(*pid, wanted)).map(|pid| User::Process { pid, name: name_of(pid) }).collect()
}

fn has_open(pid: u32, wanted: Wanted) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().take(MAX_DESCRIPTORS).flatten();
    let descriptors = descriptors.map(|it| it.path());
    // A working directory keeps a file system as an open file does.
    descriptors.chain([process.join("cwd"), process.join("root")]).any(|path| {
        // What the kernel knows by itself: the file's server is not asked.
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        rustix::fs::statx(CWD, &path, flags, StatxFlags::INO | StatxFlags::TYPE)
            .is_ok_and(|it| wanted.is(&it))
    })
}

fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Where a block device is mounted, as this process sees it; file systems of several devices are found by their source.
pub(crate) fn mounts(device: (u32, u32), node: &Path) -> Vec<User> {
    let mounts = mountinfo::read("self").unwrap_or_default();
    let there = mounts.into_iter().filter(|mount| mount.device == device || mount.source == node);
    there.map(|mount| User::Mount(mount.point)).collect()
}

/// Tries until it works or the patience is over; the last refusal stays.
pub(crate) fn patiently<T, E>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(_) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InUse, User, Wanted, patiently, processes};
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn a_process_that_has_a_file_open_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = file.path().metadata().unwrap();
        let device = (libc::major(stat.dev()), libc::minor(stat.dev()));
        let wanted = Wanted::File(device, stat.ino());
        assert_eq!(processes(wanted), [], "this process is no user");
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(std::fs::File::open(file.path()).unwrap()))
            .spawn()
            .unwrap();
        // It may not have become `sleep` yet.
        let users = patiently(|| {
            let users = processes(wanted);
            if users.iter().any(|user| user.to_string().contains("sleep")) { Ok(users) } else { Err(users) }
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(users, Ok(vec![User::Process { pid: child.id(), name: "sleep".to_owned() }]));
    }

    #[test]
    fn a_refusal_names_everybody_once_and_is_never_empty() {
        let users = vec![User::Mount("/mnt".into()), User::Process { pid: 7, name: "dd".to_owned() }];
        let said = InUse::by([users.clone(), users].concat()).to_string();
        assert_eq!(said, "it is in use: process 7 (dd) has it open; it is mounted on /mnt");
        assert_eq!(InUse::by(Vec::new()).users, [User::Unseen]);
    }

    #[test]
    fn patience_ends() {
        let begun = Instant::now();
        assert_eq!(patiently(|| Err::<(), _>(3)), Err(3));
        assert!(begun.elapsed() >= Duration::from_millis(500));
        let mut tries = 0;
        let second = patiently(|| {
            tries += 1;
            if tries == 2 { Ok(()) } else { Err(()) }
        });
        assert!(second.is_ok() && tries == 2);
    }
}
