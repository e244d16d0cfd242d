//! A mapped device for one who waits: import, export, and merging to the end.
//!
//! What must hold:
//! - While the caller waits, everything else goes on: waiting is stepping.
//! - A wait that cannot end (a suspended device, a full store) is an error, never a hang.

use crate::error::{DmError, DmErrorKind, IoError};
use crate::group::OriginGroup;
use crate::mapped::Route;
use crate::requests::{Ticket, VolumeRequest};
use crate::run::UserDm;
use crate::which::Which;
use foldback_device::{Disks, Memory};
use foldback_dm_table::DmName;
use foldback_engine::{ChunkMap, Counters, Fault, RequestKind, Volume};
use foldback_units::{Bytes, ChunkSize, SectorRange, Sectors};
use std::ops::ControlFlow;

/// How far a merge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Exceptions when the merge was started.
    pub chunks_total: u64,
    /// Exceptions that are still in the store, durably.
    pub chunks_left: u64,
    /// What each is.
    pub chunk_size: ChunkSize,
    /// Somebody has paused it.
    pub paused: bool,
    /// An error stopped it; everything is still served.
    pub failed: bool,
    /// The empty store is durable: the origin may take a plain table.
    pub finished: bool,
}

/// How waiting for a merge ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeEnd {
    /// It is finished.
    Finished,
    /// The caller has had enough. The merge goes on with the next step; suspending the device stops it.
    Stopped,
}

impl<D: Disks> UserDm<D> {
    /// Fills `into` from the device.
    ///
    /// # Errors
    /// The range is not whole sectors of the device, or the request fails.
    pub fn read_at(&mut self, device: &DmName, at: Bytes, into: &mut [u8]) -> Result<(), DmError> {
        let failed = |error: IoError| Self::failed("reading", &device.0, error.into());
        if into.is_empty() {
            return Ok(());
        }
        let range = sector_range(at, into.len()).map_err(failed)?;
        let memory = Memory::new(into.len()).ok_or_else(|| failed(IoError::Range))?;
        let buffer = Some(memory.whole());
        self.wait_for_request("reading", device, VolumeRequest { kind: RequestKind::Read, range, buffer })?;
        if memory.whole().copy_to(into) { Ok(()) } else { Err(failed(IoError::Range)) }
    }

    /// Writes `bytes` to the device; with `durable`, they are safe when this returns.
    ///
    /// # Errors
    /// As [`UserDm::read_at`]; and where the device is read-only.
    pub fn write_at(
        &mut self,
        device: &DmName,
        at: Bytes,
        bytes: &[u8],
        durable: bool,
    ) -> Result<(), DmError> {
        let failed = |error: IoError| Self::failed("writing", &device.0, error.into());
        if bytes.is_empty() {
            return Ok(());
        }
        let range = sector_range(at, bytes.len()).map_err(failed)?;
        let memory = Memory::new(bytes.len()).ok_or_else(|| failed(IoError::Range))?;
        if !memory.whole().copy_from(bytes) {
            return Err(failed(IoError::Range));
        }
        let kind = RequestKind::Write { fua: durable };
        let buffer = Some(memory.whole());
        self.wait_for_request("writing", device, VolumeRequest { kind, range, buffer })
    }

    /// Makes durable what was written to the device.
    ///
    /// # Errors
    /// A disk's flush failed: it is poisoned until it is opened again.
    pub fn flush(&mut self, device: &DmName) -> Result<(), DmError> {
        let range = SectorRange::new(Sectors::ZERO, Sectors::ZERO)
            .ok_or_else(|| Self::failed("flushing", &device.0, IoError::Range.into()))?;
        let request = VolumeRequest { kind: RequestKind::Flush, range, buffer: None };
        self.wait_for_request("flushing", device, request)
    }

    fn wait_for_request(
        &mut self,
        verb: &'static str,
        device: &DmName,
        request: VolumeRequest,
    ) -> Result<(), DmError> {
        let ticket = self.submit(device, request);
        let outcome = self.wait_for_answer(ticket)?;
        outcome.map_err(|error| {
            let known = if error == IoError::Fault(Fault::Device) { self.take_disk_failure() } else { None };
            Self::failed(verb, &device.0, known.map_or(DmErrorKind::Request(error), DmErrorKind::Disk))
        })
    }

