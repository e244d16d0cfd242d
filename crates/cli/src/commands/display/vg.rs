//! `vgdisplay`.

use super::{Form, Lines};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use clap::Args;
use foldback_manager::report::{Choice, Report, VgFacts};
use foldback_units::Sectors;

/// Where values begin.
const WIDTH: usize = 22;

/// Display volume groups line by line
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vgdisplay vg\n  vgdisplay -c")]
pub(crate) struct VgDisplay {
    #[command(flatten)]
    form: Form,
    /// A line for each
    #[arg(short, long, conflicts_with_all = ["colon", "columns"])]
    short: bool,
    /// What to show: everything if nothing is named
    #[arg(value_name = "VG|@TAG")]
    names: Vec<String>,
}

impl VgDisplay {
    pub(in crate::commands) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let lines = Lines { context: context.clone(), width: WIDTH };
        self.form.run(context, Report::Vgs, &self.names, |facts, chosen| {
            for vg in facts.vgs.iter().filter(|vg| chosen.vg(vg)) {
                if self.form.colon {
                    context.console.say(&colons(vg));
                } else if self.short {
                    context.console.say(&self.short(vg));
                } else {
                    self.lines(&lines, vg);
                }
            }
        })
    }

    fn size(&self, vg: &VgFacts, extents: u64) -> String {
        self.form.words(Sectors(vg.extent_size.get().saturating_mul(extents)))
    }

    fn short(&self, vg: &VgFacts) -> String {
        let (used, free) = (self.size(vg, allocated(vg)), self.size(vg, vg.free_count));
        format!("\"{}\" {} [{used} used / {free} free]", vg.name, self.size(vg, vg.extent_count))
    }

    fn lines(&self, lines: &Lines, vg: &VgFacts) {
        let (used, free) = (allocated(vg), vg.free_count);
        let pvs = count(vg.pvs.len());
        lines.title("Volume group");
        lines.line("VG Name", &vg.name);
        lines.line("System ID", &vg.system_id);
        lines.line("Format", "lvm2");
        lines.line("Metadata Areas", vg.areas.count);
        lines.line("Metadata Sequence No", vg.seqno);
        lines.line("VG Access", if vg.writable { "read/write" } else { "read" });
        let exported = if vg.exported { "exported/" } else { "" };
        lines.line("VG Status", format!("{exported}{}resizable", if vg.resizeable { "" } else { "NOT " }));
        lines.line("MAX LV", vg.max_lv);
        lines.line("Cur LV", visible(vg));
        lines.line("Open LV", open(vg));
        lines.line("Max PV", vg.max_pv);
        lines.line("Cur PV", pvs);
        lines.line("Act PV", pvs.saturating_sub(vg.missing_pvs));
        lines.line("VG Size", self.size(vg, vg.extent_count));
        lines.line("PE Size", self.form.words(vg.extent_size));
        lines.line("Total PE", vg.extent_count);
        lines.line("Alloc PE / Size", format!("{used} / {}", self.size(vg, used)));
        lines.line("Free  PE / Size", format!("{free} / {}", self.size(vg, free)));
        lines.line("VG UUID", &vg.uuid);
        lines.end();
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn allocated(vg: &VgFacts) -> u64 {
    vg.extent_count.saturating_sub(vg.free_count)
}

fn visible(vg: &VgFacts) -> u64 {
    count(vg.lvs.iter().filter(|lv| !lv.hidden).count())
}

fn open(vg: &VgFacts) -> u64 {
    let open = |lv: &&foldback_manager::report::LvFacts| !lv.hidden && lv.live.is_some_and(|live| live.open);
    count(vg.lvs.iter().filter(open).count())
}

/// Sizes in KiB. The status is LVM2's bits: 4 resizable, 2 exported, 256 readable, 512 writable.
fn colons(vg: &VgFacts) -> String {
    let bits = [(vg.resizeable, 4), (vg.exported, 2), (vg.writable, 512)];
    let status: u32 =
        bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum::<u32>().saturating_add(256);
    let extent = vg.extent_size.get().div_euclid(2);
    let pvs = count(vg.pvs.len());
    format!(
        "{}:{}:{status}:-1:{}:{}:{}:-1:{}:{pvs}:{}:{}:{extent}:{}:{}:{}:{}",
        vg.name,
        if vg.writable { "r/w" } else { "r" },
        vg.max_lv,
        visible(vg),
        open(vg),
        vg.max_pv,
        pvs.saturating_sub(vg.missing_pvs),
        extent.saturating_mul(vg.extent_count),
        vg.extent_count,
        allocated(vg),
        vg.free_count,
        vg.uuid,
    )
}
