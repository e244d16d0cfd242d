//! `vgscan`, `pvscan`, `lvscan`: what there is, line by line.
//!
//! What must hold (compared with 2.03.16): LVM2's lines. Nothing is cached here, so `--cache` finds what there is anyway.

use super::Context;
use crate::activating::ActivationOptions;
use crate::backend::active_in_kernel_by_id;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live;
use crate::options::YesNo;
use crate::reporting::tell_findings;
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_lvm2_format::extents::ExtentMap;
use foldback_lvm2_format::vg::{AllocationPolicy, Lv, Vg};
use foldback_manager::report::Units;
use foldback_manager::store::{Discovery, FoundPv};
use foldback_units::Sectors;
use std::collections::HashSet;

/// Search for all volume groups
#[derive(Args, Debug)]
pub(crate) struct VgScan {
    /// Accepted as LVM2 does; nodes are made where volumes are brought up
    #[arg(long, hide = true)]
    mknodes: bool,
    #[arg(long, hide = true)]
    notifydbus: bool,
    #[arg(long, hide = true)]
    cache: bool,
}

/// List all physical volumes
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct PvScan {
    /// Only the paths
    #[arg(short, long)]
    short: bool,
    /// Say which PVs are online; nothing is cached
    #[arg(long)]
    cache: bool,
    /// With --cache: bring up the VGs whose PVs are all there
    #[arg(short, long, value_name = "ay", requires = "cache")]
    activate: Option<String>,
    /// Accepted as LVM2 does
    #[arg(short, long, hide = true)]
    uuid: bool,
    #[arg(short, long, hide = true)]
    exported: bool,
    #[arg(short, long, hide = true)]
    novolumegroup: bool,
    /// Devices to look at
    #[arg(value_name = "PV", requires = "cache")]
    pvs: Vec<String>,
}

/// List all logical volumes
#[derive(Args, Debug)]
pub(crate) struct LvScan {
    /// Hidden ones, too
    #[arg(short, long)]
    all: bool,
    #[arg(short, long, hide = true)]
    blockdevice: bool,
    #[arg(long, hide = true)]
    cache: bool,
    #[arg(long, hide = true)]
    readonly: Option<YesNo>,
}

fn discover(context: &Context) -> Result<(Session, Discovery), CliError> {
    let mut session = Session::open(&context.options, Access::Read)?;
    let found = session.discover();
    tell_findings(context, &found);
    Ok((session, found))
}

impl VgScan {
    #[expect(clippy::unused_self, reason = "no option of it changes anything here")]
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (_session, found) = discover(context)?;
        for vg in &found.vgs {
            let exported = if vg.vg.is_exported() { "exported " } else { "" };
            let name = &vg.vg.name;
            context.console.say(&format!("Found {exported}volume group \"{name}\" using metadata type lvm2"));
        }
        Ok(Exit::Success)
    }
}

/// A PV of the list: path, VG, size, what is free.
struct Row {
    path: String,
    vg: Option<String>,
    size: Sectors,
    free: Sectors,
}

fn rows(found: &Discovery) -> Vec<Row> {
    let row = |pv: &FoundPv| {
        let of_vg = found.vgs.iter().find_map(|vg| Some((&vg.vg, vg.vg.pv_by_id(&pv.label.pv.id)?)));
        let Some((vg, known)) = of_vg else {
            let size = pv.label.pv.device_size.to_sectors_floor();
            return Row { path: pv.path.clone(), vg: None, size, free: size };
        };
        let free = vg.extent_size.of(ExtentMap::of(vg).free_count(&known.key));
        let size = vg.extent_size.of(known.pe_count);
        Row { path: pv.path.clone(), vg: Some(vg.name.to_string()), size, free }
    };
    found.pvs.iter().map(row).collect()
}

