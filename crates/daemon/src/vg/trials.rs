//! Trials that were kept: renamed once their merge has ended ([`foldback_manager::ops::trial`]).
//!
//! What must hold:
//! - A volume is renamed under whoever has it open, in one commit with the end of the trial.
//! - One that cannot be renamed is said once, and stays as it is.

use super::failed::Failed;
use super::{Vg, locked};
use foldback_dm_table::Transaction;
use foldback_lvm2_format::vg::Vg as VgText;
use foldback_manager::activation::{Group, rename};
use foldback_manager::environment::Machine;
use foldback_manager::ops::trial::{self, State};
use foldback_manager::store::{DiskSet, select, stage};

impl Vg {
    /// Ends the trials of a VG, as it was read, whose merges have ended.
    pub(super) fn end_trials(&self, found: &VgText) {
        let due = trial::all(found).into_iter().any(|trial| trial.state == State::Renaming);
        let ended = if due { self.end_trial() } else { Ok(()) };
        let failed = match ended {
            // Whoever has the lock is done in a second, perhaps.
            Ok(()) | Err(Failed::Lock(_)) => None,
            Err(error) => Some(error.to_string()),
        };
        let mut state = locked(&self.state);
        if let Some(error) = failed.as_ref().filter(|error| state.trial_trouble.as_ref() != Some(*error)) {
            say!("foldback: ending a trial in {}: {error}", found.name);
        }
        state.trial_trouble = failed;
    }

    fn end_trial(&self) -> Result<(), Failed> {
        let name = self.name();
        let _locked = self.ground.lock_soon(&name)?;
        let found = self.ground.discover()?;
        let found = select::to_change(&found, &name)?;
        let Some(ended) = trial::end_one(&found.vg)? else { return Ok(()) };
        let mut machine = Machine::new(&format!("trial keep {name}/{}", ended.to));
        let places = self.ground.backup_places();
        if let Err(error) = places.archive(&found.vg, &mut machine) {
            say!("foldback: {error}");
        }
        let handover = {
            let mut disks = self.ground.disks()?;
            let mut set = DiskSet::new(&mut *disks, &self.ground.setting.paths);
            stage(&mut set, found, ended.vg, &mut machine)?.hand_over()
        };
        let (before, after) = (Group::of(found, &ended.from)?, Group::of(&handover.next, &ended.to)?);
        let live = self.lvs()?.into_iter().any(|lv| lv.device == before.origin.top.name);
        let transaction = if live {
            rename(&before, &after, handover.headers)
        } else {
            Transaction { headers: handover.headers, ..Transaction::default() }
        };
        self.transact(transaction)?;
        for notice in ended.done {
            say!("foldback: {}", notice.text);
        }
        if let Err(error) = places.backup(&handover.next.vg, &mut machine) {
            say!("foldback: {error}");
        }
        Ok(())
    }
}
