//! The NBD clients of a VG's volumes, in its carrier's loop.
//!
//! What must hold:
//! - A listener serves one device. Clients of a listener are bounded; one that has not asked for the volume yet makes room
//!   for the next.
//! - A device that is closed is opened by nobody.
//! - A client that breaks the protocol, sends slowly, reads slowly or vanishes ends or waits alone.

use super::client::{Client, NbdExport, Socket, View};
use super::peer;
use super::poller::{Poller, Ready, Watched};
use super::{Mapper, Replies};
use foldback_frontend_nbd::State;
use foldback_user_dm::{DeviceId, IoError, Ticket};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients of one listener.
const MAX_CLIENTS: usize = 64;
/// Clients that are taken at one return of the poller.
const ACCEPTS: usize = 16;
/// How long a listener rests when the system has no descriptor left for a client.
const REST: Duration = Duration::from_millis(500);
/// What the system may keep of answers that a client has not read, in bytes; it takes no more than its own limit.
const SEND_BUFFER: usize = 1 << 20;
/// The first number that is neither the inbox nor the disks.
const FIRST: u64 = 2;

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    tcp: bool,
    export: Arc<NbdExport>,
    /// It rests since then.
    rests: Option<Instant>,
}

/// What the clients are served with.
pub(super) struct Ground<'a> {
    pub(super) dm: &'a mut Mapper,
    pub(super) replies: &'a mut Replies,
    pub(super) poller: &'a Poller,
}

/// All listeners and clients.
#[derive(Debug)]
pub(super) struct Nbd {
    listeners: BTreeMap<u64, Listener>,
    clients: BTreeMap<u64, Client>,
    closed: BTreeSet<DeviceId>,
    /// Clients that got an answer since they were driven.
    answered: BTreeSet<u64>,
    /// Numbers are never used twice.
    next: u64,
}

