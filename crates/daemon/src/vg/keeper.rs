//! The VG's job: looks every second whether the VG is still what is served, and ends merges that are finished.
//!
//! What must hold:
//! - Whoever waits for a merge's end is woken: the kernel raises no event for it (K11).
//! - A merge is ended within a second of its last durable step, by the first of keeper and command that has the lock.
//! - Where somebody else changed what a live volume stands on, its requests are held and it is said so; they go on when
//!   the metadata say again what is served. Volumes whose ground did not change are not touched.
//! - No I/O of a volume waits for it.

use super::mapper::LiveHost;
use super::status::lv_of;
use super::{GroundError, Vg, locked};
use crate::carrier::Carrier;
use foldback_dm_table::{DeviceMapper, DmName, Table, Verb};
use foldback_lvm2_format::vg::Vg as VgText;
use foldback_manager::activation::Group;
use foldback_manager::backup::BackupPlaces;
use foldback_manager::environment::Machine;
use foldback_manager::job::{self, MergeRequest, Observer, Progress};
use foldback_manager::ops::Notice;
use foldback_manager::store::FoundVg;
use foldback_units::LvmUuid;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the VG is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it is read before it counts as changed: a commit under way may be seen in part.
const LOOKS: u32 = 3;
/// Between two of them.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What the keeper is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// Look now.
    Look,
    /// End.
    End,
}

/// Starts the keeper of a VG.
pub(crate) fn start(vg: &Arc<Vg>, wishes: Receiver<Wish>) -> io::Result<JoinHandle<()>> {
    let vg = Arc::downgrade(vg);
    std::thread::Builder::new().name("keeper".to_owned()).spawn(move || keep(&vg, &wishes))
}

/// Turns what the carrier says into wishes.
pub(crate) fn pass_on(events: Receiver<()>, wishes: Sender<Wish>) -> io::Result<()> {
    let pass = move || {
        while events.recv().is_ok() && wishes.send(Wish::Look).is_ok() {}
    };
    drop(std::thread::Builder::new().name("events".to_owned()).spawn(pass)?);
    Ok(())
}

fn keep(vg: &Weak<Vg>, wishes: &Receiver<Wish>) {
    loop {
        match wishes.recv_timeout(INTERVAL) {
            Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Wish::Look) | Err(RecvTimeoutError::Timeout) => {}
        }
        let Some(vg) = vg.upgrade() else { return };
        look(&vg);
    }
}

fn look(vg: &Arc<Vg>) {
    vg.note_rates();
    let good = (0..LOOKS).find_map(|attempt| {
        if attempt > 0 {
            std::thread::sleep(LOOK_PAUSE);
        }
        check(vg).ok()
    });
    if let Some(found) = good {
        hold(vg, None);
        end_merges(vg, &found);
        vg.extend_stores();
    } else {
        hold(vg, check(vg).err().as_deref());
    }
}

/// The VG as it is, where every live volume still stands on it.
fn check(vg: &Vg) -> Result<FoundVg, String> {
    let _one = locked(&vg.changing);
    let text = |error: &GroundError| error.to_string();
    let found = vg.ground.discover().map_err(|error| text(&error))?;
    let found = found.vgs.into_iter().find(|found| found.vg.id == vg.id);
    let found = found.ok_or("its metadata is gone")?;
    if let Some(finding) = found.refuses_change() {
        return Err(finding.refusal(found.vg.name.as_str()));
    }
    let live = tables(vg)?;
    let prefix = vg.id.compact();
    for uuid in live.keys() {
        let Some(id) = lv_of(&prefix, uuid) else { continue };
        let Some(lv) = found.vg.lvs.iter().find(|lv| lv.id == id) else {
            return Err(format!("a live logical volume ({id}) is gone from the metadata"));
        };
        let group = Group::of(&found, &lv.name).map_err(|error| error.to_string())?;
        stands(&group, &live).map_err(|what| format!("{}/{}: {what}", found.vg.name, lv.name))?;
    }
    locked(&vg.state).name = found.vg.name.clone();
    Ok(found)
}

