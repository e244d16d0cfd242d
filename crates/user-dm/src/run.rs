//! The mapped devices of one set of disks, and the loop that moves their I/O.
//!
//! What must hold (style.md, example 7):
//! - One owner, one event at a time: [`UserDm::step`] waits and changes nothing while it waits; what it then applies waits
//!   for nothing.
//! - What happens depends on the requests and on the order of the disks' completions, on nothing else: no clock, no
//!   chance, no order of a hash. So a simulator can run it.

use crate::carry::{Surroundings, carry};
use crate::error::{DiskFailure, DmError, DmErrorKind, IoError};
use crate::group::{GroupId, OriginGroup, Pacing, Settings};
use crate::map::Map;
use crate::mapped::{DeviceId, Lower, Mapped};
use crate::requests::{Pending, Ticket};
use crate::resolve::Names;
use crate::traffic::{Ended, Failed, Owner, Part, Traffic};
use foldback_device::{Completion, DiskId, Disks, Geometry, Slice};
use foldback_engine::{Buffer, Fault, Outcome, Space, StoreId, StoreOpen, WhenFull};
use foldback_units::Sectors;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Named devices with tables, carried out on a set of disks.
///
/// The disks are numbered as their paths were given; tables name them by those paths.
#[derive(Debug)]
pub struct UserDm<D> {
    pub(crate) traffic: Traffic<D>,
    pub(crate) pvs: Vec<(String, Geometry)>,
    pub(crate) settings: Settings,
    pub(crate) devices: BTreeMap<DeviceId, Mapped>,
    pub(crate) groups: BTreeMap<GroupId, OriginGroup>,
    /// By the device under the origin.
    pub(crate) pacing: BTreeMap<Lower, Pacing>,
    /// The allowance of merges that begin.
    pub(crate) new_merges: Option<Sectors>,
    /// What becomes of a store that is full, by its device.
    pub(crate) when_full: BTreeMap<Lower, WhenFull>,
    /// The same of those for which nothing was chosen.
    pub(crate) otherwise_when_full: WhenFull,
    pub(crate) requests: BTreeMap<u64, Pending>,
    pub(crate) answers: VecDeque<(Ticket, Result<(), IoError>)>,
    /// The store that is being opened, and where it lies.
    pub(crate) opener: Option<(StoreOpen, Rc<Map>)>,
    /// Completions for whoever has borrowed the disks, and how many are still to come.
    pub(crate) lent: VecDeque<Completion>,
    pub(crate) lent_under_way: u64,
    /// The first failure of a disk that nobody was told of yet.
    untold: Option<DiskFailure>,
    pub(crate) next_device: u32,
    pub(crate) next_group: u32,
    pub(crate) next_store: u32,
    pub(crate) next_ticket: u64,
}

impl<D: Disks> UserDm<D> {
    /// Over these disks, named by these paths in order, without any device yet.
    ///
    /// # Errors
    /// Fewer disks than paths, or no memory.
    pub fn new(disks: D, pv_paths: &[String], settings: Settings) -> Result<Self, DmError> {
        let error = |device: &str, kind| DmError { verb: "taking over", device: device.to_owned(), kind };
        let mut pvs = Vec::with_capacity(pv_paths.len());
        for (number, path) in (0..).zip(pv_paths) {
            let geometry = disks.geometry(DiskId(number)).map_err(|_| error(path, DmErrorKind::Missing))?;
            pvs.push((path.clone(), geometry));
        }
        let traffic = Traffic::new(disks).ok_or_else(|| error("the disks", DmErrorKind::Memory(0)))?;
        Ok(Self {
            traffic,
            pvs,
            settings,
            devices: BTreeMap::new(),
            groups: BTreeMap::new(),
            pacing: BTreeMap::new(),
            new_merges: None,
            when_full: BTreeMap::new(),
            otherwise_when_full: WhenFull::default(),
            requests: BTreeMap::new(),
            answers: VecDeque::new(),
            opener: None,
            lent: VecDeque::new(),
            lent_under_way: 0,
            untold: None,
            next_device: 0,
            next_group: 0,
            next_store: 0,
            next_ticket: 0,
        })
    }

    /// Gives the disks back. What is still under way is waited for where the disks wait for it.
    pub fn into_disks(self) -> D {
        self.traffic.disks
    }

