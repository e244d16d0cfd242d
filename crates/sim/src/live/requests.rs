//! Requests to the volumes, and their answers.
//!
//! What must hold:
//! - Every request is answered once, across suspensions and switches; reads show what the model allows.
//! - An error has a reason: the power, a fault, a volume that is gone or may be invalid.
//! - What was asked of a volume that another one takes the place of meanwhile may have happened to either.

use super::facts::Facts;
use super::life::Life;
use crate::report::Failure;
use crate::volume::vg_world::unexpected;
use foldback_device::Memory;
use foldback_dm_table::{DeviceMapper, DmName};
use foldback_testkit::{Moment, Sector, WriteToken};
use foldback_units::{LvmUuid, SectorRange, Sectors};
use foldback_user_dm::{RequestKind, Ticket, VolumeRequest};

/// No run takes as many steps.
const MAX_STEPS: u64 = 20_000;

pub(crate) struct Asked {
    pub(crate) id: LvmUuid,
    kind: RequestKind,
    at: u64,
    len: u64,
    began: Moment,
    token: WriteToken,
    memory: Option<Memory>,
    /// It may have gone to what the volume was before, or come too late: its answer says nothing.
    weak: bool,
    /// Its volume is merging now: it may be refused.
    moved: bool,
    /// From then on it is known what the volume holds.
    clears: bool,
}

