//! The verbs as calls of the kernel, each on its own.
//!
//! What must hold:
//! - A table is checked and its targets looked for before it is handed over; what crashes kernels never is (K6).
//! - A suspend waits for what is under way (never NOFLUSH): the order of writes is the transaction's business.
//! - A resume that fails returns to the old table, running (K8).
//! - A device that is only looked at for a moment, by udev, is waited for (lvm2.md trap 16).

use crate::choice::{Choice, Udev};
use crate::control::{Kernel, modprobe};
use crate::cookie::{self, Cookie};
use crate::error::{KernelDmError, KernelDmErrorKind};
use crate::message::{Command, Message, READ_ONLY, SKIP_LOCKFS, SUSPEND, name_bytes};
use crate::names::Names;
use crate::nodes::{NodeError, Nodes, link_of};
use crate::query::{self, Slot};
use crate::refuse;
use crate::section::{Section, Step};
use crate::specs::{self, Spec};
use foldback_dm_table::{DmName, Table, Verb};
use std::thread::sleep;
use std::time::Duration;

/// How often, and after which pause, a removal is tried that finds the device open.
const REMOVE_TRIES: u32 = 25;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// The executor, over the kernel or a stand-in for it.
#[derive(Debug)]
pub(crate) struct Mapper<K> {
    pub(crate) kernel: K,
    pub(crate) names: Names,
    /// `None` where udev makes nodes and links.
    pub(crate) nodes: Option<Nodes>,
    /// Whether memory is locked while devices are suspended.
    pub(crate) locks: bool,
    pub(crate) notes: Vec<String>,
}

type Outcome<T> = Result<T, KernelDmErrorKind>;

/// What of a verb is said when it fails.
pub(crate) const fn words(verb: &Verb) -> &'static str {
    match verb {
        Verb::Create { .. } => "creating",
        Verb::Load { .. } => "loading a table into",
        Verb::Suspend { .. } => "suspending",
        Verb::Resume { .. } => "resuming",
        Verb::Clear { .. } => "clearing the inactive table of",
        Verb::Remove { .. } => "removing",
        Verb::Rename { .. } => "renaming",
    }
}

impl<K: Kernel> Mapper<K> {
    /// Verbs one after the other, with one cookie for all of them, up to the first that fails.
    pub(crate) fn carry_out_all(&mut self, verbs: &[Verb]) -> Result<(), KernelDmError> {
        let cookie = self.cookie();
        let mut done = 0_usize;
        let outcome = verbs.iter().try_for_each(|verb| {
            done = done.saturating_add(1);
            self.carry_out(verb, &cookie)
        });
        self.await_udev(cookie);
        verbs.iter().take(done).for_each(|verb| self.follow(verb));
        outcome
    }

    pub(crate) fn carry_out(&mut self, verb: &Verb, cookie: &Cookie) -> Result<(), KernelDmError> {
        let outcome = match verb {
            Verb::Create { name, uuid, minor } => self.create(name, uuid, *minor),
            Verb::Load { name, table, read_only } => self
                .load(name, table, *read_only)
                .and_then(|mut message| self.kernel.call(&mut message).map_err(KernelDmErrorKind::Refused)),
            Verb::Suspend { name, lockfs } => suspend(name, *lockfs).and_then(|message| self.send(message)),
            Verb::Resume { name } => return self.resume(name, cookie),
            Verb::Clear { name } => Message::to(Command::Clear, &name.0)
                .map_err(Into::into)
                .and_then(|message| self.send(message)),
            Verb::Remove { name } => self.remove(name, cookie),
            Verb::Rename { name, new } => self.rename(name, new, cookie),
        };
        outcome.map_err(|kind| kind.on(words(verb), verb.name()))
    }

    fn send(&mut self, mut message: Message) -> Outcome<()> {
        self.kernel.call(&mut message).map_err(KernelDmErrorKind::of_call)
    }

