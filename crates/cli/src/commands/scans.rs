//! `vgscan`, `pvscan`, `lvscan`: what there is, line by line.
//!
//! What must hold (compared with 2.03.16): LVM2's lines. What `pvscan --cache` does is in `online`.

use super::Context;
use super::online::OnlineOptions;
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::vg_name;
use crate::reporting::{Looks, gather, tell_findings};
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_dm_table::{DeviceMapper, Info};
use foldback_kernel_dm::KernelDm;
use foldback_lvm2_format::extents::ExtentMap;
use foldback_manager::report::{LvFacts, LvKind, Report, Units, VgFacts};
use foldback_manager::store::{Discovery, FoundPv, FoundVg};
use foldback_units::Sectors;

/// Search for all volume groups
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct VgScan {
    /// Make the missing nodes and links of active volumes, too
    #[arg(long)]
    mknodes: bool,
    #[arg(short = 'P', long, hide = true)]
    partial: bool,
    #[arg(long, hide = true)]
    notifydbus: bool,
    #[arg(long, hide = true)]
    ignorelockingfailure: bool,
    #[arg(long, hide = true)]
    cache: bool,
}

/// Make the missing nodes and links of active volumes, where no udev makes them
#[derive(Args, Debug)]
pub(crate) struct VgMkNodes {
    /// Of these VGs; all where none is named
    #[arg(value_name = "VG")]
    names: Vec<String>,
    #[arg(long, hide = true)]
    ignorelockingfailure: bool,
    /// Accepted as LVM2 does; what is active stays as it is
    #[arg(long, hide = true)]
    refresh: bool,
}

/// List all physical volumes
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct PvScan {
    /// Only the paths
    #[arg(short, long)]
    short: bool,
    #[command(flatten)]
    online: OnlineOptions,
    /// With their UUIDs
    #[arg(short, long)]
    uuid: bool,
    /// Those of exported VGs alone
    #[arg(short, long)]
    exported: bool,
    /// Those in no VG alone
    #[arg(short, long)]
    novolumegroup: bool,
    #[arg(long, hide = true)]
    ignorelockingfailure: bool,
}

/// List all logical volumes
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct LvScan {
    /// Hidden ones, too
    #[arg(short, long)]
    all: bool,
    #[arg(short = 'P', long, hide = true)]
    partial: bool,
    #[arg(short, long, hide = true)]
    blockdevice: bool,
    #[arg(long, hide = true)]
    ignorelockingfailure: bool,
    #[arg(long, hide = true)]
    cache: bool,
    /// Ask nobody whether volumes are active
    #[arg(long)]
    readonly: bool,
}

fn discover(context: &Context) -> Result<(Session, Discovery), CliError> {
    let mut session = Session::open(&context.options, Access::Read)?;
    let found = session.discover();
    tell_findings(context, &found);
    Ok((session, found))
}

impl VgScan {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (session, found) = discover(context)?;
        if self.mknodes {
            make_nodes(context, &session, found.vgs.iter())?;
        }
        for vg in &found.vgs {
            let exported = if vg.vg.is_exported() { "exported " } else { "" };
            let name = &vg.vg.name;
            context.console.say(&format!("Found {exported}volume group \"{name}\" using metadata type lvm2"));
        }
        Ok(Exit::Success)
    }
}

/// Makes nodes of what the kernel carries of these VGs; what could not be made is warned of.
fn make_nodes<'f>(
    context: &Context,
    session: &Session,
    vgs: impl Iterator<Item = &'f FoundVg>,
) -> Result<(), CliError> {
    let prefixes: Vec<String> = vgs.map(|found| format!("LVM-{}", found.vg.id.compact())).collect();
    // Without device-mapper, or without the right to it, there is nothing to make.
    if context.options.test || !KernelDm::is_there() {
        return Ok(());
    }
    let Ok(mut mapper) = KernelDm::open(&session.paths) else { return Ok(()) };
    let there = mapper.list()?;
    let ours = |info: &&Info| prefixes.iter().any(|prefix| info.uuid.starts_with(prefix));
    mapper.make_nodes(there.iter().filter(ours).map(|info| &info.name));
    for note in mapper.take_notes() {
        context.console.warn(&format!("{note}."));
    }
    Ok(())
}

