//! A change of a VG, carried out whole (architecture.md, "One transaction, one owner").
//!
//! What must hold:
//! - The table of failures is user-dm's (docs/decisions/0002-user-dm.md, 0007-kernel-dm.md).
//! - What the suspended section needs is made ready after preload and before the first suspend. A plan that cannot be
//!   made ready, or that would leave a device suspended, is refused then, and nothing has changed.
//! - A commit that did not reach every metadata area is noted.
//! - One cookie for the whole transaction; udev is waited for when nothing is suspended any more, and before removals.

use crate::control::Kernel;
use crate::cookie::Cookie;
use crate::error::{KernelDmError, KernelDmErrorKind, both};
use crate::locked::Locked;
use crate::query;
use crate::verbs::Mapper;
use foldback_dm_table::{DmName, Stage, Transaction, Verb};

impl<K: Kernel> Mapper<K> {
    pub(crate) fn carry_out_transaction(
        &mut self,
        transaction: &Transaction,
    ) -> Result<(), (Stage, KernelDmError)> {
        let cookie = self.cookie();
        let outcome = self.change(transaction, &cookie);
        self.await_udev(cookie);
        let Transaction { preload, suspend, resume, clean, .. } = transaction;
        for verb in preload.iter().chain(suspend).chain(resume) {
            self.follow(verb);
        }
        outcome?;
        let cookie = self.cookie();
        let mut outcome = Ok(());
        for verb in clean {
            outcome = outcome.and(self.carry_out(verb, &cookie));
        }
        self.await_udev(cookie);
        for verb in clean {
            self.follow(verb);
        }
        outcome.map_err(|error| (Stage::Clean, error))
    }

    /// Everything but clean.
    fn change(&mut self, transaction: &Transaction, cookie: &Cookie) -> Result<(), (Stage, KernelDmError)> {
        let mut done: Vec<&Verb> = Vec::new();
        for verb in &transaction.preload {
            match self.carry_out(verb, cookie) {
                Ok(()) => done.push(verb),
                Err(error) => return Err((Stage::Preload, self.take_back(&done, error, cookie))),
            }
        }
        let mut section = match self.section(transaction, cookie) {
            Ok(section) => section,
            Err(error) => return Err((Stage::Preload, self.take_back(&done, error, cookie))),
        };
        let locked = match self.lock_for(&transaction.suspend) {
            Ok(locked) => locked,
            Err(error) => return Err((Stage::Preload, self.take_back(&done, error, cookie))),
        };
        let run = section.run(&mut self.kernel, cookie);
        drop(locked);
        if !matches!(run, Err(Stage::Suspend | Stage::Commit)) {
            self.notes.extend(section.headers.left_behind());
        }
        let Err(stage) = run else { return Ok(()) };
        let nothing =
            || KernelDmErrorKind::Order("it failed without a reason").on("changing", &DmName(String::new()));
        let error = section.told().unwrap_or_else(nothing);
        let error = if stage == Stage::Resume {
            self.remove_empty(&done, error, cookie)
        } else {
            self.take_back(&done, error, cookie)
        };
        Err((stage, error))
    }

    /// Makes the process ready to hold devices suspended, where any is to be.
    fn lock_for(&self, suspend: &[Verb]) -> Result<Option<Locked>, KernelDmError> {
        let Some(first) = suspend.first().filter(|_| self.locks) else { return Ok(None) };
        let locked = Locked::enter().map(Some);
        locked.map_err(|error| KernelDmErrorKind::Memory(error).on("suspending", first.name()))
    }

    /// Removes new devices to which no resume has given a table: the kernel may have left them suspended.
    fn remove_empty(&mut self, done: &[&Verb], error: KernelDmError, cookie: &Cookie) -> KernelDmError {
        let mut error = error;
        for verb in done.iter().rev() {
            let Verb::Create { name, .. } = verb else { continue };
            let empty = query::find(&mut self.kernel, name)
                .is_ok_and(|known| known.is_some_and(|known| !known.info.live));
            if empty && let Err(undo) = self.carry_out(&Verb::Remove { name: name.clone() }, cookie) {
                error = both(error, undo);
            }
        }
        error
    }

    /// Takes back preload: names, inactive tables, then new devices.
    fn take_back(&mut self, done: &[&Verb], error: KernelDmError, cookie: &Cookie) -> KernelDmError {
        let back = || done.iter().rev();
        let mut undo: Vec<Verb> = Vec::new();
        undo.extend(back().filter_map(|verb| match verb {
            Verb::Rename { name, new } => Some(Verb::Rename { name: new.clone(), new: name.clone() }),
            _ => None,
        }));
        undo.extend(back().filter_map(|verb| match verb {
            Verb::Load { name, .. } => Some(Verb::Clear { name: name.clone() }),
            _ => None,
        }));
        undo.extend(back().filter_map(|verb| match verb {
            Verb::Create { name, .. } => Some(Verb::Remove { name: name.clone() }),
            _ => None,
        }));
        let taken = undo.iter().fold(error, |error, verb| match self.carry_out(verb, cookie) {
            Ok(()) => error,
            Err(undo) => both(error, undo),
        });
        for verb in &undo {
            self.follow(verb);
        }
        taken
    }
}
