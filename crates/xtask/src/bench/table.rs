//! Medians of rounds as a table in Markdown, with lines under it.

use std::fmt;
use std::time::Duration;

/// One line of the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    place: String,
    what: String,
    count: u64,
    times: Vec<Duration>,
    ratio: Option<(f64, String)>,
    note: String,
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    lines: Vec<String>,
}

impl Row {
    pub(super) fn new(place: &str, what: &str, count: u64, times: &[Duration]) -> Self {
        let (place, what, times) = (place.to_owned(), what.to_owned(), times.to_vec());
        Self { place, what, count, times, ratio: None, note: String::new() }
    }

    /// The speed as a multiple of a peer's in the same rounds: the median of the ratios of each round.
    pub(super) fn against(mut self, name: &str, peer: &[Duration]) -> Self {
        let pairs = peer.iter().zip(&self.times);
        let mut ratios: Vec<f64> = pairs.map(|(peer, own)| peer.as_secs_f64() / own.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        self.ratio = ratios.get(ratios.len() / 2).map(|ratio| (*ratio, name.to_owned()));
        self
    }

    pub(super) fn note(mut self, note: &str) -> Self {
        note.clone_into(&mut self.note);
        self
    }
}

impl Table {
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a line under the table.
    pub(super) fn say(&mut self, line: String) {
        self.lines.push(line);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| where | what | exceptions | median | fastest - slowest | MiB/s | speed | |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let mut times: Vec<f64> = row.times.iter().map(Duration::as_secs_f64).collect();
            times.sort_by(f64::total_cmp);
            let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
            let (median, slowest) = (at(times.len() / 2), at(times.len().saturating_sub(1)));
            let mib = f64::from(u32::try_from(row.count).unwrap_or(u32::MAX)) / 256.0;
            let ratio = row.ratio.as_ref();
            let ratio = ratio.map_or(String::new(), |(ratio, peer)| format!("{ratio:.2} x {peer}"));
            writeln!(
                f,
                "| {} | {} | {} | {median:.2} s | {:.2} - {slowest:.2} s | {:.1} | {ratio} | {} |",
                row.place,
                row.what,
                row.count,
                at(0),
                mib / median,
                row.note
            )?;
        }
        if !self.lines.is_empty() {
            writeln!(f)?;
        }
        self.lines.iter().try_for_each(|line| writeln!(f, "- {line}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Row, Table};

    #[test]
    fn medians_and_paired_ratios_are_quoted() {
        let seconds = |values: [u64; 3]| values.map(Duration::from_secs);
        let mut table = Table::default();
        let peer = seconds([10, 40, 20]);
        table.add(Row::new("rig", "other", 2560, &seconds([5, 4, 10])).against("peer", &peer).note("a note"));
        table.say("a line".to_owned());
        let text = table.to_string();
        assert!(text.ends_with("|\n\n- a line\n"), "{text}");
        assert!(
            text.contains("| rig | other | 2560 | 5.00 s | 4.00 - 10.00 s | 2.0 | 2.00 x peer | a note |"),
            "{text}"
        );
    }
}
