//! `finish`: ends every merge that runs in the kernel, above all those that an initramfs began.
//!
//! What must hold (lvm2.md 2.10, 5 gap c):
//! - It returns when all of them have ended; each ends by itself, so that none waits for a longer one.
//! - Merges that wait for their volumes to be closed are left alone, and told.

use super::Context;
use crate::backend::{Kernel, has_disks};
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::vg_name;
use crate::polling::{Listens, running, start};
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_units::VgName;
use std::process::Child;

/// End the merges that run in the kernel, and wait until they are done
#[derive(Args, Debug)]
#[command(
    after_help = "A merge that is begun in an initramfs, or by vgchange --sysinit, runs by itself, but nobody ends it: the \
                  origin keeps its merging table and the snapshot stays in the metadata. foldback-finish.service runs this \
                  once the file systems are there.\n\nExamples:\n  foldback --devices /dev/sda2 finish\n  foldback finish vg"
)]
pub(crate) struct Finish {
    /// VGs; all where none is named
    #[arg(value_name = "VG")]
    names: Vec<String>,
}

impl Finish {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        // At a boot nothing may be active yet: then there is nothing to end.
        if self.names.is_empty() && !has_disks(context)? {
            return Ok(Exit::Success);
        }
        let mut session = Session::open(&context.options, Access::Read)?;
        let discovery = session.discover();
        session.unlock_metadata();
        let wanted = self.names.iter().map(|name| vg_name(name)).collect::<Result<Vec<VgName>, _>>()?;
        for name in &wanted {
            one_vg(&discovery, name)?;
        }
        let mut exit = Exit::Success;
        let mut pollers: Vec<Child> = Vec::new();
        for found in &discovery.vgs {
            if !wanted.is_empty() && !wanted.contains(&found.vg.name) {
                continue;
            }
            let Some(mut kernel) = Kernel::that_carries(context, &session, found)? else { continue };
            let merging = running(&mut kernel.mapper, found, &kernel.there, None);
            for snapshot in found.vg.snapshots().all().iter().map(|snapshot| &snapshot.segment) {
                if snapshot.merging && !merging.contains(&snapshot.cow) {
                    let (vg, cow, origin) = (&found.vg.name, &snapshot.cow, &snapshot.origin);
                    context.console.say(&format!(
                        "Merging of snapshot {vg}/{cow} will occur on next activation of {vg}/{origin}."
                    ));
                }
            }
            if context.options.test {
                continue;
            }
            match start(context, &session.paths, &found.vg.name, &merging, Listens::This) {
                Ok(started) => pollers.extend(started),
                Err(error) => {
                    error.tell(context.console);
                    exit = Exit::Failed;
                }
            }
        }
        for mut poller in pollers {
            // It has said itself what went wrong.
            if !poller.wait().is_ok_and(|status| status.success()) {
                exit = Exit::Failed;
            }
        }
        Ok(exit)
    }
}
