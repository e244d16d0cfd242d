//! `lvconvert --mergethin` and `--mergemirrors`: for kinds of LVs that are not carried here.
//!
//! What must hold (compared with 2.03.16): of LVs that are carried each is refused in LVM2's words, and nothing is changed.

use crate::changing::{one_vg, refused};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::Target;
use crate::reporting::no_lv;
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_lvm2_format::vg::{Segment, SegmentKind};
use foldback_manager::ops::Refusal;
use foldback_manager::ops::snapshot_create::not_understood;
use foldback_units::{LvName, VgName};

/// The options.
#[derive(Args, Default, Debug)]
pub(super) struct OtherKinds {
    #[arg(long, hide = true, conflicts_with_all = ["merge", "mergesnapshot", "splitsnapshot", "mergemirrors"])]
    mergethin: bool,
    #[arg(long, hide = true, conflicts_with_all = ["merge", "mergesnapshot", "splitsnapshot"])]
    mergemirrors: bool,
}

impl OtherKinds {
    /// Says of each LV that it is none of those; `None` where nothing of the kind is asked for.
    pub(super) fn run(&self, context: &Context, names: &[String]) -> Option<Result<Exit, CliError>> {
        if names.is_empty() || !(self.mergethin || self.mergemirrors) {
            return None;
        }
        let mut exit = Exit::Success;
        for name in names {
            let error = match Target::parse(name) {
                Ok(Target::Lv(vg, lv)) => of_another_kind(context, &vg, &lv),
                Ok(Target::Vg(_) | Target::Tag(_)) => {
                    CliError::failed(format!("Name the logical volumes, as VG/LV: {name} is none."))
                }
                Err(error) => error,
            };
            error.tell(context.console);
            exit = exit.max(error.exit);
        }
        Some(Ok(exit))
    }
}

fn of_another_kind(context: &Context, vg: &VgName, lv: &LvName) -> CliError {
    let looked = Session::open(&context.options, Access::Read).and_then(|mut session| {
        let discovery = session.discover();
        let found = &one_vg(&discovery, vg)?.vg;
        let Some(known) = found.lv(lv).filter(|lv| lv.snapshot().is_none()) else {
            return Err(no_lv(vg, lv));
        };
        let (vg, lv) = (vg.clone(), lv.clone());
        if let Some(type_text) = not_understood(known) {
            return Ok(Refusal::NotUnderstood { vg, lv, type_text });
        }
        let spread =
            |segment: &Segment| matches!(&segment.kind, SegmentKind::Striped(on) if on.areas.len() > 1);
        let kind = if found.snapshots().is_cow(&lv) {
            "snapshot"
        } else if known.segments.first().is_some_and(spread) {
            "striped"
        } else {
            "linear"
        };
        Ok(Refusal::WrongKind { vg, lv, kind: kind.to_owned() })
    });
    looked.map_or_else(|error| error, |refusal| refused(context, &refusal))
}
