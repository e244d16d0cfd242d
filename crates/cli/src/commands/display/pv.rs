//! `pvdisplay`.

use super::{Form, Lines};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use clap::Args;
use foldback_manager::report::{Choice, PvFacts, Report, VgFacts};
use foldback_units::Sectors;

/// Where values begin.
const WIDTH: usize = 22;

/// Display physical volumes line by line
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pvdisplay /dev/sdb\n  pvdisplay -c")]
pub(crate) struct PvDisplay {
    #[command(flatten)]
    form: Form,
    /// A line for each
    #[arg(short, long, conflicts_with_all = ["colon", "columns"])]
    short: bool,
    /// What to show: everything if nothing is named
    #[arg(value_name = "PV|@TAG")]
    names: Vec<String>,
}

impl PvDisplay {
    pub(in crate::commands) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let lines = Lines { context: context.clone(), width: WIDTH };
        self.form.run(context, Report::Pvs, &self.names, |facts, chosen| {
            let grouped = facts.vgs.iter().flat_map(|vg| vg.pvs.iter().map(move |pv| (Some(vg), pv)));
            let mut all: Vec<_> = grouped.chain(facts.orphans.iter().map(|pv| (None, pv))).collect();
            all.retain(|(_, pv)| chosen.pv(pv));
            all.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
            for (vg, pv) in all {
                if self.short {
                    let free = self.form.words(pv.free);
                    context.console.say(&format!("Device \"{}\" has a capacity of {free}", pv.name));
                    continue;
                }
                if vg.is_none() {
                    let size = self.form.words(pv.size);
                    let name = &pv.name;
                    context.console.say(&format!("\"{name}\" is a new physical volume of \"{size}\""));
                }
                if self.form.colon {
                    context.console.say(&colons(vg, pv));
                } else {
                    self.lines(&lines, vg, pv);
                }
            }
        })
    }

    fn lines(&self, lines: &Lines, vg: Option<&VgFacts>, pv: &PvFacts) {
        lines.title(if vg.is_some() { "Physical volume" } else { "NEW Physical volume" });
        lines.line("PV Name", &pv.name);
        lines.line("VG Name", vg.map_or("", |vg| vg.name.as_str()));
        let size = self.form.words(pv.device_size);
        let left = pv.device_size.saturating_sub(pv.size);
        lines.line(
            "PV Size",
            if vg.is_some() && !left.is_zero() {
                format!("{size} / not usable {}", self.form.words(left))
            } else {
                size
            },
        );
        let free = pv.extent_count.saturating_sub(pv.allocated_count);
        lines.line(
            "Allocatable",
            match (pv.allocatable && vg.is_some(), free) {
                (false, _) => "NO",
                (true, 0) => "yes (but full)",
                (true, _) => "yes",
            },
        );
        lines.line("PE Size", vg.map_or_else(|| "0   ".to_owned(), |vg| self.form.words(vg.extent_size)));
        lines.line("Total PE", pv.extent_count);
        lines.line("Free PE", free);
        lines.line("Allocated PE", pv.allocated_count);
        lines.line("PV UUID", &pv.uuid);
        lines.end();
    }
}

/// Sectors, twice whether it may be allocated from (8), the extent's size in KiB, extents: all, free, allocated.
fn colons(vg: Option<&VgFacts>, pv: &PvFacts) -> String {
    let allocatable = if vg.is_some() && pv.allocatable { 8 } else { 0 };
    let extent = vg.map_or(Sectors::ZERO, |vg| vg.extent_size).get().div_euclid(2);
    format!(
        "{}:{}:{}:-1:{allocatable}:{allocatable}:-1:{extent}:{}:{}:{}:{}",
        pv.name,
        vg.map_or("", |vg| vg.name.as_str()),
        pv.device_size.get(),
        pv.extent_count,
        pv.extent_count.saturating_sub(pv.allocated_count),
        pv.allocated_count,
        pv.uuid,
    )
}
