//! Requests to mapped devices: taken, held while a device is suspended, routed, answered.
//!
//! What must hold:
//! - Every request that is taken is answered exactly once, also when its device goes away.
//! - A request to a suspended device, or through one, waits and is not begun.
//! - A write to a read-only table, or behind the device's end, reaches no disk.
//! - A discard reaches the disks where the requests of no origin and no snapshot pass through the device at the moment when
//!   it is given to them. One that waited, or is asked of any other device, completes and does nothing: a snapshot could miss
//!   what it takes away, and who looks for space would fill every store.

use crate::carry::{self, Way, Zeros, bytes_of};
use crate::error::IoError;
use crate::group::GroupId;
use crate::map::Map;
use crate::mapped::{DeviceId, Mapped, Route};
use crate::run::UserDm;
use crate::traffic::Owner;
use crate::which::Which;
use foldback_device::{Disks, Op, Slice};
use foldback_engine::{Fault, Request, RequestId, RequestKind, Volume};
use foldback_units::{SectorRange, Sectors};
use std::rc::Rc;

/// A request's number, to find its answer by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What is wanted of a mapped device.
#[derive(Clone, Debug)]
pub struct VolumeRequest {
    /// Read, write, zeros, flush, discard.
    pub kind: RequestKind,
    /// Which sectors; not looked at for a flush.
    pub range: SectorRange,
    /// The memory to fill or to write, at least as long as the range; `None` where the kind moves no data.
    pub buffer: Option<Slice>,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) device: DeviceId,
    pub(crate) request: VolumeRequest,
    pub(crate) group: Option<GroupId>,
    /// Counted in its device's `under_way`.
    pub(crate) begun: bool,
}

