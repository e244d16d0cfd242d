//! `premerge`: goes on with merges before their volumes are activated, as an initramfs does for the root volume.
//!
//! What must hold:
//! - Only what is marked already is merged; what is active is left to whoever carries it.
//! - Where no disks are named all PVs of the host are meant, under whatever name: nothing is active yet that could tell.
//! - It never fails a boot for want of time: when that is over the rest is left to the activation, and the exit code is 0.

use super::Context;
use super::lvconvert::premerge;
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::names::Target;
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_units::{LvName, VgName};
use std::time::{Duration, Instant};

/// Go on with merges before their volumes are activated
#[derive(Args, Debug)]
#[command(
    after_help = "For an initramfs, before the root volume is activated: our own engine merges faster than the kernel. \
                  What is not done in time goes on by itself once the volume is active.\n\nExample:\n  foldback \
                  premerge --max-time 20 vg"
)]
pub(crate) struct Premerge {
    /// Leave the rest to the activation after so many seconds; without it every merge ends here
    #[arg(long, value_name = "SECONDS")]
    max_time: Option<u64>,
    /// Volume groups; none: all
    #[arg(value_name = "VG")]
    names: Vec<String>,
}

impl Premerge {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut context = context.clone();
        if context.options.disks().is_empty() {
            context.options = context.options.of_host();
        }
        let context = &context;
        // A time that no clock can show never comes.
        let until =
            self.max_time.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        let interrupt = Interrupt::watch()?;
        let mut exit = Exit::Success;
        for (vg, lv) in self.waiting(context)? {
            let one = premerge(context, &interrupt, (&vg, &lv), until);
            exit = exit.max(one.unwrap_or_else(|error| {
                error.tell(context.console);
                error.exit
            }));
            if interrupt.asked() {
                break;
            }
        }
        Ok(exit)
    }

    /// Snapshots that are marked, with their VGs.
    fn waiting(&self, context: &Context) -> Result<Vec<(VgName, LvName)>, CliError> {
        let mut session = Session::open(&context.options, Access::Read)?;
        let discovery = session.discover();
        let mut vgs = Vec::new();
        if self.names.is_empty() {
            vgs.extend(&discovery.vgs);
        }
        for name in &self.names {
            let Target::Vg(name) = Target::parse(name)? else {
                return Err(CliError::usage(&context.command, "Name volume groups."));
            };
            vgs.push(one_vg(&discovery, &name)?);
        }
        let waiting = vgs.into_iter().flat_map(|found| {
            let links = found.vg.snapshots();
            let merging = links.all().iter().filter(|snapshot| snapshot.segment.merging);
            let named = merging.map(|snapshot| (found.vg.name.clone(), snapshot.segment.cow.clone()));
            named.collect::<Vec<_>>()
        });
        Ok(waiting.collect())
    }
}
