//! The thread that carries the live volumes of one VG (docs/decisions/0005-daemon.md).
//!
//! What must hold:
//! - Nothing in its loop waits for anybody but the disks: not for a client, a lock, metadata or memory.
//! - Every request is answered once, also when the carrier ends.
//! - What it is asked to do runs between two steps of the volumes, whole.

mod client;
mod nbd;
mod pace;
mod peer;
mod poller;
mod wake;

pub(crate) use client::NbdExport;

use foldback_device::{Disks, Memory, Slice};
use foldback_dm_table::{DeviceMapper, DmName, Stage, Transaction, Verb};
use foldback_engine::RequestKind;
use foldback_units::{SectorRange, Sectors};
use foldback_user_dm::{DeviceId, DmError, IoError, Settings, Ticket, UserDm, VolumeRequest};
use nbd::{Ground, Nbd};
use pace::Paces;
use poller::{Poller, Watched};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wake::Wake;

/// Our device-mapper over a VG's disks.
pub(crate) type Mapper = UserDm<Box<dyn Disks>>;

const INBOX: Watched = Watched(0);
const DISKS: Watched = Watched(1);

/// Steps between two looks at the inbox and the sockets, so that a merge starves nobody.
const STEPS: usize = 16;
/// No more of them are begun after this time: a merge's first windows touch memory that is new, which takes long where the machine
/// is a guest of another.
const STEPPING: Duration = Duration::from_millis(2);
/// Messages taken at once, for the same reason.
const MESSAGES: usize = 256;

/// What a request's end is told to.
type Done = Box<dyn FnOnce(Result<Vec<u8>, IoError>) + Send>;

/// Whom the answer of a ticket goes to.
enum Reply {
    /// A request of another thread, and where it reads to.
    Told(Done, Option<Slice>),
    /// An NBD client, by its number.
    Nbd(u64),
}

type Replies = HashMap<Ticket, Reply>;

/// One request from another thread.
pub struct CarrierRequest {
    /// To which device, whatever it is called when this arrives.
    pub device: DeviceId,
    /// What is wanted.
    pub kind: RequestKind,
    /// Which sectors.
    pub range: SectorRange,
    /// What to write; empty otherwise.
    pub bytes: Vec<u8>,
    /// Told exactly once, on the carrier's thread; what was read, else nothing.
    pub done: Done,
}

type Work = Box<dyn FnOnce(&mut Carrier) + Send>;

enum Message {
    Run(Work),
    Request(CarrierRequest),
    End,
}

/// The volumes, on their own thread.
pub struct Carrier {
    /// The devices.
    pub dm: Mapper,
    replies: Replies,
    nbd: Nbd,
    paces: Paces,
    poller: Poller,
    wake: Arc<Wake>,
    inbox: Receiver<Message>,
    /// Told when a merge may have finished, or a store is full.
    events: Sender<()>,
    /// Merges that finished, and snapshots whose stores are full, of which the jobs know.
    told: (BTreeSet<DmName>, BTreeSet<DmName>),
}

/// Why a carrier does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the volumes of this volume group are not carried any more; activate them again")]
pub struct CarrierGone;

/// How other threads reach a carrier. Clones reach the same one.
#[derive(Clone)]
pub struct CarrierHandle {
    inbox: Sender<Message>,
    wake: Arc<Wake>,
}

