//! `lvdisplay`, `vgdisplay`, `pvdisplay`: one object after the other, line by line, or as words between colons.
//!
//! What must hold (compared with 2.03.16):
//! - Lines, their order and the colon forms are LVM2's; with `-C` they are `lvs`, `vgs` and `pvs`.

mod lv;
mod pv;
mod vg;

pub(crate) use lv::LvDisplay;
pub(crate) use pv::PvDisplay;
pub(crate) use vg::VgDisplay;

use super::Context;
use crate::choosing::{Chosen, selected};
use crate::error::CliError;
use crate::exit::Exit;
use crate::reporting::{self, ReportOptions, gather};
use clap::Args;
use foldback_manager::report::{Facts, Needs, Report, Units};
use foldback_units::Sectors;

/// They show everything that is known, and look into no store, as LVM2 does not.
const NEEDS: Needs = Needs { stores: false, read_ahead: true };

/// What all three take.
#[derive(Args, Debug)]
struct Form {
    #[command(flatten)]
    report: ReportOptions,
    /// Words between colons
    #[arg(short, long, conflicts_with = "columns")]
    colon: bool,
    /// Columns, as lvs, vgs and pvs have them
    #[arg(short = 'C', long)]
    columns: bool,
}

impl Form {
    /// Shows what is meant, each by `show`.
    fn run(
        &self,
        context: &Context,
        kind: Report,
        names: &[String],
        show: impl FnOnce(&Facts, &Chosen),
    ) -> Result<Exit, CliError> {
        if self.columns {
            return reporting::run(context, &self.report, kind, names);
        }
        if self.report.wants_columns() {
            // LVM2 ends the sentence of two of the three.
            let end = if kind == Report::Pvs { "" } else { "." };
            return Err(CliError::usage(&context.command, format!("Incompatible options selected{end}")));
        }
        let kept = match self.report.selection() {
            Some(select) => selected(context, kind, select, names)?,
            None => names.to_vec(),
        };
        if kept.is_empty() && self.report.selection().is_some() {
            return Ok(Exit::Success);
        }
        let (facts, chosen, exit) = gather(context, kind, &kept, self.report.looks(NEEDS))?;
        if !chosen.is_empty() {
            show(&facts, &chosen);
        }
        Ok(exit)
    }

    /// A size with the whole name of its unit.
    fn words(&self, size: Sectors) -> String {
        if size.is_zero() {
            return "0   ".to_owned();
        }
        let units = self.report.units_text().and_then(|text| Units::parse(text).ok());
        let Some(units) = units else { return Units::in_words(size) };
        let text = units.show(size);
        let number = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
        let unit = match text.strip_prefix(number).and_then(|letter| letter.chars().next()) {
            Some('B' | 'b') => "B".to_owned(),
            Some('S') => "Se".to_owned(),
            Some(letter) if letter.is_ascii_lowercase() => format!("{}iB", letter.to_ascii_uppercase()),
            Some(letter) => format!("{letter}B"),
            None => return text,
        };
        format!("{number} {unit}")
    }
}

/// Lines of names and values, the values one below the other.
struct Lines {
    context: Context,
    width: usize,
}

impl Lines {
    fn title(&self, text: &str) {
        self.context.console.say(&format!("--- {text} ---"));
    }

    fn line(&self, name: &str, value: impl std::fmt::Display) {
        let width = self.width;
        // The console takes the first two blanks for its own, and a line may go on with more.
        self.context.console.say(&format!("  {name:<width$}{value}"));
    }

    fn end(&self) {
        self.context.console.say(" ");
    }
}
