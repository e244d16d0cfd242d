//! One client's connection.
//!
//! What must hold:
//! - [`Connection::drive`] never waits, and does a bounded amount of work.
//! - Nothing is read while there is no room for what it may ask for: so a client that does not read its answers is not
//!   read from either.
//! - However it ends, requests that were submitted are awaited, and then the volume is given back, once.

use super::input::{Input, Received};
use super::negotiate::{self, Negotiated};
use super::outbox::Outbox;
use super::state::{End, Interest, Ready, State, Step};
use super::stream::Stream;
use super::transmit::Transmission;
use super::volumes::Volumes;
use crate::wire::Handshake;
use foldback_user_dm::{IoError, Ticket};
use std::io;

/// How often one call of [`Connection::drive`] receives; what is left makes the socket readable again.
const RECEIVES: usize = 16;

#[derive(Debug)]
enum Phase {
    Handshake(Handshake),
    Transmission(Box<Transmission>),
}

/// A client's connection over a stream that it owns. See [`Volumes`] for the other side.
///
/// Its owner watches the socket for what [`Connection::interest`] says, calls [`Connection::drive`] when it is ready and
/// after [`Connection::answer`] took an answer, and drops it when it has [`State::Ended`].
#[derive(Debug)]
pub struct Connection<S> {
    /// `None` once it was closed.
    stream: Option<S>,
    input: Input,
    outbox: Outbox,
    phase: Phase,
    end: Option<End>,
    stalled: bool,
    /// The socket did not take all that it was offered.
    blocked: bool,
}

impl<S: Stream> Connection<S> {
    /// A client that has just connected. Its greeting is sent by the first [`Connection::drive`]. Over TCP, the stream should
    /// send small pieces at once (TCP_NODELAY): answers are put together here.
    pub fn new(stream: S) -> Self {
        let mut outbox = Outbox::default();
        let handshake = outbox.write(Handshake::new);
        Self {
            stream: Some(stream),
            input: Input::new(),
            outbox,
            phase: Phase::Handshake(handshake),
            end: None,
            stalled: false,
            blocked: false,
        }
    }

    /// The stream, to watch it; `None` once it was closed.
    pub fn stream(&self) -> Option<&S> {
        self.stream.as_ref()
    }

    /// What to watch the socket for, until the next call of `drive`.
    pub fn interest(&self) -> Interest {
        let open = self.stream.is_some();
        Interest { read: open && self.end.is_none() && !self.stalled, write: open && self.blocked }
    }

    /// Why it ended, where it did.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// How many requests are not answered yet.
    pub fn under_way(&self) -> usize {
        match &self.phase {
            Phase::Handshake(_) => 0,
            Phase::Transmission(transmission) => transmission.under_way(),
        }
    }

    /// How much memory its requests and unread answers hold, in bytes; at most [`super::MAX_BYTES`].
    pub fn bytes_under_way(&self) -> usize {
        match &self.phase {
            Phase::Handshake(_) => 0,
            Phase::Transmission(transmission) => transmission.buffers.out_bytes(),
        }
    }

    /// Takes what has come, begins what is asked for, sends what is to be sent, as far as that goes without waiting.
    pub fn drive(&mut self, ready: Ready, volumes: &mut dyn Volumes) -> State {
        if ready.write {
            self.blocked = false;
        }
        if let Phase::Transmission(transmission) = &mut self.phase {
            transmission.begin_rest(volumes);
        }
        self.take(volumes);
        if ready.read || ready.hangup {
            self.receive(volumes);
        }
        // Each turn takes something of the input, or is the last.
        while self.send() && self.stalled {
            self.take(volumes);
        }
        if ready.hangup && !self.interest().read {
            self.fail(End::Gone);
        }
        self.finish(volumes)
    }

    /// Takes the answer of a ticket. `false` where the ticket is of another connection; after `true`, call `drive`.
    pub fn answer(&mut self, ticket: Ticket, outcome: Result<(), IoError>) -> bool {
        let outbox = self.stream.is_some().then_some(&mut self.outbox);
        match &mut self.phase {
            Phase::Handshake(_) => false,
            Phase::Transmission(transmission) => transmission.answer(ticket, outcome, outbox),
        }
    }

