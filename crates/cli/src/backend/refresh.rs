//! `--refresh`, `--poll` and `--monitor` through the kernel.
//!
//! What must hold (lvm2.md 2.10, 3.1):
//! - Every device of a live group gets the table that the metadata say, also one that somebody has changed or left
//!   suspended. What is not active stays so; of what is and has no tables here that is told. Devices of LVs that are gone go, too.
//! - A merge that waits begins where its volumes are closed; one that runs gets its poller.

use super::Kernel;
use super::activation::active_of;
use super::orphans::remove_orphans;
use crate::changing::one_vg;
use crate::commands::Context;
use crate::commands::start_deferred;
use crate::error::CliError;
use crate::exit::Exit;
use crate::polling::{Listens, Task, Turn, running, start, start_monitor};
use crate::session::Session;
use foldback_daemon::RunDir;
use foldback_dm_table::DeviceMapper;
use foldback_kernel_dm::KernelDmError;
use foldback_lvm2_format::vg::Vg;
use foldback_manager::activation::{
    Change as GroupChange, Device, Group, Tables, go_on, merge_came_up, tables,
};
use foldback_manager::config::Config;
use foldback_manager::host::locks;
use foldback_manager::lock::LockMode;
use foldback_manager::store::FoundVg;
use foldback_units::{LvName, VgName};

/// Whether stores are to be watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Monitor {
    /// As lvm.conf says.
    Configured,
    /// Also where lvm.conf says no.
    Yes,
    /// No longer.
    No,
}

impl Kernel {
    /// Gives live groups the tables that the metadata say, and begins the merges that waited; `polls` says whether processes are
    /// started that end them.
    pub(crate) fn refresh(
        mut self,
        context: &Context,
        mut session: Session,
        vg: &VgName,
        lvs: Option<&[LvName]>,
        polls: bool,
    ) -> Result<Exit, CliError> {
        let lock = locks(&session.config).vg(vg, LockMode::Exclusive)?;
        let discovery = session.discover();
        let found = one_vg(&discovery, vg)?;
        let set = active_of(found, lvs);
        let there = tables(&mut self.mapper)?;
        let mut exit = Exit::Success;
        for (lv, error) in set.refused.iter().filter(|(lv, _)| self.has_any(found, lv)) {
            context.console.error(&format!("Logical volume {vg}/{lv} is not refreshed: {}.", error.reason()));
            exit = Exit::Failed;
        }
        let mut deferred = Vec::new();
        for group in set.groups {
            let is_there = |device: &Device| self.there.iter().any(|info| info.uuid == device.uuid);
            if !is_there(&group.origin.top) || context.options.test {
                continue;
            }
            match self.bring_on(group, &there) {
                Ok(waits) => deferred.extend(waits),
                Err(error) => {
                    CliError::from(error).tell(context.console);
                    exit = Exit::Failed;
                }
            }
        }
        if !context.options.test {
            remove_orphans(&mut self.mapper, &found.vg)?;
        }
        for note in self.mapper.take_notes() {
            context.console.warn(&format!("{note}."));
        }
        drop(lock);
        let paths = session.paths.clone();
        drop(session);
        for snapshot in deferred {
            exit = exit.max(start_deferred(context, vg, &snapshot)?);
        }
        if polls {
            self.poll(context, &paths, found, lvs)?;
        }
        Ok(exit)
    }

    /// Gives the devices of a group that are there the tables that the metadata say, and has them run. A merge that waits goes on
    /// waiting: its snapshot.
    pub(super) fn bring_on(&mut self, group: Group, there: &Tables) -> Result<Option<LvName>, KernelDmError> {
        let waits = group.merging().map(|snapshot| snapshot.lv.clone()).filter(|_| !merges(&group, there));
        let group = if waits.is_some() { group.while_deferred() } else { group };
        let same = GroupChange::between(&group, &group);
        self.mapper.transact(&go_on(&[same], there)).map_err(|(_, error)| error)?;
        Ok(waits)
    }

    /// Starts the processes that end running merges, of the LVs that are named; of a whole VG it says how many, as LVM2 does.
    pub(crate) fn poll(
        &mut self,
        context: &Context,
        paths: &[String],
        found: &FoundVg,
        lvs: Option<&[LvName]>,
    ) -> Result<(), CliError> {
        let there = super::devices_of(&mut self.mapper, &found.vg.id)?;
        let merging = running(&mut self.mapper, found, &there, lvs);
        if merging.is_empty() || context.options.test {
            return Ok(());
        }
        let vg = &found.vg.name;
        let started = start(context, paths, vg, &merging, Listens::Nobody)?.len();
        if lvs.is_none() {
            context.console.say(&format!(
                "Background polling started for {started} logical volume(s) in volume group \"{vg}\""
            ));
        }
        Ok(())
    }
}

/// Starts the process that watches the stores of a VG's snapshots, where lvm.conf wants that and one does not run.
pub(crate) fn monitor(context: &Context, session: &Session, vg: &Vg, wish: Monitor) -> Result<(), CliError> {
    let Config { monitoring, .. } = &session.config;
    match wish {
        _ if context.options.test => Ok(()),
        Monitor::No => {
            Turn::end(&RunDir::of_user(), Task::Monitor, &vg.id.compact());
            Ok(())
        }
        Monitor::Configured if !monitoring => Ok(()),
        _ if vg.snapshots().all().is_empty() => Ok(()),
        Monitor::Yes | Monitor::Configured => start_monitor(context, &session.paths, &vg.name),
    }
}

fn merges(group: &Group, there: &Tables) -> bool {
    merge_came_up(&[GroupChange::between(group, group)], there)
}
