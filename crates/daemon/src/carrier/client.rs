//! One NBD client, and the volumes as it sees them.
//!
//! What must hold:
//! - A client sees the one device of its listener, by the LV's name or the empty one.
//! - While it has the device open, the device has one more user.

use super::poller::{Poller, Ready, Watched};
use super::{Mapper, Replies, Reply};
use foldback_device::{Slice, socket};
use foldback_frontend_nbd::{
    Allocation, Connection, Export, Interest, Opened, Refusal, Stream, VolumeId, Volumes,
};
use foldback_units::{SectorRange, Sectors};
use foldback_user_dm::{Content, DeviceId, Ticket, VolumeRequest};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What a listener serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NbdExport {
    /// Its number: clients stay with it whatever it is called.
    pub(crate) device: DeviceId,
    /// What clients call it: the LV's name now.
    pub(crate) name: String,
}

/// A client's socket, of either kind.
#[derive(Debug)]
pub(super) struct Socket(pub(super) OwnedFd);

impl Stream for Socket {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        socket::receive(self.0.as_fd(), into)
    }

    fn receive_into(&mut self, into: &Slice) -> io::Result<usize> {
        socket::receive_into(self.0.as_fd(), into)
    }

    fn send(&mut self, pieces: &[socket::Outgoing<'_>]) -> io::Result<usize> {
        socket::send(self.0.as_fd(), pieces)
    }
}

impl From<Ready> for foldback_frontend_nbd::Ready {
    fn from(ready: Ready) -> Self {
        Self { read: ready.read, write: ready.write, hangup: ready.hangup }
    }
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) connection: Connection<Socket>,
    pub(super) listener: u64,
    pub(super) export: Arc<NbdExport>,
    /// It has the device open.
    pub(super) open: bool,
    /// It was told to end.
    pub(super) stopped: bool,
    watched: Interest,
}

impl Client {
    /// Its socket is watched for reading.
    pub(super) fn new(socket: Socket, listener: u64, export: Arc<NbdExport>) -> Self {
        let watched = Interest { read: true, write: false };
        let connection = Connection::new(socket);
        Self { connection, listener, export, open: false, stopped: false, watched }
    }

    /// Watches the socket for what the client waits for.
    pub(super) fn watch(&mut self, poller: &Poller, name: Watched) -> io::Result<()> {
        let interest = self.connection.interest();
        // A socket that was closed is not watched any more.
        if let Some(Socket(socket)) = self.connection.stream().filter(|_| interest != self.watched) {
            poller.change(socket, name, interest.read, interest.write)?;
            self.watched = interest;
        }
        Ok(())
    }
}

/// The volumes, for one client.
pub(super) struct View<'a> {
    pub(super) dm: &'a mut Mapper,
    pub(super) replies: &'a mut Replies,
    pub(super) number: u64,
    pub(super) export: &'a NbdExport,
    /// Nobody may open it now.
    pub(super) closed: bool,
    pub(super) opened: bool,
    pub(super) given_back: bool,
}

impl View<'_> {
    fn export(&self) -> Result<Export, Refusal> {
        let NbdExport { device, name } = self.export;
        let size = self.dm.size(*device).ok_or(Refusal::Unknown)?;
        let read_only = self.dm.is_read_only(*device);
        Ok(Export { name: name.clone(), description: String::new(), size, read_only })
    }
}

impl Volumes for View<'_> {
    fn exports(&mut self) -> Vec<Export> {
        self.export().into_iter().collect()
    }

    fn describe(&mut self, name: &str) -> Result<Export, Refusal> {
        if !name.is_empty() && name != self.export.name {
            return Err(Refusal::Unknown);
        }
        if self.closed {
            return Err(Refusal::Policy("the volume is being changed".to_owned()));
        }
        self.export()
    }

    fn open(&mut self, name: &str) -> Result<Opened, Refusal> {
        let export = self.describe(name)?;
        self.dm.open(self.export.device).map_err(|error| Refusal::Policy(error.to_string()))?;
        self.opened = true;
        Ok(Opened { volume: VolumeId(self.number), export })
    }

    fn close(&mut self, _: VolumeId) {
        self.dm.close(self.export.device);
        self.given_back = true;
    }

    fn submit(&mut self, _: VolumeId, request: VolumeRequest) -> Ticket {
        let ticket = self.dm.submit(self.export.device, request);
        drop(self.replies.insert(ticket, Reply::Nbd(self.number)));
        ticket
    }

    fn allocation(&mut self, _: VolumeId, range: SectorRange) -> Vec<(Sectors, Allocation)> {
        let told = self.dm.contents(self.export.device, range).into_iter();
        told.map(|(len, content)| (len, allocation(content))).collect()
    }
}

/// Zeros are told of holes alone, so both flags go together.
fn allocation(content: Content) -> Allocation {
    match content {
        Content::Data => Allocation::DATA,
        Content::Zeros => Allocation::ABSENT,
    }
}
