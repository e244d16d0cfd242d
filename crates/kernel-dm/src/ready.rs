//! Making the suspended section ready: every message of the plan, and of every way back.
//!
//! What must hold:
//! - A plan that cannot be made ready, or that would leave a device suspended, is refused here, before anything is.
//! - No resume brings up a table that is not the plan's: what somebody who was killed has loaded is cleared before.
//! - The old table of each device is read from the kernel and laid out as a load, for the device whose resume fails (K8);
//!   beside it one of errors.
//! - When this is done nothing that [`Section::run`] needs is missing.

use crate::control::Kernel;
use crate::cookie::Cookie;
use crate::error::{KernelDmError, KernelDmErrorKind};
use crate::headers::Headers;
use crate::message::{Command, Message};
use crate::query::{self, Slot, StillLive};
use crate::section::{Down, Section, Step, Up};
use crate::specs::Spec;
use crate::verbs::{Mapper, load_message, suspend, words};
use foldback_dm_table::{DmName, Table, Target, Transaction, Verb};

/// The table that a transaction gives a device before its resumes.
fn planned<'t>(transaction: &'t Transaction, name: &DmName) -> Option<&'t Table> {
    let loads = transaction.preload.iter().chain(&transaction.suspend).rev();
    let mut tables = loads.filter_map(|verb| match verb {
        Verb::Load { name: of, table, .. } if of == name => Some(table),
        _ => None,
    });
    tables.next()
}

fn refuse_never_resumed(transaction: &Transaction) -> Result<(), KernelDmError> {
    let resumed = |name| {
        let mut ups = transaction.resume.iter();
        ups.any(|up| matches!(up, Verb::Resume { name: up } if up == name))
    };
    for verb in &transaction.suspend {
        if let Verb::Suspend { name, .. } = verb
            && !resumed(name)
        {
            return Err(KernelDmErrorKind::NeverResumed.on("suspending", name));
        }
    }
    Ok(())
}

impl<K: Kernel> Mapper<K> {
    /// Makes the suspended section ready.
    pub(crate) fn section(
        &mut self,
        transaction: &Transaction,
        cookie: &Cookie,
    ) -> Result<Section, KernelDmError> {
        refuse_never_resumed(transaction)?;
        self.clear_strange(transaction, cookie)?;
        let Transaction { preload, suspend, headers, resume, clean: _ } = transaction;
        let mut section = Section::with(Headers::prepare(headers)?);
        let failed = |verb: &Verb, kind: KernelDmErrorKind| kind.on(words(verb), verb.name());
        for verb in suspend {
            let down = self.down(verb, planned(transaction, verb.name()), cookie);
            section.down.push(down.map_err(|kind| failed(verb, kind))?);
        }
        for verb in preload.iter().chain(suspend).filter(|verb| matches!(verb, Verb::Load { .. })) {
            section.clears.push(clearing(verb.name()).map_err(|kind| failed(verb, kind))?);
        }
        for verb in resume {
            let Verb::Resume { name } = verb else {
                let only = KernelDmErrorKind::Order("after the commit there are only resumes");
                return Err(failed(verb, only));
            };
            let up = self.up(name, planned(transaction, name), cookie);
            section.up.push(up.map_err(|kind| failed(verb, kind))?);
        }
        section.make_ready();
        Ok(section)
    }

    /// Clears inactive tables of devices that the plan resumes and does not load. The VG is locked, so that nobody means them
    /// any more.
    fn clear_strange(&mut self, transaction: &Transaction, cookie: &Cookie) -> Result<(), KernelDmError> {
        let unplanned = transaction.resume.iter().filter(|verb| planned(transaction, verb.name()).is_none());
        for verb in unplanned {
            let name = verb.name();
            let known = query::find(&mut self.kernel, name).map_err(|kind| kind.on("looking at", name))?;
            if known.is_some_and(|known| known.info.inactive) {
                self.carry_out(&Verb::Clear { name: name.clone() }, cookie)?;
            }
        }
        Ok(())
    }

    fn down(
        &mut self,
        verb: &Verb,
        planned: Option<&Table>,
        cookie: &Cookie,
    ) -> Result<Down, KernelDmErrorKind> {
        let step = |message| Step { what: words(verb), name: verb.name().clone(), message, notifies: false };
        Ok(match verb {
            Verb::Suspend { name, lockfs } => {
                let kind = self.first_kind(name, Slot::Live)?;
                let undo = Some(self.resuming(name, kind.as_deref(), cookie)?);
                Down { step: step(suspend(name, *lockfs)?), undo }
            }
            Verb::Load { name, table, read_only } => {
                Down { step: step(self.load(name, table, *read_only)?), undo: None }
            }
            Verb::Resume { name } => {
                let kind = planned.and_then(first).map(Target::kind);
                Down { step: self.resuming(name, kind, cookie)?, undo: None }
            }
            Verb::Create { .. } | Verb::Clear { .. } | Verb::Remove { .. } | Verb::Rename { .. } => {
                let why = "it belongs before the suspends, or behind the resumes";
                return Err(KernelDmErrorKind::Order(why));
            }
        })
    }

    /// A resume with its ways back; `planned` is its new table, where it gets one.
    pub(crate) fn up(
        &mut self,
        name: &DmName,
        planned: Option<&Table>,
        cookie: &Cookie,
    ) -> Result<Up, KernelDmErrorKind> {
        let target = planned.and_then(first);
        let live = query::table(&mut self.kernel, name, Slot::Live)?;
        let old_kind = live.as_ref().and_then(|specs| specs.first()).map(|spec| spec.kind.clone());
        let kind = match target {
            Some(target) => Some(target.kind().to_owned()),
            None => self.first_kind(name, Slot::Inactive)?,
        };
        let step = self.resuming(name, kind.as_deref(), cookie)?;
        let clear = clearing(name)?;
        let still_old = StillLive::of(&mut self.kernel, name)?;
        let (mut resume, mut old) = (None, None);
        if let Some(specs) = live {
            let read_only = query::device(&mut self.kernel, name)?.read_only;
            let len = specs.last().map_or(0, |last| last.start.saturating_add(last.len));
            let errors = [Spec { start: 0, len, kind: "error".to_owned(), params: String::new() }];
            resume = Some(self.resuming(name, old_kind.as_deref(), cookie)?);
            let mut put = |specs: &[Spec], kind: Option<&str>| {
                let message = load_message(name, specs, read_only)?;
                let load =
                    Step { what: "loading a table into", name: name.clone(), message, notifies: false };
                Ok::<_, KernelDmErrorKind>([load, self.resuming(name, kind, cookie)?])
            };
            old = Some((put(&specs, old_kind.as_deref())?, put(&errors, Some("error"))?));
        }
        let merges = matches!(target, Some(Target::SnapshotMerge(_)));
        let ends = matches!(target, Some(Target::Error));
        Ok(Up { step, clear, resume, still_old, old, merges, ends })
    }
}

fn first(table: &Table) -> Option<&Target> {
    table.lines.first().map(|line| &line.target)
}

fn clearing(name: &DmName) -> Result<Step, KernelDmErrorKind> {
    let message = Message::to(Command::Clear, &name.0)?;
    Ok(Step { what: "clearing the inactive table of", name: name.clone(), message, notifies: false })
}
