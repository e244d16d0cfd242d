//! `lvpoll`: watches a merge that the kernel carries, and ends it. Other commands start it.
//!
//! What must hold (lvm2.md 2.10):
//! - It begins nothing, and says so where there is nothing to end; that is no failure.
//! - While it waits no disk is open: a merge takes hours, and others want to take disks away, and add some. The end finds the
//!   disks that the VG has by then.

use super::Context;
use crate::backend::{Kernel, KernelHost};
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::merging::{DEFAULT_INTERVAL, Listener, Pace};
use crate::names::Target;
use crate::options::Options;
use crate::polling::{Task, Turn};
use crate::session::Session;
use clap::Args;
use foldback_daemon::RunDir;
use foldback_device::Access;
use foldback_manager::activation::Group;
use foldback_manager::environment::Machine;
use foldback_manager::job::{Carried, MergeRequest, Observer, Polled, poll, watch_merge};
use foldback_manager::ops::merge_start::Mode;
use foldback_manager::store::{Discovery, FoundVg};
use foldback_units::{LvName, VgName};

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
        let (session, discovery) = disks_now(context, &vg)?;
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
        let places = session.backup_places();
        let mut listener = Listener::new(context, &interrupt, origin.clone(), pace, places);
        let group = Group::of(found, &lv).map_err(|error| CliError::failed(format!("{error}.")))?;
        let device = group.origin.top.name;
        let Kernel { mut mapper, .. } = kernel;
        drop((discovery, session));
        // Whatever it says but that it was told to stop, the VG tells more.
        let seen = watch_merge(&mut mapper, &device, &mut |progress| listener.progress(progress));
        if matches!(seen, Ok(Carried::Stopped)) {
            return Err(stopped(&vg, &lv));
        }
        let (session, _) = disks_now(context, &vg)?;
        let mut host = KernelHost::new(mapper, session);
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
            told: false,
        };
        let ended = poll(&mut host, &request, &mut Machine::new(&context.line), &mut listener);
        drop(listener);
        drop(turn);
        host.tell_notes(context);
        match ended? {
            Polled::Finished => {}
            Polled::NotMerging => context.console.detail(&format!("{vg}/{lv} is not merging any more.")),
            Polled::Waits => context.console.detail(&format!("The merge of {vg}/{lv} has not begun.")),
            Polled::NotActive => context.console.say(&format!("{origin}: Interrupted: No longer active.")),
            Polled::Stopped => return Err(stopped(&vg, &lv)),
        }
        Ok(Exit::Success)
    }
}

fn stopped(vg: &VgName, lv: &LvName) -> CliError {
    let said = format!("Merging of volume {vg}/{lv} goes on, and nobody ends it.");
    CliError::failed(said).hint(format!("vgchange --poll y {vg} ends it"))
}

/// The disks of the VG: those that are named, and where one of its PVs is not among them, all that LVM2 would find.
fn disks_now(context: &Context, vg: &VgName) -> Result<(Session, Discovery), CliError> {
    let open = |options: &Options| -> Result<(Session, Discovery), CliError> {
        let mut session = Session::open_unlocked(options, &[], Access::Write)?;
        let discovery = session.discover();
        Ok((session, discovery))
    };
    let named = open(&context.options)?;
    let lacks = |found: &FoundVg| found.places.iter().any(Option::is_none);
    if !one_vg(&named.1, vg).is_ok_and(lacks) {
        return Ok(named);
    }
    drop(named);
    open(&context.options.of_host())
}
