//! The control calls of loop devices, and of the file systems on them. The only file of this crate with `unsafe`.
//!
//! What must hold:
//! - Each call is handed what linux/loop.h and linux/fs.h say, by a descriptor that is open over the call.
#![expect(unsafe_code, reason = "ioctl(2) has no other way in")]

use linux_raw_sys::ioctl::{BLKFLSBUF, FIFREEZE, FITHAW};
use linux_raw_sys::loop_device::{
    LOOP_CLR_FD, LOOP_CONFIGURE, LOOP_CTL_ADD, LOOP_CTL_GET_FREE, LOOP_CTL_REMOVE, LOOP_GET_STATUS64,
    LOOP_SET_CAPACITY, loop_config, loop_info64,
};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A call that takes a number, or nothing.
fn plain(file: &File, request: u32, number: u32) -> io::Result<libc::c_int> {
    let number = libc::c_ulong::from(number);
    // SAFETY: the descriptor is open as long as `file` is borrowed. The requests that come here take the number itself
    // (LOOP_CTL_ADD, LOOP_CTL_REMOVE) or no argument at all (LOOP_CTL_GET_FREE, LOOP_CLR_FD, LOOP_SET_CAPACITY,
    // BLKFLSBUF, FIFREEZE, FITHAW), so no memory is involved.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(request), number) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// The number of a loop device that nobody uses at this moment; made if there is none.
pub(super) fn free_number(control: &File) -> io::Result<u32> {
    u32::try_from(plain(control, LOOP_CTL_GET_FREE, 0)?).map_err(io::Error::other)
}

/// Takes a device away that nothing is attached to and nobody has open, and makes it anew. EBUSY otherwise.
pub(super) fn renew(control: &File, number: u32) -> io::Result<()> {
    plain(control, LOOP_CTL_REMOVE, number)?;
    plain(control, LOOP_CTL_ADD, number).map(|_| ())
}

/// Attaches as `config` says. EBUSY where it is attached already.
pub(super) fn configure(device: &File, config: &loop_config) -> io::Result<()> {
    let config: *const loop_config = config;
    // SAFETY: the descriptor is open as long as `device` is borrowed; LOOP_CONFIGURE reads one `loop_config`, which the
    // caller's reference keeps alive and unchanged over the call. The backing file in it is taken by the kernel itself.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::Ioctl::from(LOOP_CONFIGURE), config) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Detaches when the last opening ends. It succeeds on a mounted device too: never call it without O_EXCL.
pub(super) fn clear(device: &File) -> io::Result<()> {
    plain(device, LOOP_CLR_FD, 0).map(|_| ())
}

/// Takes the backing file's length over.
pub(super) fn set_capacity(device: &File) -> io::Result<()> {
    plain(device, LOOP_SET_CAPACITY, 0).map(|_| ())
}

/// Writes back and forgets what the page cache has of the device.
pub(super) fn flush_buffers(device: &File) -> io::Result<()> {
    plain(device, BLKFLSBUF, 0).map(|_| ())
}

/// Lets nobody write to the file system of which this is a directory. EBUSY where it is frozen already.
pub(crate) fn freeze(root: &File) -> io::Result<()> {
    plain(root, FIFREEZE, 0).map(|_| ())
}

/// The end of [`freeze`]. EINVAL where it is not frozen.
pub(crate) fn thaw(root: &File) -> io::Result<()> {
    plain(root, FITHAW, 0).map(|_| ())
}

/// What is attached. Asks the backing file's server. ENXIO where nothing is.
pub(super) fn status(device: &File) -> io::Result<loop_info64> {
    let mut info = super::nothing();
    let answer: *mut loop_info64 = &raw mut info;
    // SAFETY: the descriptor is open as long as `device` is borrowed; LOOP_GET_STATUS64 writes one `loop_info64`, all of
    // whose fields are numbers, into `info`, which nothing else refers to over the call.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::Ioctl::from(LOOP_GET_STATUS64), answer) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
}
