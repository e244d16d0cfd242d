//! All VGs that a daemon serves.
//!
//! What must hold:
//! - A VG is served once, whatever its name is by now: it is known by its UUID.
//! - A VG whose last LV has gone is let go of at once.
//! - What is active is changed by one at a time, and written down before that call is answered and the next begins; where it
//!   cannot be, that is the answer. Whoever only looks waits for no change.

use crate::front;
use crate::rundir::RunDir;
use crate::state::{Active, ActiveVg};
use crate::taking_up::LeftOvers;
use crate::vg::{
    ActivateError, Activated, ChangeError, Ground, GroundError, LvStatus, Setting, Terms, Vg, locked,
};
use foldback_dm_table::{DmName, Transaction, Verb};
use foldback_manager::store::{SelectError, select};
use foldback_units::{LvName, LvmUuid, VgName};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// The VGs of one daemon.
#[derive(Debug)]
pub struct Daemon {
    run: RunDir,
    /// What earlier daemons left that could not be taken up yet.
    pub(crate) left: LeftOvers,
    /// What is active could not be written down.
    unwritten: AtomicBool,
    vgs: Mutex<BTreeMap<[u8; 32], Arc<Vg>>>,
    /// Held by whoever changes what is active; whether nothing becomes active any more.
    changing: Mutex<Ended>,
}

/// What to do about what was not written down.
pub(crate) const AGAIN: &str = "Make room there: it is tried again until it is written. Should the daemon die before that, the next one \
                     goes by what was active before";

/// Whether the daemon has ended.
type Ended = bool;

/// Why a daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It has nothing to serve, and is about to be gone.
    #[error("the daemon had nothing to serve and is ending; repeat the command")]
    Ended,
    /// The VG has no active LV here.
    #[error("volume group {0} has no active logical volume here")]
    NotActive(String),
    /// A VG of that name is active, and is another one.
    #[error(
        "a volume group {name} on other disks is active: {disks}; deactivate that one first, or rename one of them"
    )]
    OtherDisks {
        /// The name.
        name: String,
        /// Where the active one lies.
        disks: String,
    },
    /// The VG that an earlier daemon served is not on its disks.
    #[error("it is not on {0}")]
    NotOn(String),
    /// What lies at the path now is another disk than the one that was served.
    #[error(
        "{0} is not the disk that was served, but another one, perhaps a copy of it, and was not touched. Put the one that was \
         served back"
    )]
    OtherDisk(String),
    /// No LV of those that an earlier daemon served came up.
    #[error("{0}")]
    NoneCameUp(String),
    /// Activation.
    #[error(transparent)]
    Activate(ActivateError),
    /// The disks.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The VG.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Its live devices.
    #[error(transparent)]
    Change(ChangeError),
    /// Serving over NBD.
    #[error(transparent)]
    Nbd(front::NbdError),
    /// What is active could not be written down for the next daemon.
    #[error("writing {path}: {error}. {left}")]
    NotRemembered {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
        /// What was done all the same, and what to do.
        left: String,
    },
    /// Somebody uses a volume.
    #[error("Logical volume {device} in use: {by}.")]
    InUse {
        /// Which.
        device: DmName,
        /// Who.
        by: String,
    },
}

impl From<front::NbdError> for DaemonError {
    fn from(error: front::NbdError) -> Self {
        match error {
            front::NbdError::InUse { device, by } => Self::InUse { device, by },
            other => Self::Nbd(other),
        }
    }
}

impl From<ChangeError> for DaemonError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::InUse { device, by } => Self::InUse { device, by },
            other => Self::Change(other),
        }
    }
}

impl From<ActivateError> for DaemonError {
    fn from(error: ActivateError) -> Self {
        match error {
            ActivateError::Change(error) => error.into(),
            other => Self::Activate(other),
        }
    }
}

impl Daemon {
    /// A daemon without VGs.
    pub fn new(run: RunDir) -> Self {
        let (unwritten, changing) = (AtomicBool::new(false), Mutex::new(false));
        Self { run, left: LeftOvers::default(), unwritten, vgs: Mutex::new(BTreeMap::new()), changing }
    }

    /// Its directory.
    pub fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// The VGs with active LVs.
    pub fn vgs(&self) -> Vec<Arc<Vg>> {
        locked(&self.vgs).values().cloned().collect()
    }

    /// The VG of that name.
    pub fn vg(&self, name: &VgName) -> Result<Arc<Vg>, DaemonError> {
        let found = self.vgs().into_iter().find(|vg| vg.name() == *name);
        found.ok_or_else(|| DaemonError::NotActive(name.to_string()))
    }