impl Life<'_> {
    /// The device that users open, by the UUID of its LV.
    pub(crate) fn device(&mut self, id: &LvmUuid) -> Option<DmName> {
        let uuid = format!("LVM-{}{}", self.run.facts.found.vg.id.compact(), id.compact());
        let list = self.dm.list().ok()?;
        list.into_iter().find(|info| info.uuid == uuid).map(|info| info.name)
    }

    pub(crate) fn is_live(&self, id: &LvmUuid) -> bool {
        self.run.active.contains(&self.run.facts.group_of(id))
    }

    /// Volumes that can be asked.
    pub(crate) fn sound(&self) -> Vec<LvmUuid> {
        let sound = self.run.facts.volumes.iter().filter(|(_, volume)| volume.is_sound());
        sound.map(|(id, _)| *id).filter(|id| self.is_live(id)).collect()
    }

    pub(crate) fn ask_any(&mut self) {
        let live = self.sound();
        if live.is_empty() {
            return;
        }
        let id = *self.rng.pick(&live);
        let fua = self.rng.one_in(4);
        let kind = match self.rng.below(10) {
            0..=4 => RequestKind::Write { fua },
            5 => RequestKind::WriteZeroes { fua },
            6 => RequestKind::Flush,
            _ => RequestKind::Read,
        };
        self.ask(&id, kind);
    }

    pub(crate) fn ask(&mut self, id: &LvmUuid, kind: RequestKind) -> Option<Ticket> {
        let total = self.run.facts.volumes.get(id)?.model.len();
        let at = self.rng.below(total);
        let len = self.rng.between(1, 24).min(total - at);
        self.ask_for(id, kind, at, len)
    }

    /// Writes zeros where nobody knows what there is.
    pub(crate) fn clear(&mut self, id: &LvmUuid, at: u64, len: u64) {
        let ticket = self.ask_for(id, RequestKind::WriteZeroes { fua: true }, at, len);
        if let Some(asked) = ticket.and_then(|Ticket(number)| self.asked.get_mut(&number)) {
            asked.clears = true;
        }
    }

    pub(crate) fn ask_for(&mut self, id: &LvmUuid, kind: RequestKind, at: u64, len: u64) -> Option<Ticket> {
        let device = self.device(id)?;
        let writes = matches!(kind, RequestKind::Write { .. } | RequestKind::WriteZeroes { .. });
        if writes {
            self.run.facts.volumes.values_mut().for_each(|volume| volume.undo = false);
        }
        self.run.next_write += 1;
        self.run.now += 1;
        let (token, began) = (WriteToken(self.run.next_write), self.run.now);
        let stamps = (0..len).map(|offset| Sector::Stamp((1 << 47) | token.0 << 16 | offset));
        let content: Vec<Sector> = match kind {
            RequestKind::Write { .. } => stamps.collect(),
            _ => vec![Sector::Zero; len as usize],
        };
        if writes {
            self.run.facts.volumes.get_mut(id)?.model.begin(token, at, &content, began);
        }
        let memory = matches!(kind, RequestKind::Read | RequestKind::Write { .. })
            .then(|| Memory::new((len * 512) as usize))
            .flatten();
        if let Some(memory) = &memory {
            // Cannot be refused: the memory is as long as the content.
            let copied = memory.whole().copy_from(&Sector::join(&content));
            debug_assert!(copied);
        }
        let range = SectorRange::new(Sectors(at), Sectors(len))?;
        let buffer = memory.as_ref().map(Memory::whole);
        let ticket = self.dm.submit(&device, VolumeRequest { kind, range, buffer });
        self.run.note(|| format!("{ticket:?} {device} {kind:?} {at}+{len}"));
        let asked =
            Asked { id: *id, kind, at, len, began, token, memory, weak: false, moved: false, clears: false };
        self.asked.insert(ticket.0, asked);
        Some(ticket)
    }

    pub(crate) fn step(&mut self) -> Result<bool, Failure> {
        self.run.steps += 1;
        if self.run.steps > MAX_STEPS {
            return Err(Failure::new("liveness", "requests or a merge do not come to an end"));
        }
        let moved = self.dm.step(true).map_err(|error| unexpected("a step", error))?;
        self.answers()?;
        Ok(moved)
    }

    /// Until every request is answered; whoever waits for room gets it, or is released.
    pub(crate) fn drain(&mut self) -> Result<(), Failure> {
        while !self.asked.is_empty() {
            let moved = self.step()?;
            if !moved && !self.asked.is_empty() && !self.relieve()? {
                let left = self.asked.len();
                return Err(Failure::new("liveness", format!("{left} requests wait for nothing")));
            }
        }
        Ok(())
    }

    pub(crate) fn answers(&mut self) -> Result<(), Failure> {
        self.note_faults();
        while let Some((Ticket(number), outcome)) = self.dm.poll_answer() {
            let Some(asked) = self.asked.remove(&number) else {
                let what = format!("ticket {number} is answered, but not asked");
                return Err(Failure::new("exactly once", what));
            };
            self.run.now += 1;
            let now = self.run.now;
            self.run.note(|| format!("answer {number}: {outcome:?}"));
            let excused = self.disks.is_off() || self.is_faulty() || asked.weak || asked.moved;
            let Some(volume) = self.run.facts.volumes.get_mut(&asked.id) else { continue };
            if let Err(error) = &outcome
                && !excused
                && !volume.mortal
            {
                let what = format!("{:?} of {} failed without a reason: {error:?}", asked.kind, asked.id);
                return Err(Failure::new("I10", what));
            }
            match asked.kind {
                RequestKind::Write { fua } | RequestKind::WriteZeroes { fua } => {
                    let certain = outcome.is_ok() && !asked.weak;
                    volume.model.end(asked.token, asked.at, asked.len, certain, fua, now);
                    if asked.clears && certain {
                        volume.unknown = None;
                    }
                }
                RequestKind::Flush if outcome.is_ok() && !asked.weak => volume.model.flushed(asked.began),
                RequestKind::Read if outcome.is_ok() && !asked.weak && volume.is_sound() => {
                    let bytes = asked.memory.map_or_else(Vec::new, |memory| memory.whole().to_vec());
                    for (sector, seen) in (asked.at..).zip(Sector::split(&bytes)) {
                        if !volume.model.may_read(sector, &seen, asked.began) {
                            let what = format!("sector {sector} of {} reads as {seen:?}", asked.id);
                            return Err(Failure::new("read", what));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The origin is about to show what the snapshot shows: writes to it that are under way may still come.
    pub(crate) fn entangle(&self, origin: &LvmUuid, after: &mut Facts) {
        let Some(volume) = after.volumes.get_mut(origin) else { return };
        for asked in self.asked.values().filter(|asked| asked.id == *origin) {
            let content: Vec<Sector> = match (&asked.kind, &asked.memory) {
                (RequestKind::Write { .. }, Some(memory)) => Sector::split(&memory.whole().to_vec()),
                (RequestKind::WriteZeroes { .. }, _) => vec![Sector::Zero; asked.len as usize],
                _ => continue,
            };
            volume.model.begin(asked.token, asked.at, &content, asked.began);
        }
    }

    /// The origin shows what the snapshot shows: what the snapshot has taken is in the view, and a write that it refuses
    /// has not happened; of the rest the answers say nothing.
    pub(crate) fn entangled(&mut self, origin: &LvmUuid, snapshot: &LvmUuid) {
        for asked in self.asked.values_mut() {
            if asked.id == *snapshot {
                asked.id = *origin;
                asked.moved = true;
                asked.weak =
                    !matches!(asked.kind, RequestKind::Write { .. } | RequestKind::WriteZeroes { .. });
            } else if asked.id == *origin {
                asked.weak = true;
            }
        }
    }
}
