//! Runs the manager's merge job as the program does: user-dm carries the devices, over simulated disks.

use super::meddler::Meddler;
use super::reader::{Text, newest};
use foldback_device::Disks;
use foldback_dm_table::{DeviceMapper, DmName, Stage, Transaction};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::job::{Carried, InUse, MergeHost, Observer, Progress};
use foldback_manager::ops::Notice;
use foldback_testkit::SimDisks;
use foldback_units::VgName;
use foldback_user_dm::{DmError, MergeEnd, UserDm};
use std::ops::ControlFlow;

/// The host: nobody else is there, so locks are nothing.
pub(crate) struct Host {
    pub(crate) dm: UserDm<Meddler>,
}

impl MergeHost for Host {
    type Error = DmError;
    type Mapper = UserDm<Meddler>;

    fn mapper(&mut self) -> &mut UserDm<Meddler> {
        &mut self.dm
    }

    fn disks(&mut self) -> Box<dyn Disks + '_> {
        Box::new(self.dm.disks_mut())
    }

    fn lock(&mut self, _: &VgName) -> Result<(), DmError> {
        Ok(())
    }

    fn unlock(&mut self) {}

    /// Nobody else has the devices open.
    fn start_live(
        &mut self,
        transaction: &Transaction,
        _: &[DmName],
    ) -> Result<Option<InUse>, (Stage, DmError)> {
        self.dm.transact(transaction).map(|()| None)
    }

    fn carry_merge(
        &mut self,
        device: &DmName,
        look: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Carried, DmError> {
        let ended = self.dm.run_until_merged(device, &mut |progress| {
            look(&Progress {
                chunks_total: progress.chunks_total,
                chunks_left: progress.chunks_left,
                chunk_size: progress.chunk_size,
            })
        })?;
        Ok(match ended {
            MergeEnd::Finished => Carried::Finished,
            MergeEnd::Stopped => Carried::Stopped,
        })
    }
}

/// Listens, and stops the job after so many looks.
pub(crate) struct Listener {
    pub(crate) disks: SimDisks,
    pub(crate) looks_left: Option<u64>,
    /// What held at each commit.
    pub(crate) texts: Vec<Text>,
    pub(crate) notices: Vec<String>,
}

impl Observer for Listener {
    fn notice(&mut self, notice: Notice) {
        self.notices.push(format!("{notice:?}"));
    }

    fn progress(&mut self, _: &Progress) -> ControlFlow<()> {
        match &mut self.looks_left {
            Some(0) => ControlFlow::Break(()),
            Some(left) => {
                *left -= 1;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn committed(&mut self, _: &Vg) {
        self.texts.extend(newest(&self.disks.visible()).ok().flatten());
    }
}