    /// Steps until this request is answered; other answers stay to be polled.
    ///
    /// # Errors
    /// It waits for a device that is suspended, or for room in a full store, or the disks' queue broke. What is behind a [`Fault::Device`] is told by
    /// [`UserDm::take_disk_failure`].
    pub fn wait_for_answer(&mut self, ticket: Ticket) -> Result<Result<(), IoError>, DmError> {
        loop {
            if let Some(index) = self.answers.iter().position(|(answered, _)| *answered == ticket)
                && let Some((_, outcome)) = self.answers.remove(index)
            {
                return Ok(outcome);
            }
            if !self.step(true)? && !self.answers.iter().any(|(answered, _)| *answered == ticket) {
                return Err(Self::failed("waiting for", "a request", self.standstill()));
            }
        }
    }

    /// How far the merge into `device` is, `None` where nothing merges into it.
    pub fn merge_progress(&self, device: &DmName) -> Option<Progress> {
        let id = self.find(device).ok()?;
        let Route::Group(id, Volume::Origin) = self.devices.get(&id)?.route else { return None };
        let group = self.groups.get(&id)?;
        let (_, store) = group.merging()?;
        let progress = group.engine.merge_progress()?;
        Some(Progress {
            chunks_total: progress.chunks_total,
            chunks_left: progress.chunks_left,
            chunk_size: store.chunk,
            paused: self.pacing.get(&group.origin).is_some_and(|pacing| pacing.paused),
            failed: progress.failed,
            finished: progress.finished,
        })
    }

    /// Whether writes to a device are refused by its live table.
    pub fn is_read_only<'a>(&self, device: impl Into<Which<'a>>) -> bool {
        let device = self.which(device).and_then(|id| self.devices.get(&id));
        device.and_then(|device| device.live.as_ref()).is_some_and(|live| live.read_only)
    }

    /// The devices whose merge is finished: their tables can be exchanged.
    pub fn finished_merges(&self) -> Vec<DmName> {
        let names = self.devices.values().filter(|device| device.live_merge().is_some());
        let finished = |name: &&DmName| self.merge_progress(name).is_some_and(|progress| progress.finished);
        names.map(|device| &device.name).filter(finished).cloned().collect()
    }

    /// What the engine under `device` has counted, and the bytes of memory its exception tables take.
    pub fn counters(&self, device: &DmName) -> Option<(Counters, usize)> {
        let (group, _) = self.grouped(device)?;
        Some((*group.engine.counters(), group.engine.table_bytes()))
    }

    /// A map of `device`, of which nothing is drawn yet. `None` where no snapshot is involved, or it is lost.
    pub fn map(&self, device: &DmName) -> Option<ChunkMap> {
        let (group, volume) = self.grouped(device)?;
        group.engine.map(volume)
    }

    /// Draws the next slice of a map: less than a millisecond of work. A device that is gone has no more slices.
    pub fn draw(&self, device: &DmName, map: &mut ChunkMap) {
        match self.grouped(device) {
            Some((group, volume)) => group.engine.draw(volume, map),
            None => map.next = None,
        }
    }

    fn grouped(&self, device: &DmName) -> Option<(&OriginGroup, Volume)> {
        let id = self.find(device).ok()?;
        let Route::Group(id, volume) = self.devices.get(&id)?.route else { return None };
        Some((self.groups.get(&id)?, volume))
    }

    /// Steps until the merge into `device` is finished. `look` is called after every step, often many times a second, and
    /// can stop the wait.
    ///
    /// # Errors
    /// Nothing merges into the device; its snapshot is invalid; the merge failed; the device is suspended; another snapshot's
    /// store is full and held.
    pub fn run_until_merged(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<MergeEnd, DmError> {
        let failed = |kind| Self::failed("merging into", &device.0, kind);
        loop {
            let progress = match self.merge_progress(device) {
                Some(progress) => progress,
                None if self.is_merging(device) => return Err(failed(DmErrorKind::Invalid)),
                None => return Err(failed(DmErrorKind::NotMerging)),
            };
            if progress.failed {
                let known = self.take_disk_failure();
                return Err(failed(known.map_or(DmErrorKind::MergeFailed, DmErrorKind::MergeStopped)));
            }
            let enough = look(&progress).is_break();
            if progress.finished {
                return Ok(MergeEnd::Finished);
            }
            if enough {
                return Ok(MergeEnd::Stopped);
            }
            let unchanged = |now: Option<Progress>| now == Some(progress);
            if !self.step(true)? && unchanged(self.merge_progress(device)) {
                return Err(failed(self.standstill()));
            }
        }
    }

    fn is_merging(&self, device: &DmName) -> bool {
        self.known("merging into", device).is_ok_and(|device| device.live_merge().is_some())
    }
}

fn sector_range(at: Bytes, len: usize) -> Result<SectorRange, IoError> {
    let len = u64::try_from(len).ok().map(Bytes).and_then(Bytes::to_sectors);
    at.to_sectors().zip(len).and_then(|(at, len)| SectorRange::new(at, len)).ok_or(IoError::Range)
}
