//! Opening a store: check it, scrub it, or make it where it is blank. A small machine of its own, before any group.
//!
//! What must hold (dm-snapshot.md 1.3, 3.4 W1, C6, K1, K3, I8):
//! - Nothing is written before the whole store was read and nothing refuses it.
//! - With [`OpenAccess::ReadOnly`] nothing is written at all.
//! - C6: the header of a new store is written only after its first area is durably zero.
//! - W1: what lies behind the end of the table is zero, durably, before the store is used.
//! - What was read is made durable before it is relied on: whoever wrote it may have been killed before its flush.

use crate::api::{Buffer, Fault, Io, IoId, Outcome, Slice, Space, SpaceGeometry, StoreId};
use crate::opened::OpenedStore;
use crate::planted::{self, Bug};
use crate::read_ahead::Reading;
use crate::script::{Next, Script};
use crate::table::CHUNK_LIMIT;
use foldback_dm_snapshot_format::blocks::encode_block;
use foldback_dm_snapshot_format::{
    Blocks, BlocksError, CheckedStore, Checker, Finding, FindingKind, FirstChunk, Header, Layout,
    MetadataWrite, Record, Report, StoreGeometry,
};
use foldback_units::{ChunkSize, SectorRange, Sectors};
use std::collections::VecDeque;

/// What opening may do to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenAccess {
    /// Scrub it, and make it where it is blank.
    ReadWrite,
    /// Look only.
    ReadOnly,
}

/// Why a store was not opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading or writing it failed.
    #[error("{what} of exception store {}: {fault}", .store.0)]
    Device {
        /// Which store.
        store: StoreId,
        /// What was attempted.
        what: &'static str,
        /// What the device said.
        fault: Fault,
    },
    /// The check refuses it.
    #[error("opening exception store {}: {}", .store.0, .findings.first().map_or_else(|| "refused".to_owned(), ToString::to_string))]
    Refused {
        /// Which store.
        store: StoreId,
        /// Everything that was found, those that refuse first.
        findings: Vec<Finding>,
    },
    /// It has no room for a header and an area.
    #[error("opening exception store {}: {size} sectors have no room for a header and an area of {chunk}", .store.0)]
    TooSmall {
        /// Which store.
        store: StoreId,
        /// Its length.
        size: u64,
        /// The chunk size.
        chunk: ChunkSize,
    },
    /// More chunks than the exception table counts.
    #[error("opening exception store {}: it or its origin has 2^40 chunks or more", .store.0)]
    TooManyChunks {
        /// Which store.
        store: StoreId,
    },
    /// A physical block that is none.
    #[error("opening exception store {}: {reason}", .store.0)]
    Blocks {
        /// Which store.
        store: StoreId,
        /// What is wrong.
        reason: BlocksError,
    },
}

#[derive(Debug)]
enum Stage {
    Reading(Reading),
    Writing(Script, Box<OpenedStore>),
    Over,
}

/// A store that is being opened.
#[derive(Debug)]
pub struct StoreOpen {
    store: StoreId,
    geometry: SpaceGeometry,
    origin: Sectors,
    chunk_size: ChunkSize,
    access: OpenAccess,
    next_io: IoId,
    running: Vec<IoId>,
    out: VecDeque<Io>,
    stage: Stage,
    opened: Option<Result<OpenedStore, OpenError>>,
}

impl StoreOpen {
    /// Opens `store`. `chunk_size` is the table's: the header's wins (dm-snapshot.md 1.4). `origin_size`, the length of
    /// the snapshot, bounds old chunks. I/Os are numbered from `first_io` on.
    pub fn new(
        store: StoreId,
        geometry: SpaceGeometry,
        origin_size: Sectors,
        chunk_size: ChunkSize,
        access: OpenAccess,
        first_io: IoId,
    ) -> Self {
        let checker = Checker::new(StoreGeometry {
            store: geometry.size,
            origin: origin_size,
            expected_chunk: Some(chunk_size),
        });
        let mut open = Self {
            store,
            geometry,
            origin: origin_size,
            chunk_size,
            access,
            next_io: first_io,
            running: Vec::new(),
            out: VecDeque::new(),
            stage: Stage::Over,
            opened: None,
        };
        open.read_on(Reading::new(checker));
        open
    }

