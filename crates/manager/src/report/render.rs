//! A report as text: columns, rows turned into lines, or JSON.
//!
//! What must hold (compared with LVM2 2.03.16, byte for byte):
//! - Every line begins with two blanks; aligned columns are padded to their widest value, the last one as well.
//! - A report without rows prints no heading, and in JSON an empty list.
//! - JSON values are strings, four blanks a level, one line per row.

use super::field::{Align, Field, Style};

/// What the output looks like.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on LVM2's command line")]
pub struct Format {
    /// JSON instead of columns.
    pub json: bool,
    /// A line of headings first.
    pub headings: bool,
    /// Between columns.
    pub separator: Option<String>,
    /// Columns padded although a separator was given.
    pub aligned: bool,
    /// Rows as columns.
    pub rows: bool,
    /// `LVM2_NAME='value'`
    pub name_prefixes: bool,
    /// No quotes around those values.
    pub unquoted: bool,
    /// Sizes and flags.
    pub style: Style,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            json: false,
            headings: true,
            separator: None,
            aligned: false,
            rows: false,
            name_prefixes: false,
            unquoted: false,
            style: Style::default(),
        }
    }
}

/// Cells by row; every row has one cell per field.
pub(super) struct Cells<'a> {
    pub(super) list: &'static str,
    pub(super) fields: Vec<&'a Field>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Cells<'_> {
    pub(super) fn print(&self, format: &Format) -> String {
        if format.json {
            return self.json();
        }
        if self.rows.is_empty() {
            return String::new();
        }
        if format.rows { self.turned(format) } else { self.columns(format) }
    }

    fn width(&self, index: usize, field: &Field) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(field.width).max(field.heading.len())
    }

    fn columns(&self, format: &Format) -> String {
        let padded = (format.separator.is_none() || format.aligned) && !format.name_prefixes;
        let separator = format.separator.as_deref().unwrap_or(" ");
        let width = |(index, field): (usize, &&Field)| if padded { self.width(index, field) } else { 0 };
        let widths: Vec<usize> = self.fields.iter().enumerate().map(width).collect();
        let mut text = String::new();
        if format.headings {
            let cells =
                self.fields.iter().zip(&widths).map(|(field, &width)| format!("{:<width$}", field.heading));
            line(&mut text, cells, separator);
        }
        for row in &self.rows {
            let cells = self.fields.iter().zip(row).zip(&widths).map(|((field, cell), &width)| {
                let cell = prefixed(field, cell, format);
                match field.align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                }
            });
            line(&mut text, cells, separator);
        }
        text
    }

    fn turned(&self, format: &Format) -> String {
        let separator = format.separator.as_deref().unwrap_or(" ");
        let mut text = String::new();
        for (index, field) in self.fields.iter().enumerate() {
            let heading = format.headings.then(|| field.heading.to_owned());
            let cells =
                self.rows.iter().filter_map(|row| row.get(index)).map(|cell| prefixed(field, cell, format));
            line(&mut text, heading.into_iter().chain(cells), separator);
        }
        text
    }

    fn json(&self) -> String {
        let last = self.rows.len().saturating_sub(1);
        let rows = self.rows.iter().enumerate().map(|(number, row)| {
            let pairs =
                self.fields.iter().zip(row).map(|(field, cell)| format!("\"{}\":{}", field.id, quoted(cell)));
            let comma = if number == last { "" } else { "," };
            format!("                  {{{}}}{comma}\n", pairs.collect::<Vec<_>>().join(", "))
        });
        let opening = ["  {", "      \"report\": [", "          {"].join("\n");
        let closing = ["              ]", "          }", "      ]", "  }"].join("\n");
        format!(
            "{opening}\n              \"{}\": [\n{}{closing}\n",
            self.list,
            rows.collect::<Vec<_>>().concat()
        )
    }
}

fn line(text: &mut String, cells: impl Iterator<Item = String>, separator: &str) {
    text.push_str("  ");
    text.push_str(&cells.collect::<Vec<_>>().join(separator));
    text.push('\n');
}

fn prefixed(field: &Field, cell: &str, format: &Format) -> String {
    if !format.name_prefixes {
        return cell.to_owned();
    }
    let name = field.id.to_ascii_uppercase();
    if format.unquoted {
        format!("LVM2_{name}={cell}")
    } else {
        format!("LVM2_{name}='{}'", cell.replace('\'', "\\'"))
    }
}

/// A JSON string; LVM2 escapes quotes and backslashes, and we also what JSON does not allow bare.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