    /// Activates LVs of a VG. Who asks has a share of its locks; nobody changes it until it is active and written down.
    ///
    /// # Errors
    /// Nothing was activated.
    pub fn activate(
        &self,
        name: &VgName,
        setting: Setting,
        lvs: &[LvName],
    ) -> Result<Activated, DaemonError> {
        let ended = locked(&self.changing);
        if *ended {
            return Err(DaemonError::Ended);
        }
        let (vg, unchanged) = match self.vg(name) {
            Ok(vg) if vg.ground.is_on_one_of(&setting.paths) => {
                let unchanged = vg.ground.join(name)?;
                vg.follow_setting(&setting)?;
                (vg, unchanged)
            }
            Ok(vg) => {
                let (name, disks) = (name.to_string(), vg.ground.setting.paths.join(", "));
                return Err(DaemonError::OtherDisks { name, disks });
            }
            Err(_) => {
                let ground = Ground::open(setting)?;
                let unchanged = ground.join(name)?;
                (self.take_over(name, ground)?, unchanged)
            }
        };
        let activated = vg.activate(lvs);
        if activated.is_ok() {
            self.left.forget(|left| left.id == vg.id.to_string());
        }
        self.tidy(&vg);
        let remembered = self.remember();
        let outcome = activated.map_err(DaemonError::from).and_then(|activated| match remembered {
            Ok(()) => Ok(activated),
            Err(error) => Err(self.take_back(&vg, &activated.now, error)),
        });
        // From here on whoever changes the VG finds it active.
        drop(unchanged);
        outcome
    }

    /// What came up, and could not be written down, is taken down again.
    fn take_back(&self, vg: &Arc<Vg>, now: &[LvName], error: io::Error) -> DaemonError {
        let back = vg.deactivate(now, false);
        self.tidy(vg);
        let left = match back {
            Ok(_) => "The daemon that comes after this one would not know what is active, so nothing was brought up. Make \
                      room there, and give the command again"
                .to_owned(),
            Err(back) => format!("What was brought up stays so, since it could not be taken down again: {back}. {AGAIN}"),
        };
        // What is active by now may be what is written there already.
        self.remember().ok();
        self.not_remembered(error, left)
    }

    fn not_remembered(&self, error: io::Error, left: String) -> DaemonError {
        DaemonError::NotRemembered { path: self.run.active().display().to_string(), error, left }
    }

    /// The same for what was done and stays done.
    fn remember_done(&self) -> Result<(), DaemonError> {
        self.remember().map_err(|error| {
            self.not_remembered(error, format!("What was asked for is done all the same. {AGAIN}"))
        })
    }

    /// Writes down what could not be before. Why it cannot be was the answer then.
    pub(crate) fn remember_again(&self) {
        if self.unwritten.load(Ordering::Relaxed)
            && let Some(_one) = self.unless_changing()
        {
            self.remember().ok();
        }
    }

    /// Writes down what is active now, and what is still to be taken up.
    pub(crate) fn remember(&self) -> io::Result<()> {
        let vg = |vg: Arc<Vg>| {
            let lvs = vg.lvs().unwrap_or_default();
            ActiveVg {
                name: vg.name().to_string(),
                id: vg.id.to_string(),
                setting: vg.ground.setting.clone(),
                disks: vg.ground.files.iter().map(|file| file.identity().into()).collect(),
                lvs: lvs.iter().map(|lv| lv.id.to_string()).collect(),
                fronts: vg.fronts(),
                fills: Some(vg.fills()),
                merges: vg.steered(),
            }
        };
        let left = self.left.all().into_iter().map(|left| left.vg);
        let written = Active::of(self.vgs().into_iter().map(vg).chain(left).collect()).write(&self.run);
        self.unwritten.store(written.is_err(), Ordering::Relaxed);
        written
    }

    pub(crate) fn take_over(&self, name: &VgName, ground: Ground) -> Result<Arc<Vg>, DaemonError> {
        let found = ground.discover()?;
        let found = select::to_change(&found, name)?;
        let id: LvmUuid = found.vg.id;
        let vg = Vg::take_over(&self.run, name.clone(), id, ground)?;
        drop(locked(&self.vgs).insert(*id.as_bytes(), Arc::clone(&vg)));
        Ok(vg)
    }

