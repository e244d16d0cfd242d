//! Requests of any bytes, carried to [`Volumes`] as requests of whole blocks.
//!
//! What must hold:
//! - Nothing here waits: what cannot begin yet is kept in the file's [`Gate`] and begun by whoever leaves it.
//! - A write holds its place in the gate until the last of its steps was answered, or its closure was dropped.
//! - Whatever is answered, and by whomever, the stack does not grow with what waits: what may go in then is begun in one
//!   loop, not from inside what let it in.
//! - Volumes that panic are an error of that request, and nothing else.
//! - `end` is called once, or dropped unanswered (which the reply in it turns into EIO).

use crate::gate::{Gate, Manner, Place};
use crate::steps::{Content, Covered, Step, Steps, cover};
use crate::volumes::{Done, FileId, Request, Volumes};
use foldback_engine::{Fault, RequestKind};
use foldback_units::{Bytes, SectorRange, Sectors};
use foldback_user_dm::IoError;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is begun when a write may go in.
type Work = Box<dyn FnOnce(Pass) + Send>;

/// Hears how a write, or a flush, ended.
pub(crate) type End = Box<dyn FnOnce(Result<(), IoError>) + Send>;

/// The files of a session.
pub(crate) struct Carry {
    volumes: Arc<dyn Volumes>,
    unit: Sectors,
    gates: Mutex<Gates>,
}

#[derive(Default)]
struct Gates {
    files: BTreeMap<FileId, Gate<Work>>,
    /// What may be begun, and is not yet.
    free: VecDeque<(FileId, Place, Work)>,
    /// Whether a thread is about to begin it.
    beginning: bool,
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
        let unit = volumes.block();
        Arc::new(Self { volumes, unit, gates: Mutex::new(Gates::default()) })
    }

    /// Asks the volumes something; `None` where they panic. The thread that reads from the kernel must outlive that.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&dyn Volumes) -> T) -> Option<T> {
        // Nothing of ours is borrowed by what is asked: it cannot be left half changed.
        catch_unwind(AssertUnwindSafe(|| question(&*self.volumes))).ok()
    }

    fn submit(&self, file: FileId, request: Request, done: Done) {
        // Where they panic the closure is dropped, which is an answer.
        let _submitted: Option<()> = self.ask(|volumes| volumes.submit(file, request, done));
    }

    /// Reads `len` bytes at `at`; the range lies inside the file.
    pub(crate) fn read(
        &self,
        file: FileId,
        at: Bytes,
        len: Bytes,
        end: impl FnOnce(Result<Vec<u8>, IoError>) + Send + 'static,
    ) {
        let Some(Covered { range, skip }) = cover(at, len, self.unit) else {
            return end(Err(IoError::Range));
        };
        let (Some(skip), Some(len)) = (skip.to_usize(), len.to_usize()) else {
            return end(Err(IoError::Range));
        };
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
        self.submit(file, request, done);
    }

    /// Writes; the range lies inside the file.
    pub(crate) fn write(self: &Arc<Self>, file: FileId, write: Write, end: End) {
        let Some(plan) = Steps::of(write.at, write.content, self.unit) else {
            return end(Err(IoError::Range));
        };
        let manner = if plan.reads_first() { Manner::ReadsFirst } else { Manner::Whole };
        let Steps { range, steps } = plan;
        let durable = write.durable;
        let work: Work = Box::new(move |pass| Run { pass, steps: steps.into(), durable, end }.go());
        let mut gates = self.gates();
        let entered = gates.files.entry(file).or_insert_with(Gate::new).enter(range, manner, work);
        // Begun outside the lock: it may be answered at once, and come back here.
        drop(gates);
        if let Some((place, work)) = entered {
            work(Pass { carry: Arc::clone(self), file, place });
        }
    }

    /// Makes durable what was answered before.
    pub(crate) fn flush(&self, file: FileId, end: End) {
        let Some(range) = SectorRange::new(Sectors::ZERO, Sectors::ZERO) else { return };
        let request = Request { kind: RequestKind::Flush, range, bytes: Vec::new() };
        self.submit(file, request, Box::new(move |outcome| end(outcome.map(drop))));
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a file's gate, and begins all that may go in, unless a caller of this (or another thread) is at it already.
    fn leave(self: &Arc<Self>, file: FileId, place: Place) {
        let mut gates = self.gates();
        if let Some(gate) = gates.files.get_mut(&file) {
            let free = gate.leave(place);
            if gate.is_empty() {
                // Files come and go; their gates must not stay.
                gates.files.remove(&file);
            }
            gates.free.extend(free.into_iter().map(|(place, work)| (file, place, work)));
        }
        if std::mem::replace(&mut gates.beginning, true) {
            return;
        }
        drop(gates);
        loop {
            let mut gates = self.gates();
            let Some((file, place, work)) = gates.free.pop_front() else {
                gates.beginning = false;
                return;
            };
            drop(gates);
            work(Pass { carry: Arc::clone(self), file, place });
        }
    }
}

