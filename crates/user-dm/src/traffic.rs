//! Operations under way on the disks, and to whom their outcome belongs.
//!
//! What must hold:
//! - What was begun ends exactly once, when its last part has ended; one failed part fails it, and the first that failed
//!   is the one that is told.
//! - A part's memory is the operation's until then (the disks own the slices).
//! - When the queue itself breaks, everything under way fails, and so does all that comes after.

use crate::counts::DiskCounts;
use crate::group::GroupId;
use foldback_device::{DiskId, Disks, Memory, Op, Slice, Tag};
use foldback_engine::IoId;
use foldback_units::Bytes;
use std::collections::VecDeque;
use std::io;

/// Zeros are taken from memory of this length, over and over.
const ZEROES: usize = 1 << 20;

/// Who is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A request to a device without a group.
    Request(u64),
    /// A group's engine.
    Group(GroupId, IoId),
    /// The store that is being opened.
    Opener(IoId),
    /// Somebody who borrowed the disks.
    Caller(Tag),
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) owner: Owner,
    pub(crate) outcome: Result<(), Failed>,
    /// What was read for the owner, where it has no memory of its own.
    pub(crate) fetched: Option<Slice>,
}

/// Why it failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What a disk did not do; `None` where no disk was asked.
    pub(crate) part: Option<Part>,
    pub(crate) error: io::Error,
}

/// What was given to a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) disk: DiskId,
    pub(crate) what: What,
}

/// An operation without its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Read { at: Bytes, len: u64 },
    Write { at: Bytes, len: u64 },
    Discard { at: Bytes, len: u64 },
    Flush,
}

/// Something under way: its place in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun(usize);

#[derive(Debug)]
struct UnderWay {
    owner: Owner,
    parts: u64,
    failed: Option<Failed>,
    fetched: Option<Slice>,
}

#[derive(Debug)]
pub(crate) struct Traffic<D> {
    pub(crate) disks: D,
    table: Places<UnderWay>,
    /// By the tags that the disks know.
    parts: Places<(Begun, Part)>,
    ended: VecDeque<Ended>,
    zeroes: Memory,
    broken: Option<io::ErrorKind>,
    /// What each disk was given, by its number.
    pub(crate) counts: Vec<DiskCounts>,
}

impl<D: Disks> Traffic<D> {
    /// `None` where there is no memory.
    pub(crate) fn new(disks: D) -> Option<Self> {
        let zeroes = Memory::new(ZEROES)?;
        let (table, parts, ended) = (Places::default(), Places::default(), VecDeque::new());
        Some(Self { disks, table, parts, ended, zeroes, broken: None, counts: Vec::new() })
    }

    /// Zeros, at most as many bytes as wanted.
    pub(crate) fn zeroes(&self, len: usize) -> Option<Slice> {
        self.zeroes.slice(0, len.min(self.zeroes.len()))
    }

    /// Begins something that ends only after [`Traffic::all_given`].
    pub(crate) fn begin(&mut self, owner: Owner, fetched: Option<Slice>) -> Begun {
        Begun(self.table.put(UnderWay { owner, parts: 1, failed: None, fetched }))
    }

    /// Gives one part of it to a disk.
    pub(crate) fn part(&mut self, begun: Begun, disk: DiskId, op: Op) {
        if let Some(kind) = self.broken {
            return self.fail(begun, kind.into());
        }
        let Some(under_way) = self.at(begun) else { return };
        under_way.parts = under_way.parts.saturating_add(1);
        let what = match &op {
            Op::Read { at, into } => What::Read { at: *at, len: length(into) },
            Op::Write { at, from, .. } => What::Write { at: *at, len: length(from) },
            Op::WriteZeroes { at, len, .. } => What::Write { at: *at, len: len.get() },
            Op::Discard { at, len } => What::Discard { at: *at, len: len.get() },
            Op::Flush => What::Flush,
        };
        self.count(disk, what);
        let place = self.parts.put((begun, Part { disk, what }));
        self.disks.submit(Tag(u64::try_from(place).unwrap_or(u64::MAX)), disk, op);
    }

    fn count(&mut self, disk: DiskId, what: What) {
        // A number of a disk that there is: the disks are numbered from 0.
        let Ok(index) = usize::try_from(disk.0) else { return };
        if index >= self.counts.len() && self.disks.geometry(disk).is_ok() {
            self.counts.resize(index.saturating_add(1), DiskCounts::default());
        }
        if let Some(counts) = self.counts.get_mut(index) {
            counts.count(what);
        }
    }

    /// Fails it, once the parts that were given have ended.
    pub(crate) fn fail(&mut self, begun: Begun, error: io::Error) {
        if let Some(under_way) = self.at(begun) {
            under_way.failed.get_or_insert(Failed { part: None, error });
        }
    }

    /// The memory into which it is read for its owner.
    pub(crate) fn fetched(&mut self, begun: Begun) -> Option<Slice> {
        self.at(begun)?.fetched.clone()
    }

    /// All parts were given.
    pub(crate) fn all_given(&mut self, begun: Begun) {
        self.part_ended(begun, None);
    }

