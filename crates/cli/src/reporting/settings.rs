//! What lvm.conf says of reports, and whose VGs they show.
//!
//! What must hold (compared with 2.03.16): the command line goes before lvm.conf; VGs of other hosts are shown with `--foreign`
//! only.

use super::{ReportFormat, ReportOptions};
use crate::commands::Context;
use crate::error::CliError;
use crate::session::system_dir;
use foldback_manager::config::Config;
use foldback_manager::report::{Report, Units};
use foldback_manager::store::{Discovery, Finding, FoundVg};

impl ReportOptions {
    /// With what lvm.conf says where the command line does not.
    pub(super) fn with_settings(&self, context: &Context, kind: Report) -> Result<Self, CliError> {
        let directory = system_dir(context.as_lvm2);
        // What cannot be read is said where disks are opened.
        let read = Config::read(directory.as_deref(), context.options.config.as_deref());
        let Ok(Config { report: set, .. }) = read else { return Ok(self.clone()) };
        let mut options = self.clone();
        if let Some(units) = set.units.filter(|_| options.units.is_none()) {
            if Units::parse(&units).is_err() {
                return Err(CliError::failed(format!(
                    "Unrecognised configuration setting for global/units: {units}"
                )));
            }
            options.units = Some(units);
        }
        options.nosuffix |= set.suffix == Some(false);
        options.noheadings |= set.headings == Some(false);
        if let Some(separator) = set.separator.filter(|_| options.separator.is_none()) {
            options.separator = Some(separator);
            options.aligned |= set.aligned != Some(false);
        }
        options.nameprefixes |= set.prefixes == Some(true);
        options.unquoted |= set.quoted == Some(false);
        options.rows |= set.columns_as_rows == Some(true);
        options.binary |= set.binary == Some(true);
        if options.reportformat.is_none() && set.output_format.as_deref() == Some("json") {
            options.reportformat = Some(ReportFormat::Json);
        }
        let name = match kind {
            Report::Lvs => "lvs",
            Report::Segments => "segs",
            Report::Pvs => "pvs",
            Report::PvSegments => "pvsegs",
            Report::Vgs => "vgs",
        };
        let more = if context.console.verbose() > 0 { "_verbose" } else { "" };
        let columns = set.layouts.get(&format!("{name}_cols{more}"));
        options.options.splice(0..0, columns.cloned());
        options.sort.splice(0..0, set.layouts.get(&format!("{name}_sort")).cloned());
        Ok(options)
    }
}

/// Takes the VGs of other hosts out of what a report shows, and says so of those that were asked for.
pub(super) fn hide_foreign(context: &Context, names: &[String], found: &mut Discovery) {
    let foreign = |found: &FoundVg| {
        found.findings.iter().find(|finding| matches!(finding, Finding::Foreign { .. })).cloned()
    };
    for vg in found.vgs.iter().filter(|vg| foreign(vg).is_some()) {
        found.pvs.retain(|pv| vg.vg.pv_by_id(&pv.label.pv.id).is_none());
    }
    found.vgs.retain(|vg| {
        let Some(finding) = foreign(vg) else { return true };
        let name = vg.vg.name.as_str();
        if names.is_empty() || names.iter().any(|asked| asked.split('/').next() == Some(name)) {
            context.console.error(&finding.refusal(name));
        }
        false
    });
}
