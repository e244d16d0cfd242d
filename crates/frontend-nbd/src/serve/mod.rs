//! Connections: the protocol on streams, for volumes that somebody else carries.
//!
//! What must hold:
//! - A connection never waits; its owner tells it when to move ([`Connection::drive`]).
//! - What a request needs is taken from its connection's bounds, and given back when its answer is sent.

mod answers;
mod buffers;
mod connection;
mod input;
mod negotiate;
mod outbox;
mod state;
mod stream;
mod transmit;
mod volumes;

pub use connection::Connection;
pub use state::{End, Interest, Ready, State};
pub use stream::Stream;
pub use transmit::{MAX_BYTES, MAX_REQUESTS};
pub use volumes::{Opened, VolumeId, Volumes};