impl VgMkNodes {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (session, found) = discover(context)?;
        let mut exit = Exit::Success;
        let mut meant: Vec<&FoundVg> = Vec::new();
        for name in &self.names {
            match vg_name(name).and_then(|name| one_vg(&found, &name)) {
                Ok(vg) => meant.push(vg),
                Err(error) => {
                    error.tell(context.console);
                    exit = error.exit;
                }
            }
        }
        if self.names.is_empty() {
            meant.extend(&found.vgs);
        }
        make_nodes(context, &session, meant.into_iter())?;
        Ok(exit)
    }
}

/// A PV of the list: path, VG, size, what is free.
struct Row {
    path: String,
    uuid: String,
    exported: bool,
    vg: Option<String>,
    size: Sectors,
    free: Sectors,
}

fn rows(found: &Discovery) -> Vec<Row> {
    let row = |pv: &FoundPv| {
        let uuid = pv.label.pv.id.to_string();
        let of_vg = found.vgs.iter().find_map(|vg| Some((&vg.vg, vg.vg.pv_by_id(&pv.label.pv.id)?)));
        let Some((vg, known)) = of_vg else {
            let size = pv.label.pv.device_size.to_sectors_floor();
            return Row { path: pv.path.clone(), uuid, exported: false, vg: None, size, free: size };
        };
        let free = vg.extent_size.of(ExtentMap::of(vg).free_count(&known.key));
        let size = vg.extent_size.of(known.pe_count);
        let (path, exported) = (pv.path.clone(), vg.is_exported());
        Row { path, uuid, exported, vg: Some(vg.name.to_string()), size, free }
    };
    found.pvs.iter().map(row).collect()
}

impl PvScan {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        self.online.check()?;
        let (session, found) = discover(context)?;
        if self.online.notes() {
            return self.online.carry_out(context, session, &found);
        }
        drop(session);
        for (only, which) in
            [(self.novolumegroup, "in no volume group"), (self.exported, "of exported volume group(s)")]
        {
            if only {
                context.console.warn(&format!("only considering physical volumes {which}"));
            }
        }
        let mut rows = rows(&found);
        rows.retain(|row| (!self.exported || row.exported) && (!self.novolumegroup || row.vg.is_none()));
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
            let Row { uuid, size, free, .. } = row;
            let path =
                if self.uuid { format!("{:paths$} with UUID {uuid} ", row.path) } else { row.path.clone() };
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
}

/// LVM2's least width of the VG's name.
const LEAST_VG: usize = 15;

/// As LVM2 prints sizes in its lists.
fn words(size: Sectors) -> String {
    if size.is_zero() { "0   ".to_owned() } else { Units::in_words(size) }
}

impl LvScan {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let looks = Looks { hidden: self.all, blindly: self.readonly, ..Looks::default() };
        let (facts, _, exit) = gather(context, Report::Lvs, &[], looks)?;
        for vg in &facts.vgs {
            for lv in vg.lvs.iter().filter(|lv| self.all || !lv.hidden) {
                context.console.say(&line(vg, lv));
            }
        }
        Ok(exit)
    }
}

fn line(vg: &VgFacts, lv: &LvFacts) -> String {
    // What nobody was asked about counts as inactive, as LVM2 has it.
    let state = if lv.live.is_some_and(|live| !live.invalid) { "ACTIVE  " } else { "inactive" };
    let kind = match lv.kind {
        LvKind::Snapshot { .. } => "Snapshot",
        LvKind::Origin { .. } => "Original",
        LvKind::Plain => "        ",
    };
    let policy = lv.allocation.as_deref().unwrap_or("inherit");
    format!("{state} {kind} '/dev/{}/{}' [{}] {policy}", vg.name, lv.name, words(lv.size))
}