impl std::fmt::Debug for CarrierHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CarrierHandle")
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("unanswered", &self.replies.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CarrierRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarrierRequest")
            .field("device", &self.device)
            .field("kind", &self.kind)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl CarrierHandle {
    fn send(&self, message: Message) -> Result<(), CarrierGone> {
        self.inbox.send(message).map_err(|_| CarrierGone)?;
        self.wake.wake();
        Ok(())
    }

    /// Runs `work` on the carrier's thread and waits for what it returns.
    ///
    /// # Errors
    /// The carrier is gone.
    pub fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Carrier) -> R + Send + 'static,
    ) -> Result<R, CarrierGone> {
        let (answer, answered) = channel();
        self.send(Message::Run(Box::new(move |carrier| {
            // Nobody may be waiting any more; then nobody is to be told.
            answer.send(work(carrier)).ok();
        })))?;
        answered.recv().map_err(|_| CarrierGone)
    }

    /// Serves a device over NBD to whoever connects to `socket`, which listens and does not block.
    ///
    /// # Errors
    /// The carrier is gone, or the socket cannot be watched.
    pub(crate) fn nbd_listen(&self, export: NbdExport, socket: OwnedFd, tcp: bool) -> io::Result<()> {
        let listen = move |carrier: &mut Carrier| {
            let Carrier { nbd, poller, .. } = carrier;
            nbd.listen(export, socket, tcp, poller).map(drop)
        };
        self.call(listen).map_err(io::Error::other)?
    }

    /// Ends serving a device over NBD: what its clients have asked for is still answered.
    pub(crate) fn nbd_stop(&self, device: DeviceId) -> Result<(), CarrierGone> {
        self.call(move |carrier| carrier.with_nbd(|nbd, ground| nbd.stop(device, ground)))
    }

    /// Clients find the export of a device by this name from now on; those that are connected stay.
    pub(crate) fn nbd_rename(&self, device: DeviceId, name: &str) -> Result<(), CarrierGone> {
        let name = name.to_owned();
        self.call(move |carrier| carrier.nbd.rename(device, &name))
    }

    /// How many NBD clients have a device open.
    pub(crate) fn nbd_users(&self, device: DeviceId) -> Result<usize, CarrierGone> {
        self.call(move |carrier| carrier.nbd.users(device))
    }

    /// Keeps NBD clients from opening a device until the claim is dropped; the error is who has it open.
    pub(crate) fn nbd_close(&self, device: DeviceId) -> Result<Result<NbdClaim, String>, CarrierGone> {
        let closed = self.call(move |carrier| carrier.with_nbd(|nbd, ground| nbd.close(device, ground)))?;
        Ok(closed.map(|()| NbdClaim { carrier: self.clone(), device }))
    }

    /// Hands a request over; with a carrier that is gone it fails at once.
    pub fn submit(&self, request: CarrierRequest) {
        let (message, inbox) = (Message::Request(request), &self.inbox);
        match inbox.send(message) {
            Ok(()) => self.wake.wake(),
            Err(refused) => {
                if let Message::Request(request) = refused.0 {
                    (request.done)(Err(IoError::NoDevice));
                }
            }
        }
    }

    /// Ends the carrier: requests under way are finished, later ones fail.
    pub fn end(&self) {
        // Gone already is as good.
        self.send(Message::End).ok();
    }
}

/// A device that NBD clients cannot open.
#[derive(Debug)]
pub(crate) struct NbdClaim {
    carrier: CarrierHandle,
    device: DeviceId,
}

impl Drop for NbdClaim {
    fn drop(&mut self) {
        let device = self.device;
        // With a carrier that is gone nobody opens anything.
        self.carrier.send(Message::Run(Box::new(move |carrier| carrier.nbd.reopen(device)))).ok();
    }
}

/// A carrier that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// How to reach it.
    pub handle: CarrierHandle,
    /// Something happened that a job should look at.
    pub events: Receiver<()>,
    /// Its thread.
    pub thread: JoinHandle<()>,
}