impl Nbd {
    pub(super) fn new() -> Self {
        let (listeners, clients) = (BTreeMap::new(), BTreeMap::new());
        let (closed, answered) = (BTreeSet::new(), BTreeSet::new());
        Self { listeners, clients, closed, answered, next: FIRST }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    /// Serves a device to whoever connects to this socket, which listens and does not block.
    pub(super) fn listen(
        &mut self,
        export: NbdExport,
        socket: OwnedFd,
        tcp: bool,
        poller: &Poller,
    ) -> io::Result<u64> {
        let number = self.number();
        poller.watch(&socket, Watched(number), true, false)?;
        let listener = Listener { socket, tcp, export: Arc::new(export), rests: None };
        drop(self.listeners.insert(number, listener));
        Ok(number)
    }

    /// Calls a device's export what its LV is called by now, for whoever asks from now on.
    pub(super) fn rename(&mut self, device: DeviceId, name: &str) {
        let export = Arc::new(NbdExport { device, name: name.to_owned() });
        let listeners = self.listeners.values_mut().map(|listener| &mut listener.export);
        let clients = self.clients.values_mut().map(|client| &mut client.export);
        for known in listeners.chain(clients).filter(|known| known.device == device) {
            *known = Arc::clone(&export);
        }
    }

    /// Ends the listeners of a device, and its clients when what they have asked for is answered. Who has been told to end
    /// before ends now.
    pub(super) fn stop(&mut self, device: DeviceId, ground: &mut Ground<'_>) {
        self.listeners.retain(|_, listener| {
            let stays = listener.export.device != device;
            if !stays {
                // What is closed is not watched in any case.
                ground.poller.forget(&listener.socket).ok();
            }
            stays
        });
        for number in self.clients_of(device) {
            let Some(client) = self.clients.get_mut(&number) else { continue };
            if client.open && !client.stopped {
                client.stopped = true;
                client.connection.stop();
                self.drive(number, Ready::default(), ground);
            } else {
                self.abandon(number, ground);
            }
        }
    }

    fn clients_of(&self, device: DeviceId) -> Vec<u64> {
        let of = self.clients.iter().filter(|(_, client)| client.export.device == device);
        of.map(|(number, _)| *number).collect()
    }

    /// Nothing more is taken from anybody.
    pub(super) fn end(&mut self) {
        for client in self.clients.values_mut() {
            client.stopped = true;
            client.connection.stop();
        }
    }

    /// How many clients have a device open.
    pub(super) fn users(&self, device: DeviceId) -> usize {
        let open = |client: &&Client| client.open && client.export.device == device;
        self.clients.values().filter(open).count()
    }

    /// Keeps a device from being opened, where nobody has it open; else who does.
    pub(super) fn close(&mut self, device: DeviceId, ground: &mut Ground<'_>) -> Result<(), String> {
        for number in self.clients_of(device) {
            if self.clients.get(&number).is_some_and(|client| client.stopped) {
                self.abandon(number, ground);
            } else {
                // Who has left already is not in the way.
                self.drive(number, Ready { read: true, ..Ready::default() }, ground);
            }
        }
        // One that has several connections is told of once.
        let open = self.clients.values().filter(|client| client.open && client.export.device == device);
        let users: BTreeSet<String> = open.map(|client| peer::describe(client.connection.stream())).collect();
        if users.is_empty() {
            let _new = self.closed.insert(device);
            return Ok(());
        }
        Err(users.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// The end of [`Nbd::close`].
    pub(super) fn reopen(&mut self, device: DeviceId) {
        let _was = self.closed.remove(&device);
    }

    /// Something is ready.
    pub(super) fn ready(&mut self, what: Watched, ready: Ready, ground: &mut Ground<'_>) {
        if self.listeners.contains_key(&what.0) {
            self.accept(what.0, ground);
        } else {
            self.drive(what.0, ready, ground);
        }
    }

    /// Gives an answer to the client that asked.
    pub(super) fn answer(&mut self, number: u64, ticket: Ticket, outcome: Result<(), IoError>) {
        if let Some(client) = self.clients.get_mut(&number)
            && client.connection.answer(ticket, outcome)
        {
            let _new = self.answered.insert(number);
        }
    }

    /// Sends the answers that came; whether there were any.
    pub(super) fn send_answers(&mut self, ground: &mut Ground<'_>) -> bool {
        let answered = std::mem::take(&mut self.answered);
        for number in &answered {
            self.drive(*number, Ready::default(), ground);
        }
        !answered.is_empty()
    }

    /// How long the poller may wait, where a listener rests; those that have rested listen again.
    pub(super) fn wake_listeners(&mut self, poller: &Poller) -> Option<Duration> {
        let mut resting = None;
        for (number, listener) in &mut self.listeners {
            let Some(since) = listener.rests else { continue };
            let again = since.elapsed() >= REST
                && poller.change(&listener.socket, Watched(*number), true, false).is_ok();
            listener.rests = if again { None } else { Some(since) };
            resting = listener.rests.map(|_| REST).or(resting);
        }
        resting
    }

    fn accept(&mut self, number: u64, ground: &mut Ground<'_>) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get_mut(&number) else { return };
            match accept_with(&listener.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => {
                    let (export, tcp) = (Arc::clone(&listener.export), listener.tcp);
                    self.admit(number, export, socket, tcp, ground);
                }
                Err(Errno::AGAIN) => return,
                // Of a client that is gone already.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO | Errno::PERM) => {}
                Err(_) => {
                    listener.rests = Some(Instant::now());
                    ground.poller.change(&listener.socket, Watched(number), false, false).ok();
                    return;
                }
            }
        }
    }

    fn admit(
        &mut self,
        listener: u64,
        export: Arc<NbdExport>,
        socket: OwnedFd,
        tcp: bool,
        ground: &mut Ground<'_>,
    ) {
        let of = self.clients.iter().filter(|(_, client)| client.listener == listener);
        if of.clone().count() >= MAX_CLIENTS {
            // Numbers grow: the first is the oldest.
            let Some(idle) = of.clone().find(|(_, client)| !client.open).map(|(number, _)| *number) else {
                return;
            };
            self.abandon(idle, ground);
        }
        if !tcp {
            // A large read leaves in fewer pieces; a system that refuses this sends more of them. TCP grows its own.
            sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER).ok();
        }
        if tcp {
            // Answers are put together before they are sent; it works without this, only later.
            sockopt::set_tcp_nodelay(&socket, true).ok();
        }
        let number = self.number();
        if ground.poller.watch(&socket, Watched(number), true, false).is_ok() {
            drop(self.clients.insert(number, Client::new(Socket(socket), listener, export)));
            self.drive(number, Ready::default(), ground);
        }
    }

    fn drive(&mut self, number: u64, ready: Ready, ground: &mut Ground<'_>) {
        self.with(number, ground, |client, view| client.connection.drive(ready.into(), view));
    }

    fn abandon(&mut self, number: u64, ground: &mut Ground<'_>) {
        self.with(number, ground, |client, view| {
            client.stopped = true;
            client.connection.abandon(view)
        });
    }

    /// Lets a client do something, and watches for what it waits for then.
    fn with(
        &mut self,
        number: u64,
        ground: &mut Ground<'_>,
        mut what: impl FnMut(&mut Client, &mut View<'_>) -> State,
    ) {
        let Some(mut client) = self.clients.remove(&number) else { return };
        let closed = client.stopped || self.closed.contains(&client.export.device);
        let export = Arc::clone(&client.export);
        let mut view = View {
            dm: &mut *ground.dm,
            replies: &mut *ground.replies,
            number,
            export: &export,
            closed,
            opened: false,
            given_back: false,
        };
        let mut state = what(&mut client, &mut view);
        client.open |= view.opened;
        if state != State::Ended && client.watch(ground.poller, Watched(number)).is_err() {
            state = client.connection.abandon(&mut view);
        }
        client.open &= !view.given_back;
        if state != State::Ended {
            drop(self.clients.insert(number, client));
        }
    }
}
