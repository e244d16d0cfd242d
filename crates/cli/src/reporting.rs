//! `pvs`, `vgs` and `lvs` have the same options and the same way from disks to text.
//!
//! What must hold:
//! - Objects that were named and do not exist are errors; the others are still shown, and the exit code is 5.
//! - Under LVM2's names the columns are LVM2's; as `foldback lvs`, how full a snapshot is is shown although nobody
//!   serves it.
//! - Without names everything is shown, hidden LVs only with `-a` or by name.

mod settings;
mod share;

use self::settings::hide_foreign;
pub(crate) use self::share::{share, used};
use crate::backend::look_at_kernel;
use crate::choosing::Chosen;
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::exporting;
use crate::live;
use crate::session::Session;
use clap::{Args, ValueEnum};
use foldback_daemon::api::types::{MergeInfo, VgInfo};
use foldback_device::Access;
use foldback_dm_table::SnapshotStatus;
use foldback_manager::check::{Usage, check, usage};
use foldback_manager::report::{
    Asked, BadLayout, Choice, Facts, Format, Live, LvFacts, LvKind, Machine, Needs, Report, StoreFacts,
    Style, Units, field_help, needs, report,
};
use foldback_manager::store::{Discovery, DiskSet, Finding, FoundVg};
use foldback_units::Sectors;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// How a report is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ReportFormat {
    /// Columns.
    Basic,
    /// JSON.
    Json,
}

/// Options of reports.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of LVM2's command line")]
pub(crate) struct ReportOptions {
    /// Columns: FIELD,...; +FIELD,... adds, -FIELD,... takes away, #FIELD,... leaves out blank ones
    #[arg(short, long, value_name = "FIELDS", allow_hyphen_values = true)]
    options: Vec<String>,
    /// Sort by these fields; -FIELD descending
    #[arg(short = 'O', long, value_name = "FIELDS", allow_hyphen_values = true)]
    sort: Vec<String>,
    /// Show rows for which this holds, such as 'lv_size > 1g && origin = root'
    #[arg(short = 'S', long, value_name = "SELECTION", allow_hyphen_values = true)]
    select: Option<String>,
    /// Show hidden volumes, too
    #[arg(short, long)]
    all: bool,
    #[arg(long, hide = true)]
    trustcache: bool,
    /// No line of headings
    #[arg(long)]
    noheadings: bool,
    /// Sizes in h,r (chosen by size), b, s, k, m, g, t, p, e; capital: powers of 1000
    #[arg(long, value_name = "UNIT")]
    units: Option<String>,
    /// No letter behind sizes
    #[arg(long)]
    nosuffix: bool,
    /// Between columns, instead of padding
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    separator: Option<String>,
    /// Pad columns although there is a separator
    #[arg(long)]
    aligned: bool,
    /// Print columns as rows
    #[arg(long)]
    rows: bool,
    /// Print LVM2_FIELD='value'
    #[arg(long)]
    nameprefixes: bool,
    /// With --nameprefixes: no quotes
    #[arg(long)]
    unquoted: bool,
    /// Do not sort
    #[arg(long)]
    unbuffered: bool,
    /// Yes-or-no fields as 1, 0, -1
    #[arg(long)]
    binary: bool,
    /// How to write the report
    #[arg(long, value_name = "FORMAT")]
    reportformat: Option<ReportFormat>,
    #[arg(short = 'P', long, hide = true)]
    partial: bool,
    /// Ask nobody whether volumes are active
    #[arg(long)]
    readonly: bool,
    #[arg(long, hide = true)]
    ignorelockingfailure: bool,
    #[arg(long, hide = true)]
    ignoreskippedcluster: bool,
    #[arg(short = 'H', long, hide = true)]
    history: bool,
    #[arg(long, hide = true)]
    shared: bool,
    /// Under LVM2's names: those of other hosts, too
    #[arg(long, hide = true)]
    foreign: bool,
}

impl ReportOptions {
    /// What is looked at for a report that needs this.
    pub(crate) fn looks(&self, needs: Needs) -> Looks {
        Looks { hidden: self.all, foreign: self.foreign, blindly: self.readonly, needs }
    }