    pub(crate) fn names(&self) -> Names<'_> {
        Names { pvs: &self.pvs, devices: &self.devices }
    }

    pub(crate) fn disk_geometry(&self, disk: DiskId) -> Option<Geometry> {
        usize::try_from(disk.0).ok().and_then(|index| self.pvs.get(index)).map(|(_, geometry)| *geometry)
    }

    /// Starts all that can be started, then takes what has completed; with `wait`, waits for it where anything is under
    /// way. Returns whether anything moved. Merges move in here, too: they need nothing but steps.
    ///
    /// # Errors
    /// Only where the disks' queue broke; everything under way has failed then.
    pub fn step(&mut self, wait: bool) -> Result<bool, DmError> {
        self.start();
        let reaped = self.traffic.reap(wait);
        let mut moved = reaped.as_ref().is_ok_and(|any| *any);
        while let Some(ended) = self.traffic.poll() {
            self.apply(ended);
            moved = true;
        }
        // A request may end without I/O: parked for room in a store that merges by now.
        moved |= self.collect_answers();
        match reaped {
            Ok(_) => Ok(moved),
            Err(error) => Err(DmError {
                verb: "serving",
                device: "the disks".to_owned(),
                kind: DmErrorKind::Queue(error),
            }),
        }
    }

    /// Hands to the disks what the engines want done.
    fn start(&mut self) {
        for (id, group) in &mut self.groups {
            while let Some((io, what)) = group.engine.poll_io() {
                carry(&mut self.traffic, Owner::Group(*id, io), &*group, what);
            }
        }
        if let Some((open, map)) = &mut self.opener {
            while let Some((io, what)) = open.poll_io() {
                carry(&mut self.traffic, Owner::Opener(io), &OneSpace(map), what);
            }
        }
    }

    /// Tells its owner how something ended.
    fn apply(&mut self, ended: Ended) {
        let Ended { owner, outcome, fetched } = ended;
        if let Owner::Caller(tag) = owner {
            self.lent_under_way = self.lent_under_way.saturating_sub(1);
            let outcome = outcome.map_err(|Failed { error, .. }| error);
            return self.lent.push_back(Completion { tag, outcome });
        }
        let failed = outcome.map_err(|failed| self.note(failed)).is_err();
        match owner {
            Owner::Group(id, io) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.engine.complete_io(io, engine_outcome(failed, fetched));
                }
            }
            Owner::Opener(io) => {
                if let Some((open, _)) = &mut self.opener {
                    open.complete_io(io, engine_outcome(failed, fetched));
                }
            }
            Owner::Request(ticket) => {
                self.answer(ticket, if failed { Err(IoError::Fault(Fault::Device)) } else { Ok(()) });
            }
            Owner::Caller(_) => {}
        }
    }

    /// Keeps what the engines do not: which disk, where, and why.
    fn note(&mut self, failed: Failed) {
        let Failed { part: Some(Part { disk, what }), error } = failed else { return };
        let pv = usize::try_from(disk.0).ok().and_then(|index| self.pvs.get(index));
        if let Some((path, _)) = pv.filter(|_| self.untold.is_none()) {
            self.untold = Some(DiskFailure::new(path.clone(), what, error));
        }
    }

    /// The first failure of a disk since the last one that was taken: what is behind a [`Fault::Device`].
    pub fn take_disk_failure(&mut self) -> Option<DiskFailure> {
        self.untold.take()
    }

    /// Takes the engines' answers to requests; whether there were any.
    pub(crate) fn collect_answers(&mut self) -> bool {
        let mut answered = Vec::new();
        for group in self.groups.values_mut() {
            while let Some((request, outcome)) = group.engine.poll_answer() {
                drop(group.requests.remove(&request));
                answered.push((request.0, outcome));
            }
        }
        let any = !answered.is_empty();
        for (ticket, outcome) in answered {
            self.answer(ticket, outcome.map_err(IoError::Fault));
        }
        any
    }

    pub(crate) fn new_store_id(&mut self) -> StoreId {
        let id = StoreId(self.next_store);
        self.next_store = self.next_store.saturating_add(1);
        id
    }
}

fn engine_outcome(failed: bool, fetched: Option<Slice>) -> Outcome {
    match fetched {
        _ if failed => Outcome::Failed(Fault::Device),
        Some(slice) => Outcome::Metadata(slice.to_vec()),
        None => Outcome::Done,
    }
}

/// A store that is being opened knows no other space and no buffer.
struct OneSpace<'a>(&'a Map);

impl Surroundings for OneSpace<'_> {
    fn space(&self, space: Space) -> Option<&Map> {
        matches!(space, Space::Store(_)).then_some(self.0)
    }

    fn buffer(&self, _: Buffer) -> Option<Slice> {
        None
    }
}
