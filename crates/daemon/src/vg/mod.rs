//! A VG with active LVs: its disks, its carrier, and what is done to it as a whole.
//!
//! What must hold:
//! - The content of the disks is held from before the first LV is brought up until the last is down.
//! - One change at a time: `changing` is held by activation, deactivation and transactions, never while waiting for a
//!   person or a lock of LVM2's.

mod activation;
mod astray;
mod behind;
mod failed;
mod filling;
mod fills;
mod ground;
mod keeper;
mod map;
mod mapper;
mod measure;
mod names;
mod pacing;
mod rates;
mod reading;
mod standing;
mod status;
mod trials;

pub(crate) use activation::{ActivateError, Activated};
pub use filling::StoreWait;
pub(crate) use fills::Fills;
pub use ground::Setting;
pub(crate) use ground::{Ground, GroundError};
pub(crate) use reading::Why;
pub use status::{LvStatus, MergeStatus};

use crate::carrier::{self, CarrierGone, CarrierHandle};
use crate::front::{Closed, Front, NbdError, Places, lv_name};
use crate::rundir::RunDir;
use foldback_device::{Backend, Hold, HoldMode, open_disks};
use foldback_dm_table::{DeviceMapper, DmName, Stage, Transaction, Verb};
use foldback_frontend_fuse::FuseError;
use foldback_manager::host;
use foldback_manager::job::Counted;
use foldback_units::{Bytes, LvmUuid, VgName};
use foldback_user_dm::{DmError, Settings};
use rates::Rates;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A VG that is served.
#[derive(Debug)]
pub struct Vg {
    /// Its UUID: names may change.
    pub id: LvmUuid,
    /// Its disks.
    pub ground: Ground,
    /// Its volumes.
    pub carrier: CarrierHandle,
    state: Mutex<State>,
    changing: Mutex<()>,
    front: Mutex<Front>,
    refused: Mutex<filling::Refused>,
    waits: Mutex<filling::Waits>,
    /// Chunks that merges have left, and sectors that stores have allocated.
    rates: Mutex<(Rates, Rates)>,
    /// What is to become of stores that fill.
    fills: Mutex<Fills>,
}

#[derive(Debug)]
struct State {
    name: VgName,
    /// Devices whose requests wait, and why: it is not certain any more that they stand on what is theirs.
    held: BTreeMap<DmName, Why>,
    /// What the last looks could read of the metadata.
    reading: reading::Reading,
    /// Devices that did not follow a change of our own.
    behind: behind::Behind,
    /// Why devices could not be called as the metadata call them, where it was said already.
    name_trouble: Option<String>,
    /// Why a trial that was kept could not be ended, where it was said already.
    trial_trouble: Option<String>,
    thread: Option<JoinHandle<()>>,
    keeper: Option<(Sender<keeper::Wish>, JoinHandle<()>)>,
    holds: Vec<Hold>,
}

/// On what terms live devices are switched.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Terms {
    /// Nothing is done where one of these is in use, and none can be opened meanwhile.
    pub closed: Vec<DmName>,
    /// What a merge that begins may move in a second, in bytes; without it as much as it can.
    pub merge_rate: Option<u64>,
    /// Nothing is done where more lies in this store.
    pub counted: Option<Counted>,
}

