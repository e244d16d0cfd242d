//! Ending a merge that somebody else has begun in devices which carry it by themselves: the poller of LVM2's background
//! merges.
//!
//! What must hold (lvm2.md 2.8, 2.10):
//! - Nothing is begun, and one that has failed is tried again once: a merge that waits is left to wait, and a mark that was taken back meanwhile stays taken back.
//! - The VG is locked to read it and to end the merge, and not while the merge is waited for.
//! - Whoever ends it first has ended it; the others find nothing left to do.

use crate::activation::Group;
use crate::environment::Environment;
use crate::job::error::MergeError;
use crate::job::host::{Carried, MergeHost, Observer};
use crate::job::merge::{Job, MergeRequest, Outcome, locking};
use crate::ops::merge::{self as plan, Merge};
use crate::store::select;

/// How often a merge may be lost sight of, by a renaming, and be found again.
const TIMES_LOST: u32 = 16;

/// How the watch over a merge ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polled {
    /// The snapshot is folded into its origin and gone.
    Finished,
    /// Nothing of the VG is merging under that name: somebody else has ended it, or the mark was taken back.
    NotMerging,
    /// It is marked, and begins when origin and snapshot are brought up again.
    Waits,
    /// Its volumes were taken down.
    NotActive,
    /// The observer broke it off; the merge goes on.
    Stopped,
}

/// What there is of a merge.
enum Found {
    Running(Box<(Merge, Group)>),
    Not(Polled),
}

/// Watches the merge of live volumes to its end, and ends it.
///
/// # Errors
/// The disks', the host's, and a merge that has failed.
pub fn poll<H: MergeHost>(
    host: &mut H,
    request: &MergeRequest<'_>,
    environment: &mut dyn Environment,
    observer: &mut dyn Observer,
) -> Outcome<Polled, H> {
    let mut job = Job { host, request, environment, observer, counted: None };
    let ended = job.poll();
    job.host.unlock();
    ended
}

impl<H: MergeHost> Job<'_, '_, H> {
    fn poll(&mut self) -> Outcome<Polled, H> {
        for _ in 0..TIMES_LOST {
            let found = self.look();
            self.host.unlock();
            let (merge, group) = match found? {
                Found::Running(running) => *running,
                Found::Not(why) => return Ok(why),
            };
            let observer = &mut *self.observer;
            let carried = self
                .host
                .carry_merge(&group.origin.top.name, &mut |progress| observer.progress(progress))
                .map_err(|source| MergeError::Host { attempt: "merging", source })?;
            match carried {
                Carried::Stopped => return Ok(Polled::Stopped),
                // Ended, taken down, or renamed: the VG tells.
                Carried::Gone => {}
                Carried::Finished => {
                    self.end_live(&merge)?;
                    self.tell_finished(&merge);
                    return Ok(Polled::Finished);
                }
            }
        }
        Ok(Polled::NotActive)
    }

    fn look(&mut self) -> Outcome<Found, H> {
        let (vg, lv) = (&self.request.vg, &self.request.lv);
        self.host.lock(vg).map_err(locking)?;
        let found = self.read();
        let found = select::to_change(&found, vg)?;
        let links = found.vg.snapshots();
        if links.of_cow(lv).is_none_or(|snapshot| !snapshot.segment.merging) {
            return Ok(Found::Not(Polled::NotMerging));
        }
        let merge = plan::check(&found.vg, lv)?;
        Ok(match self.live_group(found, lv)? {
            None => Found::Not(Polled::NotActive),
            Some(live) if self.is_merging(&live)? => {
                self.try_again(&live)?;
                Found::Running(Box::new((merge, live)))
            }
            Some(_) => Found::Not(Polled::Waits),
        })
    }
}
