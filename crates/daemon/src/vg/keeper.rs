//! The VG's job: looks every second whether the VG is still what is served, ends merges that are finished, and sees to
//! stores that fill.
//!
//! What must hold:
//! - Whoever waits for a merge's end is woken: the kernel raises no event for it (K11).
//! - A merge is ended within a second of its last durable step, by the first of keeper and command that has the lock.
//! - Where somebody else changed what a live volume stands on, its requests are held and it is said so; they go on when
//!   the metadata say again what is served. Volumes whose ground did not change are not touched, whatever else happened to
//!   the VG. Metadata that cannot be read are no change ([`super::reading`]).
//! - No I/O of a volume waits for it, but writes that find a store full; for their sake it waits for no lock longer than a
//!   moment.

use super::mapper::{JobError, LiveHost};
use super::reading::{Unseen, Why};
use super::standing::{Live, all, astray};
use super::{Vg, locked};
use crate::carrier::Carrier;
use foldback_dm_table::{DeviceMapper, DmName, Table, Target, Verb};
use foldback_lvm2_format::vg::Vg as VgText;
use foldback_manager::activation::Group;
use foldback_manager::backup::BackupPlaces;
use foldback_manager::environment::Machine;
use foldback_manager::job::{self, MergeError, MergeRequest, Observer, Progress};
use foldback_manager::ops::Notice;
use foldback_manager::ops::merge_start::Mode;
use foldback_manager::store::FoundVg;
use foldback_units::LvmUuid;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the VG is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while writes wait for room in a store that could not be extended.
const INTERVAL_WAITED_FOR: Duration = Duration::from_millis(250);
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
    let mut interval = INTERVAL;
    loop {
        match wishes.recv_timeout(interval) {
            Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Wish::Look) | Err(RecvTimeoutError::Timeout) => {}
        }
        // One look answers all that was asked until now.
        while let Ok(wish) = wishes.try_recv() {
            if wish == Wish::End {
                return;
            }
        }
        let Some(vg) = vg.upgrade() else { return };
        look(&vg);
        interval = if vg.is_waiting() { INTERVAL_WAITED_FOR } else { INTERVAL };
    }
}

fn look(vg: &Arc<Vg>) {
    vg.note_rates();
    let found = {
        // Between two changes of our own, so that metadata and devices belong together.
        let _one = locked(&vg.changing);
        look_and_hold(vg)
    };
    // Somebody may wait for these.
    vg.look_after_stores();
    if let Some(found) = found {
        vg.follow_names(&found);
        end_merges(vg, &found);
        vg.end_trials(&found.vg);
    }
}

/// A VG as it is, and the devices that do not stand on it any more.
struct Seen {
    found: Option<FoundVg>,
    live: Live,
    astray: BTreeMap<DmName, Why>,
}

/// Holds what does not stand on the metadata any more, and lets go on what does again; the metadata, where they are to be
/// had. Whoever calls it is the only one to change the VG's devices.
pub(super) fn look_and_hold(vg: &Vg) -> Option<FoundVg> {
    let mut seen = see(vg);
    for _ in 1..LOOKS {
        if seen.found.is_some() && seen.astray.is_empty() {
            break;
        }
        std::thread::sleep(LOOK_PAUSE);
        seen = see(vg);
    }
    let failure = locked(&vg.state).reading.failure_to_say();
    if let Some(why) = failure {
        say!("foldback: volume group {}: {}; its volumes go on for now", vg.name(), Why::Unread(why));
    }
    hold(vg, &seen.astray, &seen.live);
    seen.found
}

fn see(vg: &Vg) -> Seen {
    let live = tables(vg);
    let read = vg.ground.discover().map_err(|error| error.to_string());
    let mut state = locked(&vg.state);
    let found = state.reading.find(&vg.id, read, Instant::now());
    let astray = match &found {
        Ok(found) => {
            state.name = found.vg.name.clone();
            astray(&vg.id, found, &live)
        }
        Err(Unseen::Gone) => {
            all(&vg.id, &live, &Why::Changed("the metadata of the volume group are gone".to_owned()))
        }
        Err(Unseen::Long(why)) => all(&vg.id, &live, &Why::Unread(why.clone())),
        // Nothing is known now that was not known before.
        Err(Unseen::Lately) => state.held.clone(),
    };
    Seen { found: found.ok(), live, astray }
}

