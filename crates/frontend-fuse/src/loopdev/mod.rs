//! Loop devices on served files: what makes a volume a block device, for root.
//!
//! What must hold:
//! - No discard reaches the file unless its owner wants that: `discard_max_bytes` is 0 before anybody but us can open the device.
//! - A device whose server lives is detached only by who holds it with O_EXCL: LOOP_CLR_FD succeeds on a mounted one.
//! - A device is looked at again before each step: by then it may be attached to somebody else's file.
//! - No descriptor of the device stays open between the steps: it would count as a user.
//!
//! All of this opens, stats and flushes the served file, so the session must be able to answer meanwhile: never call it
//! on a thread that answers requests.

mod claim;
pub(crate) mod ioctl;
mod sysfs;

pub use claim::{LoopClaim, Stale, detach_stale};

use crate::error::{FuseError, FuseErrorKind};
use crate::in_use::{self, User, Wanted};
use linux_raw_sys::loop_device::{LO_NAME_SIZE, loop_config, loop_info64};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// linux/loop.h: LO_FLAGS_READ_ONLY and LO_FLAGS_DIRECT_IO. The bindings have them as an enum, which is no number.
const READ_ONLY: u32 = 1;
const DIRECT_IO: u32 = 16;
const CONTROL: &str = "/dev/loop-control";
/// How often another free device is asked for, when somebody else takes it first.
const MAX_TRIES: u32 = 64;
/// Between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(20);
const ATTACHING: &str = "attaching a loop device to";

/// How a file is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoopOptions {
    /// The device refuses writes.
    pub read_only: bool,
    /// The logical block size in bytes: a power of two from 512 to a page. 512, unless the PVs' blocks are larger.
    pub block_size: u32,
    /// Discards reach the file, as holes.
    pub discards: bool,
}

impl Default for LoopOptions {
    fn default() -> Self {
        Self { read_only: false, block_size: 512, discards: false }
    }
}

/// A loop device that was attached here. Dropping it does nothing: it stays attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoopDevice {
    number: u32,
    backing: PathBuf,
    identity: Identity,
}

/// What tells one backing file from another, as the kernel keeps it: device number and inode, and the name that we gave,
/// since a later session may get the same number for its files with the same inodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    device: u64,
    inode: u64,
    name: [u8; 64],
}

impl Identity {
    fn of(info: &loop_info64) -> Self {
        Self { device: info.lo_device, inode: info.lo_inode, name: info.lo_file_name }
    }
}

impl LoopDevice {
    /// Attaches a free loop device to a file, with direct I/O where the kernel can.
    ///
    /// # Errors
    /// [`FuseErrorKind::NoLoop`], [`FuseErrorKind::LoopTaken`], [`FuseErrorKind::Discard`]; what the system says, EACCES
    /// and EPERM without root among it. Nothing stays attached then.
    pub fn attach(backing: &Path, options: LoopOptions) -> Result<Self, FuseError> {
        let failed = |kind: FuseErrorKind| FuseError::of(ATTACHING, backing, kind);
        let file = OpenOptions::new().read(true).write(!options.read_only).open(backing);
        let file = file.map_err(|error| failed(error.into()))?;
        let (number, device) = take_free(&file, backing, options).map_err(failed)?;
        let set = if options.discards { sysfs::can_refuse_discard } else { sysfs::refuse_discard };
        let told = set(number).map_err(FuseErrorKind::Discard).and_then(|()| Ok(ioctl::status(&device)?));
        match told {
            Ok(info) => Ok(Self { number, backing: backing.to_path_buf(), identity: Identity::of(&info) }),
            Err(kind) => {
                // We have it with O_EXCL, so nobody uses it yet; the first error is the one to tell.
                drop(ioctl::clear(&device));
                Err(failed(kind))
            }
        }
    }

    /// The number: 3 of `/dev/loop3`.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The device.
    pub fn path(&self) -> PathBuf {
        sysfs::node(self.number)
    }

    /// The file, as it was named when it was attached.
    pub fn backing(&self) -> &Path {
        &self.backing
    }

    /// Whether the page cache of the file is passed by. Otherwise data is kept twice in memory, and nothing else changes.
    ///
    /// # Errors
    /// [`FuseErrorKind::Gone`]; what the system says.
    pub fn is_direct(&self) -> Result<bool, FuseError> {
        drop(self.open(0)?);
        sysfs::is_direct(self.number).map_err(|error| self.failed("asking", error))
    }

    /// Takes over the length that `file` has by now: what was attached, by the name that it has now.
    ///
    /// # Errors
    /// [`FuseErrorKind::Gone`]; what the system says.
    pub fn resize(&self, file: &Path) -> Result<(), FuseError> {
        // Older kernels take the length that was last asked for.
        let stat = fs::metadata(file);
        stat.map_err(|error| FuseError::of("measuring", file, error))?;
        let device = self.open(0)?;
        ioctl::set_capacity(&device).map_err(|error| self.failed("resizing", error))
    }

