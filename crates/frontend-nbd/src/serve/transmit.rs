//! The transmission: requests of a client to its volume, and the answers.
//!
//! What must hold:
//! - A request is answered once: refused at once, or by the answer of its ticket.
//! - A request is begun only when all of its data is here; one whose client vanishes in the middle never was.
//! - What moves no data may be of any length; it goes to the volume in bounded pieces, one after the other.
//! - What is under way is bounded in requests and in bytes, unread answers included; at the bound nothing more is taken.
//! - The memory of a request lives until its ticket is answered, also when nobody waits for the answer any more.

use super::buffers::{Buffers, size_for};
use super::input::{Input, Received};
use super::outbox::Outbox;
use super::state::{End, Step};
use super::stream::Stream;
use super::volumes::{VolumeId, Volumes};
use crate::wire::{
    BLOCK_MAXIMUM, Command, Cookie, Errno, REQUEST_BYTES, Refused, Request, Session, Violation,
};
use foldback_device::Memory;
use foldback_engine::RequestKind;
use foldback_units::{SectorRange, Sectors};
use foldback_user_dm::{Ticket, VolumeRequest};
use std::io;

/// The most requests of a connection that are under way.
pub const MAX_REQUESTS: usize = 128;
/// The most memory of a connection's requests and unread answers, in bytes. One request always fits.
pub const MAX_BYTES: usize = 64 << 20;
/// The most bytes of answers, their data not counted, that wait for a client to read them.
pub(super) const MAX_WAITING: usize = 64 << 10;
/// The most data of a refused write that is skipped, in bytes; more ends the connection.
const MAX_DRAINED: u32 = 2 * BLOCK_MAXIMUM;
/// The most sectors of a request without data that are under way at once: as many as a request with data may have.
const PIECE: Sectors = Sectors(64 << 10);
/// From so many missing bytes on, data is received straight into its memory; less comes with the requests behind it.
const DIRECT_BYTES: usize = 16 << 10;

/// A write whose data is still coming.
#[derive(Debug)]
struct Incoming {
    request: Request,
    range: SectorRange,
    fua: bool,
    memory: Memory,
    len: usize,
    filled: usize,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) ticket: Ticket,
    pub(super) cookie: Cookie,
    /// In bytes; a flush has none.
    pub(super) offset: Option<u64>,
    /// How many bytes the answer carries.
    pub(super) read: usize,
    pub(super) memory: Option<Memory>,
    /// What is left to do when this is answered: sectors behind those that are under way.
    pub(super) rest: Option<(RequestKind, SectorRange)>,
}

/// One client in one export.
#[derive(Debug)]
pub(super) struct Transmission {
    volume: VolumeId,
    /// The volume was given back.
    closed: bool,
    pub(super) session: Session,
    pub(super) under_way: Vec<UnderWay>,
    /// Requests of which a piece was answered, and the next is not begun.
    pub(super) between: Vec<UnderWay>,
    incoming: Option<Incoming>,
    /// Bytes of a refused write that are still to come.
    skipped: u32,
    pub(super) buffers: Buffers,
}

impl Transmission {
    pub(super) fn new(volume: VolumeId, session: Session) -> Self {
        Self {
            volume,
            closed: false,
            session,
            under_way: Vec::new(),
            between: Vec::new(),
            incoming: None,
            skipped: 0,
            buffers: Buffers::default(),
        }
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.len().saturating_add(self.between.len())
    }

    /// Begins the next piece of requests that have one.
    pub(super) fn begin_rest(&mut self, volumes: &mut dyn Volumes) {
        while let Some(UnderWay { cookie, offset, rest: Some((kind, range)), .. }) = self.between.pop() {
            self.submit_pieces(cookie, offset, kind, range, volumes);
        }
    }

    fn submit_pieces(
        &mut self,
        cookie: Cookie,
        offset: Option<u64>,
        kind: RequestKind,
        range: SectorRange,
        volumes: &mut dyn Volumes,
    ) {
        let (range, rest) = range.split_at(range.len().min(PIECE));
        let ticket = volumes.submit(self.volume, VolumeRequest { kind, range, buffer: None });
        let rest = rest.map(|rest| (kind, rest));
        self.under_way.push(UnderWay { ticket, cookie, offset, read: 0, memory: None, rest });
    }

    /// Takes one message, or a part of one.
    pub(super) fn step(
        &mut self,
        input: &mut Input,
        outbox: &mut Outbox,
        volumes: &mut dyn Volumes,
    ) -> Result<Step, End> {
        if self.skipped > 0 {
            return Ok(self.skip(input));
        }
        if let Some(incoming) = self.incoming.take() {
            return Ok(self.go_on(incoming, input, volumes));
        }
        let Some(request) = Request::decode(input.filled())? else { return Ok(Step::Hungry) };
        if !self.has_room(&request, outbox) {
            return Ok(Step::Stalled);
        }
        input.consume(REQUEST_BYTES);
        match self.session.admit(&request) {
            Ok(Command::Disconnect) => return Err(End::Disconnected),
            Ok(command) => self.begin(command, request, outbox, volumes),
            Err(Refused { error, why }) => self.refuse(&request, error, why, outbox),
        }
        if self.skipped > MAX_DRAINED {
            return Err(Violation::PayloadLength(self.skipped).into());
        }
        Ok(Step::Moved)
    }

