//! The tables of fields: every field of LVM2 2.03.16's `pvs`, `vgs` and `lvs`, in LVM2's order.
//!
//! What must hold:
//! - Names, headings and least widths are LVM2's, so that scripts that cut by column go on working.
//! - A field of a volume type that Foldback does not carry (thin, cache, RAID, VDO, writecache) is blank, as LVM2
//!   shows it for a volume of another type.

mod lv;
mod pv;
mod segment;
mod vg;

use super::field::{Align, Field, Section, Value, names};
use super::row::{Report, Row};

/// Every field, by section, in LVM2's order.
pub(super) const TABLES: &[(Section, &[Field])] = &[
    (Section::Lv, lv::FIELDS),
    (Section::Label, pv::LABEL_FIELDS),
    (Section::Pv, pv::FIELDS),
    (Section::Vg, vg::FIELDS),
    (Section::Segment, segment::FIELDS),
    (Section::PvSegment, pv::SEGMENT_FIELDS),
    (Section::Special, SPECIAL),
];

const SPECIAL: &[Field] =
    &[right("selected", "Selected", 0, "1: the row was selected", |_| Value::Number(1))];

const fn left(
    id: &'static str,
    heading: &'static str,
    width: usize,
    about: &'static str,
    value: fn(&Row<'_>) -> Value,
) -> Field {
    Field { id, heading, width, align: Align::Left, about, value }
}

const fn right(
    id: &'static str,
    heading: &'static str,
    width: usize,
    about: &'static str,
    value: fn(&Row<'_>) -> Value,
) -> Field {
    Field { id, heading, width, align: Align::Right, about, value }
}

/// A field that has no meaning for the volumes that Foldback carries.
const fn absent(id: &'static str, heading: &'static str, width: usize) -> Field {
    Field {
        id,
        heading,
        width,
        align: Align::Right,
        about: "Not for this type of volume: blank",
        value: |_| Value::Blank,
    }
}

/// The field that `asked` names in `report`, with its section.
pub(super) fn find(asked: &str, report: Report) -> Option<(Section, &'static Field)> {
    let prefix = report.own_section().prefix();
    TABLES.iter().find_map(|(section, fields)| {
        fields.iter().find(|field| names(field.id, asked, prefix)).map(|field| (*section, field))
    })
}

/// The fields that `all`, `lv_all`, `pv_all` and so on stand for.
pub(super) fn group(asked: &str, report: Report) -> Option<Vec<(Section, &'static Field)>> {
    let prefixed = |prefix: &str| -> Vec<Section> {
        let sections = TABLES.iter().map(|(section, _)| *section);
        sections.filter(|section| *section != Section::Special && section.prefix() == prefix).collect()
    };
    let wanted = match (asked, report) {
        ("all", Report::Lvs) => vec![Section::Lv, Section::Vg],
        ("all", Report::Segments) => vec![Section::Lv, Section::Vg, Section::Segment],
        ("all", Report::Pvs) => vec![Section::Label, Section::Pv],
        ("all", Report::PvSegments) => vec![Section::Label, Section::PvSegment],
        ("all", Report::Vgs) => vec![Section::Vg],
        _ => prefixed(asked.strip_suffix("all")?),
    };
    if wanted.is_empty() {
        return None;
    }
    let fields = TABLES.iter().filter(|(section, _)| wanted.contains(section));
    let all = fields.flat_map(|(section, fields)| fields.iter().map(|field| (*section, field)));
    Some(all.filter(|(_, field)| !OURS.contains(&field.id)).collect())
}

/// Fields that LVM2 does not have; its groups stay what they are there.
const OURS: &[&str] =
    &["merge_state", "merge_left", "merge_rate", "merge_seconds", "store_seconds", "lv_nbd"];

/// The list that `-o help` prints.
pub(super) fn help() -> String {
    let mut lines = Vec::new();
    for (section, fields) in TABLES {
        lines.push(format!("  {}", section.title()));
        lines.push(format!("  {}", "-".repeat(section.title().len())));
        if *section != Section::Special {
            let all = format!("{}all", section.prefix());
            lines.push(format!("    {all:<28}- All fields in this section."));
        }
        lines.extend(fields.iter().map(|field| format!("    {:<28}- {}.", field.id, field.about)));
        lines.push("   ".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}