/// Starts a carrier; `open` makes its disks on its thread, where their queue must stay.
///
/// # Errors
/// The disks could not be opened, or the system has no thread or descriptor left.
pub(crate) fn start(
    name: &str,
    paths: Vec<String>,
    settings: Settings,
    open: impl FnOnce() -> io::Result<Box<dyn Disks>> + Send + 'static,
) -> io::Result<Running> {
    let (inbox_in, inbox) = channel();
    let (events_in, events) = channel();
    let wake = Arc::new(Wake::new()?);
    let handle = CarrierHandle { inbox: inbox_in, wake: Arc::clone(&wake) };
    let (ready_in, ready) = channel();
    let begin = move || {
        let made = open().and_then(|disks| Carrier::new(disks, &paths, settings, wake, inbox, events_in));
        match made {
            Ok(carrier) => {
                ready_in.send(Ok(())).ok();
                carrier.run();
            }
            Err(error) => {
                ready_in.send(Err(error)).ok();
            }
        }
    };
    let thread = std::thread::Builder::new().name(format!("carrier {name}")).spawn(begin)?;
    match ready.recv() {
        Ok(Ok(())) => Ok(Running { handle, events, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other(CarrierGone)),
    }
}

impl Carrier {
    fn new(
        mut disks: Box<dyn Disks>,
        paths: &[String],
        settings: Settings,
        wake: Arc<Wake>,
        inbox: Receiver<Message>,
        events: Sender<()>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.watch(&*wake, INBOX, true, false)?;
        if let Some(ready) = disks.ready_fd()? {
            poller.watch_edges(ready, DISKS)?;
        }
        let dm = UserDm::new(disks, paths, settings).map_err(io::Error::other)?;
        let (replies, told) = (HashMap::new(), (BTreeSet::new(), BTreeSet::new()));
        let (nbd, paces) = (Nbd::new(), Paces::default());
        Ok(Self { dm, replies, nbd, paces, poller, wake, inbox, events, told })
    }

    fn run(mut self) {
        let mut busy = false;
        loop {
            let resting = self.nbd.wake_listeners(&self.poller);
            let resting = resting.into_iter().chain(self.paces.rest()).min();
            let limit = if busy { Some(Duration::ZERO) } else { resting };
            // A poller that fails has nothing left to wait for; the volumes fail their requests rather than hang.
            let Ok(ready) = self.poller.wait(limit) else { break };
            // Most returns are the disks' or a client's: no system call for a wake-up that did not come.
            if ready.iter().any(|(what, _)| *what == INBOX) {
                self.wake.take();
            }
            match self.take_messages() {
                Some(more) => busy = more,
                None => break,
            }
            self.with_nbd(|nbd, ground| {
                let sockets = ready.into_iter().filter(|(what, _)| !matches!(*what, INBOX | DISKS));
                sockets.for_each(|(what, ready)| nbd.ready(what, ready, ground));
            });
            self.paces.top_up(&mut self.dm, Instant::now());
            match self.step() {
                Ok(moved) => busy |= moved,
                Err(_) => break,
            }
            self.tell_jobs();
        }
        self.finish();
    }

    /// `None` where it is to end, else whether there may be more.
    fn take_messages(&mut self) -> Option<bool> {
        for _ in 0..MESSAGES {
            match self.inbox.try_recv() {
                Ok(Message::Run(work)) => work(self),
                Ok(Message::Request(request)) => self.submit(request),
                Ok(Message::End) | Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => return Some(false),
            }
        }
        Some(true)
    }

    fn submit(&mut self, request: CarrierRequest) {
        let CarrierRequest { device, kind, range, bytes, done } = request;
        let len = match kind {
            RequestKind::Read => range.len().to_bytes().and_then(foldback_units::Bytes::to_usize),
            RequestKind::Write { .. } => Some(bytes.len()),
            _ => Some(0),
        };
        let buffer = match len {
            Some(0) => None,
            len => match len.and_then(Memory::new) {
                Some(memory) if bytes.is_empty() || memory.whole().copy_from(&bytes) => Some(memory.whole()),
                _ => return done(Err(IoError::Range)),
            },
        };
        let read = buffer.clone().filter(|_| kind == RequestKind::Read);
        let ticket = self.dm.submit(device, VolumeRequest { kind, range, buffer });
        drop(self.replies.insert(ticket, Reply::Told(done, read)));
    }

    /// The NBD clients with all that they stand on.
    fn with_nbd<R>(&mut self, what: impl FnOnce(&mut Nbd, &mut Ground<'_>) -> R) -> R {
        let Self { dm, replies, poller, nbd, .. } = self;
        what(nbd, &mut Ground { dm, replies, poller })
    }

    /// Moves the volumes on; whether there is more to move at once.
    fn step(&mut self) -> Result<bool, DmError> {
        let mut moved = true;
        let begun = Instant::now();
        for _ in 0..STEPS {
            moved = self.dm.step(false)?;
            self.answer();
            // Clients that were answered may ask for more at once.
            moved |= self.with_nbd(Nbd::send_answers);
            if !moved || begun.elapsed() > STEPPING {
                break;
            }
        }
        Ok(moved)
    }

    fn answer(&mut self) {
        while let Some((ticket, outcome)) = self.dm.poll_answer() {
            match self.replies.remove(&ticket) {
                Some(Reply::Told(done, read)) => {
                    done(outcome.map(|()| read.map(|slice| slice.to_vec()).unwrap_or_default()));
                }
                Some(Reply::Nbd(client)) => self.nbd.answer(client, ticket, outcome),
                None => {}
            }
        }
    }

    /// Merges that came to their end, and stores that are full, once each: nobody has to look for them, and a fast writer
    /// waits no longer than it takes to extend a store.
    fn tell_jobs(&mut self) {
        let finished: BTreeSet<DmName> = self.dm.finished_merges().into_iter().collect();
        let full: BTreeSet<DmName> = self.dm.full_stores().into_iter().collect();
        let (merges, stores) = &self.told;
        if !finished.is_subset(merges) || !full.is_subset(stores) {
            // Nobody listens while the VG is being taken down.
            self.events.send(()).ok();
        }
        self.told = (finished, full);
    }

    /// Carries out a transaction. A store that is full again after it is told again: it may have been extended by that.
    pub fn transact(&mut self, transaction: &Transaction) -> Result<(), (Stage, DmError)> {
        let outcome = self.dm.transact(transaction);
        self.told.1.clear();
        transaction.clean.iter().for_each(|verb| self.follow_rename(verb));
        outcome
    }

    /// Carries out a verb.
    pub(crate) fn apply(&mut self, verb: &Verb) -> Result<(), DmError> {
        self.dm.apply(verb)?;
        self.follow_rename(verb);
        Ok(())
    }

    /// A merge that is paced is known by its device's name.
    fn follow_rename(&mut self, verb: &Verb) {
        if let Verb::Rename { name, new } = verb
            && self.dm.size(name).is_none()
        {
            self.paces.rename(name, new);
        }
    }

    /// Answers what is left. Devices are not taken down: whoever ends a carrier has done so, or wants what a crash leaves.
    fn finish(mut self) {
        self.nbd.end();
        while self.dm.unanswered() > 0 && matches!(self.dm.step(true), Ok(true)) {
            self.answer();
        }
        self.answer();
        // NBD clients that are left find their sockets closed.
        self.with_nbd(Nbd::send_answers);
        for (_, reply) in self.replies.drain() {
            if let Reply::Told(done, _) = reply {
                done(Err(IoError::NoDevice));
            }
        }
    }

    /// Lets the merge into a device move so many bytes in a second; without a number as fast as it can.
    pub(crate) fn set_merge_rate(&mut self, device: &DmName, rate: Option<u64>) -> Result<(), DmError> {
        self.paces.set(&mut self.dm, device, rate, Instant::now())
    }

    /// The same for every device among these that merges.
    pub(crate) fn pace_merges(&mut self, resumed: &[Verb], rate: u64) {
        for verb in resumed {
            // Into most of them nothing merges.
            self.set_merge_rate(verb.name(), Some(rate)).ok();
        }
    }

    /// What the merge into a device may move in a second, where that is limited.
    pub(crate) fn merge_rate(&self, device: &DmName) -> Option<u64> {
        self.paces.rate(device)
    }

    /// The length of a device.
    pub fn size(&self, device: &DmName) -> Option<Sectors> {
        self.dm.size(device)
    }

    /// The names of all devices.
    pub fn names(&mut self) -> Vec<DmName> {
        self.dm.list().map(|all| all.into_iter().map(|info| info.name).collect()).unwrap_or_default()
    }
}