    /// Which rows are wanted.
    pub(crate) fn selection(&self) -> Option<&str> {
        self.select.as_deref()
    }

    /// Whether anything is asked for that only columns have.
    pub(crate) fn wants_columns(&self) -> bool {
        let form = self.noheadings || self.aligned || self.unbuffered || self.binary;
        form || self.separator.is_some() || !self.options.is_empty() || !self.sort.is_empty()
    }

    /// The argument of `--units`.
    pub(crate) fn units_text(&self) -> Option<&str> {
        self.units.as_deref()
    }

    fn units(&self, command: &str) -> Result<Units, CliError> {
        let Some(text) = &self.units else { return Ok(self.suffixed(Units::default())) };
        let units = Units::parse(text).map_err(|error| CliError::usage(command, error.to_string()))?;
        Ok(self.suffixed(units))
    }

    fn suffixed(&self, units: Units) -> Units {
        if self.nosuffix { units.without_suffix() } else { units }
    }

    fn format(&self, units: Units) -> Format {
        Format {
            json: self.reportformat == Some(ReportFormat::Json),
            headings: !self.noheadings,
            separator: self.separator.clone(),
            aligned: self.aligned,
            rows: self.rows,
            name_prefixes: self.nameprefixes,
            unquoted: self.unquoted,
            style: Style { units, binary: self.binary },
        }
    }
}

/// Makes and prints a report about `names`.
pub(crate) fn run(
    context: &Context,
    options: &ReportOptions,
    kind: Report,
    names: &[String],
) -> Result<Exit, CliError> {
    let options = &options.with_settings(context, kind)?;
    let units = options.units(&context.command)?;
    let asked = Asked {
        report: kind,
        options: options.options.clone(),
        sort: options.sort.last().cloned(),
        verbose: context.console.verbose() > 0,
        unbuffered: options.unbuffered,
    };
    let show = |facts: &Facts, choice: &dyn Choice| {
        report(facts, &asked, options.select.as_deref(), choice, &options.format(units))
    };
    // A wrong field is said before disks are looked for.
    let nobody = Chosen::default();
    match show(&Facts::default(), &nobody) {
        Err(BadLayout::Help) => {
            context.console.result(&field_help());
            return Ok(Exit::Success);
        }
        other => drop(other?),
    }
    let needs = needs(&asked, options.select.as_deref())?;
    let (facts, chosen, exit) = gather(context, kind, names, options.looks(needs))?;
    let json = options.reportformat == Some(ReportFormat::Json);
    if json || !chosen.is_empty() {
        context.console.result(&show(&facts, &chosen)?);
    }
    Ok(exit)
}

/// What reports look at.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Looks {
    /// Hidden volumes are meant, too.
    pub(crate) hidden: bool,
    /// VGs of other hosts, too.
    pub(crate) foreign: bool,
    /// Nobody is asked which volumes are active (`--readonly`).
    pub(crate) blindly: bool,
    pub(crate) needs: Needs,
}

/// Everything that reports tell, and what of it `names` mean; what is not there is told.
pub(crate) fn gather(
    context: &Context,
    kind: Report,
    names: &[String],
    looks: Looks,
) -> Result<(Facts, Chosen, Exit), CliError> {
    // It may warn of disks that are not there.
    drop(live::daemon()?);
    let mut session = Session::open(&context.options, Access::Read)?;
    let mut found = session.discover();
    tell_findings(context, &found);
    if context.as_lvm2 && !looks.foreign {
        hide_foreign(context, names, &mut found);
    }
    let format = session.config.report.time_format.clone();
    let time = |seconds| local_time(seconds, format.as_deref());
    let mut facts = Facts::of(&found, Machine { local_time: &time, device_number: &device_number });
    if looks.blindly {
        facts.vgs.iter_mut().flat_map(|vg| &mut vg.lvs).for_each(|lv| lv.unknown = true);
    } else {
        look_at_stores_and_devices(context, &mut session, &found, &mut facts, looks.needs)?;
    }
    let mut chosen = Chosen::new(names.is_empty(), looks.hidden);
    let mut exit = if found.faults.is_empty() { Exit::Success } else { Exit::Failed };
    for name in names {
        if let Err(error) = chosen.add(name, kind, &facts) {
            error.tell(context.console);
            exit = exit.max(error.exit);
        }
    }
    Ok((facts, chosen, exit))
}