    /// Lets discards reach the file, as holes, or no more of them: those under way are waited for, with all other requests to
    /// the device. Not to be called while the file's requests are held.
    ///
    /// # Errors
    /// [`FuseErrorKind::Discard`], [`FuseErrorKind::NoDiscard`], [`FuseErrorKind::Gone`]; what the system says.
    pub fn set_discards(&self, on: bool) -> Result<(), FuseError> {
        drop(self.open(0)?);
        let set = if on {
            sysfs::allow_discard(self.number).map_err(FuseErrorKind::NoDiscard)
        } else {
            sysfs::refuse_discard(self.number).map_err(FuseErrorKind::Discard)
        };
        set.map_err(|kind| self.failed("setting", kind))
    }

    /// Who uses the device at this moment, this process and the kernel apart; a look, not a claim.
    ///
    /// # Errors
    /// [`FuseErrorKind::Gone`]; what the system says.
    pub fn users(&self) -> Result<Vec<User>, FuseError> {
        drop(self.open(0)?);
        users(self.number).map_err(|error| self.failed("asking", error))
    }

    /// Whether it is mounted where this process sees it, or another device is built on it. Cheap: no process is looked at.
    pub fn is_built_on(&self) -> bool {
        let mounted = |device| !in_use::mounts(device, &sysfs::node(self.number)).is_empty();
        sysfs::device(self.number).is_ok_and(mounted) || !sysfs::holders(self.number).is_empty()
    }

    /// Waits up to half a second until nobody uses the device, then holds it with O_EXCL: nobody mounts it until the
    /// claim is dropped.
    ///
    /// # Errors
    /// [`FuseErrorKind::InUse`] with the users; [`FuseErrorKind::Gone`]; what the system says.
    pub fn claim(&self) -> Result<LoopClaim, FuseError> {
        claim::take(self)
    }

    fn failed(&self, attempt: &'static str, kind: impl Into<FuseErrorKind>) -> FuseError {
        FuseError::of(attempt, &self.path(), kind)
    }

    /// Opens the device, and sees that it is still attached to the same file. Read-only, so that closing it does not
    /// make udev look at the device.
    fn open(&self, flags: libc::c_int) -> Result<File, FuseError> {
        // Without flags first: who holds the number by now must not be taken for a user of ours.
        let shared = self.open_as(0)?;
        if flags == 0 { Ok(shared) } else { self.open_as(flags) }
    }

    fn open_as(&self, flags: libc::c_int) -> Result<File, FuseError> {
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(self.path());
        let device = opened.map_err(|error| {
            let kind = if is_absent(&error) { FuseErrorKind::Gone } else { error.into() };
            self.failed("opening", kind)
        })?;
        match ioctl::status(&device) {
            Ok(info) if Identity::of(&info) == self.identity => Ok(device),
            Ok(_) => Err(self.failed("opening", FuseErrorKind::Gone)),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                Err(self.failed("opening", FuseErrorKind::Gone))
            }
            Err(error) => Err(self.failed("asking", error)),
        }
    }
}

/// There is no such device, at this moment at least: a number may be removed and made anew.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO))
}

/// Attaches the first device that nobody else takes, and has it with O_EXCL.
fn take_free(file: &File, backing: &Path, options: LoopOptions) -> Result<(u32, File), FuseErrorKind> {
    let control = match OpenOptions::new().read(true).write(true).open(CONTROL) {
        Ok(control) => control,
        Err(error) if is_absent(&error) => return Err(FuseErrorKind::NoLoop),
        Err(error) => return Err(error.into()),
    };
    let config = configuration(file, backing, options)?;
    for _ in 0..MAX_TRIES {
        let number = ioctl::free_number(&control)?;
        let mut open = OpenOptions::new();
        let opened = open.read(true).write(true).custom_flags(libc::O_EXCL).open(sysfs::node(number));
        let attached = opened.and_then(|device| ioctl::configure(&device, &config).map(|()| device));
        match attached {
            Ok(device) => return Ok((number, device)),
            // Taken by somebody else, or just being made anew.
            // The kernel names the same one until whoever has it is done, and they may have to wait for a processor.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) || is_absent(&error) => {
                std::thread::sleep(TRY_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(FuseErrorKind::LoopTaken(MAX_TRIES))
}

fn configuration(file: &File, backing: &Path, options: LoopOptions) -> io::Result<loop_config> {
    let mut info = nothing();
    info.lo_flags = DIRECT_IO;
    if options.read_only {
        info.lo_flags |= READ_ONLY;
    }
    // The last byte stays 0: it is a C string. Of a longer path the end, which names the volume.
    let most = usize::try_from(LO_NAME_SIZE).map_err(io::Error::other)?.saturating_sub(1);
    let path = backing.as_os_str().as_bytes();
    let name = path.iter().skip(path.len().saturating_sub(most));
    for (into, byte) in info.lo_file_name.iter_mut().zip(name) {
        *into = *byte;
    }
    let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    Ok(loop_config { fd, block_size: options.block_size, info, __reserved: [0; 8] })
}

/// A status of zeros.
fn nothing() -> loop_info64 {
    loop_info64 {
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: 0,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: 0,
        lo_file_name: [0; 64],
        lo_crypt_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
    }
}

/// Everybody who is to be seen.
fn users(number: u32) -> io::Result<Vec<User>> {
    let device = sysfs::device(number)?;
    let mut users = in_use::processes(Wanted::Block(device));
    users.extend(in_use::mounts(device, &sysfs::node(number)));
    users.extend(sysfs::holders(number).into_iter().map(User::Holder));
    Ok(users)
}