    /// Reads nothing more. What is under way is still answered; then it ends, by the next `drive`.
    pub fn stop(&mut self) {
        self.ends(End::Stopped);
    }

    /// Ends it now, whatever is under way: the socket is closed, answers that come are taken silently.
    pub fn abandon(&mut self, volumes: &mut dyn Volumes) -> State {
        self.ends(End::Stopped);
        self.hang_up();
        self.finish(volumes)
    }

    /// Notes why it ends; the first reason counts.
    fn ends(&mut self, end: End) {
        self.stalled = false;
        if let Phase::Transmission(transmission) = &mut self.phase {
            transmission.drop_incoming();
        }
        if self.end.is_none() {
            self.end = Some(end);
        }
    }

    /// The client cannot be reached.
    fn fail(&mut self, end: End) {
        self.ends(end);
        self.hang_up();
    }

    fn hang_up(&mut self) {
        self.stream = None;
        self.blocked = false;
        if let Phase::Transmission(transmission) = &mut self.phase {
            self.outbox.clear(&mut transmission.buffers);
            // What is not begun need not be, when nobody waits for it any more.
            transmission.between.clear();
        }
    }

    /// Takes all messages that are here and for which there is room.
    fn take(&mut self, volumes: &mut dyn Volumes) {
        self.stalled = false;
        while self.end.is_none() {
            match self.step(volumes) {
                Ok(Step::Moved) => {}
                Ok(Step::Hungry) => return,
                Ok(Step::Stalled) => {
                    self.stalled = true;
                    return;
                }
                Err(end) => self.ends(end),
            }
        }
    }

    fn step(&mut self, volumes: &mut dyn Volumes) -> Result<Step, End> {
        let (input, outbox) = (&mut self.input, &mut self.outbox);
        match &mut self.phase {
            Phase::Transmission(transmission) => transmission.step(input, outbox, volumes),
            Phase::Handshake(handshake) => match negotiate::step(handshake, input, outbox, volumes)? {
                Negotiated::Step(step) => Ok(step),
                Negotiated::Entered(transmission) => {
                    self.phase = Phase::Transmission(transmission);
                    Ok(Step::Moved)
                }
            },
        }
    }

    fn receive(&mut self, volumes: &mut dyn Volumes) {
        for _ in 0..RECEIVES {
            if !self.interest().read {
                return;
            }
            let Some(stream) = &mut self.stream else { return };
            let direct = match &mut self.phase {
                Phase::Transmission(transmission) => transmission.receive(stream),
                Phase::Handshake(_) => None,
            };
            match direct.unwrap_or_else(|| self.input.fill(stream)) {
                Ok(Received::End) => return self.fail(End::Gone),
                Ok(received) => {
                    self.take(volumes);
                    if received == Received::Part {
                        return;
                    }
                }
                Err(error) if is_later(&error) => return,
                Err(error) => return self.fail(End::Io(error)),
            }
        }
    }

    /// Sends as much as goes. Returns whether anything did.
    fn send(&mut self) -> bool {
        let mut moved = false;
        let mut none = super::buffers::Buffers::default();
        while let Some(stream) = &mut self.stream
            && !self.outbox.is_empty()
            && !self.blocked
        {
            let buffers = match &mut self.phase {
                Phase::Transmission(transmission) => &mut transmission.buffers,
                Phase::Handshake(_) => &mut none,
            };
            match self.outbox.send(stream, buffers) {
                Ok(whole) => {
                    self.blocked = !whole;
                    moved = true;
                }
                Err(error) if is_later(&error) => self.blocked = true,
                Err(error) => self.fail(End::Io(error)),
            }
        }
        moved
    }

    /// Closes what can be closed.
    fn finish(&mut self, volumes: &mut dyn Volumes) -> State {
        let Some(end) = &self.end else { return State::Open };
        let under_way = self.under_way() > 0;
        if !end.is_soft() || (!under_way && self.outbox.is_empty()) {
            self.hang_up();
        }
        if under_way || self.stream.is_some() {
            return State::Draining;
        }
        if let Phase::Transmission(transmission) = &mut self.phase {
            transmission.close(volumes);
        }
        State::Ended
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