    fn has_room(&self, request: &Request, outbox: &Outbox) -> bool {
        let len = if request.is_read() { request.length } else { request.payload() };
        // What is too long is refused and takes nothing.
        let len = if len > BLOCK_MAXIMUM { 0 } else { usize::try_from(len).unwrap_or(0) };
        let bytes = self.buffers.out_bytes().saturating_add(size_for(len));
        self.under_way() < MAX_REQUESTS
            && outbox.waiting() < MAX_WAITING
            && (len == 0 || self.buffers.out_bytes() == 0 || bytes <= MAX_BYTES)
    }

    fn refuse(&mut self, request: &Request, error: Errno, why: &str, outbox: &mut Outbox) {
        outbox.write(|out| self.session.error(request.cookie, error, why, None, out));
        self.skipped = request.payload();
    }

    fn begin(&mut self, command: Command, request: Request, outbox: &mut Outbox, volumes: &mut dyn Volumes) {
        let len = usize::try_from(request.length).unwrap_or(usize::MAX);
        match command {
            Command::Read(range) => match self.buffers.take(len) {
                Some(memory) => {
                    self.submit(request, RequestKind::Read, range, Some(memory), volumes);
                }
                None => self.refuse(&request, Errno::Memory, "there is no memory", outbox),
            },
            Command::Write { range, fua } => match self.buffers.take(len) {
                Some(memory) => {
                    self.incoming = Some(Incoming { request, range, fua, memory, len, filled: 0 });
                }
                None => self.refuse(&request, Errno::Memory, "there is no memory", outbox),
            },
            Command::WriteZeroes { range, fua } => {
                let (kind, offset) = (RequestKind::WriteZeroes { fua }, Some(request.offset));
                self.submit_pieces(request.cookie, offset, kind, range, volumes);
            }
            Command::Trim(range) => {
                let (kind, offset) = (RequestKind::Discard, Some(request.offset));
                self.submit_pieces(request.cookie, offset, kind, range, volumes);
            }
            Command::Flush(range) => self.submit(request, RequestKind::Flush, range, None, volumes),
            Command::BlockStatus { range, one } => {
                let known = volumes.allocation(self.volume, range);
                outbox.write(|out| self.session.status(&request, one, &known, out));
            }
            // A disconnect does not come here.
            Command::Nothing | Command::Disconnect => {
                outbox.write(|out| self.session.done(request.cookie, request.is_read(), out));
            }
        }
    }

    fn submit(
        &mut self,
        request: Request,
        kind: RequestKind,
        range: SectorRange,
        memory: Option<Memory>,
        volumes: &mut dyn Volumes,
    ) {
        let read = if kind == RequestKind::Read { usize::try_from(request.length).unwrap_or(0) } else { 0 };
        let offset = (kind != RequestKind::Flush).then_some(request.offset);
        let buffer = memory.as_ref().map(Memory::whole);
        let ticket = volumes.submit(self.volume, VolumeRequest { kind, range, buffer });
        let cookie = request.cookie;
        self.under_way.push(UnderWay { ticket, cookie, offset, read, memory, rest: None });
    }

    fn skip(&mut self, input: &mut Input) -> Step {
        let there = u32::try_from(input.filled().len()).unwrap_or(u32::MAX).min(self.skipped);
        if there == 0 {
            return Step::Hungry;
        }
        input.consume(usize::try_from(there).unwrap_or(0));
        self.skipped = self.skipped.saturating_sub(there);
        Step::Moved
    }

    /// Takes data of a write from what was received, and begins the write when it is whole.
    fn go_on(&mut self, mut incoming: Incoming, input: &mut Input, volumes: &mut dyn Volumes) -> Step {
        let missing = incoming.missing();
        let there = input.filled();
        let data = there.get(..missing).unwrap_or(there);
        let moved = data.len();
        if incoming.memory.slice(incoming.filled, moved).is_some_and(|to| to.copy_from(data)) {
            incoming.filled = incoming.filled.saturating_add(moved);
            input.consume(moved);
        }
        if incoming.missing() > 0 {
            self.incoming = Some(incoming);
            return Step::Hungry;
        }
        let Incoming { request, range, fua, memory, .. } = incoming;
        self.submit(request, RequestKind::Write { fua }, range, Some(memory), volumes);
        Step::Moved
    }

    /// Receives data of a write straight into its memory, where much of it is missing; `None` where it is not.
    /// What was received before has been taken.
    pub(super) fn receive(&mut self, stream: &mut impl Stream) -> Option<io::Result<Received>> {
        let incoming = self.incoming.as_mut().filter(|incoming| incoming.missing() >= DIRECT_BYTES)?;
        let missing = incoming.missing();
        let into = incoming.memory.slice(incoming.filled, missing)?;
        Some(stream.receive_into(&into).map(|got| {
            let got = got.min(missing);
            incoming.filled = incoming.filled.saturating_add(got);
            Received::of(got, missing)
        }))
    }

    /// Forgets the write whose data will not come any more.
    pub(super) fn drop_incoming(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.buffers.give(incoming.memory);
        }
    }

    /// Gives the volume back, once.
    pub(super) fn close(&mut self, volumes: &mut dyn Volumes) {
        if !self.closed {
            self.closed = true;
            volumes.close(self.volume);
        }
    }
}

impl Incoming {
    fn missing(&self) -> usize {
        self.len.saturating_sub(self.filled)
    }
}
