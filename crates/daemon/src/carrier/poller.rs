//! One place to wait: disks, the inbox, listeners and connections.
//!
//! What must hold:
//! - Level-triggered but for the disks: what was not done at one return is reported at the next. What the disks have
//!   completed is taken whole before the next wait.
//! - What is watched is named by a number of the carrier's own; a descriptor is forgotten before it is closed.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events taken at one return.
const BATCH: usize = 64;

/// What a watched descriptor is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Watched(pub(crate) u64);

/// What a watched descriptor is ready for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ready {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) hangup: bool,
}

pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH) })
    }

    /// Begins to watch a descriptor.
    pub(crate) fn watch(&self, what: impl AsFd, name: Watched, read: bool, write: bool) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, what, EventData::new_u64(name.0), flags(read, write))?)
    }

    /// Begins to watch a descriptor that is readable anew each time: it is reported once for each.
    pub(crate) fn watch_edges(&self, what: impl AsFd, name: Watched) -> io::Result<()> {
        let edges = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(&self.epoll, what, EventData::new_u64(name.0), edges)?)
    }

    /// Changes what is waited for.
    pub(crate) fn change(&self, what: impl AsFd, name: Watched, read: bool, write: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, what, EventData::new_u64(name.0), flags(read, write))?)
    }

    /// Ends watching a descriptor.
    pub(crate) fn forget(&self, what: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, what)?)
    }

    /// Waits until something is ready, or `limit` has passed, and says what is.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> io::Result<Vec<(Watched, Ready)>> {
        let limit =
            limit.map(|limit| Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 }));
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().map(|event| (Watched(event.data.u64()), ready(event.flags))).collect())
    }
}

fn ready(flags: EventFlags) -> Ready {
    Ready {
        read: flags.contains(EventFlags::IN),
        write: flags.contains(EventFlags::OUT),
        hangup: flags.intersects(EventFlags::HUP | EventFlags::ERR),
    }
}

fn flags(read: bool, write: bool) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, read);
    flags.set(EventFlags::OUT, write);
    flags
}
