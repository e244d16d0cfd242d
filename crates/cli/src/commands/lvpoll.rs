//! `lvpoll`: watches a merge that the kernel carries, and ends it. Other commands start it.
//!
//! What must hold (lvm2.md 2.10):
//! - It begins nothing, and says so where there is nothing to end; that is no failure.

use super::Context;
use crate::backend::{Kernel, KernelHost};
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::merging::{DEFAULT_INTERVAL, Listener, Pace};
use crate::names::Target;
use crate::polling::{Task, Turn};
use crate::session::Session;
use clap::Args;
use foldback_daemon::RunDir;
use foldback_device::Access;
use foldback_manager::environment::Machine;
use foldback_manager::job::{MergeRequest, Polled, poll};
use foldback_manager::ops::merge_start::Mode;

/// End a merge when the kernel is done with it
#[derive(Args, Debug)]
pub(crate) struct LvPoll {
    /// Nobody listens
    #[arg(short, long)]
    background: bool,
    /// The snapshot
    #[arg(value_name = "VG/SNAPSHOT")]
    name: String,
}

impl LvPoll {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let Target::Lv(vg, lv) = Target::parse(&self.name)? else {
            return Err(CliError::usage(&context.command, "Name the snapshot: VG/SNAPSHOT."));
        };
        let interrupt = Interrupt::watch()?;
        let mut session = Session::open_unlocked(&context.options, &[], Access::Write)?;
        let discovery = session.discover();
        let found = one_vg(&discovery, &vg)?;
        let Some(snapshot) = found.vg.lv(&lv) else {
            // Whoever ended it first has removed it.
            context.console.detail(&format!("{vg}/{lv} is not there any more."));
            return Ok(Exit::Success);
        };
        let id = snapshot.id.to_string();
        let links = found.vg.snapshots();
        let origin = links.of_cow(&lv).map_or_else(|| lv.clone(), |snapshot| snapshot.segment.origin.clone());
        let origin = format!("{vg}/{origin}");
        let turn = Turn::take(&RunDir::of_user(), Task::Poll, &id);
        // Whoever waits for the end does not leave it to others.
        if turn.is_none() && self.background {
            return Ok(Exit::Success);
        }
        let Some(kernel) = Kernel::that_carries(context, &session, found)? else {
            context.console.say(&format!("{origin}: Interrupted: No longer active."));
            return Ok(Exit::Success);
        };
        let pace = Pace { every: DEFAULT_INTERVAL, later: self.background, until: None };
        let mut listener = Listener::new(context, &interrupt, origin.clone(), pace, session.backup_places());
        let mut host = KernelHost::new(kernel, session);
        let (paths, system_id) = (host.paths.clone(), host.config.system_id.clone());
        let request = MergeRequest {
            paths: &paths,
            system_id: system_id.as_deref(),
            vg: vg.clone(),
            lv: lv.clone(),
            force: false,
            mode: Mode::NameOrigin,
            undo: None,
            leave: false,
        };
        let ended = poll(&mut host, &request, &mut Machine::new(&context.line), &mut listener);
        drop(listener);
        drop(turn);
        match ended? {
            Polled::Finished => {}
            Polled::NotMerging => context.console.detail(&format!("{vg}/{lv} is not merging any more.")),
            Polled::Waits => context.console.detail(&format!("The merge of {vg}/{lv} has not begun.")),
            Polled::NotActive => context.console.say(&format!("{origin}: Interrupted: No longer active.")),
            Polled::Stopped => {
                let said = format!("Merging of volume {vg}/{lv} goes on, and nobody ends it.");
                return Err(CliError::failed(said).hint(format!("vgchange --poll y {vg} ends it")));
            }
        }
        Ok(Exit::Success)
    }
}