    /// What has ended.
    pub(crate) fn poll(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    /// Takes completions from the disks: with `wait` at least one, if anything is under way and nothing has ended yet.
    /// Returns whether there was any.
    pub(crate) fn reap(&mut self, wait: bool) -> io::Result<bool> {
        let mut wait = wait && self.ended.is_empty();
        let mut any = false;
        loop {
            match self.disks.reap(wait) {
                Ok(Some(completion)) => {
                    wait = false;
                    any = true;
                    let place = usize::try_from(completion.tag.0).ok();
                    if let Some((begun, part)) = place.and_then(|place| self.parts.take(place)) {
                        let failed = completion.outcome.err();
                        self.part_ended(begun, failed.map(|error| Failed { part: Some(part), error }));
                    }
                }
                Ok(None) => return Ok(any),
                Err(error) => {
                    self.break_down(error.kind());
                    return Err(error);
                }
            }
        }
    }

    fn at(&mut self, begun: Begun) -> Option<&mut UnderWay> {
        self.table.get_mut(begun.0)
    }

    fn part_ended(&mut self, begun: Begun, failed: Option<Failed>) {
        let Some(under_way) = self.at(begun) else { return };
        if let Some(failed) = failed {
            under_way.failed.get_or_insert(failed);
        }
        under_way.parts = under_way.parts.saturating_sub(1);
        if under_way.parts > 0 {
            return;
        }
        if let Some(UnderWay { owner, failed, fetched, .. }) = self.table.take(begun.0) {
            self.ended.push_back(Ended { owner, outcome: failed.map_or(Ok(()), Err), fetched });
        }
    }

    fn break_down(&mut self, kind: io::ErrorKind) {
        self.broken = Some(kind);
        drop(self.parts.take_all());
        for UnderWay { owner, fetched, .. } in self.table.take_all() {
            let outcome = Err(Failed { part: None, error: kind.into() });
            self.ended.push_back(Ended { owner, outcome, fetched });
        }
    }
}

fn length(slices: &[Slice]) -> u64 {
    slices.iter().fold(0, |sum, slice| sum.saturating_add(u64::try_from(slice.len()).unwrap_or(u64::MAX)))
}

/// Numbered places, taken again when they are free.
#[derive(Debug)]
struct Places<T> {
    all: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { all: Vec::new(), free: Vec::new() }
    }
}

impl<T> Places<T> {
    fn put(&mut self, what: T) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len().saturating_sub(1)
        });
        if let Some(place) = self.all.get_mut(index) {
            *place = Some(what);
        }
        index
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.all.get_mut(index)?.as_mut()
    }

    fn take(&mut self, index: usize) -> Option<T> {
        let taken = self.all.get_mut(index)?.take()?;
        self.free.push(index);
        Some(taken)
    }

    fn take_all(&mut self) -> Vec<T> {
        (0..self.all.len()).filter_map(|index| self.take(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Owner, Traffic};
    use foldback_device::{Completion, DiskId, Disks, Geometry, Op, Tag};
    use std::io;

    /// Completes in the reverse order, or breaks.
    #[derive(Default)]
    struct Stack {
        tags: Vec<Tag>,
        broken: bool,
    }

    impl Disks for Stack {
        fn count(&self) -> u32 {
            1
        }

        fn geometry(&self, _: DiskId) -> io::Result<Geometry> {
            Err(io::ErrorKind::InvalidInput.into())
        }

        fn submit(&mut self, tag: Tag, _: DiskId, _: Op) {
            self.tags.push(tag);
        }

        fn reap(&mut self, _: bool) -> io::Result<Option<Completion>> {
            if self.broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(self.tags.pop().map(|tag| Completion { tag, outcome: Ok(()) }))
        }
    }

    fn ended<D: Disks>(traffic: &mut Traffic<D>) -> Vec<(Owner, bool)> {
        std::iter::from_fn(|| traffic.poll()).map(|ended| (ended.owner, ended.outcome.is_ok())).collect()
    }

    #[test]
    fn it_ends_once_with_its_last_part_and_fails_with_any() {
        let mut traffic = Traffic::new(Stack::default()).unwrap();
        let two = traffic.begin(Owner::Request(2), None);
        let none = traffic.begin(Owner::Request(0), None);
        let failing = traffic.begin(Owner::Request(1), None);
        traffic.part(two, DiskId(0), Op::Flush);
        traffic.part(failing, DiskId(0), Op::Flush);
        traffic.part(two, DiskId(0), Op::Flush);
        traffic.fail(failing, io::ErrorKind::Other.into());
        for begun in [two, none, failing] {
            traffic.all_given(begun);
        }
        assert_eq!(ended(&mut traffic), [(Owner::Request(0), true)]);
        assert!(traffic.reap(true).unwrap());
        assert_eq!(ended(&mut traffic), [(Owner::Request(1), false), (Owner::Request(2), true)]);
        assert!(!traffic.reap(true).unwrap());
    }

    #[test]
    fn a_broken_queue_fails_what_is_under_way_and_all_that_follows() {
        let mut traffic = Traffic::new(Stack::default()).unwrap();
        let begun = traffic.begin(Owner::Request(1), None);
        traffic.part(begun, DiskId(0), Op::Flush);
        traffic.all_given(begun);
        traffic.disks.broken = true;
        assert!(traffic.reap(true).is_err());
        assert_eq!(ended(&mut traffic), [(Owner::Request(1), false)]);
        traffic.disks.broken = false;
        let begun = traffic.begin(Owner::Request(2), None);
        traffic.part(begun, DiskId(0), Op::Flush);
        traffic.all_given(begun);
        assert_eq!(ended(&mut traffic), [(Owner::Request(2), false)]);
    }
}