impl<D: Disks> UserDm<D> {
    /// Takes a request; the answer comes from [`UserDm::poll_answer`], refusals included.
    pub fn submit<'a>(&mut self, device: impl Into<Which<'a>>, request: VolumeRequest) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.saturating_add(1);
        match self.admit(device.into(), &request) {
            Ok(Some(device)) => {
                let pending = Pending { device, request, group: None, begun: false };
                drop(self.requests.insert(ticket.0, pending));
                self.dispatch(ticket.0);
            }
            // Nothing to do.
            Ok(None) => self.answers.push_back((ticket, Ok(()))),
            Err(error) => self.answers.push_back((ticket, Err(error))),
        }
        ticket
    }

    /// A request that was answered; its buffer is the caller's again.
    pub fn poll_answer(&mut self) -> Option<(Ticket, Result<(), IoError>)> {
        self.answers.pop_front()
    }

    /// How many requests are not answered yet, held ones included.
    pub fn unanswered(&self) -> usize {
        self.requests.len()
    }

    fn admit(&self, device: Which<'_>, request: &VolumeRequest) -> Result<Option<DeviceId>, IoError> {
        let id = self.which(device).ok_or(IoError::NoDevice)?;
        let live = self.devices.get(&id).and_then(|device| device.live.as_ref()).ok_or(IoError::NoDevice)?;
        if request.kind == RequestKind::Flush {
            return Ok(Some(id));
        }
        if live.read_only && request.kind != RequestKind::Read {
            return Err(IoError::ReadOnly);
        }
        if request.range.end() > live.table.len() {
            return Err(IoError::Range);
        }
        if matches!(request.kind, RequestKind::Read | RequestKind::Write { .. }) {
            let needed = bytes_of(request.range.len()).ok_or(IoError::Range)?;
            let given = request.buffer.as_ref().map_or(0, Slice::len);
            if given < needed {
                return Err(IoError::Range);
            }
        }
        Ok((!request.range.is_empty()).then_some(id))
    }

    /// Sends a request where its device's requests go now, or lets it wait.
    pub(crate) fn dispatch(&mut self, ticket: u64) {
        let Some(pending) = self.requests.get_mut(&ticket) else { return };
        let Some(device) = self.devices.get(&pending.device) else {
            return self.answer(ticket, Err(IoError::NoDevice));
        };
        if device.cut_off {
            return self.answer(ticket, Err(IoError::Fault(Fault::Device)));
        }
        // A group's engine holds by itself what lies under it.
        let stopped = |id| self.devices.get(id).is_some_and(|lower| lower.suspended);
        let blocked = match &device.route {
            Route::Plain(_) => device.below.iter().any(stopped),
            _ => false,
        };
        let route = device.route.clone();
        if device.suspended || blocked {
            if let Some(device) = self.devices.get_mut(&pending.device) {
                device.waiting.push_back(ticket);
            }
            return;
        }
        match route {
            Route::Nowhere => self.answer(ticket, Err(IoError::NoDevice)),
            Route::Stale => self.answer(ticket, Err(IoError::Fault(Fault::Device))),
            Route::Plain(map) => self.give_to_disks(ticket, &map),
            Route::Group(group, volume) => self.give_to_group(ticket, group, volume),
        }
    }

    fn begun(&mut self, ticket: u64, group: Option<GroupId>) -> Option<VolumeRequest> {
        let pending = self.requests.get_mut(&ticket)?;
        pending.begun = true;
        pending.group = group;
        let device = self.devices.get_mut(&pending.device)?;
        device.under_way = device.under_way.saturating_add(1);
        Some(pending.request.clone())
    }

    fn give_to_group(&mut self, ticket: u64, id: GroupId, volume: Volume) {
        let Some(VolumeRequest { kind, range, buffer }) = self.begun(ticket, Some(id)) else { return };
        let Some(group) = self.groups.get_mut(&id) else {
            return self.answer(ticket, Err(IoError::Fault(Fault::Gone)));
        };
        let request = RequestId(ticket);
        if let Some(buffer) = buffer {
            drop(group.requests.insert(request, buffer));
        }
        group.engine.submit(Request { id: request, volume, kind, range });
    }

    fn give_to_disks(&mut self, ticket: u64, map: &Rc<Map>) {
        let Some(VolumeRequest { kind, range, buffer }) = self.begun(ticket, None) else { return };
        let shared = kind == RequestKind::Discard && self.is_under_a_group(ticket);
        let traffic = &mut self.traffic;
        let begun = traffic.begin(Owner::Request(ticket), None);
        let whole = |buffer: Option<Slice>, range: SectorRange| -> Option<Vec<Slice>> {
            Some(vec![buffer?.part(0, bytes_of(range.len())?)?])
        };
        let given = match kind {
            RequestKind::Read => whole(buffer, range)
                .and_then(|slices| carry::transfer(traffic, begun, map, range.start(), slices, Way::Read)),
            RequestKind::Write { fua } => whole(buffer, range).and_then(|slices| {
                carry::transfer(traffic, begun, map, range.start(), slices, Way::Write { durable: fua })
            }),
            RequestKind::WriteZeroes { fua } => {
                carry::write_zeroes(traffic, begun, map, range, Zeros { durable: fua, holes: true })
            }
            RequestKind::Flush => {
                for disk in map.disks() {
                    traffic.part(begun, disk, Op::Flush);
                }
                Some(())
            }
            RequestKind::Discard if shared => Some(()),
            RequestKind::Discard => carry::discard(traffic, begun, map, range),
        };
        if given.is_none() {
            traffic.fail(begun, std::io::Error::other(Fault::Device));
        }
        traffic.all_given(begun);
    }

    /// Whether an origin or a snapshot stands on the device that is asked.
    fn is_under_a_group(&self, ticket: u64) -> bool {
        let Some(asked) = self.requests.get(&ticket).map(|pending| pending.device) else { return true };
        let stands_on_it =
            |device: &Mapped| device.below.contains(&asked) && !matches!(device.route, Route::Plain(_));
        self.devices.values().any(stands_on_it)
    }

    /// Answers a request.
    pub(crate) fn answer(&mut self, ticket: u64, outcome: Result<(), IoError>) {
        let Some(pending) = self.requests.remove(&ticket) else { return };
        if let Some(device) = self.devices.get_mut(&pending.device) {
            device.under_way = device.under_way.saturating_sub(u64::from(pending.begun));
            device.counts.count(&pending.request, outcome.is_ok());
        }
        self.answers.push_back((Ticket(ticket), outcome));
    }

    /// Requests that a group was given and has not answered; they count as not begun from now on.
    pub(crate) fn take_back(&mut self, group: GroupId) -> Vec<u64> {
        let mut taken = Vec::new();
        for (ticket, pending) in &mut self.requests {
            if pending.group == Some(group) && pending.begun {
                pending.begun = false;
                pending.group = None;
                if let Some(device) = self.devices.get_mut(&pending.device) {
                    device.under_way = device.under_way.saturating_sub(1);
                }
                taken.push(*ticket);
            }
        }
        taken
    }

    /// Sends all that waits and need not wait any more.
    pub(crate) fn wake(&mut self) {
        let waiting: Vec<u64> =
            self.devices.values_mut().flat_map(|device| std::mem::take(&mut device.waiting)).collect();
        for ticket in waiting {
            self.dispatch(ticket);
        }
    }

    /// The length of a device's live table.
    pub fn size<'a>(&self, device: impl Into<Which<'a>>) -> Option<Sectors> {
        let id = self.which(device)?;
        self.devices.get(&id)?.live.as_ref().map(|live| live.table.len())
    }
}
