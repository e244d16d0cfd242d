//! The ioctl of /dev/mapper/control.
//!
//! What must hold:
//! - The kernel reads and writes as many bytes as the message's own `data_size` says: never more than there are.
#![expect(unsafe_code, reason = "ioctl(2) has no other way in")]

use crate::message::HEAD;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Where `data_size` lies.
const DATA_SIZE: std::ops::Range<usize> = 12..16;

/// Sends a message, and takes the answer into the same bytes. Allocates nothing.
pub(crate) fn control(control: &File, request: u32, message: &mut [u8]) -> io::Result<()> {
    let size = message.get(DATA_SIZE).and_then(|size| <[u8; 4]>::try_from(size).ok());
    let size = size.map(zerocopy::native_endian::U32::from_bytes).map(zerocopy::native_endian::U32::get);
    let fits = size.and_then(|size| usize::try_from(size).ok()).is_some_and(|size| size <= message.len());
    if message.len() < HEAD || !fits {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the descriptor is open as long as `control` is borrowed. Every request of device-mapper takes a pointer to
    // `struct dm_ioctl`, of which there are at least all 312 bytes, and touches `data_size` bytes from there, which was
    // checked above to be no more than the borrowed ones; they are bytes, for which every value is valid.
    let done = unsafe { libc::ioctl(control.as_raw_fd(), libc::Ioctl::from(request), message.as_mut_ptr()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::control;

    #[test]
    fn a_message_that_says_it_is_longer_than_it_is_never_reaches_the_kernel() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut message = vec![0; 312];
        message[12..16].copy_from_slice(&313_u32.to_ne_bytes());
        let refused = control(&file, 0, &mut message).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        message[12..16].copy_from_slice(&312_u32.to_ne_bytes());
        assert_ne!(control(&file, 0, &mut message).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        assert!(control(&file, 0, &mut [0; 16]).is_err());
    }
}
