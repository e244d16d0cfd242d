//! Merges that other commands begin: `trial keep`, `premerge`, `--refresh`.
//!
//! What must hold: each is the same merge as `lvconvert --merge` of that snapshot alone; only who waits for it, and who is told, differs.

use super::several::Wanted;
use super::{Early, LvConvert};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use foldback_units::{LvName, VgName};
use std::time::Instant;

/// Merges a snapshot under its own name, for `trial keep`.
pub(crate) fn keep(context: &Context, vg: &VgName, lv: &LvName, background: bool) -> Result<Exit, CliError> {
    let command = LvConvert { background, ..LvConvert::merge(true) };
    command.alone(context, &Interrupt::watch()?, &Wanted::named(vg, lv))
}

/// Goes on with a merge that was begun or marked, if its volumes are not active, and leaves the rest to the activation that
/// follows.
pub(crate) fn premerge(
    context: &Context,
    interrupt: &Interrupt,
    (vg, lv): (&VgName, &LvName),
    until: Option<Instant>,
) -> Result<Exit, CliError> {
    let command = LvConvert { early: Some(Early { until }), ..LvConvert::merge(false) };
    command.alone(context, interrupt, &Wanted::named(vg, lv))
}

/// Begins a merge that was marked while its volumes were in use, and leaves it to the daemon that serves them; one that the kernel
/// carries is ended by whom the caller starts. LVM2's refresh says nothing of it.
pub(crate) fn start_deferred(context: &Context, vg: &VgName, lv: &LvName) -> Result<Exit, CliError> {
    let command = LvConvert { background: true, unpolled: true, ..LvConvert::merge(false) };
    let mut context = context.clone();
    if context.as_lvm2 {
        context.console = context.console.silenced();
    }
    let context = &context;
    command.alone(context, &Interrupt::watch()?, &Wanted::named(vg, lv))
}
