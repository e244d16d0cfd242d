//! Which columns a report has, what it is sorted by, and therefore what its rows are.
//!
//! What must hold (compared with LVM2 2.03.16):
//! - `-o LIST` replaces the columns, `+LIST` adds, `-LIST` takes away, `#LIST` leaves out columns that are blank;
//!   several `-o` apply in order.
//! - Sort keys need not be columns; without `-O`, LVM2's own keys apply.
//! - A field that does not exist is an error that names it; taking away one that is not there is none.

use super::field::{Field, Section};
use super::fields::{find, group};
use super::row::{Report, RowKind};

/// What was asked of a report.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which report.
    pub report: Report,
    /// Each `-o` in order.
    pub options: Vec<String>,
    /// `-O`; the last one counts.
    pub sort: Option<String>,
    /// More columns by default (`-v`).
    pub verbose: bool,
    /// Rows in the metadata's order, unsorted (`--unbuffered`).
    pub unbuffered: bool,
}

/// Why a report cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadLayout {
    /// `-o help`: not an error, the list of fields is the answer.
    #[error("help was asked for")]
    Help,
    /// `-o` of a field that does not exist.
    #[error("Unrecognised field: {0}")]
    Column(String),
    /// `-O` of a field that does not exist.
    #[error("dm_report: Unrecognised field: {0}")]
    SortKey(String),
    /// An empty `-o`.
    #[error("Invalid options string: {0}")]
    Empty(String),
    /// Rows that cannot exist.
    #[error("Can't report LV and PV fields at the same time in report type \"{0}\".")]
    Mixed(&'static str),
    /// `-S` that cannot be read.
    #[error("Selection syntax error at '{at}'.{reason}")]
    Selection {
        /// The rest that was not understood.
        at: String,
        /// More about it.
        reason: String,
    },
}

/// A field with its section.
pub(super) type Column = (Section, &'static Field);

/// A report that can be made.
pub(super) struct Layout {
    pub(super) columns: Vec<Column>,
    /// Columns to leave out when every row is blank there.
    pub(super) compact: Vec<&'static str>,
    /// Fields to sort by; `true` is descending.
    pub(super) keys: Vec<(&'static Field, bool)>,
    pub(super) rows: RowKind,
}

fn default_columns(report: Report, verbose: bool) -> &'static str {
    match (report, verbose) {
        (Report::Lvs, false) => {
            "lv_name,vg_name,lv_attr,lv_size,pool_lv,origin,data_percent,metadata_percent,move_pv,mirror_log,\
             copy_percent,convert_lv"
        }
        (Report::Lvs, true) => {
            "lv_name,vg_name,seg_count,lv_attr,lv_size,lv_major,lv_minor,lv_kernel_major,lv_kernel_minor,pool_lv,\
             origin,data_percent,metadata_percent,move_pv,copy_percent,mirror_log,convert_lv,lv_uuid,lv_profile"
        }
        (Report::Segments, false) => "lv_name,vg_name,lv_attr,stripes,segtype,seg_size",
        (Report::Segments, true) => {
            "lv_name,vg_name,lv_attr,seg_start,seg_size,stripes,segtype,stripe_size,chunk_size"
        }
        (Report::Pvs, false) => "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free",
        (Report::Pvs, true) => "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,dev_size,pv_uuid",
        (Report::PvSegments, false) => {
            "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size"
        }
        (Report::PvSegments, true) => {
            "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size,lv_name,seg_start_pe,segtype,\
             seg_pe_ranges"
        }
        (Report::Vgs, false) => "vg_name,pv_count,lv_count,snap_count,vg_attr,vg_size,vg_free",
        (Report::Vgs, true) => {
            "vg_name,vg_attr,vg_extent_size,pv_count,lv_count,snap_count,vg_size,vg_free,vg_uuid,vg_profile"
        }
    }
}

fn default_keys(report: Report) -> &'static str {
    match report {
        Report::Lvs => "vg_name,lv_name",
        Report::Segments => "vg_name,lv_name,seg_start",
        Report::Pvs => "pv_name",
        Report::PvSegments => "pv_name,pvseg_start",
        Report::Vgs => "vg_name",
    }
}

fn columns(list: &str, report: Report) -> Result<Vec<Column>, BadLayout> {
    let mut columns = Vec::new();
    for name in list.split(',').filter(|name| !name.is_empty()) {
        if matches!(name, "help" | "?") {
            return Err(BadLayout::Help);
        }
        match group(name, report) {
            Some(fields) => columns.extend(fields),
            None => columns.push(find(name, report).ok_or_else(|| BadLayout::Column(name.to_owned()))?),
        }
    }
    Ok(columns)
}

fn keys(list: &str, report: Report) -> Result<Vec<(Column, bool)>, BadLayout> {
    let names = list.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| {
            let (plain, descending) = match name.strip_prefix('-') {
                Some(rest) => (rest, true),
                None => (name.strip_prefix('+').unwrap_or(name), false),
            };
            let column = find(plain, report).ok_or_else(|| BadLayout::SortKey(plain.to_owned()))?;
            Ok((column, descending))
        })
        .collect()
}

impl Layout {
    /// Settles what was asked for; `extra` are the sections of fields that a selection looks at.
    pub(super) fn of(asked: &Asked, extra: &[Section]) -> Result<Self, BadLayout> {
        let report = asked.report;
        let mut chosen = columns(default_columns(report, asked.verbose), report)?;
        let mut compact = Vec::new();
        for option in &asked.options {
            if option.is_empty() {
                return Err(BadLayout::Empty(option.clone()));
            }
            let (sign, list) = match option.split_at_checked(1) {
                Some((sign @ ("+" | "-" | "#"), list)) => (sign, list),
                _ => ("", option.as_str()),
            };
            match sign {
                "+" => chosen.extend(columns(list, report)?),
                "-" => {
                    let gone: Vec<Column> = list.split(',').filter_map(|name| find(name, report)).collect();
                    chosen.retain(|(_, field)| !gone.iter().any(|(_, other)| other.id == field.id));
                }
                "#" => compact.extend(columns(list, report)?.into_iter().map(|(_, field)| field.id)),
                _ => chosen = columns(list, report)?,
            }
        }
        let keys = keys(asked.sort.as_deref().unwrap_or(default_keys(report)), report)?;
        let mut sections: Vec<Section> = chosen.iter().map(|(section, _)| *section).collect();
        sections.extend(keys.iter().map(|((section, _), _)| *section));
        sections.extend(extra);
        let rows = report.rows_for(&sections).ok_or(BadLayout::Mixed(report.id()))?;
        let keys = if asked.unbuffered { Vec::new() } else { keys };
        let keys = keys.into_iter().map(|((_, field), descending)| (field, descending)).collect();
        Ok(Self { columns: chosen, compact, keys, rows })
    }
}
