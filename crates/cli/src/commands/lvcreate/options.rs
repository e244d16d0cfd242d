//! Which of `lvcreate`'s options go together.
//!
//! What must hold (compared with 2.03.16): what cannot be is refused before any disk is looked at, with 3.

use super::{LvCreate, Type};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sizes::KibSize;
use foldback_units::{Sectors, VgName};

impl LvCreate {
    /// Refuses options that mean nothing for what is to be made.
    pub(super) fn check_options(&self, context: &Context, is_snapshot: bool) -> Result<(), CliError> {
        let usage = |message: &str| Err(CliError::usage(&context.command, message));
        // A snapshot's start is the origin's: there is nothing to zero or to wipe.
        let of_starts =
            [(self.zero.is_some(), "--zero"), (self.ignored.wipesignatures.is_some(), "--wipesignatures")];
        if let Some((_, option)) = of_starts.iter().find(|(given, _)| *given && is_snapshot) {
            return usage(&format!("Option {option} is unsupported with snapshots."));
        }
        if self.chunksize == Some(KibSize(Sectors::ZERO)) {
            return usage("--chunksize may not be zero.");
        }
        let other = self.snapshot && matches!(self.kind, Some(Type::Linear | Type::Striped));
        let refused = [
            (other, "--snapshot"),
            (self.chunksize.is_some() && !is_snapshot, "--chunksize"),
            (self.freeze && !is_snapshot, "--freeze"),
            (self.virtualsize.is_some() && !is_snapshot, "--virtualsize"),
        ];
        match refused.iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, option)) => {
                let message = format!("Command does not accept option: {option}.");
                Err(CliError { exit: Exit::BadCommandLine, message, hint: None })
            }
        }
    }
}

/// LVM2's words for a name of another VG than the one that is named.
pub(super) fn two_vgs(is_snapshot: bool, vg: &VgName, other: &VgName) -> String {
    if is_snapshot {
        return format!("Please use a single volume group name (\"{vg}\" or \"{other}\").");
    }
    format!("Inconsistent volume group names given: \"{other}\" and \"{vg}\"")
}
