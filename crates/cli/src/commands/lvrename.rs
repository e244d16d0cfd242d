//! `lvrename`: another name for a volume or a snapshot.
//!
//! What must hold (lvm2.md 3.3): what merges is not renamed; a live volume keeps its users.

use super::Context;
use crate::changing::{Change, refused, tell, vg_to_change};
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::{Target, in_default_vg, vg_name};
use clap::Args;
use foldback_manager::activation::{Group, rename};
use foldback_manager::ops::lv_rename::plan;
use foldback_units::{LvName, VgName};

/// Rename a volume or a snapshot
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lvrename vg/old new\n  lvrename vg old new")]
pub(crate) struct LvRename {
    /// VG/OLD NEW, or VG OLD NEW
    #[arg(value_name = "NAME", num_args = 2..=3, required = true)]
    names: Vec<String>,
}

impl LvRename {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (vg, old, new) = self.split(context)?;
        let mut change = Change::of_vg(context, &vg, &[])?;
        let (discovery, mut live) = change.look(&vg)?;
        let found = vg_to_change(&discovery, &vg)?;
        let planned = plan(&found.vg, &old, &new).map_err(|refusal| refused(context, &refusal))?;
        if !change.is_test() {
            let active = live.as_ref().is_some_and(|live| live.has(&found.vg, &old));
            let new = LvName::new(&new).map_err(|error| CliError::failed(error.to_string()))?;
            let after = (found, planned.vg.clone());
            change.apply_either(live.as_mut(), after, active, |_, next, headers| {
                Ok(rename(&Group::of(found, &old)?, &Group::of(next, &new)?, headers).into())
            })?;
        }
        tell(context, &planned.done);
        Ok(Exit::Success)
    }

    fn split(&self, context: &Context) -> Result<(VgName, LvName, String), CliError> {
        let usage = || CliError::usage(&context.command, "Old and new logical volume names required");
        let plain = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        match self.names.as_slice() {
            [vg, old, new] => {
                let old = LvName::new(&plain(old)).map_err(|error| CliError::failed(error.to_string()))?;
                Ok((vg_name(vg)?, old, plain(new)))
            }
            [old, new] => match Target::parse(&in_default_vg(old))? {
                Target::Lv(vg, old) => {
                    let in_other = match Target::parse(new) {
                        Ok(Target::Lv(other, _)) => Some(other).filter(|other| *other != vg),
                        _ => None,
                    };
                    if let Some(other) = in_other {
                        let message = format!(
                            "Logical volume names must have the same volume group (\"{vg}\" or \"{other}\")"
                        );
                        return Err(CliError::usage(&context.command, message));
                    }
                    Ok((vg, old, plain(new)))
                }
                _ => Err(usage()),
            },
            _ => Err(usage()),
        }
    }
}