/// Live tables by UUID; none where the carrier is gone, and then nothing is to be held.
pub(super) fn tables(vg: &Vg) -> Live {
    let all = |carrier: &mut Carrier| {
        let infos = carrier.dm.list().unwrap_or_default();
        let table = |carrier: &mut Carrier, name: &DmName| carrier.dm.table(name).ok().flatten();
        infos
            .into_iter()
            .filter_map(|info| Some((info.uuid, (info.name.clone(), table(carrier, &info.name)?))))
            .collect()
    };
    vg.carrier.call(all).unwrap_or_default()
}

/// Holds the requests of these devices and says why; lets those go on that were held and need not be any more. What could
/// not be held counts as not held, and is tried again at the next look.
fn hold(vg: &Vg, astray: &BTreeMap<DmName, Why>, live: &Live) {
    let name = vg.name();
    let was = locked(&vg.state).held.clone();
    let mut devices: Vec<&DmName> = astray.keys().chain(was.keys()).collect();
    // A snapshot of a merged view stands on its origin: it is held first, and goes on last.
    devices.sort_by_key(|device| !is_on_another(device, live));
    devices.dedup();
    for device in &devices {
        let Some(why) = astray.get(*device).filter(|why| was.get(*device) != Some(*why)) else { continue };
        if was.contains_key(*device) {
            locked(&vg.state).held.insert((*device).clone(), why.clone());
            continue;
        }
        if locked(&vg.state).behind.has(device) {
            continue;
        }
        match vg.apply(vec![Verb::Suspend { name: (*device).clone(), lockfs: false }]) {
            Ok(()) => {
                let told = match why {
                    Why::Changed(why) => format!("somebody changed volume group {name}: {why}"),
                    Why::Unread(_) => format!("volume group {name}: {why}"),
                };
                say!(
                    "foldback: {told}. Requests to {device} wait until {}, or the volume is given up with lvchange -an",
                    why.until()
                );
                locked(&vg.state).held.insert((*device).clone(), why.clone());
            }
            Err(error) => say!("foldback: holding {device}, since {why}: {error}"),
        }
    }
    for device in devices.iter().rev() {
        if !was.contains_key(*device) || astray.contains_key(*device) {
            continue;
        }
        match vg.apply(vec![Verb::Resume { name: (*device).clone() }]) {
            Ok(()) => say!("foldback: the metadata of {device} are as they were; its requests go on"),
            Err(error) => say!("foldback: letting {device} go on: {error}"),
        }
        locked(&vg.state).held.remove(*device);
    }
}

/// Whether the device is a snapshot of another one that users open.
fn is_on_another(device: &DmName, live: &Live) -> bool {
    let table = |wanted: &str| live.values().find(|(name, _)| name.0 == wanted).map(|(_, table)| table);
    let first = |table: &Table| table.lines.first().map(|line| line.target.clone());
    let Some(Target::Snapshot(params)) = table(&device.0).and_then(first) else { return false };
    matches!(table(&params.origin.0).and_then(first), Some(Target::SnapshotMerge(_)))
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
            mode: Mode::NameOrigin,
            undo: None,
            leave: false,
            told: false,
        };
        let mut machine = Machine::new("foldback daemon");
        let mut observer = Quiet { places: vg.ground.backup_places() };
        match job::finish(&mut host, &request, &mut machine, &mut observer) {
            // Whoever has the lock may be about to end it; if not, it is tried again in a second.
            Ok(()) | Err(MergeError::Host { source: JobError::Lock(_), .. }) => {}
            Err(error) => say!("foldback: ending a merge in {}: {error}", found.vg.name),
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
            say!("foldback: {error}");
        }
    }

    fn committed(&mut self, vg: &VgText) {
        if let Err(error) = self.places.backup(vg, &mut Machine::new("foldback daemon")) {
            say!("foldback: {error}");
        }
    }
}
