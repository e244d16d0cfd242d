//! Requests: what users of the volumes ask for, and whether the answers are right.
//!
//! What must hold:
//! - Every request is answered once.
//! - A read shows what the model allows; an error has a reason.

use super::drive::Drive;
use crate::report::{Failure, Scene};
use foldback_engine::{Fault, Request, RequestId, RequestKind, StoreId, Volume};
use foldback_testkit::{Moment, Sector, WriteToken};
use foldback_units::{SectorRange, Sectors};

/// A request that was not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    pub(crate) volume: Volume,
    kind: RequestKind,
    pub(crate) at: u64,
    pub(crate) len: u64,
    began: Moment,
    /// It must be refused.
    astray: bool,
}

impl Outstanding {
    pub(crate) fn is_write(&self) -> bool {
        !self.astray && matches!(self.kind, RequestKind::Write { .. } | RequestKind::WriteZeroes { .. })
    }

    fn is_fua(&self) -> bool {
        matches!(self.kind, RequestKind::Write { fua: true } | RequestKind::WriteZeroes { fua: true })
    }
}

/// The stamp of a request's sector.
fn request_stamp(id: RequestId, offset: u64) -> Sector {
    Sector::Stamp((1 << 47) | (id.0 << 16) | offset)
}

impl Drive {
    /// A random request.
    pub(crate) fn submit(&mut self) {
        self.requests_left = self.requests_left.saturating_sub(1);
        let (volume, kind) = (self.any_volume(), self.any_kind());
        let Some(model) = self.facts.models.get(&volume) else {
            // A volume that does not exist, or is merging.
            self.ask(volume, kind, 0, 1, true);
            return;
        };
        let volume_len = model.len();
        if self.rng.one_in(60) {
            self.scenes.saw(Scene::BigRead);
            self.ask(volume, RequestKind::Read, 0, volume_len, false);
        } else if self.rng.one_in(80) {
            let at = volume_len - self.rng.below(2);
            self.ask(volume, kind, at, 2, kind != RequestKind::Flush);
        } else {
            let at = self.place(volume, volume_len);
            let len = self.rng.between(1, self.scenario.max_request).min(volume_len - at);
            self.ask(volume, kind, at, len, false);
            if self.rng.percent(self.scenario.shares.twice) {
                // At the same time in the same place: whoever looks must see one of them, and the same one for good.
                let kind = self.any_kind();
                self.ask(volume, kind, at, len, false);
                self.ask(volume, RequestKind::Read, at, len, false);
            }
        }
    }

    /// Where the next request begins: anywhere, in a small hot region, or where the merge is at work.
    fn place(&mut self, volume: Volume, volume_len: u64) -> u64 {
        if self.rng.percent(self.scenario.shares.hot) {
            return self.rng.below(volume_len.min(12));
        }
        let merge = self.facts.merge.as_ref().filter(|_| volume == Volume::Origin);
        if let Some(merge) = merge.filter(|merge| merge.ceiling > 0)
            && self.rng.percent(self.scenario.shares.aimed)
        {
            let chunk = self.facts.stores.get(&merge.store).map_or(1, |facts| facts.chunk);
            let last = (merge.ceiling as usize).min(merge.records.len());
            let near = last.saturating_sub(1 + self.rng.index(4));
            let start = merge.records.get(near).map_or(0, |(old, _)| old * chunk);
            return (start + self.rng.below(chunk)).min(volume_len - 1);
        }
        self.rng.below(volume_len)
    }

    fn any_volume(&mut self) -> Volume {
        if self.facts.stores.is_empty() || self.rng.percent(self.scenario.shares.origin) {
            return Volume::Origin;
        }
        if self.rng.one_in(60) {
            // Nobody will ever attach this one.
            return Volume::Snapshot(StoreId(99));
        }
        let stores: Vec<StoreId> = self.facts.stores.keys().copied().collect();
        let snapshots: Vec<StoreId> = stores
            .iter()
            .copied()
            .filter(|store| self.facts.models.contains_key(&Volume::Snapshot(*store)))
            .collect();
        // A merging one, too, now and then: it must be refused.
        let stores = if snapshots.is_empty() || self.rng.one_in(20) { stores } else { snapshots };
        Volume::Snapshot(*self.rng.pick(&stores))
    }

    fn any_kind(&mut self) -> RequestKind {
        let shares = &self.scenario.shares;
        let (read, flush, zeroes) = (shares.read, shares.flush, shares.zeroes);
        let (discard, fua) = (shares.discard, shares.fua);
        if self.rng.percent(flush) {
            return RequestKind::Flush;
        }
        if self.rng.percent(discard) {
            return RequestKind::Discard;
        }
        if self.rng.percent(read) {
            return RequestKind::Read;
        }
        let fua = self.rng.percent(fua);
        if self.rng.percent(zeroes) { RequestKind::WriteZeroes { fua } } else { RequestKind::Write { fua } }
    }