/// A write's place in its file's gate; dropping it leaves, and begins what may go in then.
struct Pass {
    carry: Arc<Carry>,
    file: FileId,
    place: Place,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.carry.leave(self.file, self.place);
    }
}

/// A write under way.
struct Run {
    pass: Pass,
    steps: VecDeque<Step>,
    durable: bool,
    end: End,
}

impl Run {
    /// Submits the next step, or ends.
    fn go(mut self) {
        let Some(step) = self.steps.pop_front() else { return self.finish(Ok(())) };
        let (step, rest) = step.piece();
        if let Some(rest) = rest {
            self.steps.push_front(rest);
        }
        match step {
            Step::Whole { at, content } => self.whole(at, content),
            Step::Patch { block, skip, bytes } => {
                let request = Request { kind: RequestKind::Read, range: block, bytes: Vec::new() };
                self.submit(request, move |run, old| match patched(old, block.len(), skip, &bytes) {
                    Some(new) => run.whole(block.start(), Content::Bytes(new)),
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
        carry.submit(file, request, done);
    }

    fn finish(self, outcome: Result<(), IoError>) {
        let Self { pass, end, .. } = self;
        end(outcome);
        drop(pass);
    }
}

/// A block with bytes of it replaced; `None` where what was read is not as long as one.
fn patched(mut block: Vec<u8>, len: Sectors, skip: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    if len.to_bytes()?.to_usize()? != block.len() {
        return None;
    }
    block.get_mut(skip..skip.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::{Carry, Write};
    use crate::handles::Opener;
    use crate::steps::Content;
    use crate::volumes::{Done, Entry, FileId, Request, Shape, Volumes};
    use foldback_engine::{Fault, RequestKind};
    use foldback_units::{Bytes, Sectors};
    use foldback_user_dm::IoError;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    const FILE: FileId = FileId::new(5).unwrap();

    /// A volume of 8 KiB whose requests are answered when the test says so, in any order.
    struct ByHand {
        disk: Mutex<Vec<u8>>,
        pending: Mutex<Vec<(Request, Done)>>,
        unit: u64,
    }

    impl ByHand {
        fn new(unit: u64) -> Arc<Self> {
            let (disk, pending) = (Mutex::new(vec![0xee; 8192]), Mutex::new(Vec::new()));
            Arc::new(Self { disk, pending, unit })
        }

        fn pending(&self) -> usize {
            self.pending.lock().unwrap().len()
        }

        fn take(&self, at: usize) -> (Request, Done) {
            self.pending.lock().unwrap().remove(at)
        }

        /// Carries one out and answers it.
        fn answer(&self, at: usize) {
            let (request, done) = self.take(at);
            let (from, to) =
                (request.range.start().get() as usize * 512, request.range.end().get() as usize * 512);
            assert!(request.range.start().get().is_multiple_of(self.unit));
            assert!(request.range.len().get().is_multiple_of(self.unit));
            let mut disk = self.disk.lock().unwrap();
            let read = match request.kind {
                RequestKind::Read => disk[from..to].to_vec(),
                RequestKind::Write { .. } => {
                    disk[from..to].copy_from_slice(&request.bytes);
                    Vec::new()
                }
                RequestKind::WriteZeroes { .. } => {
                    disk[from..to].fill(0);
                    Vec::new()
                }
                RequestKind::Flush | RequestKind::Discard => Vec::new(),
            };
            drop(disk);
            done(Ok(read));
        }
    }

    impl Volumes for ByHand {
        fn list(&self) -> Vec<Entry> {
            Vec::new()
        }

        fn find(&self, _name: &str) -> Option<Entry> {
            None
        }

        fn shape(&self, _file: FileId) -> Option<Shape> {
            None
        }

        fn block(&self) -> Sectors {
            Sectors(self.unit)
        }

        fn opened(&self, _file: FileId, _by: Opener) {}

        fn released(&self, _file: FileId, _by: Opener) {}

        fn submit(&self, _file: FileId, request: Request, done: Done) {
            self.pending.lock().unwrap().push((request, done));
        }
    }

    /// Writes that come together; how many have ended well, and badly.
    struct Together {
        volumes: Arc<ByHand>,
        carry: Arc<Carry>,
        well: Arc<AtomicUsize>,
        badly: Arc<AtomicUsize>,
    }

    impl Together {
        fn new(volumes: Arc<ByHand>) -> Self {
            let served = Arc::clone(&volumes);
            Self { volumes, carry: Carry::new(served), well: Arc::default(), badly: Arc::default() }
        }

        fn write(&self, at: usize, content: Content) {
            let (well, badly) = (Arc::clone(&self.well), Arc::clone(&self.badly));
            let count = move |outcome: Result<(), IoError>| {
                let which = if outcome.is_ok() { &well } else { &badly };
                which.fetch_add(1, Ordering::Relaxed);
            };
            let write = Write { at: Bytes(at as u64), content, durable: false };
            self.carry.write(FILE, write, Box::new(count));
        }

        fn ended(&self) -> (usize, usize) {
            (self.well.load(Ordering::Relaxed), self.badly.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_request_that_is_dropped_lets_go_of_what_waited() {
        let all = Together::new(ByHand::new(1));
        all.write(10, Content::Bytes(vec![1; 10]));
        all.write(20, Content::Bytes(vec![2; 10]));
        assert_eq!(all.volumes.pending(), 1, "the second waits");
        drop(all.volumes.take(0));
        assert_eq!(all.volumes.pending(), 1, "it waits no more");
        all.volumes.answer(0);
        all.volumes.answer(0);
        assert_eq!(all.ended(), (1, 0));
        assert_eq!(
            all.volumes.disk.lock().unwrap()[18..32],
            [[0xee; 2].as_slice(), &[2; 10], &[0xee; 2]].concat()
        );
        assert!(all.carry.gates().files.is_empty());
    }

    #[test]
    fn an_error_while_reading_first_writes_nothing() {
        let all = Together::new(ByHand::new(1));
        all.write(10, Content::Bytes(vec![1; 1000]));
        let (request, done) = all.volumes.take(0);
        assert_eq!(request.kind, RequestKind::Read);
        done(Err(IoError::Fault(Fault::Device)));
        assert_eq!((all.ended(), all.volumes.pending()), ((0, 1), 0));
        // An answer that is too short is no block.
        all.write(10, Content::Bytes(vec![1; 1000]));
        all.volumes.take(0).1(Ok(vec![0; 511]));
        assert_eq!((all.ended(), all.volumes.pending()), ((0, 2), 0));
    }

    #[test]
    fn what_waits_does_not_deepen_the_stack() {
        // Thousands wait for one; then all are refused at once, from inside.
        let volumes = Arc::new(Refusing { keeps: AtomicBool::new(true), first: Mutex::new(None) });
        let carry = Carry::new(Arc::clone(&volumes) as Arc<dyn Volumes>);
        let ended = Arc::new(AtomicUsize::new(0));
        for _ in 0..5_000 {
            let ended = Arc::clone(&ended);
            let end = Box::new(move |_| {
                ended.fetch_add(1, Ordering::Relaxed);
            });
            carry.write(FILE, Write { at: Bytes(3), content: Content::Zeros(Bytes(1)), durable: true }, end);
        }
        let first = volumes.first.lock().unwrap().take().unwrap();
        first(Err(IoError::NoDevice));
        assert_eq!(ended.load(Ordering::Relaxed), 5_000);
    }

    /// Keeps the first request, refuses all others from inside `submit`.
    struct Refusing {
        keeps: AtomicBool,
        first: Mutex<Option<Done>>,
    }

    impl Volumes for Refusing {
        fn list(&self) -> Vec<Entry> {
            Vec::new()
        }

        fn find(&self, _name: &str) -> Option<Entry> {
            None
        }

        fn shape(&self, _file: FileId) -> Option<Shape> {
            None
        }

        fn opened(&self, _file: FileId, _by: Opener) {}

        fn released(&self, _file: FileId, _by: Opener) {}

        fn submit(&self, _file: FileId, _request: Request, done: Done) {
            if self.keeps.swap(false, Ordering::Relaxed) {
                *self.first.lock().unwrap() = Some(done);
            } else {
                done(Err(IoError::NoDevice));
            }
        }
    }

    proptest! {
        #[test]
        fn writes_that_share_blocks_lose_nothing_in_whatever_order_they_are_answered(
            cuts in prop::collection::btree_set(1..8191_usize, 1..24),
            zeros in any::<u32>(), order in prop::collection::vec(any::<usize>(), 200), large in any::<bool>()
        ) {
            let all = Together::new(ByHand::new(if large { 8 } else { 1 }));
            let mut wanted = vec![0xee; 8192];
            let places: Vec<usize> = cuts.into_iter().collect();
            let mut order = order.into_iter().cycle();
            for (number, pair) in places.windows(2).enumerate() {
                let (from, to) = (pair[0], pair[1]);
                let content = if zeros >> (number % 32) & 1 == 1 {
                    Content::Zeros(Bytes((to - from) as u64))
                } else {
                    Content::Bytes(vec![number as u8 + 1; to - from])
                };
                wanted[from..to].fill(if matches!(content, Content::Zeros(_)) { 0 } else { number as u8 + 1 });
                all.write(from, content);
                let pick = order.next().unwrap();
                if pick.is_multiple_of(3) && all.volumes.pending() > 0 {
                    all.volumes.answer(pick % all.volumes.pending());
                }
            }
            while all.volumes.pending() > 0 {
                all.volumes.answer(order.next().unwrap() % all.volumes.pending());
            }
            prop_assert_eq!(&*all.volumes.disk.lock().unwrap(), &wanted);
            prop_assert_eq!(all.ended(), (places.len() - 1, 0));
            prop_assert!(all.carry.gates().files.is_empty());
        }
    }
}
