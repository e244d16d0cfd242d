//! `lvmonitor`: watches the stores of a VG's snapshots that the kernel carries, and has them extended as lvm.conf says. Other
//! commands start it.
//!
//! What must hold (lvm2.md 3.5):
//! - It changes nothing itself: it runs `lvextend --use-policies`, which looks again under the VG's lock.
//! - What could not be extended is tried again when the store is fuller, not at every look.
//! - It ends with the VG's last live snapshot, or when its turn is taken away (`--monitor n`).

use super::Context;
use crate::backend::{Kernel, live_lvs};
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::vg_name;
use crate::polling::{Task, Turn, extend};
use crate::session::Session;
use clap::Args;
use foldback_daemon::RunDir;
use foldback_device::Access;
use foldback_dm_table::{DeviceMapper, Info, SnapshotStatus, Target};
use foldback_manager::ops::autoextend::Policy;
use foldback_units::{LvName, Sectors, VgName};
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

/// How often stores are looked at; dmeventd's ten seconds are long for a store that fills.
const LOOK: Duration = Duration::from_secs(1);
/// So often in a row the VG may not be readable.
const FAILURES: u32 = 60;
/// By which part of a store it has to be fuller before it is tried again.
const FULLER: u64 = 20;

/// Have stores extended that fill
#[derive(Args, Debug)]
pub(crate) struct LvMonitor {
    /// The VG
    #[arg(value_name = "VG")]
    name: String,
}

impl LvMonitor {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let vg = vg_name(&self.name)?;
        let mut session = Session::open(&context.options, Access::Read)?;
        let policy = session.config.snapshot_autoextend;
        let id = one_vg(&session.discover(), &vg)?.vg.id.compact();
        let Some(turn) = Turn::take(&RunDir::of_user(), Task::Monitor, &id) else { return Ok(Exit::Success) };
        let mut tried: BTreeMap<String, Sectors> = BTreeMap::new();
        drop(session);
        let mut failures = 0;
        while turn.is_ours() {
            match full(context, &vg, policy, &mut tried) {
                Ok(None) => break,
                Ok(Some(full)) => {
                    failures = 0;
                    for snapshot in full {
                        // It has said itself why it could not.
                        extend(context, &vg, &snapshot)?;
                    }
                }
                // Somebody is in the middle of a commit, most likely.
                Err(_) if failures < FAILURES => failures = failures.saturating_add(1),
                Err(error) => return Err(error),
            }
            sleep(LOOK);
        }
        Ok(Exit::Success)
    }
}

/// The snapshots whose stores are to be extended now; `None` where no snapshot is live any more.
fn full(
    context: &Context,
    vg: &VgName,
    policy: Policy,
    tried: &mut BTreeMap<String, Sectors>,
) -> Result<Option<Vec<LvName>>, CliError> {
    let mut session = Session::open(&context.options, Access::Read)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    let Some(mut kernel) = Kernel::that_carries(context, &session, found)? else { return Ok(None) };
    let (mut full, mut any) = (Vec::new(), false);
    for (lv, info) in live_lvs(found, &kernel.there) {
        let Some((used, total)) = usage(&mut kernel.mapper, info) else { continue };
        any = true;
        let again = tried.get(&info.uuid).is_none_or(|before| {
            used.get() > before.get().saturating_add(total.get().checked_div(FULLER).unwrap_or(0))
        });
        if again && policy.growth(used, total).is_some() {
            let _before = tried.insert(info.uuid.clone(), used);
            full.push(lv.name.clone());
        }
    }
    Ok(any.then_some(full))
}

/// How full the store of a live snapshot is that does not merge.
fn usage<M: DeviceMapper>(mapper: &mut M, info: &Info) -> Option<(Sectors, Sectors)> {
    let table = mapper.table(&info.name).ok()??;
    let is_snapshot = table.lines.iter().any(|line| matches!(line.target, Target::Snapshot(_)));
    let status = mapper.status(&info.name).ok().filter(|_| is_snapshot)?;
    match status.iter().find_map(|line| SnapshotStatus::parse(line))? {
        SnapshotStatus::Usage { allocated, total, .. } => Some((allocated, total)),
        _ => None,
    }
}