    fn create(&mut self, name: &DmName, uuid: &str, minor: Option<u32>) -> Outcome<()> {
        let mut message = Message::to(Command::Create, &name.0)?.with_uuid(uuid)?;
        if let Some(minor) = minor {
            message = message.with_minor(minor);
        }
        self.send(message).map_err(|kind| match kind {
            KernelDmErrorKind::InUse => KernelDmErrorKind::Exists,
            // So the kernel says that a number is taken.
            KernelDmErrorKind::Missing if minor.is_some() => KernelDmErrorKind::Exists,
            kind => kind,
        })
    }

    /// The message that loads a table.
    pub(crate) fn load(&mut self, name: &DmName, table: &Table, read_only: bool) -> Outcome<Message> {
        refuse::check(table)?;
        for line in &table.lines {
            self.want_target(line.target.kind())?;
        }
        let own = query::device(&mut self.kernel, name)?.dev;
        let specs = self.names.specs(&mut self.kernel, table, own)?;
        load_message(name, &specs, read_only)
    }

    /// Looks for a target, and loads its module where it is missing.
    fn want_target(&mut self, kind: &str) -> Outcome<()> {
        let there = |kernel: &mut K| -> Outcome<bool> {
            Ok(query::targets(kernel)?.iter().any(|target| target == kind))
        };
        if there(&mut self.kernel)? {
            return Ok(());
        }
        let module = if kind.starts_with("snapshot") { "snapshot" } else { kind };
        modprobe(&format!("dm-{module}"));
        if there(&mut self.kernel)? { Ok(()) } else { Err(KernelDmErrorKind::Target(kind.to_owned())) }
    }

    fn resume(&mut self, name: &DmName, cookie: &Cookie) -> Result<(), KernelDmError> {
        let mut section = Section::default();
        let up = self.up(name, None, cookie).map_err(|kind| kind.on("resuming", name))?;
        section.up.push(up);
        section.make_ready();
        let run = section.run(&mut self.kernel, cookie);
        section.told().filter(|_| run.is_err()).map_or(Ok(()), Err)
    }

    /// The first target of a table; of the live one where the slot is empty.
    pub(crate) fn first_kind(&mut self, name: &DmName, slot: Slot) -> Outcome<Option<String>> {
        let specs = match query::table(&mut self.kernel, name, slot)? {
            Some(specs) => Some(specs),
            None => query::table(&mut self.kernel, name, Slot::Live)?,
        };
        Ok(specs.and_then(|specs| specs.into_iter().next()).map(|spec| spec.kind))
    }

    fn remove(&mut self, name: &DmName, cookie: &Cookie) -> Outcome<()> {
        let uuid = query::device(&mut self.kernel, name)?.info.uuid;
        let event = cookie.event(cookie::flags(name, &uuid, None));
        for _ in 1..REMOVE_TRIES {
            match self.notify(Message::to(Command::Remove, &name.0)?.with_event(event), cookie) {
                Err(KernelDmErrorKind::InUse) => sleep(REMOVE_PAUSE),
                ended => return ended,
            }
        }
        self.notify(Message::to(Command::Remove, &name.0)?.with_event(event), cookie)
    }

    fn rename(&mut self, name: &DmName, new: &DmName, cookie: &Cookie) -> Outcome<()> {
        let uuid = query::device(&mut self.kernel, name)?.info.uuid;
        let kind = self.first_kind(name, Slot::Live)?;
        let event = cookie.event(cookie::flags(new, &uuid, kind.as_deref()));
        // With its NUL.
        let bytes = name_bytes(&new.0)?;
        let data = bytes.get(..new.0.len().saturating_add(1)).unwrap_or_default();
        let message = Message::to(Command::Rename, &name.0)?.with_event(event).with_data(data);
        self.notify(message, cookie).map_err(|kind| match kind {
            KernelDmErrorKind::InUse => KernelDmErrorKind::Exists,
            kind => kind,
        })
    }

    fn notify(&mut self, mut message: Message, cookie: &Cookie) -> Outcome<()> {
        cookie.expect();
        let sent = self.kernel.call(&mut message);
        if sent.is_err() || !message.made_event() {
            cookie.forget();
        }
        sent.map_err(KernelDmErrorKind::of_call)
    }

