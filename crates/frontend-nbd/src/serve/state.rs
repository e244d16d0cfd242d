//! What a connection and its owner tell each other.
//!
//! What must hold:
//! - The owner needs nothing else to drive a connection by epoll, level triggered.

use crate::wire::Violation;
use std::io;

/// What the socket was found to be, by `epoll` or the like.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ready {
    /// There is something to read, or its end (EPOLLIN, EPOLLRDHUP).
    pub read: bool,
    /// There is room to write (EPOLLOUT).
    pub write: bool,
    /// Nobody is there any more (EPOLLHUP, EPOLLERR).
    pub hangup: bool,
}

/// What the socket is to be watched for. A hang-up is always of interest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Interest {
    /// When there is something to read.
    pub read: bool,
    /// When there is room to write.
    pub write: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It is served.
    Open,
    /// Nothing is read any more; answers that are under way are awaited. Keep it, and give it its answers.
    Draining,
    /// Its volume is given back and its socket closed: drop it.
    Ended,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// `NBD_CMD_DISC`.
    #[error("the client disconnected")]
    Disconnected,
    /// `NBD_OPT_ABORT`.
    #[error("the client ended the negotiation")]
    Aborted,
    /// The stream ended without a word.
    #[error("the client is gone")]
    Gone,
    /// [`super::Connection::stop`].
    #[error("the volume is not served any more")]
    Stopped,
    /// The client broke the protocol where it cannot be answered.
    #[error("the client broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
}

impl End {
    /// Whether answers are still sent.
    pub(super) fn is_soft(&self) -> bool {
        matches!(self, Self::Disconnected | Self::Aborted | Self::Stopped)
    }
}

/// What came of looking at the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Something was taken.
    Moved,
    /// More bytes are needed.
    Hungry,
    /// There is no room for what is there.
    Stalled,
}
