//! Merges that are under way, or waiting: cancelled, paused, gone on with, slowed down.
//!
//! What must hold (architecture.md, "Merging"):
//! - A mark is taken back only where it is certain that nothing was merged: the origin is live, and its table is
//!   `snapshot-origin`. Everything else may have begun, and the answer names the ways out.
//! - A merge is named by its snapshot or by its origin.

use crate::backend::Kernel;
use crate::changing::{Change, one_vg, refused, vg_to_change};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::LiveVg;
use crate::session::Session;
use crate::sizes::Size;
use crate::switching::Switch;
use foldback_device::Access;
use foldback_dm_table::{Table, Target};
use foldback_lvm2_format::vg::Vg;
use foldback_manager::ops::Refusal;
use foldback_manager::ops::merge::{Begun, cancel};
use foldback_units::{LvName, Sectors, VgName};
use std::str::FromStr;

/// What a merge may move in a second: a size, or `none` for as much as it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate(pub(crate) Option<u64>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let size = text.strip_suffix("/s").unwrap_or(text);
        let Size(sectors) = size.parse()?;
        match sectors.to_bytes() {
            _ if sectors == Sectors::ZERO => Err("a rate of nothing is a pause: use --pause".to_owned()),
            Some(bytes) => Ok(Self(Some(bytes.get()))),
            None => Err("Size is too big.".to_owned()),
        }
    }
}

/// What is to be done with a merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Steer {
    /// Take the mark back.
    Cancel,
    /// Begin nothing more of it.
    Pause,
    /// Go on with it.
    Resume,
    /// Move so much in a second.
    Rate(Rate),
}

/// Does it to the merge of which `lv` is the snapshot or the origin.
pub(crate) fn steer(context: &Context, vg: &VgName, lv: &LvName, what: Steer) -> Result<Exit, CliError> {
    if what == Steer::Cancel {
        return take_back(context, vg, lv);
    }
    let mut session = Session::open(&context.options, Access::Read)?;
    let discovery = session.discover();
    let found = one_vg(&discovery, vg)?;
    let (snapshot, origin) = merging(context, &found.vg, lv)?;
    let id = found.vg.lv(&origin).map(|origin| origin.id.to_string()).unwrap_or_default();
    if Kernel::that_carries(context, &session, found)?.is_some() {
        return Err(CliError::failed(format!(
            "{vg} is active in the kernel, whose merges cannot be paused, and have no rate."
        ))
        .hint("only those that the daemon carries can: vgchange -ay --backend user, once they are down"));
    }
    let live = LiveVg::find(vg, &session.paths)?;
    drop(session);
    let device = live.as_ref().and_then(|live| live.lv(&id));
    let device = device.filter(|device| device.merge.is_some()).map(|device| device.device.clone());
    let (Some(mut live), Some(device)) = (live, device) else {
        return Err(CliError::failed(format!("{vg}/{origin} is not active, or its merge has not begun."))
            .hint(format!("lvchange -ay {vg}/{origin} brings it up, and the merge begins")));
    };
    if context.options.test {
        return Ok(Exit::Success);
    }
    let merge = format!("Merging of volume {vg}/{snapshot}");
    match what {
        Steer::Cancel | Steer::Pause => {
            live.client.pause_merge(vg.as_str(), &device, true)?;
            context.console.say(&format!("{merge} paused."));
        }
        Steer::Resume => {
            live.client.pause_merge(vg.as_str(), &device, false)?;
            context.console.say(&format!("{merge} goes on."));
        }
        Steer::Rate(Rate(rate)) => {
            live.client.set_merge_rate(vg.as_str(), &device, rate)?;
            let limit = rate.map_or_else(
                || "is not limited any more".to_owned(),
                |rate| format!("is limited to {} a second", indicatif::BinaryBytes(rate)),
            );
            context.console.say(&format!("{merge} {limit}."));
        }
    }
    Ok(Exit::Success)
}

/// The snapshot and the origin of a merge, by the name of either.
fn merging(context: &Context, vg: &Vg, lv: &LvName) -> Result<(LvName, LvName), CliError> {
    let refuse = |refusal: Refusal| refused(context, &refusal);
    if vg.lv(lv).is_none() {
        return Err(refuse(Refusal::LvNotFound { vg: vg.name.clone(), lv: lv.clone() }));
    }
    let links = vg.snapshots();
    let of_snapshot = links.of_cow(lv).filter(|snapshot| snapshot.segment.merging);
    let snapshot = of_snapshot.or_else(|| links.merging_into(lv));
    let segment = snapshot.map(|snapshot| snapshot.segment);
    segment
        .map(|segment| (segment.cow.clone(), segment.origin.clone()))
        .ok_or_else(|| refuse(Refusal::NotMerging { vg: vg.name.clone(), lv: lv.clone() }))
}

fn take_back(context: &Context, vg: &VgName, lv: &LvName) -> Result<Exit, CliError> {
    let mut change = Change::of_vg(context, vg, &[])?;
    let (discovery, mut live) = change.look(vg)?;
    let found = vg_to_change(&discovery, vg)?;
    let (snapshot, origin) = merging(context, &found.vg, lv)?;
    let live_origin = live.as_ref().and_then(|live| live.of(&found.vg, &origin));
    let plain = |table: &Table| {
        table.lines.iter().all(|line| matches!(line.target, Target::SnapshotOrigin { .. }))
            && !table.is_empty()
    };
    let begun = if live_origin.is_some_and(|origin| plain(&origin.table)) { Begun::No } else { Begun::Maybe };
    let after = cancel(&found.vg, &snapshot, begun).map_err(|refusal| refused(context, &refusal))?;
    if !change.is_test() {
        // The devices are those of an ordinary snapshot already.
        change.apply_either(live.as_mut(), (found, after), false, |_, _, _| Ok(Switch::default()))?;
    }
    context.console.say(&format!("Merging of volume {vg}/{snapshot} cancelled; nothing was merged."));
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_rate_is_a_size_in_a_second() {
        assert_eq!("10m/s".parse(), Ok(Rate(Some(10 << 20))));
        assert_eq!("10".parse(), Ok(Rate(Some(10 << 20))));
        assert_eq!("512k".parse(), Ok(Rate(Some(512 << 10))));
        assert_eq!("none".parse(), Ok(Rate(None)));
        for wrong in ["0", "fast", "-1m", "1m/h"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
