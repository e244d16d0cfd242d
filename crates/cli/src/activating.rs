//! Bringing volumes up and taking them down, for the commands that do it.
//!
//! What must hold:
//! - What is done is done by the daemon; the command decides which LVs, and says what came of it in LVM2's words.

use crate::changing::one_vg;
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::exporting::{self, Export};
use crate::live::{self, LiveVg};
use crate::session::Session;
use clap::ValueEnum;
use foldback_device::Access;
use foldback_lvm2_format::vg::{Lv, LvFlag, Vg};
use foldback_units::{LvName, VgName};

/// LVM2's values of `-a`, as far as they differ here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Activation {
    /// Bring up.
    #[value(name = "y", alias = "ey", alias = "sy", alias = "ly", alias = "aey")]
    Yes,
    /// Take down.
    #[value(name = "n", alias = "en", alias = "ln")]
    No,
    /// Bring up what may be brought up by itself.
    #[value(name = "ay", alias = "aay")]
    Auto,
}

/// How LVs are brought up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) how: Activation,
    /// What is marked to be skipped, too.
    pub(crate) skipped_too: bool,
    /// Serve them so, too.
    pub(crate) export: Option<&'a Export>,
}

/// Brings LVs up, all that users see where none is named.
pub(crate) fn activate(
    context: &Context,
    vg: &VgName,
    lvs: Option<&[LvName]>,
    wish: Wish<'_>,
) -> Result<Exit, CliError> {
    let Wish { how, skipped_too, export } = wish;
    let mut session = Session::open(&context.options, Access::Read)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    if let Some(finding) = found.refuses_use() {
        return Err(CliError::failed(finding.refusal(vg.as_str())));
    }
    let chosen: Vec<(String, String)> = found
        .vg
        .lvs
        .iter()
        .filter(|lv| lvs.map_or_else(|| is_seen(&found.vg, lv), |lvs| lvs.contains(&lv.name)))
        .filter(|lv| skipped_too || !lv.flags.contains(LvFlag::ActivationSkip))
        .filter(|lv| how != Activation::Auto || !lv.flags.contains(LvFlag::NoAutoactivate))
        .map(|lv| (lv.name.to_string(), lv.id.to_string()))
        .collect();
    let wanted: Vec<String> = chosen.iter().map(|(name, _)| name.clone()).collect();
    let setting = live::setting(&context.options, &session.paths)?;
    // The daemon reads the metadata itself.
    drop(session);
    if context.options.test {
        return Ok(Exit::Success);
    }
    let mut client = live::daemon_started()?;
    let done = client.activate(vg.as_str(), &wanted, &setting)?;
    for failed in &done.failed {
        context.console.error(&format!("{failed}."));
    }
    if lvs.is_none() {
        context
            .console
            .say(&format!("{} logical volume(s) in volume group \"{vg}\" now active", done.active));
    }
    if done.merging > 0 {
        context.console.say(&format!(
            "Background polling started for {} logical volume(s) in volume group \"{vg}\"",
            done.merging
        ));
    }
    if let Some(export) = export {
        exporting::export(context, vg, &chosen, export)?;
    }
    Ok(if done.failed.is_empty() { Exit::Success } else { Exit::Failed })
}

/// Visible, or a snapshot that is not merging.
fn is_seen(vg: &Vg, lv: &Lv) -> bool {
    let links = vg.snapshots();
    lv.snapshot().is_none() && (links.is_visible(lv) || links.is_cow(&lv.name))
}

/// Takes LVs down, all where none is named.
pub(crate) fn deactivate(context: &Context, vg: &VgName, lvs: Option<&[LvName]>) -> Result<Exit, CliError> {
    let Some(mut live) = LiveVg::find(vg, &context.options.disks())? else {
        if lvs.is_none() {
            context.console.say(&format!("0 logical volume(s) in volume group \"{vg}\" now active"));
        }
        return Ok(Exit::Success);
    };
    let mut session = Session::open(&context.options, Access::Read)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    let is_live = |lv: &&Lv| live.lv(&lv.id.to_string()).is_some();
    let wanted: Vec<String> = found
        .vg
        .lvs
        .iter()
        .filter(is_live)
        .filter(|lv| lvs.is_none_or(|lvs| lvs.contains(&lv.name)))
        .map(|lv| lv.name.to_string())
        .collect();
    drop(session);
    if context.options.test {
        return Ok(Exit::Success);
    }
    let left = live.client.deactivate(vg.as_str(), &wanted)?;
    if lvs.is_none() {
        context.console.say(&format!("{left} logical volume(s) in volume group \"{vg}\" now active"));
    }
    Ok(Exit::Success)
}

/// Looks at live LVs again.
pub(crate) fn refresh(context: &Context, vg: &VgName, _: Option<&[LvName]>) -> Result<Exit, CliError> {
    if let Some(mut live) = LiveVg::find(vg, &context.options.disks())?
        && !context.options.test
    {
        live.client.look(vg.as_str())?;
    }
    Ok(Exit::Success)
}