    /// Deactivates LVs of a VG; one that is still to be taken up is given up.
    ///
    /// # Errors
    /// One is in use, or could not be taken down. With `force` requests that wait since somebody changed the metadata are
    /// answered with errors, also where it is in use.
    pub fn deactivate(&self, name: &VgName, lvs: &[LvName], force: bool) -> Result<usize, DaemonError> {
        let _one = locked(&self.changing);
        let vg = match self.vg(name) {
            Err(_) if self.left.forget(|left| left.name == name.as_str()) => {
                return self.remember_done().map(|()| 0);
            }
            found => found?,
        };
        let left = vg.deactivate(lvs, force);
        self.tidy(&vg);
        let remembered = self.remember_done();
        let left = left?;
        remembered.map(|()| left)
    }

    /// Carries out a transaction.
    ///
    /// # Errors
    /// The stage says what an error leaves.
    pub fn transact(
        &self,
        name: &VgName,
        transaction: Transaction,
        terms: &Terms,
    ) -> Result<(), DaemonError> {
        let _one = locked(&self.changing);
        let vg = self.vg(name)?;
        let outcome = vg.transact_on(transaction, terms);
        self.tidy(&vg);
        let remembered = self.remember_done();
        outcome?;
        remembered
    }

    /// Carries out one verb.
    ///
    /// # Errors
    /// What failed.
    pub fn apply(&self, name: &VgName, verb: Verb) -> Result<(), DaemonError> {
        let _one = locked(&self.changing);
        Ok(self.vg(name)?.apply(vec![verb])?)
    }

    /// Serves a live volume over NBD, by its name or its device's; where.
    ///
    /// # Errors
    /// It is not active, or nobody can listen there.
    pub fn export_nbd(&self, name: &VgName, lv: &str, address: Option<&str>) -> Result<String, DaemonError> {
        let _one = locked(&self.changing);
        let address = self.vg(name)?.export_nbd(lv, address)?;
        self.remember_done()?;
        Ok(address)
    }

    /// Ends serving a live volume over NBD.
    ///
    /// # Errors
    /// It is not active, a client is connected, or nothing else serves it.
    pub fn unexport_nbd(&self, name: &VgName, lv: &str) -> Result<(), DaemonError> {
        let _one = locked(&self.changing);
        self.vg(name)?.unexport_nbd(lv)?;
        self.remember_done()
    }

    /// Begins no further window of the merge into a device, or goes on.
    ///
    /// # Errors
    /// Nothing merges into it.
    pub fn pause_merge(&self, name: &VgName, device: &DmName, pause: bool) -> Result<(), DaemonError> {
        let _one = locked(&self.changing);
        self.vg(name)?.pause_merge(device, pause)?;
        self.remember_done()
    }

    /// Lets the merge into a device move so many bytes in a second; without a number as fast as it can.
    ///
    /// # Errors
    /// Nothing merges into it.
    pub fn set_merge_rate(
        &self,
        name: &VgName,
        device: &DmName,
        rate: Option<u64>,
    ) -> Result<(), DaemonError> {
        let _one = locked(&self.changing);
        self.vg(name)?.set_merge_rate(device, rate)?;
        self.remember_done()
    }

    /// The live volumes of a VG.
    ///
    /// # Errors
    /// It is not active.
    pub fn lvs(&self, name: &VgName) -> Result<Vec<LvStatus>, DaemonError> {
        Ok(self.vg(name)?.lvs()?)
    }

    /// Lets a VG go when nothing of it is active.
    pub(crate) fn tidy(&self, vg: &Arc<Vg>) {
        match vg.lvs() {
            Ok(lvs) if !lvs.is_empty() => return,
            Ok(_) => {}
            Err(_) => vg.end_front(),
        }
        drop(locked(&self.vgs).remove(vg.id.as_bytes()));
        vg.let_go();
    }

    /// Whether nothing is active, or about to be.
    pub fn is_idle(&self) -> bool {
        self.unless_changing().is_some() && locked(&self.vgs).is_empty()
    }

    /// Lets nothing become active any more, unless something is or is about to be.
    pub fn close(&self) -> bool {
        let Some(mut ended) = self.unless_changing() else { return false };
        *ended = locked(&self.vgs).is_empty();
        *ended
    }

    pub(crate) fn unless_changing(&self) -> Option<MutexGuard<'_, Ended>> {
        match self.changing.try_lock() {
            Ok(ended) => Some(ended),
            Err(TryLockError::Poisoned(left)) => Some(left.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Lets all VGs go without taking their volumes down, as a crash would: the next daemon takes them up again. Nothing
    /// becomes active any more, and a change that is under way is ended first.
    pub fn abandon(&self) {
        let mut ended = locked(&self.changing);
        *ended = true;
        for vg in std::mem::take(&mut *locked(&self.vgs)).into_values() {
            vg.let_go();
        }
    }
}
