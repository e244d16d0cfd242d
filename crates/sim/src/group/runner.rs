//! Carries out the engine's I/Os on simulated disks, and watches how it uses memory.
//!
//! What must hold (the engine's contract, api.rs):
//! - I/Os lie inside their space, are not empty, and their numbers are never used twice.
//! - Memory that an I/O fills is in no other I/O under way; memory that an I/O writes from is being filled by none.
//! - A request's buffer is not touched after the request was answered.

use super::world::{Piece, SpaceMap};
use crate::report::{Failure, Scene, Scenes};
use foldback_engine::{Buffer, Fault, Io, IoId, Outcome, RequestId, Slice, Space, StoreId};
use foldback_testkit::{Sector, SimOp, SimOutcome, SimSet};
use std::collections::{BTreeMap, BTreeSet};

/// Which machine an I/O belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Owner {
    Group,
    Opening(StoreId),
}

/// An I/O that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) owner: Owner,
    pub(crate) id: IoId,
    pub(crate) io: Io,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
struct UnderWay {
    io: Io,
    parts_left: usize,
    failed: bool,
    content: Vec<Sector>,
}

/// Disks and memory.
pub(crate) struct Runner {
    pub(crate) set: SimSet,
    maps: BTreeMap<Space, SpaceMap>,
    scratch: Vec<Sector>,
    buffers: BTreeMap<RequestId, Vec<Sector>>,
    /// For each sector of memory: how many I/Os read it, or -1 where one fills it.
    uses: BTreeMap<Buffer, Vec<i16>>,
    under_way: BTreeMap<(Owner, IoId), UnderWay>,
    parts: BTreeMap<u64, (Owner, IoId, u64)>,
    next_tag: u64,
    used: BTreeSet<(Owner, IoId)>,
}

impl Runner {
    pub(crate) fn new(set: SimSet, maps: BTreeMap<Space, SpaceMap>, scratch: u64) -> Self {
        let garbage = |sector: u64| Sector::Stamp(0xbad0_0000_0000 | sector);
        Self {
            set,
            maps,
            scratch: (0..scratch).map(garbage).collect(),
            buffers: BTreeMap::new(),
            uses: BTreeMap::from([(Buffer::Scratch, vec![0; scratch as usize])]),
            under_way: BTreeMap::new(),
            parts: BTreeMap::new(),
            next_tag: 0,
            used: BTreeSet::new(),
        }
    }

    /// The engines are gone; so is their memory.
    pub(crate) fn forget(&mut self) {
        self.buffers.clear();
        self.uses.retain(|buffer, _| *buffer == Buffer::Scratch);
        for uses in self.uses.values_mut() {
            uses.fill(0);
        }
        self.under_way.clear();
        self.parts.clear();
        self.used.clear();
    }