impl PvScan {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (session, found) = discover(context)?;
        if self.cache {
            drop(session);
            return self.online(context, &found);
        }
        let rows = rows(&found);
        if rows.is_empty() {
            context.console.say("No matching physical volumes found");
            return Ok(Exit::Success);
        }
        let sum = |of: &dyn Fn(&Row) -> bool| {
            let these = rows.iter().filter(|row| of(row));
            let (count, size) = these.fold((0_usize, Sectors::ZERO), |(count, size), row| {
                (count.saturating_add(1), size.saturating_add(row.size))
            });
            format!("{count} [{}]", words(size))
        };
        let widest = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let paths = widest(&|row| row.path.len());
        let vgs = widest(&|row| row.vg.as_ref().map_or(0, String::len)).max(LEAST_VG);
        for row in &rows {
            if self.short {
                context.console.say(&row.path);
                continue;
            }
            let Row { path, size, free, .. } = row;
            let behind = match &row.vg {
                Some(vg) => {
                    format!("VG {vg:<vgs$} lvm2 [{} / {} free]", words(*size), words(*free))
                }
                None => format!("   {:vgs$} lvm2 [{}]", "", words(*size)),
            };
            context.console.say(&format!("PV {path:<paths$}   {behind}"));
        }
        context.console.say(&format!(
            "Total: {} / in use: {} / in no VG: {}",
            sum(&|_| true),
            sum(&|row| row.vg.is_some()),
            sum(&|row| row.vg.is_none())
        ));
        Ok(Exit::Success)
    }

    /// `--cache`: who is there, and with `-aay` whole VGs come up.
    fn online(&self, context: &Context, found: &Discovery) -> Result<Exit, CliError> {
        let Some(activate) = &self.activate else {
            let pid = std::process::id();
            let asked = |path: &String| self.pvs.is_empty() || self.pvs.contains(path);
            for pv in found.pvs.iter().filter(|pv| asked(&pv.path)) {
                context.console.say(&format!("pvscan[{pid}] PV {} online.", pv.path));
            }
            return Ok(Exit::Success);
        };
        if activate != "ay" {
            return Err(CliError::usage(&context.command, "Only --activate ay allowed with pvscan."));
        }
        let mut exit = Exit::Success;
        for vg in found.vgs.iter().filter(|vg| !vg.vg.lvs.is_empty() && vg.places.iter().all(Option::is_some))
        {
            let up = ActivationOptions::auto().carry_out(context, &vg.vg.name, None);
            exit = exit.max(up.unwrap_or_else(|error| {
                error.tell(context.console);
                error.exit
            }));
        }
        Ok(exit)
    }
}

/// LVM2's least width of the VG's name.
const LEAST_VG: usize = 15;

/// As LVM2 prints sizes in its lists.
fn words(size: Sectors) -> String {
    if size.is_zero() { "0   ".to_owned() } else { Units::in_words(size) }
}

impl LvScan {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (session, found) = discover(context)?;
        let mut live: HashSet<String> =
            live::vgs()?.into_iter().flat_map(|vg| vg.lvs).map(|lv| lv.id).collect();
        live.extend(active_in_kernel_by_id(&session.paths, &found));
        for vg in &found.vgs {
            for lv in &vg.vg.lvs {
                if let Some(line) = self.line(&vg.vg, lv, &live) {
                    context.console.say(&line);
                }
            }
        }
        Ok(Exit::Success)
    }

    fn line(&self, vg: &Vg, lv: &Lv, live: &HashSet<String>) -> Option<String> {
        let links = vg.snapshots();
        if lv.snapshot().is_some() || !(self.all || links.is_visible(lv)) {
            return None;
        }
        let state = if live.contains(&lv.id.to_string()) { "ACTIVE  " } else { "inactive" };
        let kind = match (links.is_origin(&lv.name), links.is_cow(&lv.name)) {
            (_, true) => "Snapshot",
            (true, _) => "Original",
            _ => "        ",
        };
        let policy = match &lv.allocation_policy {
            None => "inherit",
            Some(AllocationPolicy::Contiguous) => "contiguous",
            Some(AllocationPolicy::Cling) => "cling",
            Some(AllocationPolicy::Normal) => "normal",
            Some(AllocationPolicy::Anywhere) => "anywhere",
            Some(AllocationPolicy::Unknown(text)) => text.as_str(),
        };
        let size = words(vg.extent_size.of(lv.extent_count()));
        Some(format!("{state} {kind} '/dev/{}/{}' [{size}] {policy}", vg.name, lv.name))
    }
}