fn look_at_stores_and_devices(
    context: &Context,
    session: &mut Session,
    found: &Discovery,
    facts: &mut Facts,
    needs: Needs,
) -> Result<(), CliError> {
    if needs.stores && !context.as_lvm2 {
        look_into_stores(session, found, facts);
    }
    let served = live::vgs()?;
    live::warn_of_trouble(context, &served);
    let extends = session.config.snapshot_autoextend.threshold < 100;
    for vg in &served {
        look_at_live(vg, facts, extends);
        if let Some(facts) = facts.vgs.iter().find(|facts| facts.uuid == vg.id) {
            live::warn_of_waits(context, facts, &vg.lvs);
        }
    }
    look_at_kernel(session, found, facts, needs);
    Ok(())
}

/// Fills in what the stores of snapshots say, which LVM2 leaves blank while they are not active. A store that cannot be
/// read stays blank: `check` says why.
pub(crate) fn look_into_stores(session: &mut Session, found: &Discovery, facts: &mut Facts) {
    let mut set = DiskSet::new(&mut *session.disks, &session.paths);
    for (vg, facts) in found.vgs.iter().zip(&mut facts.vgs) {
        if vg.refuses_use().is_some() {
            continue;
        }
        for snapshot in vg.vg.snapshots().all() {
            let lv = &snapshot.segment.cow;
            let report = check(&mut set, vg, lv);
            let Ok(usage) = report.and_then(|report| usage(vg, lv, &report)) else { continue };
            let store = match usage {
                Usage::Used { status, total } => StoreFacts { used: share(status, total), invalid: false },
                Usage::Invalid => StoreFacts { used: Some(10_000), invalid: true },
                Usage::Damaged => StoreFacts { used: None, invalid: false },
            };
            let merging_into = snapshot.segment.merging.then_some(&snapshot.segment.origin);
            for known in &mut facts.lvs {
                if known.name == lv.as_str()
                    || merging_into.is_some_and(|origin| known.name == origin.as_str())
                {
                    known.store = Some(store);
                }
            }
        }
    }
}

/// Fills in what is known of volumes that the daemon serves, by their UUIDs. `extends`: it has their stores extended in time.
pub(crate) fn look_at_live(served: &VgInfo, facts: &mut Facts, extends: bool) {
    let Some(vg) = facts.vgs.iter_mut().find(|vg| vg.uuid == served.id) else { return };
    for info in &served.lvs {
        let Some(index) = vg.lvs.iter().position(|lv| lv.uuid == info.id) else { continue };
        let status = info.status.iter().find_map(|line| SnapshotStatus::parse(line));
        let live = Live {
            used: status.and_then(used),
            invalid: status == Some(SnapshotStatus::Invalid),
            open: info.open_count > 0,
            open_count: u64::from(info.open_count),
            suspended: info.suspended,
            read_only: false,
            live_table: true,
            inactive_table: false,
            monitored: (info.merge.is_none() && status.is_some()).then_some(extends),
            merge_failed: status == Some(SnapshotStatus::MergeFailed),
            merge_state: info.merge.as_ref().map(merge_state),
            merge_left: info.merge.as_ref().map(|merge| in_sectors(merge, merge.chunks_left)),
            merge_rate: info.merge.as_ref().and_then(|merge| Some(in_sectors(merge, merge.rate?))),
            merge_seconds: info.merge.as_ref().and_then(|merge| merge.chunks_left.checked_div(merge.rate?)),
            store_seconds: status
                .filter(|_| info.merge.is_none())
                .and_then(|status| seconds_to_full(status, info.fill_rate)),
            kernel_number: None,
            kernel_read_ahead: None,
        };
        if let Some(lv) = vg.lvs.get_mut(index) {
            lv.nbd = info.nbd.iter().map(|address| exporting::uri(address, &lv.name)).collect();
        }
        let mut known = vec![index];
        if info.merge.is_some() {
            // The snapshot that merges has no device that users could open; its state is the origin's.
            let merging =
                |lv: &LvFacts| lv.origin == Some(index) && lv.kind == LvKind::Snapshot { merging: true };
            known.extend(vg.lvs.iter().position(merging));
        }
        for index in known {
            if let Some(lv) = vg.lvs.get_mut(index) {
                lv.live = Some(live);
            }
        }
    }
}