/// Why a change of live devices failed, and in which stage.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The carrier is gone.
    #[error(transparent)]
    Gone(#[from] CarrierGone),
    /// Somebody uses a device; nothing was done.
    #[error("{device} is in use: {by}")]
    InUse {
        /// Which.
        device: DmName,
        /// Who.
        by: String,
    },
    /// Somebody changed what a device stands on.
    #[error(
        "{why}. Requests to {device} wait until {until}, or the volume is given up with lvchange -an; until then the volume \
         group is not changed",
        until = why.until()
    )]
    Astray {
        /// Which.
        device: DmName,
        /// What is changed.
        why: Why,
    },
    /// Nobody knows whether devices stand on what is theirs; nothing was done.
    #[error("cannot read the metadata: {why}. Nothing was changed")]
    Unread {
        /// Why not.
        why: String,
    },
    /// Discards could reach what is to have snapshots; nothing was done.
    #[error("keeping discards from {device}, which would be copied out to its snapshots: {error}")]
    Discards {
        /// Which.
        device: DmName,
        /// What failed.
        error: FuseError,
    },
    /// A verb.
    #[error("{error}")]
    Verb {
        /// How far it came, in a transaction.
        stage: Option<Stage>,
        /// What failed.
        error: DmError,
    },
}

/// A lock that a panic elsewhere left behind is still good: what it guards is replaced whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vg {
    /// Takes over a VG's disks; nothing is active yet.
    ///
    /// # Errors
    /// Somebody else holds the disks, or there is no thread or ring to be had.
    pub fn take_over(
        run: &RunDir,
        name: VgName,
        id: LvmUuid,
        ground: Ground,
    ) -> Result<Arc<Self>, GroundError> {
        let holds = host::hold_data(&ground.files, HoldMode::Exclusive, &mut ground::say_waiting)?;
        let files = ground.files.clone();
        let open = move || open_disks(&files, Backend::from_environment());
        let running = carrier::start(name.as_str(), ground.setting.paths.clone(), Settings::default(), open)?;
        let when_full = Fills::of(&ground.config);
        let front = Front::new(run, &name, running.handle.clone(), ground.makes_holes());
        let state = State {
            name,
            held: BTreeMap::new(),
            reading: reading::Reading::default(),
            behind: behind::Behind::default(),
            name_trouble: None,
            trial_trouble: None,
            thread: Some(running.thread),
            keeper: None,
            holds,
        };
        let vg = Arc::new(Self {
            id,
            front: Mutex::new(front),
            refused: Mutex::default(),
            waits: Mutex::default(),
            ground,
            carrier: running.handle,
            state: Mutex::new(state),
            changing: Mutex::new(()),
            rates: Mutex::default(),
            fills: Mutex::new(when_full),
        });
        // Before the first store is there.
        vg.set_fills(when_full).map_err(io::Error::other)?;
        let (wishes, inbox) = channel();
        let thread = keeper::start(&vg, inbox)?;
        keeper::pass_on(running.events, wishes.clone())?;
        locked(&vg.state).keeper = Some((wishes, thread));
        Ok(vg)
    }

    /// As it is called now.
    pub fn name(&self) -> VgName {
        locked(&self.state).name.clone()
    }

    /// What is wrong with it and what to do, for people.
    pub fn trouble(&self) -> Option<String> {
        let (device, why) = locked(&self.state).held.clone().into_iter().next()?;
        let name = self.name();
        let lv = lv_name(&name, &device).map_or_else(|| name.to_string(), |lv| format!("{name}/{lv}"));
        let (why, remedy) = match &why {
            Why::Changed(why) => (why.clone(), "Put the metadata back, for example with vgcfgrestore"),
            Why::Unread(_) => (why.to_string(), "They go on when these can be read"),
        };
        Some(format!("{why}. {remedy}; or give {lv} up with: lvchange -an {lv}"))
    }

    /// Carries out verbs one after the other; the first that fails ends it.
    ///
    /// # Errors
    /// What failed.
    pub fn apply(&self, verbs: Vec<Verb>) -> Result<(), ChangeError> {
        let all = move |carrier: &mut carrier::Carrier| verbs.iter().try_for_each(|verb| carrier.apply(verb));
        self.carrier.call(all)?.map_err(|error| ChangeError::Verb { stage: None, error })
    }

    /// Carries out a transaction, or takes it back.
    ///
    /// # Errors
    /// The stage says what an error leaves.
    pub fn transact(&self, transaction: Transaction) -> Result<(), ChangeError> {
        self.transact_on(transaction, &Terms::default())
    }

    /// The same on these terms.
    ///
    /// # Errors
    /// They do not hold, and nothing was done; otherwise as [`Vg::transact`].
    pub fn transact_on(&self, transaction: Transaction, terms: &Terms) -> Result<(), ChangeError> {
        let _one = locked(&self.changing);
        // Not on extents that somebody else may have by now: the look of a second ago is too old for that.
        self.look_before_change()?;
        let named = [&transaction.preload, &transaction.suspend, &transaction.resume, &transaction.clean];
        let named: Vec<DmName> = named.into_iter().flatten().map(|verb| verb.name().clone()).collect();
        self.refuse_held(named.iter())?;
        self.refuse_discards(&transaction.preload)?;
        let stand = self.stand(&transaction.suspend)?;
        let rate = terms.merge_rate;
        let done = self.close(&terms.closed).and_then(|closed| {
            // Nobody can write any more.
            self.refuse_grown(terms.counted.as_ref())?;
            let switch = move |carrier: &mut carrier::Carrier| {
                carrier.dm.set_pace_of_new_merges(rate.map(|_| Bytes::ZERO));
                let outcome = carrier.transact(&transaction);
                carrier.dm.set_pace_of_new_merges(None);
                if let Some(rate) = rate {
                    carrier.pace_merges(&transaction.resume, rate);
                }
                outcome
            };
            Ok((closed, self.carrier.call(switch)?))
        });
        self.let_merge(stand)?;
        let (closed, outcome) = done?;
        locked(&self.state).behind.note(named, outcome.as_ref().err().map(|(stage, _)| *stage));
        self.settle_front(closed)?;
        self.look();
        outcome.map_err(|(stage, error)| ChangeError::Verb { stage: Some(stage), error })
    }

    /// Looks whether every live volume stands on what the metadata say, and holds those that do not.
    ///
    /// # Errors
    /// The first that does not, and why.
    pub fn verify(&self) -> Result<(), ChangeError> {
        let _one = locked(&self.changing);
        self.look_before_change()?;
        let held = locked(&self.state).held.clone();
        held.into_iter().next().map_or(Ok(()), |(device, why)| Err(ChangeError::Astray { device, why }))
    }

    fn look_before_change(&self) -> Result<(), ChangeError> {
        let found = keeper::look_and_hold(self);
        let state = locked(&self.state);
        let why = state.reading.failure().filter(|_| found.is_none());
        why.map_or(Ok(()), |why| Err(ChangeError::Unread { why: why.to_owned() }))
    }

    fn refuse_grown(&self, counted: Option<&Counted>) -> Result<(), ChangeError> {
        let Some(counted) = counted.cloned() else { return Ok(()) };
        let device = counted.snapshot.clone();
        let look = move |carrier: &mut carrier::Carrier| {
            carrier.dm.status(&counted.snapshot).is_ok_and(|status| counted.has_grown(&status))
        };
        if self.carrier.call(look)? {
            return Err(ChangeError::InUse { device, by: Counted::GREW.to_owned() });
        }
        Ok(())
    }

    /// Refuses what would wait for requests that wait themselves.
    fn refuse_held<'d>(&self, mut devices: impl Iterator<Item = &'d DmName>) -> Result<(), ChangeError> {
        let state = locked(&self.state);
        let held = devices.find_map(|device| state.held.get_key_value(device));
        held.map_or(Ok(()), |(device, why)| {
            let by = format!("requests that wait until {}, since {why}", why.until());
            Err(ChangeError::InUse { device: device.clone(), by })
        })
    }

    /// Before a volume becomes an origin or a snapshot its block device takes no discard any more, so that none is copied out
    /// after the switch. A change that fails leaves it so until the next.
    fn refuse_discards(&self, preload: &[Verb]) -> Result<(), ChangeError> {
        let loads = preload.iter().filter_map(|verb| match verb {
            Verb::Load { name, table, .. } if status::is_in_a_group(table) => Some(name),
            _ => None,
        });
        let mut devices: Vec<DmName> = loads.cloned().collect();
        if devices.is_empty() {
            return Ok(());
        }
        // That waits for requests, and those of a suspended device for its resume: it is seen to after the change.
        let lvs = self.lvs()?;
        devices.retain(|name| lvs.iter().any(|lv| lv.device == *name && !lv.suspended));
        let refused = locked(&self.front).refuse_discards(&devices);
        refused.map_err(|(device, error)| ChangeError::Discards { device, error })
    }

    /// Keeps devices from being opened, unless one of them is.
    fn close(&self, devices: &[DmName]) -> Result<Closed, ChangeError> {
        self.refuse_held(devices.iter())?;
        locked(&self.front).close(devices).map_err(|(device, by)| ChangeError::InUse { device, by })
    }

    /// Serves what is live by now.
    fn settle_front(&self, closed: Closed) -> Result<(), ChangeError> {
        let lvs = self.lvs()?;
        locked(&self.front).settle(&self.name(), &lvs, closed);
        Ok(())
    }

    /// Where a volume is served.
    pub fn places(&self, lv: &LvmUuid) -> Places {
        locked(&self.front).places(lv)
    }

    /// Whether somebody has a volume open.
    pub fn is_open(&self, lv: &LvmUuid) -> bool {
        locked(&self.front).is_open(lv)
    }

    /// Serves a volume over NBD, by its name or its device's; where.
    ///
    /// # Errors
    /// It is not active, or nobody can listen there.
    pub fn export_nbd(&self, lv: &str, address: Option<&str>) -> Result<String, NbdError> {
        let _one = locked(&self.changing);
        locked(&self.front).export_nbd(lv, address)
    }

    /// Ends serving a volume over NBD.
    ///
    /// # Errors
    /// It is not active, a client is connected, or nothing else serves it.
    pub fn unexport_nbd(&self, lv: &str) -> Result<(), NbdError> {
        let _one = locked(&self.changing);
        locked(&self.front).unexport_nbd(lv)
    }

    /// Serves over NBD what an earlier daemon served so.
    pub(crate) fn export_again(&self, left: &[crate::state::Front]) {
        let _one = locked(&self.changing);
        locked(&self.front).export_again(left);
    }

    /// Why volumes are not served as files, where that is so.
    pub fn no_files(&self) -> Option<String> {
        locked(&self.front).no_files().map(str::to_owned)
    }

    /// What the next daemon has to clear away.
    pub(crate) fn fronts(&self) -> Vec<crate::state::Front> {
        locked(&self.front).left()
    }

    /// Asks the keeper to look now.
    pub fn look(&self) {
        if let Some((wishes, _)) = &locked(&self.state).keeper {
            // A keeper that has ended looks no more.
            wishes.send(keeper::Wish::Look).ok();
        }
    }

    /// Serves nothing any more, where the carrier is gone: who has a volume open gets errors, the others leave nothing behind.
    pub(crate) fn end_front(&self) {
        locked(&self.front).settle(&self.name(), &[], Closed::default());
    }

    /// Ends carrier and keeper, and lets go of the disks. Volumes that are still active are left as a crash leaves them.
    pub fn let_go(&self) {
        let (keeper, thread, holds) = {
            let mut state = locked(&self.state);
            (state.keeper.take(), state.thread.take(), std::mem::take(&mut state.holds))
        };
        if let Some((wishes, thread)) = keeper {
            wishes.send(keeper::Wish::End).ok();
            // The keeper itself may be the one that lets go.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                say!("foldback: the keeper of {} had failed", self.name());
            }
        }
        self.carrier.end();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            say!("foldback: the carrier of {} had failed", self.name());
        }
        drop(holds);
    }
}
