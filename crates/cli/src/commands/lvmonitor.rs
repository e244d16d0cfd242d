//! `lvmonitor`: watches the stores of a VG's snapshots that the kernel carries, tells how full they are, and has them extended
//! as lvm.conf says. Other commands start it.
//!
//! What must hold (lvm2.md 3.5):
//! - It changes nothing itself: it runs `lvextend --use-policies`, which looks again under the VG's lock.
//! - A look asks the kernel alone. The disks are read when other devices of the VG are there than before.
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
use foldback_dm_table::{DeviceMapper, DmName, SnapshotStatus, Target};
use foldback_manager::ops::fill_watch::{Act, FillWatch};
use foldback_units::{LvName, LvmUuid, VgName};
use std::os::unix::net::UnixDatagram;
use std::thread::sleep;
use std::time::Duration;

/// How often stores are looked at; dmeventd's ten seconds are long for a store that fills.
const LOOK: Duration = Duration::from_secs(1);
/// So often in a row the VG may not be readable.
const FAILURES: u32 = 60;
/// Where the system's log listens, and what a warning of a daemon begins with (syslog(3)).
const SYSLOG: &str = "/dev/log";
const DAEMON_WARNING: &str = "<28>";

/// Watch the stores of snapshots, and have them extended that fill
#[derive(Args, Debug)]
pub(crate) struct LvMonitor {
    /// The VG
    #[arg(value_name = "VG")]
    name: String,
}

/// A live snapshot.
#[derive(Debug)]
struct Watched {
    lv: LvName,
    device: DmName,
    uuid: String,
}

/// What the disks said of the devices that were there then.
#[derive(Debug)]
struct Known {
    vg: LvmUuid,
    kernel: Kernel,
    snapshots: Vec<Watched>,
}

impl LvMonitor {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let vg = vg_name(&self.name)?;
        let mut session = Session::open(&context.options, Access::Read)?;
        let policy = session.config.snapshot_autoextend;
        let id = one_vg(&session.discover(), &vg)?.vg.id.compact();
        let Some(turn) = Turn::take(&RunDir::of_user(), Task::Monitor, &id) else { return Ok(Exit::Success) };
        drop(session);
        let mut watch = FillWatch::default();
        let mut known = None;
        let mut failures = 0;
        while turn.is_ours() {
            match look(context, &vg, &mut known) {
                Ok(found) if found.is_empty() => break,
                Ok(found) => {
                    failures = 0;
                    for (lv, uuid, status) in found {
                        for act in watch.look(&uuid, &status, policy) {
                            carry_out(act, context, &vg, &lv)?;
                        }
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

/// The live snapshots that do not merge, and how they are. None: there is nothing to watch any more.
fn look(
    context: &Context,
    vg: &VgName,
    known: &mut Option<Known>,
) -> Result<Vec<(LvName, String, SnapshotStatus)>, CliError> {
    let same = match known {
        Some(Known { vg, kernel, .. }) => kernel.is_unchanged(vg)?,
        None => false,
    };
    if !same {
        *known = find(context, vg)?;
    }
    let Some(Known { kernel, snapshots, .. }) = known else { return Ok(Vec::new()) };
    let states = snapshots.iter().filter_map(|snapshot| {
        let status = status(&mut kernel.mapper, &snapshot.device)?;
        Some((snapshot.lv.clone(), snapshot.uuid.clone(), status))
    });
    Ok(states.collect())
}

/// The devices of the VG, and which of them are snapshots; `None` where the kernel carries nothing of it.
fn find(context: &Context, vg: &VgName) -> Result<Option<Known>, CliError> {
    let mut session = Session::open(&context.options, Access::Read)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    let Some(kernel) = Kernel::that_carries(context, &session, found)? else { return Ok(None) };
    let links = found.vg.snapshots();
    let live = live_lvs(found, &kernel.there).into_iter().filter(|(lv, _)| links.of_cow(&lv.name).is_some());
    let snapshots = live.map(|(lv, info)| Watched {
        lv: lv.name.clone(),
        device: info.name.clone(),
        uuid: info.uuid.clone(),
    });
    let snapshots = snapshots.collect();
    Ok(Some(Known { vg: found.vg.id, kernel, snapshots }))
}

/// How a snapshot is; `None` where the device is none, as while it merges.
fn status<M: DeviceMapper>(mapper: &mut M, device: &DmName) -> Option<SnapshotStatus> {
    let table = mapper.table(device).ok()??;
    let is_snapshot = table.lines.iter().any(|line| matches!(line.target, Target::Snapshot(_)));
    let status = mapper.status(device).ok().filter(|_| is_snapshot)?;
    status.iter().find_map(|line| SnapshotStatus::parse(line))
}

fn carry_out(act: Act, context: &Context, vg: &VgName, lv: &LvName) -> Result<(), CliError> {
    match act {
        // It says itself why it could not.
        Act::Extend => extend(context, vg, lv).map(drop),
        Act::TellFill(hundredths) => {
            let (whole, part) = (hundredths.div_euclid(100), hundredths.rem_euclid(100));
            tell(context, &format!("Snapshot {vg}/{lv} is now {whole}.{part:02}% full."));
            Ok(())
        }
        Act::TellLost => {
            tell(context, &format!("Snapshot {vg}/{lv} is lost: its store is full or has failed."));
            Ok(())
        }
    }
}

/// In the log of the run directory, and in the system's, where there is one.
fn tell(context: &Context, words: &str) {
    context.console.warn(words);
    let line = format!("{DAEMON_WARNING}foldback[{}]: WARNING: {words}", std::process::id());
    // Nobody listens in an initramfs.
    drop(UnixDatagram::unbound().and_then(|socket| socket.send_to(line.as_bytes(), SYSLOG)));
}
