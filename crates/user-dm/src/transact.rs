//! A change of a VG, carried out whole (architecture.md, "One transaction, one owner").
//!
//! What must hold:
//! - While no header was written the change can be taken back, and is: inactive tables dropped, suspended devices resumed
//!   with their old tables, new devices removed, the headers' `revert` bytes written.
//! - Once one header was written the change is finished forward. A header that could not be written is then the next
//!   commit's business: the newest text wins.
//! - When a device does not come back after the commit, it and the devices after it go on with their old tables: half a
//!   switch (a snapshot let go before the merge has taken its store) would lose copies.
//!
//! The table of failures: docs/decisions/0002-user-dm.md.

use crate::error::{DmError, DmErrorKind};
use crate::run::UserDm;
use foldback_device::{Disks, write_all};
use foldback_dm_table::{DmName, HeaderWrite, Stage, Transaction, Verb};

impl<D: Disks> UserDm<D> {
    pub(crate) fn carry_out_transaction(
        &mut self,
        transaction: &Transaction,
    ) -> Result<(), (Stage, DmError)> {
        let Transaction { preload, suspend, headers, resume, clean } = transaction;
        let mut done: Vec<&Verb> = Vec::new();
        for (stage, verbs) in [(Stage::Preload, preload), (Stage::Suspend, suspend)] {
            for verb in verbs {
                match self.carry_out(verb) {
                    Ok(()) => done.push(verb),
                    Err(error) => return Err((stage, self.take_back_verbs(&done, error))),
                }
            }
        }
        if let Err(error) = self.write_headers(headers) {
            return Err((Stage::Commit, self.take_back_verbs(&done, error)));
        }
        self.finish_forward(resume).map_err(|error| (Stage::Resume, error))?;
        let mut outcome = Ok(());
        for verb in clean {
            outcome = outcome.and(self.carry_out(verb));
        }
        outcome.map_err(|error| (Stage::Clean, error))
    }

    /// Commits, if there is anything to commit: one header that was written is enough.
    fn write_headers(&mut self, headers: &[HeaderWrite]) -> Result<(), DmError> {
        let mut refused = None;
        let mut written = false;
        for header in headers {
            match self.write_header(header, &header.commit) {
                Ok(()) => written = true,
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let Some(error) = refused.filter(|_| !written) else { return Ok(()) };
        let mut failed = None;
        for header in headers {
            failed = failed.or(self.write_header(header, &header.revert).err());
        }
        let DmError { verb, device, kind } = error;
        let error = Box::new(kind);
        let kind = match failed {
            None => DmErrorKind::NotCommitted(error),
            Some(undo) => DmErrorKind::Unknown { error, revert: Box::new(undo.kind) },
        };
        Err(DmError { verb, device, kind })
    }

    fn write_header(&mut self, header: &HeaderWrite, bytes: &[u8; 512]) -> Result<(), DmError> {
        let pv = &header.pv.0;
        let failed = |kind| Self::failed("writing the metadata header of", pv, kind);
        let Some(crate::mapped::Lower::Disk(disk)) = self.names().lower(&header.pv) else {
            return Err(failed(DmErrorKind::NoLower(header.pv.clone())));
        };
        write_all(&mut self.disks_mut(), disk, header.offset, bytes, true).map_err(|error| {
            failed(DmErrorKind::Header { disk, bytes: bytes.len(), offset: header.offset.get(), error })
        })
    }

    /// Takes back what was done before the commit: inactive tables, then suspensions from the bottom up, then creations.
    fn take_back_verbs(&mut self, done: &[&Verb], error: DmError) -> DmError {
        let mut undo = Vec::new();
        for verb in done.iter().rev() {
            if let Verb::Rename { name, new } = verb {
                undo.push(Verb::Rename { name: new.clone(), new: name.clone() });
            }
        }
        for verb in done.iter().rev() {
            if let Verb::Load { name, .. } = verb {
                undo.push(Verb::Clear { name: name.clone() });
            }
        }
        for verb in done.iter().rev() {
            if let Verb::Suspend { name, .. } = verb {
                undo.push(Verb::Resume { name: name.clone() });
            }
        }
        for verb in done.iter().rev() {
            if let Verb::Create { name, .. } = verb {
                undo.push(Verb::Remove { name: name.clone() });
            }
        }
        undo.iter().fold(error, |error, verb| match self.carry_out(verb) {
            Ok(()) => error,
            Err(undo) => both(error, undo),
        })
    }

    /// Resumes after the commit. From the first failure on, old tables.
    fn finish_forward(&mut self, resume: &[Verb]) -> Result<(), DmError> {
        let mut outcome = Ok(());
        for verb in resume {
            outcome = match outcome {
                Ok(()) => self.carry_out(verb),
                Err(error) => Err(self.keep_old(verb, error)),
            };
        }
        outcome
    }

    fn keep_old(&mut self, verb: &Verb, error: DmError) -> DmError {
        let Verb::Resume { name } = verb else { return error };
        match self.resume_as_it_was(name) {
            Ok(()) => error,
            Err(undo) => both(error, undo),
        }
    }

    fn resume_as_it_was(&mut self, name: &DmName) -> Result<(), DmError> {
        self.carry_out(&Verb::Clear { name: name.clone() })?;
        self.carry_out(&Verb::Resume { name: name.clone() })
    }
}

fn both(error: DmError, undo: DmError) -> DmError {
    DmError {
        verb: "changing",
        device: error.device.clone(),
        kind: DmErrorKind::Undo { error: Box::new(error), undo: Box::new(undo) },
    }
}
