//! Requests of any bytes, carried to [`Volumes`] as requests of whole sectors.
//!
//! What must hold:
//! - Nothing here waits: what cannot begin yet is kept in the file's [`Gate`] and begun by whoever leaves it.
//! - A write holds its place in the gate until the last of its steps was answered, or its closure was dropped.
//! - `end` is called once, or dropped unanswered (which the reply in it turns into EIO).

use crate::gate::{Gate, Manner, Place};
use crate::steps::{Content, Step, Steps};
use crate::volumes::{Done, FileId, Request, Volumes};
use foldback_engine::{Fault, RequestKind};
use foldback_units::{Bytes, SECTOR, SectorRange, Sectors};
use foldback_user_dm::IoError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is begun when a write may go in.
type Work = Box<dyn FnOnce(Pass) + Send>;

/// Hears how a write, or a flush, ended.
pub(crate) type End = Box<dyn FnOnce(Result<(), IoError>) + Send>;

/// One sector.
const ONE: Sectors = Sectors(1);

/// The files of a session.
pub(crate) struct Carry {
    volumes: Arc<dyn Volumes>,
    gates: Mutex<BTreeMap<FileId, Gate<Work>>>,
}

impl std::fmt::Debug for Carry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carry").finish_non_exhaustive()
    }
}

/// What is written, and how.
#[derive(Debug)]
pub(crate) struct Write {
    /// From which byte on.
    pub(crate) at: Bytes,
    /// What.
    pub(crate) content: Content,
    /// Whether the answer means durable.
    pub(crate) durable: bool,
}

impl Carry {
    pub(crate) fn new(volumes: Arc<dyn Volumes>) -> Arc<Self> {
        Arc::new(Self { volumes, gates: Mutex::new(BTreeMap::new()) })
    }

    pub(crate) fn volumes(&self) -> &dyn Volumes {
        &*self.volumes
    }

    /// Reads `len` bytes at `at`; the range lies inside the file.
    pub(crate) fn read(
        &self,
        file: FileId,
        at: Bytes,
        len: Bytes,
        end: impl FnOnce(Result<Vec<u8>, IoError>) + Send + 'static,
    ) {
        let Some((range, skip, len)) = cover(at, len) else { return end(Err(IoError::Range)) };
        let request = Request { kind: RequestKind::Read, range, bytes: Vec::new() };
        let done: Done = Box::new(move |outcome| {
            end(outcome.and_then(|mut bytes| {
                let last = skip.checked_add(len).filter(|last| *last <= bytes.len());
                let last = last.ok_or(IoError::Fault(Fault::Device))?;
                bytes.truncate(last);
                if skip > 0 {
                    bytes.drain(..skip);
                }
                Ok(bytes)
            }));
        });
        self.volumes.submit(file, request, done);
    }

    /// Writes; the range lies inside the file.
    pub(crate) fn write(self: &Arc<Self>, file: FileId, write: Write, end: End) {
        let Some(plan) = Steps::of(write.at, write.content) else { return end(Err(IoError::Range)) };
        let manner = if plan.reads_first() { Manner::ReadsFirst } else { Manner::Whole };
        let Steps { range, steps } = plan;
        let durable = write.durable;
        let work: Work = Box::new(move |pass| Run { pass, steps: steps.into_iter(), durable, end }.go());
        let entered = self.gates().entry(file).or_insert_with(Gate::new).enter(range, manner, work);
        if let Some((place, work)) = entered {
            work(Pass { carry: Arc::clone(self), file, place });
        }
    }

    /// Makes durable what was answered before.
    pub(crate) fn flush(&self, file: FileId, end: End) {
        let Some(range) = SectorRange::new(Sectors::ZERO, Sectors::ZERO) else { return };
        let request = Request { kind: RequestKind::Flush, range, bytes: Vec::new() };
        self.volumes.submit(file, request, Box::new(move |outcome| end(outcome.map(drop))));
    }

    fn gates(&self) -> MutexGuard<'_, BTreeMap<FileId, Gate<Work>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole sectors around some bytes, and where in them the bytes begin.
fn cover(at: Bytes, len: Bytes) -> Option<(SectorRange, usize, usize)> {
    let first = at.to_sectors_floor();
    let sectors = at.checked_add(len)?.to_sectors_ceil().checked_sub(first)?;
    let skip = at.checked_sub(first.to_bytes()?)?;
    Some((SectorRange::new(first, sectors)?, skip.to_usize()?, len.to_usize()?))
}

/// A write's place in its file's gate; dropping it leaves, and begins what may go in then.
struct Pass {
    carry: Arc<Carry>,
    file: FileId,
    place: Place,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut gates = self.carry.gates();
        let Some(gate) = gates.get_mut(&self.file) else { return };
        let free = gate.leave(self.place);
        if gate.is_empty() {
            // Files come and go; their gates must not stay.
            gates.remove(&self.file);
        }
        // Begun outside the lock: it may be answered at once, and come back here.
        drop(gates);
        for (place, work) in free {
            work(Self { carry: Arc::clone(&self.carry), file: self.file, place });
        }
    }
}

/// A write under way.
struct Run {
    pass: Pass,
    steps: std::vec::IntoIter<Step>,
    durable: bool,
    end: End,
}

impl Run {
    /// Submits the next step, or ends.
    fn go(mut self) {
        match self.steps.next() {
            None => self.finish(Ok(())),
            Some(Step::Whole { at, content }) => self.whole(at, content),
            Some(Step::Patch { sector, skip, bytes }) => {
                let Some(range) = SectorRange::new(sector, ONE) else {
                    return self.finish(Err(IoError::Range));
                };
                let request = Request { kind: RequestKind::Read, range, bytes: Vec::new() };
                self.submit(request, move |run, old| match patched(old, skip, &bytes) {
                    Some(new) => run.whole(sector, Content::Bytes(new)),
                    None => run.finish(Err(IoError::Fault(Fault::Device))),
                });
            }
        }
    }

    fn whole(self, at: Sectors, content: Content) {
        let fua = self.durable;
        let len = content.len().and_then(Bytes::to_sectors);
        let Some(range) = len.and_then(|len| SectorRange::new(at, len)) else {
            return self.finish(Err(IoError::Range));
        };
        let (kind, bytes) = match content {
            Content::Bytes(bytes) => (RequestKind::Write { fua }, bytes),
            Content::Zeros(_) => (RequestKind::WriteZeroes { fua }, Vec::new()),
        };
        self.submit(Request { kind, range, bytes }, |run, _| run.go());
    }

    fn submit(self, request: Request, then: impl FnOnce(Self, Vec<u8>) + Send + 'static) {
        let carry = Arc::clone(&self.pass.carry);
        let file = self.pass.file;
        let done: Done = Box::new(move |outcome| match outcome {
            Ok(bytes) => then(self, bytes),
            Err(error) => self.finish(Err(error)),
        });
        carry.volumes.submit(file, request, done);
    }

    fn finish(self, outcome: Result<(), IoError>) {
        let Self { pass, end, .. } = self;
        end(outcome);
        drop(pass);
    }
}

/// A sector with bytes of it replaced; `None` where what was read is no sector.
fn patched(mut sector: Vec<u8>, skip: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    if Bytes(SECTOR).to_usize() != Some(sector.len()) {
        return None;
    }
    sector.get_mut(skip..skip.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(sector)
}
