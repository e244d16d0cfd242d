//! Questions to the kernel: a device, its table, all devices, the targets there are.
//!
//! What must hold:
//! - An answer that did not fit is asked for again with more room, up to a bound.

use crate::control::Kernel;
use crate::error::KernelDmErrorKind;
use crate::message::{
    ACTIVE, BUFFER_FULL, Command, INACTIVE, Message, QUERY_INACTIVE, READ_ONLY, STATUS_TABLE, SUSPEND,
};
use crate::specs::{self, Spec};
use foldback_dm_table::{DmName, Info};

/// Room for the answer at first, and the most there may be.
const ROOM: usize = 16 << 10;
const MAX_ROOM: usize = 64 << 20;

/// A device, and what only the kernel has of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) info: Info,
    /// Its number, as stat(2) has it.
    pub(crate) dev: u64,
    pub(crate) read_only: bool,
}

/// Which table of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    Live,
    Inactive,
}

/// Sends a message whose answer needs room.
fn ask<K: Kernel>(kernel: &mut K, message: &Message) -> Result<Message, KernelDmErrorKind> {
    let mut room = ROOM;
    loop {
        let mut sent = message.clone().with_room(room);
        kernel.call(&mut sent).map_err(KernelDmErrorKind::of_call)?;
        if !sent.answer()?.has(BUFFER_FULL) || room >= MAX_ROOM {
            return Ok(sent);
        }
        room = room.saturating_mul(2);
    }
}

fn known(mut message: Message, kernel: &mut impl Kernel) -> Result<Known, KernelDmErrorKind> {
    kernel.call(&mut message).map_err(KernelDmErrorKind::of_call)?;
    let answer = message.answer()?;
    Ok(Known {
        info: Info {
            name: DmName(answer.name()?),
            uuid: answer.uuid()?,
            suspended: answer.has(SUSPEND),
            live: answer.has(ACTIVE),
            inactive: answer.has(INACTIVE),
            open_count: answer.open_count(),
            event: answer.event(),
        },
        dev: answer.dev(),
        read_only: answer.has(READ_ONLY),
    })
}

/// What is known of a device.
pub(crate) fn device<K: Kernel>(kernel: &mut K, name: &DmName) -> Result<Known, KernelDmErrorKind> {
    known(Message::to(Command::Status, &name.0)?, kernel)
}

/// The same; `None` where there is none of that name.
pub(crate) fn find<K: Kernel>(kernel: &mut K, name: &DmName) -> Result<Option<Known>, KernelDmErrorKind> {
    match device(kernel, name) {
        Ok(known) => Ok(Some(known)),
        Err(KernelDmErrorKind::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is known of the device of that number.
pub(crate) fn by_number<K: Kernel>(kernel: &mut K, dev: u64) -> Result<Known, KernelDmErrorKind> {
    known(Message::to_number(Command::Status, dev), kernel)
}

/// A table as the kernel tells it; `None` where the slot is empty.
pub(crate) fn table<K: Kernel>(
    kernel: &mut K,
    name: &DmName,
    slot: Slot,
) -> Result<Option<Vec<Spec>>, KernelDmErrorKind> {
    let flags = match slot {
        Slot::Live => STATUS_TABLE,
        Slot::Inactive => STATUS_TABLE | QUERY_INACTIVE,
    };
    lines(kernel, name, flags, slot)
}

/// A question that tells whether a device's live table is still the one that it has now: to be asked while nothing may be
/// allocated.
#[derive(Debug)]
pub(crate) struct StillLive {
    message: Message,
    count: u32,
    lines: Vec<u8>,
}

impl StillLive {
    /// Lays it out; `None` where there is no live table.
    pub(crate) fn of<K: Kernel>(kernel: &mut K, name: &DmName) -> Result<Option<Self>, KernelDmErrorKind> {
        let message = Message::to(Command::TableStatus, &name.0)?.with_flags(STATUS_TABLE);
        let sent = ask(kernel, &message)?;
        let answer = sent.answer()?;
        if !answer.has(ACTIVE) {
            return Ok(None);
        }
        let lines = answer.data.to_vec();
        // A longer table is another one, and does not have to fit.
        let room = lines.len().max(ROOM);
        Ok(Some(Self { message: message.with_room(room), count: answer.target_count(), lines }))
    }

    /// Whether it is, as far as the kernel tells. Asked once. Allocates nothing.
    pub(crate) fn ask<K: Kernel>(&mut self, kernel: &mut K) -> bool {
        kernel.call(&mut self.message).is_ok()
            && self.message.answer().is_ok_and(|answer| {
                answer.has(ACTIVE) && answer.target_count() == self.count && answer.data == self.lines
            })
    }
}

/// The status of each line of the live table.
pub(crate) fn status<K: Kernel>(
    kernel: &mut K,
    name: &DmName,
) -> Result<Option<Vec<Spec>>, KernelDmErrorKind> {
    lines(kernel, name, 0, Slot::Live)
}

fn lines<K: Kernel>(
    kernel: &mut K,
    name: &DmName,
    flags: u32,
    slot: Slot,
) -> Result<Option<Vec<Spec>>, KernelDmErrorKind> {
    let sent = ask(kernel, &Message::to(Command::TableStatus, &name.0)?.with_flags(flags))?;
    let answer = sent.answer()?;
    let there = if slot == Slot::Live { ACTIVE } else { INACTIVE };
    if !answer.has(there) {
        return Ok(None);
    }
    Ok(Some(specs::decode(answer.target_count(), answer.data)?))
}

/// Every device. One that goes meanwhile is left out.
pub(crate) fn list<K: Kernel>(kernel: &mut K) -> Result<Vec<Info>, KernelDmErrorKind> {
    let sent = ask(kernel, &Message::global(Command::List))?;
    let mut infos = Vec::new();
    for (_, name) in specs::names(sent.answer()?.data)? {
        infos.extend(find(kernel, &DmName(name))?.map(|known| known.info));
    }
    Ok(infos)
}

/// The targets that the kernel has at this moment.
pub(crate) fn targets<K: Kernel>(kernel: &mut K) -> Result<Vec<String>, KernelDmErrorKind> {
    let sent = ask(kernel, &Message::global(Command::Versions))?;
    Ok(specs::targets(sent.answer()?.data)?)
}
