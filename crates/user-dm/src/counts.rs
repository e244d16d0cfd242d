//! Plain counters: what a device was asked for, and what the disks were.
//!
//! What must hold:
//! - A request counts once, when it is answered; one that failed counts as failed too, and moved nothing.
//! - A device's counters begin with the device and never go back; those of disks begin with the daemon's hold on them.

use crate::mapped::Mapped;
use crate::requests::VolumeRequest;
use crate::run::UserDm;
use crate::traffic::What;
use foldback_device::Disks;
use foldback_dm_table::DmName;
use foldback_engine::RequestKind;
use foldback_units::{Bytes, Sectors};

/// What a device was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RequestCounts {
    /// Reads that were answered.
    pub reads: u64,
    /// What they read.
    pub read: Sectors,
    /// Writes, of zeros too.
    pub writes: u64,
    /// What they wrote.
    pub written: Sectors,
    /// Flushes.
    pub flushes: u64,
    /// Discards.
    pub discards: u64,
    /// Of all these, how many failed.
    pub failed: u64,
}

/// What a device has to do now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Queue {
    /// Requests that were begun.
    pub under_way: u64,
    /// Requests that wait for a resume.
    pub suspended: u64,
    /// Requests that wait for room in a store; they were begun, too.
    pub parked: u64,
}

/// What a disk was given.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DiskCounts {
    /// Reads.
    pub reads: u64,
    /// Bytes of them.
    pub read: Bytes,
    /// Writes.
    pub writes: u64,
    /// Bytes of them.
    pub written: Bytes,
    /// Flushes.
    pub flushes: u64,
}

fn one_more(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

impl RequestCounts {
    pub(crate) fn count(&mut self, request: &VolumeRequest, good: bool) {
        let moved = if good { request.range.len() } else { Sectors::ZERO };
        match request.kind {
            RequestKind::Read => {
                one_more(&mut self.reads);
                self.read = self.read.saturating_add(moved);
            }
            RequestKind::Write { .. } | RequestKind::WriteZeroes { .. } => {
                one_more(&mut self.writes);
                self.written = self.written.saturating_add(moved);
            }
            RequestKind::Flush => one_more(&mut self.flushes),
            RequestKind::Discard => one_more(&mut self.discards),
        }
        if !good {
            one_more(&mut self.failed);
        }
    }
}

impl DiskCounts {
    pub(crate) fn count(&mut self, what: What) {
        match what {
            What::Read { len, .. } => {
                one_more(&mut self.reads);
                self.read = self.read.saturating_add(Bytes(len));
            }
            What::Write { len, .. } => {
                one_more(&mut self.writes);
                self.written = self.written.saturating_add(Bytes(len));
            }
            // Nothing is moved; a device's own counters have it.
            What::Discard { .. } => {}
            What::Flush => one_more(&mut self.flushes),
        }
    }
}

impl<D: Disks> UserDm<D> {
    /// What a device was asked for, and what it has to do.
    pub fn request_counts(&self, device: &DmName) -> Option<(RequestCounts, Queue)> {
        let id = self.find(device).ok()?;
        let found: &Mapped = self.devices.get(&id)?;
        let queue = Queue {
            under_way: found.under_way,
            suspended: u64::try_from(found.waiting.len()).unwrap_or(u64::MAX),
            parked: self.parked_requests(id, found),
        };
        Some((found.counts, queue))
    }

    /// What each disk was given, by its path.
    pub fn disk_counts(&self) -> Vec<(String, DiskCounts)> {
        let counts = |index: usize| self.traffic.counts.get(index).copied().unwrap_or_default();
        self.pvs.iter().enumerate().map(|(index, (path, _))| (path.clone(), counts(index))).collect()
    }
}