    /// A space is longer from now on.
    pub(crate) fn grow(&mut self, space: Space, piece: Piece) {
        self.maps.entry(space).or_default().grow(piece);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// A request's memory, given to the engine.
    pub(crate) fn lend(&mut self, id: RequestId, content: Vec<Sector>) {
        self.uses.insert(Buffer::Request(id), vec![0; content.len()]);
        self.buffers.insert(id, content);
    }

    /// A request was answered: its memory comes back.
    pub(crate) fn take_back(&mut self, id: RequestId) -> Result<Vec<Sector>, Failure> {
        let uses = self.uses.remove(&Buffer::Request(id)).unwrap_or_default();
        if let Some(sector) = uses.iter().position(|uses| *uses != 0) {
            return Err(Failure::new(
                "memory",
                format!("request {} was answered while an I/O still uses its buffer, sector {sector}", id.0),
            ));
        }
        Ok(self.buffers.remove(&id).unwrap_or_default())
    }

    fn map(&self, space: Space, at: u64, len: u64, what: &str) -> Result<&SpaceMap, Failure> {
        let map = self.maps.get(&space);
        let map = map.filter(|map| len > 0 && at.checked_add(len).is_some_and(|end| end <= map.len()));
        map.ok_or_else(|| Failure::new("range", format!("{what} of {space:?}, sectors {at}+{len}")))
    }

    /// Claims the memory of an I/O, or gives it back: `fills` says which way.
    fn claim(&mut self, slices: &[Slice], fills: bool, begin: bool, io: IoId) -> Result<u64, Failure> {
        let mut total = 0;
        for slice in slices {
            let len = slice.len.get();
            total += len;
            if slice.buffer == Buffer::Zeroes && !fills {
                continue;
            }
            let uses = self.uses.get_mut(&slice.buffer);
            let start = slice.offset.get() as usize;
            let uses = uses.and_then(|uses| uses.get_mut(start..start.checked_add(len as usize)?));
            let Some(uses) = uses else {
                return Err(Failure::new(
                    "memory",
                    format!("I/O {} uses {slice:?}, which is not there", io.0),
                ));
            };
            for (sector, count) in (start..).zip(uses) {
                let free = if fills { *count == 0 } else { *count >= 0 };
                match (begin, fills) {
                    (true, _) if !free => {
                        let what = format!(
                            "I/O {} uses sector {sector} of {:?} while another I/O does",
                            io.0, slice.buffer
                        );
                        return Err(Failure::new("memory", what));
                    }
                    (true, true) => *count = -1,
                    (true, false) => *count += 1,
                    (false, true) => *count = 0,
                    (false, false) => *count -= 1,
                }
            }
        }
        Ok(total)
    }

    fn memory(&self, slices: &[Slice]) -> Vec<Sector> {
        let mut content = Vec::new();
        for slice in slices {
            let (start, len) = (slice.offset.get() as usize, slice.len.get() as usize);
            match slice.buffer {
                Buffer::Zeroes => content.extend(std::iter::repeat_n(Sector::Zero, len)),
                Buffer::Scratch => content.extend_from_slice(&self.scratch[start..start + len]),
                Buffer::Request(id) => content.extend_from_slice(&self.buffers[&id][start..start + len]),
            }
        }
        content
    }

    fn fill(&mut self, slices: &[Slice], content: &[Sector]) {
        let mut done = 0;
        for slice in slices {
            let (start, len) = (slice.offset.get() as usize, slice.len.get() as usize);
            let part = &content[done..done + len];
            match slice.buffer {
                Buffer::Zeroes => {}
                Buffer::Scratch => self.scratch[start..start + len].clone_from_slice(part),
                Buffer::Request(id) => {
                    if let Some(buffer) = self.buffers.get_mut(&id) {
                        buffer[start..start + len].clone_from_slice(part);
                    }
                }
            }
            done += len;
        }
    }

    /// Begins an I/O.
    pub(crate) fn submit(
        &mut self,
        owner: Owner,
        id: IoId,
        io: Io,
        scenes: &mut Scenes,
    ) -> Result<(), Failure> {
        if !self.used.insert((owner, id)) {
            return Err(Failure::new("exactly once", format!("I/O number {} is used again", id.0)));
        }
        let parts: Vec<(usize, SimOp, u64)> = match &io {
            Io::Read { space, at, into } => {
                let len = self.claim(into, true, true, id)?;
                self.reads(*space, at.get(), len)?
            }
            Io::ReadMetadata { space, range } => {
                self.reads(*space, range.start().get(), range.len().get())?
            }
            Io::Write { space, at, from, fua } => {
                self.claim(from, false, true, id)?;
                let content = self.memory(from);
                self.writes(*space, at.get(), &content, *fua)?
            }
            Io::WriteMetadata { space, at, bytes, fua } => {
                if *space == Space::Origin || !bytes.len().is_multiple_of(512) {
                    let what = format!("metadata of {} bytes to {space:?}", bytes.len());
                    return Err(Failure::new("range", what));
                }
                self.watch_windows(*space, scenes);
                self.writes(*space, at.get(), &Sector::split(bytes), *fua)?
            }
            Io::Flush { domain } if domain.0 as usize >= self.set.count() => {
                return Err(Failure::new("range", format!("a flush of cache {}", domain.0)));
            }
            Io::Flush { domain } => vec![(domain.0 as usize, SimOp::Flush, 0)],
            Io::Discard { space, range } => {
                // The device forgets nothing; whether it may is the driver's to judge.
                self.reads(*space, range.start().get(), range.len().get())?
            }
        };
        let len = parts.iter().map(|(_, op, _)| op_len(op)).sum::<u64>() as usize;
        let under_way =
            UnderWay { io, parts_left: parts.len(), failed: false, content: vec![Sector::Zero; len] };
        self.under_way.insert((owner, id), under_way);
        for (disk, op, offset) in parts {
            self.next_tag += 1;
            self.parts.insert(self.next_tag, (owner, id, offset));
            self.set.submit(self.next_tag, disk, op);
        }
        Ok(())
    }

    /// An I/O in few words, for a trace.
    pub(crate) fn describe(io: &Io) -> String {
        match io {
            Io::WriteMetadata { space, at, bytes, fua } => {
                let used = bytes.chunks(16).filter(|record| record.iter().any(|byte| *byte != 0)).count();
                let len = bytes.len() / 512;
                format!("write metadata {space:?} {}+{len}, {used} records, fua {fua}", at.get())
            }
            io => format!("{io:?}"),
        }
    }

    /// A truncation begins while another window is being read: windows are pipelined.
    fn watch_windows(&self, space: Space, scenes: &mut Scenes) {
        let reads = |under_way: &UnderWay| match &under_way.io {
            Io::Read { space: from, into, .. } => {
                *from == space && into.iter().any(|slice| slice.buffer == Buffer::Scratch)
            }
            _ => false,
        };
        scenes.saw_if(self.under_way.values().any(reads), Scene::Pipelined);
    }

    fn reads(&self, space: Space, at: u64, len: u64) -> Result<Vec<(usize, SimOp, u64)>, Failure> {
        let stretches = self.map(space, at, len, "read")?.stretches(at, len);
        Ok(stretches.iter().map(|s| (s.disk, SimOp::Read { at: s.at, len: s.len }, s.offset)).collect())
    }

    fn writes(
        &self,
        space: Space,
        at: u64,
        content: &[Sector],
        durable: bool,
    ) -> Result<Vec<(usize, SimOp, u64)>, Failure> {
        let stretches =
            self.map(space, at, content.len() as u64, "write")?.stretches(at, content.len() as u64);
        let part = |from: u64, len: u64| content[from as usize..(from + len) as usize].to_vec();
        Ok(stretches
            .iter()
            .map(|s| (s.disk, SimOp::Write { at: s.at, content: part(s.offset, s.len), durable }, s.offset))
            .collect())
    }

    /// One operation of some I/O completes; the I/O, if that was its last.
    pub(crate) fn step(&mut self) -> Result<Option<Ended>, Failure> {
        let Some((tag, outcome)) = self.set.step() else { return Ok(None) };
        let Some((owner, id, offset)) = self.parts.remove(&tag) else { return Ok(None) };
        let Some(under_way) = self.under_way.get_mut(&(owner, id)) else { return Ok(None) };
        match outcome {
            SimOutcome::Done => {}
            SimOutcome::Content(content) => {
                let start = offset as usize;
                under_way.content[start..start + content.len()].clone_from_slice(&content);
            }
            SimOutcome::Failed => under_way.failed = true,
        }
        under_way.parts_left -= 1;
        if under_way.parts_left > 0 {
            return Ok(None);
        }
        let Some(ended) = self.under_way.remove(&(owner, id)) else { return Ok(None) };
        self.finish(owner, id, ended).map(Some)
    }

    fn finish(&mut self, owner: Owner, id: IoId, ended: UnderWay) -> Result<Ended, Failure> {
        let UnderWay { io, failed, content, .. } = ended;
        let outcome = match &io {
            _ if failed => Outcome::Failed(Fault::Device),
            Io::ReadMetadata { .. } => Outcome::Metadata(Sector::join(&content)),
            _ => Outcome::Done,
        };
        match &io {
            Io::Read { into, .. } => {
                self.claim(into, true, false, id)?;
                if failed {
                    // What a failed read leaves in memory is nobody's business to use.
                    let len = content.len();
                    self.fill(into, &vec![Sector::Stamp(0xe10_0000_0000); len]);
                } else {
                    self.fill(into, &content);
                }
            }
            Io::Write { from, .. } => {
                self.claim(from, false, false, id)?;
            }
            _ => {}
        }
        Ok(Ended { owner, id, io, outcome })
    }
}

fn op_len(op: &SimOp) -> u64 {
    match op {
        SimOp::Read { len, .. } => *len,
        SimOp::Write { .. } | SimOp::Discard { .. } | SimOp::Flush => 0,
    }
}