    /// Hands a request to the group, and tells the model.
    pub(crate) fn ask(&mut self, volume: Volume, kind: RequestKind, at: u64, len: u64, astray: bool) {
        let Some(range) = SectorRange::new(Sectors(at), Sectors(len)) else { return };
        let Some(group) = &mut self.group else { return };
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.now += 1;
        let request = Outstanding { volume, kind, at, len, began: self.now, astray };
        let content: Vec<Sector> = match kind {
            RequestKind::Write { .. } => (0..len).map(|offset| request_stamp(id, offset)).collect(),
            RequestKind::Read => (0..len).map(|_| Sector::Stamp(0xbad1_0000_0000)).collect(),
            RequestKind::WriteZeroes { .. } | RequestKind::Flush | RequestKind::Discard => Vec::new(),
        };
        self.runner.lend(id, content);
        group.submit(Request { id, volume, kind, range });
        if request.is_write() {
            self.begin_write(id, &request);
        }
        match kind {
            RequestKind::WriteZeroes { .. } => self.scenes.saw(Scene::ZeroWrite),
            RequestKind::Write { fua: true } => self.scenes.saw(Scene::FuaWrite),
            RequestKind::Discard => self.scenes.saw(Scene::Discard),
            _ => {}
        }
        self.note(|_| format!("request {} {volume:?} {kind:?} {at}+{len}", id.0));
        self.outstanding.insert(id, request);
    }

    /// Tells the model of a write, and the judge which chunks it may need.
    pub(crate) fn begin_write(&mut self, id: RequestId, request: &Outstanding) {
        let content: Vec<Sector> = match request.kind {
            RequestKind::Write { .. } => (0..request.len).map(|offset| request_stamp(id, offset)).collect(),
            _ => vec![Sector::Zero; request.len as usize],
        };
        if let Some(model) = self.facts.models.get_mut(&request.volume) {
            model.begin(WriteToken(id.0), request.at, &content, request.began);
        }
        self.want(request);
    }

    fn want(&mut self, request: &Outstanding) {
        for (store, facts) in &mut self.facts.stores {
            if request.volume == Volume::Origin || request.volume == Volume::Snapshot(*store) {
                facts.want(request.at, request.len);
            }
        }
    }

    /// An answer came.
    pub(crate) fn answered(&mut self, id: RequestId, answer: Result<(), Fault>) -> Result<(), Failure> {
        let Some(request) = self.outstanding.remove(&id) else {
            return Err(Failure::new("exactly once", format!("request {} is answered, but not asked", id.0)));
        };
        self.note(|_| format!("answer {} {answer:?}", id.0));
        self.now += 1;
        let content = self.runner.take_back(id)?;
        if request.is_write() {
            self.end_write(id, &request, answer.is_ok());
        }
        if answer.is_ok() && request.is_write() && self.rng.percent(self.scenario.shares.twice) {
            // What is seen now must be seen for good, whichever place it is read from later.
            self.ask(request.volume, RequestKind::Read, request.at, request.len, false);
        }
        match answer {
            Ok(()) if request.astray => {
                Err(Failure::new("range", format!("request {} ({request:?}) was carried out", id.0)))
            }
            Ok(()) => self.succeeded(id, &request, &content),
            Err(fault) => self.is_excused(id, &request, fault),
        }
    }

    fn end_write(&mut self, id: RequestId, request: &Outstanding, succeeded: bool) {
        if let Some(model) = self.facts.models.get_mut(&request.volume) {
            model.end(WriteToken(id.0), request.at, request.len, succeeded, request.is_fua(), self.now);
        }
    }

    fn succeeded(&mut self, id: RequestId, request: &Outstanding, content: &[Sector]) -> Result<(), Failure> {
        let oldest = self.outstanding.values().map(|other| other.began).min().unwrap_or(self.now);
        let Some(model) = self.facts.models.get_mut(&request.volume) else { return Ok(()) };
        match request.kind {
            RequestKind::Flush => model.flushed(request.began),
            RequestKind::Read => {
                for (sector, seen) in (request.at..).zip(content) {
                    if !model.may_read(sector, seen, request.began) {
                        let what = format!(
                            "request {} reads {seen:?} from sector {sector} of {:?}; after a power cut it could \
                             only be {:?}",
                            id.0,
                            request.volume,
                            model.survivors(sector)
                        );
                        return Err(Failure::new("read", what));
                    }
                    model.observe(sector, seen, request.began);
                }
            }
            _ => {}
        }
        if request.kind == RequestKind::Flush || self.now.is_multiple_of(64) {
            model.prune(oldest);
        }
        Ok(())
    }

    /// An error must have a reason (I10).
    fn is_excused(&mut self, id: RequestId, request: &Outstanding, fault: Fault) -> Result<(), Failure> {
        let excused = match (fault, request.volume) {
            (Fault::Range, _) if request.astray => {
                self.scenes.saw(Scene::RangeRefused);
                true
            }
            (Fault::Range, volume) => !self.facts.models.contains_key(&volume),
            (Fault::Device, _) => self.trouble || self.failed_reads.contains(&id),
            (Fault::Invalid, Volume::Snapshot(store)) => self.may_be_invalid(store),
            (Fault::Invalid, Volume::Origin) | (Fault::Gone, _) => false,
        };
        if excused {
            return Ok(());
        }
        Err(Failure::new("I10", format!("request {} ({request:?}) failed without a reason: {fault}", id.0)))
    }
}
