//! Bytes between a socket and memory that operations own, without a copy in between.
//!
//! What must hold:
//! - No call waits, whatever the socket's own mode is: what cannot move now is [`io::ErrorKind::WouldBlock`].
//! - No Rust reference into a [`Slice`] is made: the system call gets its address.
//! - A peer that is gone is an error, never a signal.

use crate::Slice;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most pieces that one [`send`] offers; more are left for the next.
pub const MAX_PIECES: usize = 64;

/// A piece of what is sent.
#[derive(Clone, Copy, Debug)]
pub enum Outgoing<'a> {
    /// Bytes of the sender.
    Bytes(&'a [u8]),
    /// Memory that an operation has filled.
    Memory(&'a Slice),
}

impl Outgoing<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Memory(slice) => slice.len(),
        }
    }

    /// Whether there is no byte to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A descriptor of our own for what this process has under a number, such as one that a service manager passed.
pub fn copy_of(number: RawFd) -> io::Result<OwnedFd> {
    const ABOVE_STANDARD: libc::c_int = 3;
    // SAFETY: no memory is involved; a number that is none is an error.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, ABOVE_STANDARD) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The process that connected to a Unix socket; `None` where it cannot be named from here (another PID namespace).
pub fn peer_process(socket: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
    // SAFETY: both pointers are of live variables of ours, and `len` is the length of the first.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(peer.pid).ok().filter(|pid| *pid > 0))
}

/// Fills the start of `into` with what the socket has; how many bytes that were, 0 at the stream's end.
pub fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the reference is exclusive, and the call writes at most its length.
    unsafe { receive_at(socket, into.as_mut_ptr(), into.len()) }
}

/// The same into memory that operations use.
pub fn receive_into(socket: BorrowedFd<'_>, into: &Slice) -> io::Result<usize> {
    // SAFETY: the slice lies inside memory that it keeps alive over the call and that no Rust reference points into.
    unsafe { receive_at(socket, into.as_ptr(), into.len()) }
}

/// # Safety
/// `len` bytes from `to` on must be writable, without a Rust reference to them in use elsewhere.
unsafe fn receive_at(socket: BorrowedFd<'_>, to: *mut u8, len: usize) -> io::Result<usize> {
    // SAFETY: what the caller promises; the descriptor is open while it is borrowed.
    let moved = unsafe { libc::recv(socket.as_raw_fd(), to.cast(), len, libc::MSG_DONTWAIT) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Sends the pieces one after the other, as far as the socket takes them now and at most [`MAX_PIECES`] of them; how many
/// bytes that were.
pub fn send(socket: BorrowedFd<'_>, pieces: &[Outgoing<'_>]) -> io::Result<usize> {
    const NOTHING: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut vectors = [NOTHING; MAX_PIECES];
    for (vector, piece) in vectors.iter_mut().zip(pieces) {
        vector.iov_len = piece.len();
        vector.iov_base = match piece {
            // Only read from: the call takes both directions by the same type.
            Outgoing::Bytes(bytes) => bytes.as_ptr().cast_mut().cast(),
            Outgoing::Memory(slice) => slice.as_ptr().cast(),
        };
    }
    // SAFETY: all zeros is a message without name, vectors and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = pieces.len().min(MAX_PIECES);
    // SAFETY: each vector names memory that `pieces` borrows or keeps alive over the call; it is only read.
    let moved = unsafe {
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::{MAX_PIECES, Outgoing, receive, receive_into, send};
    use crate::Memory;
    use std::io;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_sent_from_both_kinds_of_memory_arrives_in_order() {
        let (near, far) = UnixStream::pair().unwrap();
        let memory = Memory::new(4096).unwrap();
        assert!(memory.whole().copy_from(&[7; 4096]));
        let part = memory.slice(100, 3).unwrap();
        let pieces = [Outgoing::Bytes(b"ab"), Outgoing::Memory(&part), Outgoing::Bytes(b"c")];
        assert_eq!(send(near.as_fd(), &pieces).unwrap(), 6);
        let into = Memory::new(10).unwrap();
        assert_eq!(receive_into(far.as_fd(), &into.slice(0, 4).unwrap()).unwrap(), 4);
        assert!(into.whole().to_vec().starts_with(b"ab\x07\x07\0"));
        let mut rest = [0; 8];
        assert_eq!((receive(far.as_fd(), &mut rest).unwrap(), &rest[..2]), (2, &b"\x07c"[..]));
    }

    #[test]
    fn nothing_waits_and_a_peer_that_is_gone_is_an_error() {
        let (near, far) = UnixStream::pair().unwrap();
        let kind = |result: io::Result<usize>| result.unwrap_err().kind();
        assert_eq!(kind(receive(near.as_fd(), &mut [0; 8])), io::ErrorKind::WouldBlock);
        let much = vec![0; 1 << 20];
        let pieces = [Outgoing::Bytes(&much); 2];
        while send(near.as_fd(), &pieces).is_ok() {}
        assert_eq!(kind(send(near.as_fd(), &pieces)), io::ErrorKind::WouldBlock);
        drop(far);
        assert_eq!(kind(send(near.as_fd(), &pieces)), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn pieces_beyond_the_most_are_left() {
        let (near, _far) = UnixStream::pair().unwrap();
        let pieces = [Outgoing::Bytes(b"x"); MAX_PIECES + 1];
        assert_eq!(send(near.as_fd(), &pieces).unwrap(), MAX_PIECES);
    }
}
