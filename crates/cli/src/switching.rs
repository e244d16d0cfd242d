//! How live devices follow a change of their VG, and what is done where one does not.
//!
//! What must hold (docs/decisions/0002-user-dm.md):
//! - A snapshot whose origin was not switched takes no copies: the VG before is committed again.
//! - A removal is gone on with, since old tables still write to extents that are free by now.

use crate::carried::Live;
use crate::error::CliError;
use foldback_dm_table::Transaction;
use foldback_manager::activation::{Change as GroupChange, go_on};
use foldback_manager::environment::Machine;
use foldback_manager::recover;
use foldback_manager::store::{DiskSet, FoundVg};

/// How live devices follow a change of their VG.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    pub(crate) transaction: Transaction,
    pub(crate) otherwise: Otherwise,
}

/// What is done where the change was committed and a device did not come back (docs/decisions/0002-user-dm.md).
#[derive(Debug, Default)]
pub(crate) enum Otherwise {
    /// Old tables are a state that the new metadata allow.
    #[default]
    Stay,
    /// The VG before, and the devices of these groups as they were.
    Back(Vec<GroupChange>),
    /// It is tried once more to bring these groups to what they are to be.
    On(Vec<GroupChange>),
}

impl From<Transaction> for Switch {
    fn from(transaction: Transaction) -> Self {
        Self { transaction, otherwise: Otherwise::Stay }
    }
}

/// A VG that was committed, and live devices that did not all follow.
pub(crate) struct HalfSwitched<'h, 'd> {
    pub(crate) live: &'h mut Live,
    pub(crate) set: &'h mut DiskSet<'d>,
    pub(crate) before: &'h FoundVg,
    pub(crate) next: &'h FoundVg,
}

impl HalfSwitched<'_, '_> {
    /// Commits the VG before once more, and brings devices back to it.
    pub(crate) fn take_back(self, changes: &[GroupChange], machine: &mut Machine) -> Result<(), CliError> {
        let Self { live, set, before, next } = self;
        let there = live.tables().map_err(|error| not_brought(&error))?;
        let way = recover::take_back(set, (before, next), changes, &there, machine);
        let way = way.map_err(|error| not_brought(&error))?;
        live.mend(&way).map_err(|error| not_brought(&error))
    }

    /// Brings devices to what was committed.
    pub(crate) fn go_on(self, changes: &[GroupChange]) -> Result<(), CliError> {
        let live = self.live;
        let there = live.tables().map_err(|error| not_brought(&error))?;
        live.mend(&go_on(changes, &there)).map_err(|error| not_brought(&error))
    }
}

fn not_brought(error: &dyn std::fmt::Display) -> CliError {
    let message =
        format!("The change is committed, and live devices could not be brought to the metadata: {error}.");
    CliError::failed(message).hint("take the volumes down and bring them up again")
}
