//! Reports: `pvs`, `vgs` and `lvs` as LVM2 2.03 prints them, from plain facts to text. Pure.
//!
//! What must hold:
//! - Fields, headings, letters, units, options and JSON are LVM2's, byte for byte; deliberate differences are in
//!   `docs/lvm2-differences.md`.
//! - People and programs get the same rows: columns and JSON differ only in how they are written.
//! - Nothing here reads a disk or a clock; what it shows it was given as [`Facts`].

mod attributes;
mod facts;
mod field;
mod fields;
mod gather;
mod layout;
mod render;
mod row;
mod select;
mod units;

pub use facts::{
    AreaFacts, Facts, Live, LvFacts, LvKind, PvFacts, PvSegmentFacts, SegmentArea, SegmentFacts, StoreFacts,
    VgFacts,
};
pub use field::Style;
pub use gather::Machine;
pub use layout::{Asked, BadLayout};
pub use render::Format;
pub use row::{Choice, Report};
pub use units::{BadUnits, Units};

use field::Value;
use layout::Layout;
use render::Cells;
use row::{Row, rows};
use select::Selection;
use std::cmp::Ordering;

/// The list of fields, as `-o help` prints it.
pub fn field_help() -> String {
    fields::help()
}

/// Fields that a look into the stores of snapshots says more about.
const OF_STORES: &[&str] = &["lv_attr", "data_percent", "snap_percent", "lv_snapshot_invalid"];
/// Fields of what the kernel reads ahead.
const OF_READ_AHEAD: &[&str] = &["lv_kernel_read_ahead"];

/// What a report is about that takes a look of its own for each LV.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Needs {
    /// What only the stores of snapshots can tell ([`LvFacts::store`]).
    pub stores: bool,
    /// [`Live::kernel_read_ahead`].
    pub read_ahead: bool,
}

/// What the report shows, is sorted by, or is selected by.
///
/// # Errors
/// As [`report`].
pub fn needs(asked: &Asked, select: Option<&str>) -> Result<Needs, BadLayout> {
    let (selection, sections) = Selection::parse(select.unwrap_or(""), asked.report)?;
    let layout = Layout::of(asked, &sections)?;
    let shown = layout.columns.iter().map(|(_, field)| field.id);
    let fields: Vec<&str> =
        shown.chain(layout.keys.iter().map(|(field, _)| field.id)).chain(selection.fields()).collect();
    let any = |of: &[&str]| fields.iter().any(|field| of.contains(field));
    Ok(Needs { stores: any(OF_STORES), read_ahead: any(OF_READ_AHEAD) })
}

/// The text of a report.
///
/// # Errors
/// Fields that do not exist or do not go together, and selections that cannot be read. [`BadLayout::Help`] where
/// the list of fields was asked for.
pub fn report(
    facts: &Facts,
    asked: &Asked,
    select: Option<&str>,
    choice: &dyn Choice,
    format: &Format,
) -> Result<String, BadLayout> {
    let (selection, sections) = Selection::parse(select.unwrap_or(""), asked.report)?;
    let layout = Layout::of(asked, &sections)?;
    let shows_selected = layout.columns.iter().any(|(_, field)| field.id == "selected");
    let mut rows = rows(facts, asked.report, layout.rows, choice);
    if !shows_selected {
        rows.retain(|row| selection.keeps(row));
    }
    rows.sort_by(|a, b| in_order(&layout, a, b));
    let mut columns: Vec<_> = layout.columns.iter().map(|(_, field)| *field).collect();
    let show = |row: &Row<'_>, field: &field::Field| match field.id {
        "selected" => Value::Number(i128::from(selection.keeps(row))).show(format.style),
        _ => (field.value)(row).show(format.style),
    };
    columns.retain(|field| {
        !layout.compact.contains(&field.id) || rows.iter().any(|row| !show(row, field).is_empty())
    });
    let cells = rows.iter().map(|row| columns.iter().map(|field| show(row, field)).collect()).collect();
    Ok(Cells { list: asked.report.id(), fields: columns, rows: cells }.print(format))
}

fn in_order(layout: &Layout, a: &Row<'_>, b: &Row<'_>) -> Ordering {
    layout.keys.iter().fold(Ordering::Equal, |order, (field, descending)| {
        order.then_with(|| {
            let order = (field.value)(a).compare(&(field.value)(b));
            if *descending { order.reverse() } else { order }
        })
    })
}
