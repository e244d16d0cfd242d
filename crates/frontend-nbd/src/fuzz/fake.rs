//! Volumes in memory, whose requests end when they are told to.
//!
//! What must hold:
//! - A request's data moves when it is completed, not before: memory that came back too early would be seen.
//! - It checks what [`Volumes`] promises: ranges inside, buffers long enough, volumes that are open.

use crate::serve::{Opened, VolumeId, Volumes};
use crate::wire::{Allocation, Export, Handshake, Heard, Refusal};
use foldback_engine::RequestKind;
use foldback_units::{SectorRange, Sectors};
use foldback_user_dm::{IoError, Ticket, VolumeRequest};
use std::collections::BTreeSet;

/// Two exports over one content: `vg/lv`, which is the default, and `vg/ro`, which is read-only.
#[derive(Debug)]
pub struct FakeVolumes {
    /// The content.
    pub disk: Vec<u8>,
    /// What every request ends with.
    pub fails: Option<IoError>,
    /// All requests that were submitted.
    pub seen: Vec<(RequestKind, SectorRange)>,
    pending: Vec<(Ticket, VolumeRequest)>,
    open: BTreeSet<VolumeId>,
    next: u64,
}

impl FakeVolumes {
    /// Of this many sectors, all zeros.
    pub fn new(sectors: u64) -> Self {
        let len =
            Sectors(sectors).to_bytes().and_then(foldback_units::Bytes::to_usize).expect("a small volume");
        Self {
            disk: vec![0; len],
            fails: None,
            seen: Vec::new(),
            pending: Vec::new(),
            open: BTreeSet::new(),
            next: 0,
        }
    }

    /// Requests that were not completed yet.
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// How many uses of a volume were opened and not closed.
    pub fn users(&self) -> usize {
        self.open.len()
    }

    /// Completes one of the requests, the `nth` of those that wait, counted around.
    pub fn complete(&mut self, nth: usize) -> Option<(Ticket, Result<(), IoError>)> {
        let at = nth.checked_rem(self.pending.len())?;
        let (ticket, VolumeRequest { kind, range, buffer }) = self.pending.remove(at);
        let outcome = self.fails.map_or(Ok(()), Err);
        if outcome.is_ok() {
            let [start, len] = [range.start(), range.len()]
                .map(|sectors| sectors.to_bytes().and_then(foldback_units::Bytes::to_usize).expect("inside"));
            let part = &mut self.disk[start..start + len];
            let buffer = buffer.map(|buffer| buffer.part(0, len).expect("long enough"));
            match (kind, buffer) {
                (RequestKind::Read, Some(buffer)) => assert!(buffer.copy_from(part)),
                (RequestKind::Write { .. }, Some(buffer)) => assert!(buffer.copy_to(part)),
                (RequestKind::WriteZeroes { .. }, None) => part.fill(0),
                (RequestKind::Flush | RequestKind::Discard, None) => {}
                (kind, buffer) => unreachable!("{kind:?} with {buffer:?}"),
            }
        }
        Some((ticket, outcome))
    }

    fn export(&self, name: &str) -> Result<Export, Refusal> {
        let read_only = match name {
            "" | "vg/lv" => false,
            "vg/ro" => true,
            "vg/busy" => return Err(Refusal::Policy("it is being merged".into())),
            "vg/late" => return Err(Refusal::Shutdown),
            _ => return Err(Refusal::Unknown),
        };
        let name = if name.is_empty() { "vg/lv" } else { name };
        let size = u64::try_from(self.disk.len()).expect("a small volume").div_euclid(512);
        Ok(Export { name: name.into(), description: "a volume".into(), size: Sectors(size), read_only })
    }
}

impl Volumes for FakeVolumes {
    fn exports(&mut self) -> Vec<Export> {
        ["vg/lv", "vg/ro"].iter().filter_map(|name| self.export(name).ok()).collect()
    }

    fn describe(&mut self, name: &str) -> Result<Export, Refusal> {
        self.export(name)
    }

    fn open(&mut self, name: &str) -> Result<Opened, Refusal> {
        let export = self.export(name)?;
        self.next += 1;
        let volume = VolumeId(self.next);
        assert!(self.open.insert(volume));
        Ok(Opened { volume, export })
    }

    fn close(&mut self, volume: VolumeId) {
        assert!(self.open.remove(&volume), "{volume:?} is closed twice");
    }

    fn submit(&mut self, volume: VolumeId, request: VolumeRequest) -> Ticket {
        assert!(self.open.contains(&volume));
        let end = request.range.end().to_bytes().and_then(foldback_units::Bytes::to_usize);
        assert!(end.is_some_and(|end| end <= self.disk.len()));
        self.next += 1;
        self.seen.push((request.kind, request.range));
        self.pending.push((Ticket(self.next), request));
        Ticket(self.next)
    }

    fn allocation(&mut self, _: VolumeId, range: SectorRange) -> Vec<(Sectors, Allocation)> {
        assert!(!range.is_empty());
        // Every other eighth sector is absent; the list goes on behind the range.
        let known =
            |number: u64| if number.is_multiple_of(2) { Allocation::DATA } else { Allocation::ABSENT };
        (range.start().get() / 8..=range.end().get() / 8).map(|number| (Sectors(8), known(number))).collect()
    }
}

/// Answers what a handshake heard. Returns whether the handshake is over.
pub(super) fn answer(
    handshake: &mut Handshake,
    heard: &Heard,
    volumes: &mut FakeVolumes,
    out: &mut Vec<u8>,
) -> bool {
    match heard {
        Heard::Nothing => false,
        Heard::Abort => true,
        Heard::List => {
            handshake.list(&volumes.exports(), out);
            false
        }
        Heard::Contexts(wish, set) => {
            handshake.contexts(wish.clone(), *set, volumes.describe(&wish.name).as_ref(), out);
            false
        }
        Heard::Info(wish, go) => {
            handshake.info(wish, *go, volumes.describe(&wish.name).as_ref(), out).is_some()
        }
        Heard::Enter(name) => {
            if let Ok(export) = volumes.describe(name) {
                let session = handshake.enter(name, &export, out);
                assert_eq!(session.size, export.size);
            }
            true
        }
    }
}