    /// A step that resumes a device whose table will begin with `kind`.
    pub(crate) fn resuming(&mut self, name: &DmName, kind: Option<&str>, cookie: &Cookie) -> Outcome<Step> {
        let uuid = query::device(&mut self.kernel, name)?.info.uuid;
        let event = cookie.event(cookie::flags(name, &uuid, kind));
        let message = Message::to(Command::Suspend, &name.0)?.with_event(event);
        Ok(Step { what: "resuming", name: name.clone(), message, notifies: true })
    }

    /// The cookie of a change; none where udev does not run, or is not to be waited for.
    pub(crate) fn cookie(&mut self) -> Cookie {
        if self.nodes.is_some() || Choice::chosen().udev == Udev::NotWaited {
            return Cookie::none();
        }
        Cookie::make().unwrap_or_else(|error| {
            self.notes.push(format!("udev is not waited for: making a semaphore: {error}"));
            Cookie::none()
        })
    }

    /// Waits for udev; who takes too long is told about and not waited for any more.
    pub(crate) fn await_udev(&mut self, cookie: Cookie) {
        if !cookie.wait(cookie::PATIENCE) {
            let seconds = cookie::PATIENCE.as_secs();
            self.notes.push(format!("udev has not seen every device within {seconds} s"));
        }
    }

    /// Brings nodes and links to what a verb has made of its device.
    pub(crate) fn follow(&mut self, verb: &Verb) {
        match verb {
            Verb::Resume { name } | Verb::Remove { name } => self.bring_nodes(name),
            Verb::Rename { name, new } => {
                self.bring_nodes(name);
                self.bring_nodes(new);
            }
            Verb::Create { .. } | Verb::Load { .. } | Verb::Suspend { .. } | Verb::Clear { .. } => {}
        }
    }

    /// Makes the node and the link of a device, or removes those of one that is gone.
    pub(crate) fn bring_nodes(&mut self, name: &DmName) {
        if self.nodes.is_none() {
            return;
        }
        let known = query::find(&mut self.kernel, name).ok().flatten();
        let kind = known.as_ref().and_then(|_| self.first_kind(name, Slot::Live).ok().flatten());
        let Some(nodes) = &self.nodes else { return };
        let wanted = match &known {
            Some(known) => link_of(name, &known.info.uuid).filter(|_| kind.as_deref() != Some("error")),
            None => None,
        };
        // A device that is gone tells no UUID; only a link that leads to its node is removed.
        let possible = link_of(name, &format!("LVM-{:064}", 0));
        let brought: Result<(), NodeError> = match (&known, &wanted) {
            (Some(known), _) if !known.info.live => Ok(()),
            (Some(known), Some(link)) => nodes.appear(name, known.dev).and_then(|()| nodes.link(link, name)),
            (Some(known), None) => nodes
                .appear(name, known.dev)
                .and_then(|()| possible.map_or(Ok(()), |link| nodes.unlink(&link))),
            (None, _) => {
                let unlinked = possible.map_or(Ok(()), |link| nodes.unlink(&link));
                nodes.vanish(name).and(unlinked)
            }
        };
        if let Err(error) = brought {
            self.notes.push(error.to_string());
        }
    }
}

/// The message that suspends a device.
pub(crate) fn suspend(name: &DmName, lockfs: bool) -> Outcome<Message> {
    let flags = if lockfs { SUSPEND } else { SUSPEND | SKIP_LOCKFS };
    Ok(Message::to(Command::Suspend, &name.0)?.with_flags(flags))
}

/// The message that loads these lines.
pub(crate) fn load_message(name: &DmName, specs: &[Spec], read_only: bool) -> Outcome<Message> {
    let (count, bytes) = specs::encode(specs)?;
    let flags = if read_only { READ_ONLY } else { 0 };
    Ok(Message::to(Command::Load, &name.0)?.with_flags(flags).with_targets(count, &bytes))
}
