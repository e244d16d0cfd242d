//! A field of a report, its value, and how values are shown and compared.
//!
//! What must hold:
//! - What is shown and what is sorted by are two things: sizes and counts sort as numbers, whatever unit is shown.
//! - A number that nobody knows is blank and sorts above every known one.
//! - Names of fields are LVM2's; underscores and case do not matter when one is asked for.

use super::row::Row;
use super::units::Units;
use foldback_units::Sectors;
use std::cmp::Ordering;

/// Where text stands in its column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    Left,
    Right,
}

/// The part of a report that a field belongs to; decides what a row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Lv,
    Segment,
    /// What the label of a PV says.
    Label,
    Pv,
    PvSegment,
    Vg,
    /// Fits every report.
    Special,
}

impl Section {
    /// The heading in the list of fields.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Lv => "Logical Volume Fields",
            Self::Segment => "Logical Volume Segment Fields",
            Self::Label => "Physical Volume Label Fields",
            Self::Pv => "Physical Volume Fields",
            Self::PvSegment => "Physical Volume Segment Fields",
            Self::Vg => "Volume Group Fields",
            Self::Special => "Special Fields",
        }
    }

    /// What `-o PREFIXall` and short names begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Lv => "lv_",
            Self::Segment => "seg_",
            Self::Label | Self::Pv => "pv_",
            Self::PvSegment => "pvseg_",
            Self::Vg => "vg_",
            Self::Special => "",
        }
    }
}

/// A column that can be asked for.
pub(super) struct Field {
    pub(super) id: &'static str,
    pub(super) heading: &'static str,
    /// The column's least width, beside the heading's.
    pub(super) width: usize,
    pub(super) align: Align,
    pub(super) about: &'static str,
    pub(super) value: fn(&Row<'_>) -> Value,
}

/// What a field holds in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Text(String),
    /// A name that is shown with brackets, and the name itself, which is what sorts and what is selected by.
    Bracketed(String, String),
    Number(i128),
    Size(Sectors),
    /// Hundredths of a percent.
    Percent(u64),
    /// A number that is shown as a word.
    Word(&'static str, i128),
    /// A yes-or-no field: its word for yes; `None` where nobody knows.
    Flag(&'static str, Option<bool>),
    /// A number that nobody knows, or that has no meaning here.
    Blank,
}

/// How values become text.
#[derive(Clone, Copy, Default, Debug)]
pub struct Style {
    /// The unit of sizes.
    pub units: Units,
    /// Yes-or-no fields as 1, 0 and -1.
    pub binary: bool,
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn count(number: impl Into<u64>) -> Self {
        Self::Number(i128::from(number.into()))
    }

    pub(super) fn list(items: &[String]) -> Self {
        Self::Text(items.join(","))
    }

    pub(super) fn show(&self, style: Style) -> String {
        match self {
            Self::Text(text) | Self::Bracketed(text, _) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Size(size) => style.units.show(*size),
            Self::Percent(hundredths) => {
                format!("{}.{:02}", hundredths.div_euclid(100), hundredths.rem_euclid(100))
            }
            Self::Word(word, _) => (*word).to_owned(),
            Self::Flag(_, state) if style.binary => {
                state.map_or("-1", |set| if set { "1" } else { "0" }).to_owned()
            }
            Self::Flag(_, None) => "unknown".to_owned(),
            Self::Flag(word, Some(set)) => if *set { word } else { "" }.to_owned(),
            Self::Blank => String::new(),
        }
    }

    /// What numbers compare by; `None` for text.
    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Self::Text(_) | Self::Bracketed(..) => None,
            Self::Number(number) | Self::Word(_, number) => Some(*number),
            Self::Size(size) => Some(size.get().into()),
            Self::Percent(hundredths) => Some((*hundredths).into()),
            Self::Flag(_, state) => Some(state.map_or(-1, i128::from)),
            Self::Blank => Some(i128::MAX),
        }
    }

    /// What text compares by; `None` for numbers.
    pub(super) fn plain(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Bracketed(_, text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self.plain(), other.plain()) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => self.number().cmp(&other.number()),
        }
    }
}

/// Whether `asked` names `id`, in full or without the report's own prefix.
pub(super) fn names(id: &str, asked: &str, prefix: &str) -> bool {
    let squeeze = |text: &str| -> String {
        text.chars().filter(|&c| c != '_').map(|c| c.to_ascii_lowercase()).collect()
    };
    let (id, asked) = (squeeze(id), squeeze(asked));
    id == asked || id.strip_prefix(&squeeze(prefix)).is_some_and(|rest| rest == asked)
}
