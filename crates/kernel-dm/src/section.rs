//! The suspended section: from the first suspend to the last resume, made ready before it begins.
//!
//! What must hold (docs/decisions/0007-kernel-dm.md):
//! - Every message that may be sent, also on every way back, is laid out before; while anything is suspended nothing is
//!   allocated, logged, forked or opened.
//! - Before the commit a failure is taken back: inactive tables first, so that no resume makes one live, then suspended
//!   devices from the bottom up.
//! - After the commit it goes forward. From the first resume that fails on, old tables: the kernel leaves that device
//!   suspended, with the old one (what does not fit its disk is refused first), which is only resumed, or with the new one
//!   (K8), and then its old one is loaded again; the devices behind it only lose their inactive tables. A device whose old table cannot be had any more answers with errors, and so does one that makes way
//!   for a merge that runs already; none stays suspended.

use crate::control::Kernel;
use crate::cookie::Cookie;
use crate::error::{KernelDmError, KernelDmErrorKind, both};
use crate::headers::{Headers, Unwritten};
use crate::message::{Command, Message};
use crate::query::StillLive;
use foldback_dm_table::{DmName, Stage};
use std::io;

/// One message, and what it is about.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) what: &'static str,
    pub(crate) name: DmName,
    pub(crate) message: Message,
    /// udev may hear of it.
    pub(crate) notifies: bool,
}

/// A step of the way down, and what takes it back.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) step: Step,
    pub(crate) undo: Option<Step>,
}

/// A table put back: loaded, then resumed.
pub(crate) type Put = [Step; 2];

/// A resume, and the ways back to a device that runs.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) step: Step,
    /// Drops the new table where it is still in the inactive slot.
    pub(crate) clear: Step,
    /// Resumes what is live then. None for a device that had no table.
    pub(crate) resume: Option<Step>,
    /// Whether the old table is live yet: the kernel refuses some before it puts them in.
    pub(crate) still_old: Option<StillLive>,
    /// The old table, and one of errors in its place.
    pub(crate) old: Option<(Put, Put)>,
    /// Its new table merges: what stands on the same extents must not go on beside it.
    pub(crate) merges: bool,
    /// Its new table is one of errors: it makes way for another device.
    pub(crate) ends: bool,
}

/// What went wrong: a step by its place, or a header.
#[derive(Debug)]
enum Trouble {
    Down(usize, io::Error),
    Undo(usize, io::Error),
    Clear(usize, io::Error),
    Up(usize, io::Error),
    /// It goes on with its old table only after that was loaded again.
    Back(usize, io::Error),
    /// Its old table could not be had: it answers with errors.
    Lost(usize, io::Error),
    /// The commit, and what its `revert` met.
    Header(Unwritten, Option<Unwritten>),
}

/// Everything between preload and clean.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) down: Vec<Down>,
    /// Of every table that the transaction loads.
    pub(crate) clears: Vec<Step>,
    pub(crate) headers: Headers,
    pub(crate) up: Vec<Up>,
    /// Its room is made before.
    troubles: Vec<Trouble>,
}

/// Sends one message. Allocates nothing.
fn send<K: Kernel>(kernel: &mut K, cookie: &Cookie, step: &mut Step) -> io::Result<()> {
    if !step.notifies {
        return kernel.call(&mut step.message);
    }
    cookie.expect();
    let sent = kernel.call(&mut step.message);
    if sent.is_err() || !step.message.made_event() {
        cookie.forget();
    }
    sent
}

fn put<K: Kernel>(kernel: &mut K, cookie: &Cookie, [load, resume]: &mut Put) -> io::Result<()> {
    send(kernel, cookie, load).and_then(|()| send(kernel, cookie, resume))
}

impl Section {
    /// Without steps yet.
    pub(crate) fn with(headers: Headers) -> Self {
        Self { headers, ..Self::default() }
    }

    /// Makes room for every failure there can be.
    pub(crate) fn make_ready(&mut self) {
        let steps = self.down.len().saturating_add(self.clears.len()).saturating_add(self.up.len());
        let room = steps.saturating_mul(3).saturating_add(self.headers.len()).saturating_add(4);
        self.troubles.reserve(room);
    }

    fn note(&mut self, trouble: Trouble) {
        if self.troubles.len() < self.troubles.capacity() {
            self.troubles.push(trouble);
        }
    }

    /// Suspends, commits, resumes. What an error leaves is said at [`Stage`].
    pub(crate) fn run<K: Kernel>(&mut self, kernel: &mut K, cookie: &Cookie) -> Result<(), Stage> {
        for index in 0..self.down.len() {
            let Some(down) = self.down.get_mut(index) else { break };
            if let Err(error) = send(kernel, cookie, &mut down.step) {
                self.note(Trouble::Down(index, error));
                self.take_back(kernel, cookie, index);
                return Err(Stage::Suspend);
            }
        }
        if let Err(unwritten) = self.headers.commit() {
            let reverted = self.headers.revert();
            self.note(Trouble::Header(unwritten, reverted.err()));
            self.take_back(kernel, cookie, self.down.len());
            return Err(Stage::Commit);
        }
        self.resume_all(kernel, cookie)
    }

