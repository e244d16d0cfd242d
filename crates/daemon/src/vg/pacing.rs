//! Merges that are paused, paced, and kept short of breath while devices are switched.
//!
//! What must hold:
//! - A device that is suspended waits for the windows of its merge, and its users with it: so the merge is paused first,
//!   while everything is served, and the switch comes when its windows are closed.
//! - What somebody else has paused stays so, also in the daemon that comes after: there no window is begun before it is
//!   known what the merge may do.

use super::{ChangeError, LvStatus, Vg, locked};
use crate::carrier::Carrier;
use crate::state::Steered;
use foldback_dm_table::{DmName, Verb};
use foldback_units::Bytes;
use std::time::{Duration, Instant};

/// How long windows may take to close; a suspend waits for them then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Merges that stand until this is handed back to [`Vg::let_merge`].
#[derive(Debug)]
pub(super) struct Stand(Vec<DmName>);

impl Vg {
    /// Pauses the merges of devices that are about to be suspended, and waits until their windows are closed.
    pub(super) fn stand(&self, verbs: &[Verb]) -> Result<Stand, ChangeError> {
        let suspended = |verb: &Verb| match verb {
            Verb::Suspend { name, .. } => Some(name.clone()),
            _ => None,
        };
        let devices: Vec<DmName> = verbs.iter().filter_map(suspended).collect();
        let pause = move |carrier: &mut Carrier| -> Vec<DmName> {
            let runs = |device: &DmName| {
                let progress = carrier.dm.merge_progress(device);
                progress.is_some_and(|progress| !progress.paused && !progress.finished && !progress.failed)
            };
            let running: Vec<DmName> = devices.into_iter().filter(runs).collect();
            running.into_iter().filter(|device| carrier.dm.pause_merge(device).is_ok()).collect()
        };
        let stand = Stand(self.carrier.call(pause)?);
        let begun = Instant::now();
        while !stand.0.is_empty() && begun.elapsed() < PATIENCE {
            let paused = stand.0.clone();
            let moves = move |carrier: &mut Carrier| {
                let moves = |device: &DmName| {
                    let open = |progress: foldback_user_dm::Progress| !progress.failed && !progress.finished;
                    carrier.dm.merge_progress(device).is_some_and(open)
                        && !carrier.dm.merge_is_paused_and_idle(device)
                };
                paused.iter().any(moves)
            };
            if !self.carrier.call(moves)? {
                break;
            }
            std::thread::sleep(LOOK);
        }
        Ok(stand)
    }

    /// Lets these merges go on. One that has ended meanwhile, or was given up, needs nothing.
    pub(super) fn let_merge(&self, stand: Stand) -> Result<(), ChangeError> {
        let resume = move |carrier: &mut Carrier| {
            stand.0.iter().for_each(|device| {
                carrier.dm.resume_merge(device).ok();
            });
        };
        Ok(self.carrier.call(resume)?)
    }

    /// The merges that somebody has paused or paced; not those that stand for a moment.
    pub(crate) fn steered(&self) -> Vec<Steered> {
        let _one = locked(&self.changing);
        let steered = |lv: LvStatus| {
            let merge = lv.merge.filter(|merge| merge.paused || merge.limit.is_some())?;
            Some(Steered { origin: lv.id.to_string(), paused: merge.paused, rate: merge.limit })
        };
        self.lvs().unwrap_or_default().into_iter().filter_map(steered).collect()
    }

    /// Begins no window of merges that come up from now on, until [`Vg::steer_again`].
    ///
    /// # Errors
    /// The carrier is gone.
    pub(crate) fn wait_to_be_steered(&self) -> Result<(), ChangeError> {
        let wait = |carrier: &mut Carrier| carrier.dm.set_pace_of_new_merges(Some(Bytes::ZERO));
        Ok(self.carrier.call(wait)?)
    }

    /// Lets merges do what they might under an earlier daemon; all that is not in `left` as fast as it can.
    ///
    /// # Errors
    /// The carrier is gone.
    pub(crate) fn steer_again(&self, left: &[Steered]) -> Result<(), ChangeError> {
        let _one = locked(&self.changing);
        let merging = self.lvs()?.into_iter().filter(|lv| lv.merge.is_some());
        let known = |lv: LvStatus| {
            let id = lv.id.to_string();
            let steered = left.iter().find(|steered| steered.origin == id);
            (
                lv.device,
                steered.is_some_and(|steered| steered.paused),
                steered.and_then(|steered| steered.rate),
            )
        };
        let wishes: Vec<_> = merging.map(known).collect();
        let steer = move |carrier: &mut Carrier| {
            carrier.dm.set_pace_of_new_merges(None);
            for (device, paused, rate) in wishes {
                // One that has ended meanwhile needs nothing.
                if paused {
                    carrier.dm.pause_merge(&device).ok();
                }
                carrier.set_merge_rate(&device, rate).ok();
            }
        };
        Ok(self.carrier.call(steer)?)
    }

    /// Begins no further window of the merge into a device, or goes on.
    ///
    /// # Errors
    /// Nothing merges into it.
    pub fn pause_merge(&self, device: &DmName, pause: bool) -> Result<(), ChangeError> {
        let _one = locked(&self.changing);
        let device = device.clone();
        let change = move |carrier: &mut Carrier| {
            if pause { carrier.dm.pause_merge(&device) } else { carrier.dm.resume_merge(&device) }
        };
        self.carrier.call(change)?.map_err(|error| ChangeError::Verb { stage: None, error })
    }

    /// Lets the merge into a device move so many bytes in a second; without a number as fast as it can.
    ///
    /// # Errors
    /// Nothing merges into it.
    pub fn set_merge_rate(&self, device: &DmName, rate: Option<u64>) -> Result<(), ChangeError> {
        let device = device.clone();
        let change = move |carrier: &mut Carrier| carrier.set_merge_rate(&device, rate);
        self.carrier.call(change)?.map_err(|error| ChangeError::Verb { stage: None, error })
    }
}
