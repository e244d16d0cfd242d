//! `lvdisplay`.

use super::{Form, Lines};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::lv_named;
use clap::Args;
use foldback_manager::report::{Choice, Live, LvFacts, LvKind, Report, VgFacts};

/// Where values begin.
const WIDTH: usize = 23;

/// Display logical volumes line by line
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lvdisplay vg/root\n  lvdisplay -c vg")]
pub(crate) struct LvDisplay {
    #[command(flatten)]
    form: Form,
    /// What to show: everything if nothing is named
    #[arg(value_name = "VG|LV|@TAG", value_parser = lv_named)]
    names: Vec<String>,
}

impl LvDisplay {
    pub(in crate::commands) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let lines = Lines { context: context.clone(), width: WIDTH };
        self.form.run(context, Report::Lvs, &self.names, |facts, chosen| {
            for vg in &facts.vgs {
                for lv in vg.lvs.iter().filter(|lv| !lv.name.is_empty() && chosen.lv(vg, lv)) {
                    if self.form.colon {
                        context.console.say(&colons(vg, lv));
                    } else {
                        self.lines(&lines, vg, lv);
                    }
                }
            }
        })
    }

    fn lines(&self, lines: &Lines, vg: &VgFacts, lv: &LvFacts) {
        lines.title("Logical volume");
        if lv.hidden {
            lines.line("Internal LV Name", &lv.name);
        } else {
            lines.line("LV Path", path(vg, lv));
            lines.line("LV Name", &lv.name);
        }
        lines.line("VG Name", &vg.name);
        lines.line("LV UUID", &lv.uuid);
        lines.line("LV Write Access", if lv.writable { "read/write" } else { "read only" });
        if !lv.created.is_empty() {
            lines.line("LV Creation host, time ", format!("{}, {}", lv.host, lv.created));
        }
        let origin = lv.origin.and_then(|index| vg.lvs.get(index));
        match (lv.kind, origin) {
            (LvKind::Origin { .. }, _) => {
                lines.line("LV snapshot status", "source of");
                for snapshot in lv.snapshots.iter().filter_map(|index| vg.lvs.get(*index)) {
                    let state = if usage(snapshot).is_some() { "active" } else { "INACTIVE" };
                    lines.line("", format!("{} [{state}]", snapshot.name));
                }
            }
            (LvKind::Snapshot { .. }, Some(origin)) => {
                let state = if usage(lv).is_some() { "active" } else { "INACTIVE" };
                lines.line("LV snapshot status", format!("{state} destination for {}", origin.name));
            }
            _ => {}
        }
        // One without any table carries nothing yet.
        let live = lv.live.filter(|live| live.live_table || live.inactive_table);
        match live {
            _ if lv.unknown => {}
            Some(Live { suspended: true, .. }) => lines.line("LV Status", "suspended"),
            Some(_) => lines.line("LV Status", "available"),
            None => lines.line("LV Status", "NOT available"),
        }
        if let Some(live) = live {
            lines.line("# open", live.open_count);
        }
        let whole = origin.unwrap_or(lv);
        lines.line("LV Size", self.form.words(whole.size));
        lines.line("Current LE", extents(whole));
        if origin.is_some() {
            lines.line("COW-table size", self.form.words(lv.size));
            lines.line("COW-table LE", extents(lv));
            if let Some(used) = usage(lv) {
                let (whole, hundredths) = (used.div_euclid(100), used.rem_euclid(100));
                lines.line("Allocated to snapshot", format!("{whole}.{hundredths:02}%"));
            }
            let chunk = lv.segments.first().map(|segment| segment.chunk_size).unwrap_or_default();
            lines.line("Snapshot chunk size", self.form.words(chunk));
        }
        lines.line("Segments", lv.segments.len());
        lines.line("Allocation", lv.allocation.as_deref().unwrap_or("inherit"));
        match lv.read_ahead {
            None => lines.line("Read ahead sectors", "auto"),
            Some(sectors) => lines.line("Read ahead sectors", sectors.get()),
        }
        if let Some(now) =
            lv.live.and_then(|live| live.kernel_read_ahead).filter(|now| lv.read_ahead != Some(*now))
        {
            lines.line("- currently set to", now.get());
        }
        if let Some((major, minor)) = live.and_then(|live| live.kernel_number) {
            lines.line("Block device", format!("{major}:{minor}"));
        }
        lines.end();
    }
}

fn path(vg: &VgFacts, lv: &LvFacts) -> String {
    format!("/dev/{}/{}", vg.name, lv.name)
}

fn extents(lv: &LvFacts) -> u64 {
    lv.segments.iter().map(|segment| segment.len).sum()
}

/// How full the store of a snapshot is that can be used.
fn usage(lv: &LvFacts) -> Option<u64> {
    lv.live.filter(|live| !live.invalid).and_then(|live| live.used)
}

/// What LVM2's numbers mean is not documented: access (4: the device is read only), whether it is active, opens, sectors, extents,
/// policy, read-ahead, device number.
fn colons(vg: &VgFacts, lv: &LvFacts) -> String {
    let access = match (lv.writable, lv.live.is_some()) {
        (true, _) => 3,
        (false, true) => 5,
        (false, false) => 1,
    };
    let policy = match lv.allocation.as_deref() {
        Some("contiguous") => 2,
        Some("cling") => 3,
        Some("normal") => 5,
        Some("anywhere") => 6,
        _ => 0,
    };
    let read_ahead = lv.read_ahead.map_or_else(|| "-1".to_owned(), |sectors| sectors.get().to_string());
    let (major, minor) = match lv.live.and_then(|live| live.kernel_number) {
        Some((major, minor)) => (i64::from(major), i64::from(minor)),
        None => (-1, -1),
    };
    format!(
        "{}:{}:{access}:{}:-1:{}:{}:{}:-1:{policy}:{read_ahead}:{major}:{minor}",
        path(vg, lv),
        vg.name,
        u8::from(lv.live.is_some()),
        lv.live.map_or(0, |live| live.open_count),
        lv.size.get(),
        extents(lv),
    )
}