/// Live tables by UUID.
fn tables(vg: &Vg) -> Result<BTreeMap<String, (DmName, Table)>, String> {
    let all = |carrier: &mut Carrier| {
        let infos = carrier.dm.list().unwrap_or_default();
        let table = |carrier: &mut Carrier, name: &DmName| carrier.dm.table(name).ok().flatten();
        infos
            .into_iter()
            .filter_map(|info| Some((info.uuid, (info.name.clone(), table(carrier, &info.name)?))))
            .collect()
    };
    vg.carrier.call(all).map_err(|error| error.to_string())
}

/// Whether the extents and the part in a merge of every device of a group are what is live.
fn stands(group: &Group, live: &BTreeMap<String, (DmName, Table)>) -> Result<(), String> {
    let of = |uuid: &String| live.get(uuid).map(|(_, table)| table);
    let ground = if group.snapshots.is_empty() { &group.origin.top } else { &group.origin.real };
    if of(&ground.uuid) != Some(&group.origin.table) {
        return Err("its extents are not what is served".to_owned());
    }
    for snapshot in &group.snapshots {
        if of(&snapshot.cow.uuid) != Some(&snapshot.cow_table) {
            return Err(format!("the extents of snapshot {} are not what is served", snapshot.lv));
        }
    }
    Ok(())
}

/// Holds the requests of all volumes and says why, or lets them go on.
fn hold(vg: &Vg, why: Option<&str>) {
    let was = {
        let mut state = locked(&vg.state);
        std::mem::replace(&mut state.trouble, why.map(str::to_owned))
    };
    if was.is_some() == why.is_some() {
        return;
    }
    let name = vg.name();
    let verb = |name: DmName| match why {
        Some(_) => Verb::Suspend { name, lockfs: false },
        None => Verb::Resume { name },
    };
    match why {
        Some(why) => eprintln!(
            "foldback: somebody changed volume group {name}: {why}. Requests of its volumes wait. Put the metadata \
             back (vgcfgrestore), or deactivate: vgchange -an {name}"
        ),
        None => eprintln!("foldback: volume group {name} is as it was; its volumes go on"),
    }
    let tops: Vec<Verb> = vg.lvs().unwrap_or_default().into_iter().map(|lv| verb(lv.device)).collect();
    if let Err(error) = vg.apply(tops) {
        eprintln!("foldback: {name}: {error}");
    }
}

/// Ends the merges that are finished.
fn end_merges(vg: &Arc<Vg>, found: &FoundVg) {
    let finished = vg.carrier.call(|carrier| carrier.dm.finished_merges()).unwrap_or_default();
    if finished.is_empty() {
        return;
    }
    let origins: Vec<LvmUuid> = vg
        .lvs()
        .unwrap_or_default()
        .into_iter()
        .filter(|lv| finished.contains(&lv.device))
        .map(|lv| lv.id)
        .collect();
    for origin in origins {
        let Some(lv) = found.vg.lvs.iter().find(|lv| lv.id == origin) else { continue };
        let Some(merging) = Group::of(found, &lv.name).ok().and_then(|group| group.merging().cloned()) else {
            continue;
        };
        let Ok(mut host) = LiveHost::new(Arc::clone(vg)) else { continue };
        let request = MergeRequest {
            paths: &vg.ground.setting.paths,
            system_id: vg.ground.config.system_id.as_deref(),
            vg: found.vg.name.clone(),
            lv: merging.lv,
            force: true,
            on_activate: false,
            leave: false,
        };
        let mut machine = Machine::new("foldback daemon");
        let mut observer = Quiet { places: vg.ground.backup_places() };
        if let Err(error) = job::finish(&mut host, &request, &mut machine, &mut observer) {
            eprintln!("foldback: ending a merge in {}: {error}", found.vg.name);
        }
    }
}

/// Nobody listens; backups are written.
struct Quiet {
    places: BackupPlaces,
}

impl Observer for Quiet {
    fn notice(&mut self, _: Notice) {}

    fn progress(&mut self, _: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn changing(&mut self, vg: &VgText) {
        if let Err(error) = self.places.archive(vg, &mut Machine::new("foldback daemon")) {
            eprintln!("foldback: {error}");
        }
    }

    fn committed(&mut self, vg: &VgText) {
        if let Err(error) = self.places.backup(vg, &mut Machine::new("foldback daemon")) {
            eprintln!("foldback: {error}");
        }
    }
}