    /// What to do next.
    pub fn poll_io(&mut self) -> Option<(IoId, Io)> {
        let id = self.next_io;
        let io = match &mut self.stage {
            Stage::Reading(reading) => {
                Io::ReadMetadata { space: Space::Store(self.store), range: reading.poll(id)? }
            }
            Stage::Writing(..) | Stage::Over => self.out.pop_front()?,
        };
        self.next_io = IoId(id.0.saturating_add(1));
        self.running.push(id);
        Some((id, io))
    }

    /// How an I/O went. One that is not under way is ignored.
    pub fn complete_io(&mut self, id: IoId, outcome: Outcome) {
        let Some(at) = self.running.iter().position(|&running| running == id) else { return };
        self.running.swap_remove(at);
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Reading(mut reading) => {
                let read = match outcome {
                    Outcome::Metadata(bytes) => Ok(bytes),
                    Outcome::Failed(fault) => Err(fault),
                    Outcome::Done => Err(Fault::Device),
                };
                reading.complete(id, read);
                self.read_on(reading);
            }
            Stage::Writing(mut script, opened) => {
                let result = match outcome {
                    Outcome::Failed(fault) => Err(fault),
                    Outcome::Done | Outcome::Metadata(_) => Ok(()),
                };
                let next = script.complete(result);
                self.write_on(script, opened, next);
            }
            Stage::Over => {}
        }
    }

    /// The store, or why there is none: once, when it is over.
    pub fn poll_opened(&mut self) -> Option<Result<OpenedStore, OpenError>> {
        self.opened.take()
    }

    /// The number of the next I/O: where a group, or the next store, may go on numbering.
    pub fn next_io(&self) -> IoId {
        self.next_io
    }

    fn fail(&mut self, what: &'static str, fault: Fault) {
        self.opened = Some(Err(OpenError::Device { store: self.store, what, fault }));
    }

    fn read_on(&mut self, reading: Reading) {
        if !reading.is_over() {
            self.stage = Stage::Reading(reading);
            return;
        }
        match reading.into_outcome().map(|checker| checker.finish()) {
            Ok(Ok(report)) => self.judge(report),
            Err(fault) => self.fail("reading the metadata", fault),
            // Cannot happen: there is nothing left to read.
            Ok(Err(_)) => self.fail("checking the metadata", Fault::Device),
        }
    }

    fn judge(&mut self, mut report: Report) {
        if let Some(checked) = report.store.take() {
            let begun = match checked.header {
                Some(header) => self.begin_scrub(header, &checked, report.findings),
                None => self.begin_creation(&checked, report.findings),
            };
            if let Err(error) = begun {
                self.opened = Some(Err(error));
            }
            return;
        }
        let invalidated = report.findings.iter().any(|finding| finding.kind == FindingKind::Invalidated);
        match report.first_chunk {
            Some(FirstChunk::Store(header)) if invalidated => {
                // C5: origin writes go out on the strength of this header.
                match self.opened_store(header, &[], report.findings) {
                    Ok(opened) => self.begin_writing([self.flushes()], opened.made_invalid()),
                    Err(error) => self.opened = Some(Err(error)),
                }
            }
            _ => {
                report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
                let findings = report.findings;
                self.opened = Some(Err(OpenError::Refused { store: self.store, findings }));
            }
        }
    }

    fn opened_store(
        &self,
        header: Header,
        records: &[Record],
        findings: Vec<Finding>,
    ) -> Result<OpenedStore, OpenError> {
        let blocks = self.blocks(header.chunk_size)?;
        let chunks = |size| header.chunk_size.chunks_to_hold(size);
        if chunks(self.origin).max(chunks(self.geometry.size)) >= CHUNK_LIMIT {
            return Err(OpenError::TooManyChunks { store: self.store });
        }
        let writable = self.access == OpenAccess::ReadWrite;
        Ok(OpenedStore::new(self.geometry.clone(), self.origin, blocks, records, findings, writable))
    }

    fn blocks(&self, chunk_size: ChunkSize) -> Result<Blocks, OpenError> {
        let refuse = |reason| OpenError::Blocks { store: self.store, reason };
        Blocks::new(Layout::new(chunk_size), self.geometry.physical_block).map_err(refuse)
    }

    fn begin_scrub(
        &mut self,
        header: Header,
        checked: &CheckedStore,
        findings: Vec<Finding>,
    ) -> Result<(), OpenError> {
        let opened = self.opened_store(header, &checked.records, findings)?;
        let opened = opened.with_next_free(checked.next_free);
        let mut zeros = Vec::new();
        if let Some(scrub) = checked.scrub(opened.blocks()).filter(|_| !planted::is(Bug::ForgetScrub)) {
            for write in scrub {
                zeros.push(self.scrub_write(write, &checked.records)?);
            }
        }
        self.begin_writing([zeros, self.flushes()], opened);
        Ok(())
    }

    fn scrub_write(&self, write: MetadataWrite, records: &[Record]) -> Result<Io, OpenError> {
        match write {
            MetadataWrite::Zero(range) => Ok(self.zeros(range)),
            MetadataWrite::Boundary { span, keep } => {
                let at = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
                let keep = records.get(at(keep.start)..at(keep.end)).unwrap_or_default();
                let bytes =
                    self.block(span.range.len(), |image| encode_block(keep.iter().copied(), image))?;
                Ok(Io::WriteMetadata {
                    space: Space::Store(self.store),
                    at: span.range.start(),
                    bytes,
                    fua: false,
                })
            }
        }
    }

    fn begin_creation(&mut self, checked: &CheckedStore, findings: Vec<Finding>) -> Result<(), OpenError> {
        let header = Header::new(self.chunk_size);
        let opened = self.opened_store(header, &[], findings)?.with_next_free(checked.next_free);
        let layout = opened.blocks().layout();
        let metadata = layout.area_range(0).and_then(|area| SectorRange::new(Sectors::ZERO, area.end()));
        let metadata =
            metadata.filter(|range| range.end() <= self.geometry.size).ok_or(OpenError::TooSmall {
                store: self.store,
                size: self.geometry.size.0,
                chunk: self.chunk_size,
            })?;
        let block = self.block(opened.blocks().sectors(), |image| {
            if let Some(first) = image.first_chunk_mut::<{ Header::BYTES }>() {
                *first = header.encode();
            }
            Ok(())
        })?;
        let space = Space::Store(self.store);
        let header = Io::WriteMetadata { space, at: Sectors::ZERO, bytes: block, fua: false };
        let zero = self.zeros(metadata);
        let (first, second) = (vec![zero], vec![header]);
        if planted::is(Bug::HeaderBeforeArea) {
            let area = layout.area_range(0).map(|area| self.zeros(area)).into_iter().collect();
            self.begin_writing([second, self.flushes(), area, self.flushes()], opened);
        } else {
            self.begin_writing([first, self.flushes(), second, self.flushes()], opened);
        }
        Ok(())
    }

    fn block(
        &self,
        len: Sectors,
        fill: impl FnOnce(&mut [u8]) -> Result<(), BlocksError>,
    ) -> Result<Vec<u8>, OpenError> {
        let bytes = len.to_bytes().and_then(foldback_units::Bytes::to_usize).unwrap_or_default();
        let mut image = vec![0; bytes];
        fill(&mut image).map_err(|reason| OpenError::Blocks { store: self.store, reason })?;
        Ok(image)
    }

    fn zeros(&self, range: SectorRange) -> Io {
        let slice = Slice { buffer: Buffer::Zeroes, offset: Sectors::ZERO, len: range.len() };
        Io::Write { space: Space::Store(self.store), at: range.start(), from: vec![slice], fua: false }
    }

    fn flushes(&self) -> Vec<Io> {
        self.geometry.domains.iter().map(|&domain| Io::Flush { domain }).collect()
    }

    fn begin_writing<const N: usize>(&mut self, groups: [Vec<Io>; N], opened: OpenedStore) {
        let writes = self.access == OpenAccess::ReadWrite;
        let mut script = Script::new(groups.into_iter().filter(|_| writes));
        let next = script.start();
        self.write_on(script, Box::new(opened), next);
    }

    fn write_on(&mut self, script: Script, opened: Box<OpenedStore>, next: Next) {
        match next {
            Next::Wait => self.stage = Stage::Writing(script, opened),
            Next::Run(ios) => {
                self.out.extend(ios);
                self.stage = Stage::Writing(script, opened);
            }
            Next::Over(Ok(())) => self.opened = Some(Ok(*opened)),
            Next::Over(Err(fault)) => self.fail("scrubbing or making the metadata", fault),
        }
    }
}