    /// Takes back what was done of the way down.
    fn take_back<K: Kernel>(&mut self, kernel: &mut K, cookie: &Cookie, done: usize) {
        for index in (0..self.clears.len()).rev() {
            let Some(clear) = self.clears.get_mut(index) else { break };
            if let Err(error) = send(kernel, cookie, clear) {
                self.note(Trouble::Clear(index, error));
            }
        }
        for index in (0..done).rev() {
            let Some(undo) = self.down.get_mut(index).and_then(|down| down.undo.as_mut()) else { continue };
            if let Err(error) = send(kernel, cookie, undo) {
                self.note(Trouble::Undo(index, error));
            }
        }
    }

    fn resume_all<K: Kernel>(&mut self, kernel: &mut K, cookie: &Cookie) -> Result<(), Stage> {
        let mut outcome = Ok(());
        let mut merging = false;
        for index in 0..self.up.len() {
            let Some(up) = self.up.get_mut(index) else { break };
            // Its store or its extents are the merge's by now: there is only the way forward.
            let forward = merging && up.ends;
            if outcome.is_err() && !forward {
                self.keep_old(kernel, cookie, index);
                continue;
            }
            let merges = up.merges;
            match send(kernel, cookie, &mut up.step) {
                Ok(()) => merging |= merges,
                Err(error) => {
                    outcome = Err(Stage::Resume);
                    self.note(Trouble::Up(index, error));
                    self.put_back(kernel, cookie, index, forward);
                }
            }
        }
        outcome
    }

    /// A device behind the one that failed: its new table is still in the inactive slot.
    fn keep_old<K: Kernel>(&mut self, kernel: &mut K, cookie: &Cookie, index: usize) {
        let Some(up) = self.up.get_mut(index) else { return };
        let cleared = send(kernel, cookie, &mut up.clear);
        let Some(resume) = up.resume.as_mut() else { return };
        if let Err(error) = cleared.and_then(|()| send(kernel, cookie, resume)) {
            self.note(Trouble::Back(index, error));
            self.put_back(kernel, cookie, index, false);
        }
    }

    /// A device that the kernel has left suspended with its new table: its old one, or errors. Where the old one is live yet it
    /// is resumed as it is: loaded beside itself, one that merges would be refused.
    fn put_back<K: Kernel>(&mut self, kernel: &mut K, cookie: &Cookie, index: usize, forward: bool) {
        let Some(up) = self.up.get_mut(index) else { return };
        if !forward
            && let (Some(still_old), Some(resume)) = (&mut up.still_old, &mut up.resume)
            && still_old.ask(kernel)
            && send(kernel, cookie, resume).is_ok()
        {
            return;
        }
        let Some((old, errors)) = up.old.as_mut() else { return };
        let refused = if forward { None } else { put(kernel, cookie, old).err() };
        if !forward && refused.is_none() {
            return;
        }
        let lost = put(kernel, cookie, errors);
        if let Some(error) = refused {
            self.note(Trouble::Lost(index, error));
        }
        if let Err(error) = lost {
            self.note(Trouble::Back(index, error));
        }
    }

    /// What went wrong, in words, the first first.
    pub(crate) fn told(&mut self) -> Option<KernelDmError> {
        let troubles = std::mem::take(&mut self.troubles);
        let mut told = troubles.into_iter().filter_map(|trouble| self.told_one(trouble));
        let first = told.next()?;
        Some(told.fold(first, both))
    }

    fn told_one(&self, trouble: Trouble) -> Option<KernelDmError> {
        let of = |step: &Step, error| {
            // A table that is refused says ENXIO and EBUSY for reasons of its own.
            let loads = step.message.command() == Command::Load;
            let kind =
                if loads { KernelDmErrorKind::Refused(error) } else { KernelDmErrorKind::of_call(error) };
            kind.on(step.what, &step.name)
        };
        Some(match trouble {
            Trouble::Down(index, error) => of(&self.down.get(index)?.step, error),
            Trouble::Undo(index, error) => of(self.down.get(index)?.undo.as_ref()?, error),
            Trouble::Clear(index, error) => of(self.clears.get(index)?, error),
            Trouble::Up(index, error) => of(&self.up.get(index)?.step, error),
            Trouble::Back(index, error) => KernelDmErrorKind::Refused(error)
                .on("returning to the old table of", &self.up.get(index)?.step.name),
            Trouble::Lost(index, error) => {
                let name = &self.up.get(index)?.step.name;
                KernelDmErrorKind::Refused(error).on(
                    "its old table cannot be had, so it answers with errors now: returning to that of",
                    name,
                )
            }
            Trouble::Header(unwritten, revert) => self.headers.told(unwritten, revert),
        })
    }
}
