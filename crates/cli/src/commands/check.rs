//! `check`: is a snapshot's store in order? Reads, never writes.
//!
//! What must hold:
//! - People and programs get the same findings, each with its place and what it means.
//! - Exit code: 0 in order, 10 the next merge or activation repairs something, 11 refused by everybody, 5 not checked.

use super::Context;
use crate::changing::one_vg;
use crate::error::CliError;
use crate::exit::Exit;
use crate::names::Target;
use crate::reporting::{ReportFormat, no_lv, share};
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use foldback_dm_snapshot_format::{Report, Severity, StoreStatus};
use foldback_manager::check::{CheckError, Usage, check, usage};
use foldback_manager::report::Units;
use foldback_manager::store::{DiskSet, FoundVg};
use foldback_units::{ChunkSize, LvName, Sectors};
use serde_json::{Value, json};

/// Check a snapshot's exception store without changing it
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 in order, 5 could not be checked, 10 something gets repaired when it is used, 11 \
                  damaged or invalid: refused.\n\nExamples:\n  foldback check vg/snap\n  foldback check --json vg/snap"
)]
pub(crate) struct Check {
    /// Print JSON; also --reportformat json
    #[arg(long)]
    json: bool,
    /// How to write the report
    #[arg(long, value_name = "FORMAT")]
    reportformat: Option<ReportFormat>,
    /// The snapshot
    #[arg(value_name = "VG/SNAPSHOT")]
    snapshot: String,
}

/// What is said of a store.
struct Findings<'r> {
    name: String,
    origin: String,
    origin_size: Sectors,
    store: Sectors,
    chunk: ChunkSize,
    merging: bool,
    usage: Usage,
    report: &'r Report,
}

impl Check {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let as_json = self.json || self.reportformat == Some(ReportFormat::Json);
        let looked = self.look(context, as_json);
        if let Err(error) = &looked
            && as_json
        {
            context.console.result(&format!("{:#}\n", unchecked(&self.snapshot, error)));
        }
        looked
    }

    fn look(&self, context: &Context, as_json: bool) -> Result<Exit, CliError> {
        let Target::Lv(vg, lv) = Target::parse(&self.snapshot)? else {
            return Err(CliError::usage(
                &context.command,
                format!("Name a snapshot as VG/{}.", self.snapshot),
            ));
        };
        let mut session = Session::open(&context.options, Access::Read)?;
        let discovery = session.discover();
        let found = one_vg(&discovery, &vg)?;
        let mut set = DiskSet::new(&mut *session.disks, &session.paths);
        let report = check(&mut set, found, &lv).map_err(not_checked)?;
        let usage = usage(found, &lv, &report).map_err(not_checked)?;
        let findings = Findings::new(found, &lv, usage, &report)?;
        let text = if as_json { format!("{:#}\n", findings.json()) } else { findings.text() };
        context.console.result(&text);
        Ok(findings.exit())
    }
}

/// For programs, that there is no result.
fn unchecked(snapshot: &str, error: &CliError) -> Value {
    json!({ "snapshot": snapshot, "result": "unchecked", "error": error.message })
}

fn not_checked(error: CheckError) -> CliError {
    CliError::failed(match error {
        CheckError::Refused(refusal) => refusal.to_string(),
        other => format!("{other}."),
    })
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Pass => "harmless",
        Severity::Repair => "repair",
        Severity::Refuse => "refuse",
    }
}

impl<'r> Findings<'r> {
    fn new(found: &FoundVg, lv: &LvName, usage: Usage, report: &'r Report) -> Result<Self, CliError> {
        let vg = &found.vg;
        let links = vg.snapshots();
        let absent = || no_lv(&vg.name, lv);
        let snapshot = links.of_cow(lv).ok_or_else(absent)?;
        let store = vg.lv(lv).ok_or_else(absent)?;
        let header = report.store.as_ref().and_then(|store| store.header);
        Ok(Self {
            name: format!("{}/{lv}", vg.name),
            origin: format!("{}/{}", vg.name, snapshot.segment.origin),
            origin_size: vg.extent_size.of(snapshot.extent_count),
            store: vg.extent_size.of(store.extent_count()),
            chunk: header.map_or(snapshot.segment.chunk_size, |header| header.chunk_size),
            merging: snapshot.segment.merging,
            usage,
            report,
        })
    }

    fn exit(&self) -> Exit {
        match self.report.worst() {
            Some(Severity::Refuse) => Exit::Damaged,
            Some(Severity::Repair) => Exit::NeedsRepair,
            Some(Severity::Pass) | None => Exit::Success,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.exit() {
            Exit::Damaged if self.usage == Usage::Invalid => "invalid",
            Exit::Damaged => "damaged",
            Exit::NeedsRepair => "repairable",
            _ => "ok",
        }
    }

    fn used(&self) -> Option<StoreStatus> {
        match self.usage {
            Usage::Used { status, .. } => Some(status),
            Usage::Invalid | Usage::Damaged => None,
        }
    }

    fn text(&self) -> String {
        let merging = if self.merging { ", merging" } else { "" };
        let mut lines = vec![
            format!("{}: snapshot of {}{merging}", self.name, self.origin),
            format!("  origin      {}", Units::in_words(self.origin_size)),
            format!(
                "  store       {}, chunks of {}",
                Units::in_words(self.store),
                Units::in_words(self.chunk.len())
            ),
            format!("  exceptions  {}", self.report.visible),
        ];
        if let Some(status) = self.used() {
            let share = share(status, self.store).unwrap_or(0);
            lines.push(format!(
                "  used        {} ({}.{:02}%), of it {} metadata",
                Units::in_words(status.allocated),
                share.div_euclid(100),
                share.rem_euclid(100),
                Units::in_words(status.metadata)
            ));
        }
        for finding in &self.report.findings {
            lines.push(format!("  {:<11} {finding}", word(finding.severity())));
        }
        if self.report.unlisted > 0 {
            lines.push(format!("  and {} more findings", self.report.unlisted));
        }
        lines.push(match self.verdict() {
            "ok" => "  result      in order".to_owned(),
            "repairable" => "  result      usable; the next merge or activation repairs it first".to_owned(),
            "invalid" => {
                "  result      invalid: the snapshot's content is lost, remove it with lvremove".to_owned()
            }
            _ => "  result      damaged: it will not be merged or activated".to_owned(),
        });
        lines.iter().flat_map(|line| ["  ", line, "\n"]).collect()
    }

    fn json(&self) -> Value {
        let findings = self.report.findings.iter().map(|finding| {
            json!({
                "severity": word(finding.severity()),
                "place": finding.place.map(|place| place.to_string()),
                "text": finding.kind.to_string(),
            })
        });
        json!({
            "snapshot": self.name,
            "origin": self.origin,
            "origin_sectors": self.origin_size.get(),
            "store_sectors": self.store.get(),
            "chunk_sectors": self.chunk.sectors(),
            "merging": self.merging,
            "exceptions": self.report.visible,
            "used_sectors": self.used().map(|status| status.allocated.get()),
            "metadata_sectors": self.used().map(|status| status.metadata.get()),
            "findings": findings.collect::<Vec<_>>(),
            "findings_unlisted": self.report.unlisted,
            "result": self.verdict(),
        })
    }
}
