//! `--resizefs`: the file system on a volume follows its size, by LVM2's own `fsadm`.
//!
//! What must hold (compared with 2.03.16):
//! - It is checked before anything is changed, and resized after an LV has grown, or before it shrinks: what fails leaves room.
//! - The program is that of `global/fsadm_executable`'s default; it finds the file system and asks what must be asked.

use crate::commands::Context;
use crate::error::CliError;
use crate::names::nodes;
use clap::Args;
use foldback_units::{LvName, Sectors, VgName};
use std::process::Command;

const FSADM: &str = "/sbin/fsadm";
/// What `fsadm check` ends with where the file system is mounted: it is not checked then, and that is no fault.
const MOUNTED: i32 = 3;

/// The options.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FileSystem {
    /// Resize the file system on it, too
    #[arg(short, long)]
    resizefs: bool,
    /// With --resizefs: do not check the file system before
    #[arg(short, long)]
    nofsck: bool,
}

impl FileSystem {
    /// Whether that is asked for.
    pub(crate) fn resizes(self) -> bool {
        self.resizefs
    }

    /// Checks it.
    pub(crate) fn check(
        self,
        context: &Context,
        vg: &VgName,
        lv: &LvName,
        active: bool,
    ) -> Result<(), CliError> {
        if !active {
            let words = format!("Logical volume {vg}/{lv} must be active before file system is resized.");
            return Err(CliError::failed(words).hint(format!("lvchange -ay {vg}/{lv}")));
        }
        match if self.nofsck { Some(0) } else { fsadm(context, "check", vg, lv, None)? } {
            Some(0 | MOUNTED) => Ok(()),
            _ => Err(CliError::failed("Filesystem check failed.")),
        }
    }
}

/// Resizes it.
pub(crate) fn resize(context: &Context, vg: &VgName, lv: &LvName, size: Sectors) -> Result<(), CliError> {
    match fsadm(context, "resize", vg, lv, Some(size))? {
        Some(0) => Ok(()),
        code => Err(failed(code)),
    }
}

fn failed(code: Option<i32>) -> CliError {
    let code = code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
    CliError::failed(format!("{FSADM} failed: {code}"))
}

fn fsadm(
    context: &Context,
    what: &str,
    vg: &VgName,
    lv: &LvName,
    size: Option<Sectors>,
) -> Result<Option<i32>, CliError> {
    let mut command = Command::new(FSADM);
    let options = &context.options;
    let wanted = [
        ("--dry-run", options.test),
        ("--verbose", options.verbose > 0),
        ("--force", options.force > 0),
        ("--yes", options.yes),
    ];
    command.args(wanted.iter().filter(|(_, wanted)| *wanted).map(|(option, _)| option));
    command.arg(what).arg(nodes().join(vg.as_str()).join(lv.as_str()));
    // It takes KiB; an extent is never less than one.
    command.args(size.map(|size| format!("{}K", size.get().div_euclid(2))));
    let status = command.status().map_err(|error| CliError::failed(format!("running {FSADM}: {error}.")))?;
    Ok(status.code())
}
