//! The streams that connections run on.
//!
//! What must hold:
//! - No method waits: what cannot move now is [`io::ErrorKind::WouldBlock`].

use foldback_device::{Slice, socket};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// A stream of bytes to and from one client.
pub trait Stream {
    /// Fills the start of `into`; how many bytes, 0 at the stream's end. `into` is not empty.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// The same into memory that an operation will use.
    fn receive_into(&mut self, into: &Slice) -> io::Result<usize>;

    /// Sends the pieces in order, as far as they go now; how many bytes went.
    fn send(&mut self, pieces: &[socket::Outgoing<'_>]) -> io::Result<usize>;
}

macro_rules! socket_stream {
    ($socket:ty) => {
        impl Stream for $socket {
            fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
                socket::receive(self.as_fd(), into)
            }

            fn receive_into(&mut self, into: &Slice) -> io::Result<usize> {
                socket::receive_into(self.as_fd(), into)
            }

            fn send(&mut self, pieces: &[socket::Outgoing<'_>]) -> io::Result<usize> {
                socket::send(self.as_fd(), pieces)
            }
        }
    };
}
socket_stream!(UnixStream);
socket_stream!(TcpStream);
