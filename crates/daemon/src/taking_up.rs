//! Taking up what an earlier daemon left (docs/decisions/0005-daemon.md, "After a death").
//!
//! What must hold:
//! - What cannot be taken up stays in `active.json`, whole, and is tried again until it can be or somebody gives it up.
//! - Only the disks that were served are: a path may lead to a copy by now.
//! - What a dead daemon's volumes were served as is cleared away once. Later its names and numbers may be somebody else's.
//! - It keeps no daemon alive: the next one has the file.

use crate::front;
use crate::served::{AGAIN, Daemon, DaemonError};
use crate::state::{Active, ActiveVg, Disk};
use crate::vg::{ActivateError, ChangeError, Ground, locked};
use foldback_lvm2_format::vg::Lv;
use foldback_manager::host;
use foldback_units::LvName;
use std::sync::Mutex;
use std::time::Duration;

/// How long a lock is waited for where it is tried again soon.
const SHORT_PATIENCE: Duration = Duration::from_millis(300);

/// A VG that was active and could not be taken up.
#[derive(Clone, Debug)]
pub(crate) struct LeftOver {
    pub(crate) vg: ActiveVg,
    /// Why not, at the last try.
    pub(crate) why: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct LeftOvers(Mutex<Vec<LeftOver>>);

impl LeftOvers {
    pub(crate) fn all(&self) -> Vec<LeftOver> {
        locked(&self.0).clone()
    }

    /// Gives those up that are meant; whether there was one.
    pub(crate) fn forget(&self, meant: impl Fn(&ActiveVg) -> bool) -> bool {
        let mut all = locked(&self.0);
        let before = all.len();
        all.retain(|left| !meant(&left.vg));
        all.len() < before
    }
}

impl Daemon {
    /// Takes up what an earlier daemon left.
    pub fn take_up(&self) {
        let left = match Active::read(self.run_dir()) {
            Ok(left) => left,
            Err(error) => {
                say!("foldback: what was active before is not known: {error}");
                return;
            }
        };
        for mut vg in left.vgs {
            say!(
                "foldback: taking up {} again; file systems on its volumes have to be unmounted and mounted anew",
                vg.name
            );
            front::clear(self.run_dir(), &vg.name, &vg.fronts);
            for front in &mut vg.fronts {
                (front.file, front.block) = (None, None);
                front.links.clear();
            }
            locked(&self.left.0).push(LeftOver { vg, why: String::new() });
        }
        self.try_left(host::LOCK_PATIENCE);
    }

    /// Tries again what could not be taken up, unless somebody changes what is active; what is left.
    pub(crate) fn take_up_again(&self) -> Vec<LeftOver> {
        if !self.left.all().is_empty()
            && let Some(ended) = self.unless_changing()
            && !*ended
        {
            self.try_left(SHORT_PATIENCE);
        }
        self.left.all()
    }

    /// Whoever calls it is the only one to change what is active.
    fn try_left(&self, patience: Duration) {
        let before = self.left.all();
        for LeftOver { vg, why } in &before {
            let tried = self.take_up_vg(vg, patience);
            let is_up = self.vgs().iter().any(|up| up.id.to_string() == vg.id);
            if let Err(error) = &tried
                && *why != error.to_string()
            {
                say!("foldback: taking up {} again: {error}", vg.name);
            }
            match tried {
                Err(error) if !is_up => {
                    let mut all = locked(&self.left.0);
                    if let Some(this) = all.iter_mut().find(|left| left.vg.id == vg.id) {
                        this.why = error.to_string();
                    }
                }
                _ => drop(self.left.forget(|left| left.id == vg.id)),
            }
        }
        if self.left.all().len() < before.len()
            && let Err(error) = self.remember()
        {
            say!("foldback: writing {}: {error}; {AGAIN}", self.run_dir().active().display());
        }
    }

    fn take_up_vg(&self, left: &ActiveVg, patience: Duration) -> Result<(), DaemonError> {
        let ground = open_left(left)?;
        let found = ground.discover_locked(patience)?;
        drop(ground);
        let found = found.vgs.iter().find(|found| found.vg.id.to_string() == left.id);
        let Some(found) = found else { return Err(DaemonError::NotOn(left.setting.paths.join(", "))) };
        if let Ok(other) = self.vg(&found.vg.name) {
            let disks = other.ground.setting.paths.join(", ");
            return Err(DaemonError::OtherDisks { name: found.vg.name.to_string(), disks });
        }
        let was_live = |lv: &&Lv| left.lvs.contains(&lv.id.to_string());
        let lvs: Vec<LvName> = found.vg.lvs.iter().filter(was_live).map(|lv| lv.name.clone()).collect();
        let ground = open_left(left)?;
        let unchanged = ground.join_within(&found.vg.name, patience)?;
        let vg = self.take_over(&found.vg.name, ground)?;
        let filled = left.fills.map_or(Ok(()), |fills| vg.set_fills(fills).map_err(ChangeError::from));
        // Nothing is written down before all is as it was: another crash meanwhile must not forget the rest.
        let done = filled
            .map_err(ActivateError::from)
            .and_then(|()| Ok(vg.wait_to_be_steered()?))
            .and_then(|()| vg.activate(&lvs));
        let steered = vg.steer_again(&left.merges);
        vg.export_again(&left.fronts);
        self.tidy(&vg);
        drop(unchanged);
        let done = done?;
        let mut failed = done.failed.iter().map(|(lv, why)| format!("{}/{lv}: {why}", found.vg.name));
        if done.active == 0
            && let Some(first) = failed.next()
        {
            return Err(DaemonError::NoneCameUp(first));
        }
        failed.for_each(|failed| say!("foldback: {failed}"));
        Ok(steered?)
    }
}

/// Opens the disks that were served.
fn open_left(left: &ActiveVg) -> Result<Ground, DaemonError> {
    let ground = Ground::open(left.setting.clone())?;
    let mut known = ground.files.iter().zip(&left.disks);
    match known.find(|(file, was)| Disk::from(file.identity()) != **was) {
        Some((file, _)) => Err(DaemonError::OtherDisk(file.path().display().to_string())),
        None => Ok(ground),
    }
}