fn merge_state(merge: &MergeInfo) -> &'static str {
    match merge {
        MergeInfo { failed: true, .. } => "failed",
        MergeInfo { finished: true, .. } => "finished",
        MergeInfo { paused: true, .. } => "paused",
        MergeInfo { .. } => "running",
    }
}

fn in_sectors(merge: &MergeInfo, chunks: u64) -> Sectors {
    Sectors(chunks.saturating_mul(merge.chunk_sectors))
}

/// One that is full is full, whatever the rate.
fn seconds_to_full(status: SnapshotStatus, rate: Option<u64>) -> Option<u64> {
    match status {
        SnapshotStatus::Usage { allocated, total, .. } => match total.saturating_sub(allocated).get() {
            0 => Some(0),
            left => left.checked_div(rate?),
        },
        _ => None,
    }
}

/// Warns of everything that is wrong.
pub(crate) fn tell_findings(context: &Context, found: &Discovery) {
    for fault in &found.faults {
        context.console.error(&format!("{fault}."));
    }
    for vg in &found.unreadable {
        let name = vg.name.as_deref().unwrap_or("unknown");
        context.console.warn(&format!("{}: metadata of VG {name} cannot be read: {}", vg.path, vg.reason));
    }
    for FoundVg { vg, findings, .. } in &found.vgs {
        for finding in findings {
            if let Finding::MissingPv { id, hint } = finding {
                let last = hint.as_ref().map(|hint| format!(" (last written to {hint})")).unwrap_or_default();
                context.console.warn(&format!("Couldn't find device with uuid {id}."));
                context.console.warn(&format!("VG {} is missing PV {id}{last}.", vg.name));
                continue;
            }
            // Whoever asks for that VG is told, as with LVM2.
            if context.as_lvm2 && matches!(finding, Finding::Foreign { .. }) {
                continue;
            }
            context.console.warn(&format!("VG {}: {finding}", vg.name));
        }
    }
}

/// LVM2's words for a VG that is not there.
pub(crate) fn no_vg(name: &str) -> CliError {
    CliError::failed(format!("Volume group \"{name}\" not found\nCannot process volume group {name}"))
}

/// LVM2's words for an LV that is not there.
pub(crate) fn no_lv(vg: &foldback_units::VgName, lv: &foldback_units::LvName) -> CliError {
    CliError::failed(format!("Failed to find logical volume \"{vg}/{lv}\""))
}

/// As LVM2 writes it: `2026-11-23 08:57:31 +0000`.
const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S %z";

/// Whether a format can be written; `%Q` is one that LVM2 does not know.
pub(crate) fn is_time_format(format: &str) -> bool {
    let zoned = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    !format.contains("%Q") && jiff::fmt::strtime::format(format, &zoned).is_ok()
}

/// By a format of strftime(3); LVM2's where there is none, or none that can be understood.
pub(crate) fn local_time(seconds: i64, format: Option<&str>) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    let time = time.to_zoned(jiff::tz::TimeZone::system());
    let written = |format| jiff::fmt::strtime::format(format, &time);
    format.map_or_else(|| written(TIME_FORMAT), written).or_else(|_| written(TIME_FORMAT)).unwrap_or_default()
}

pub(crate) fn device_number(path: &str) -> Option<(u32, u32)> {
    let metadata = std::fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_block_device())?;
    Some((rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev())))
}
