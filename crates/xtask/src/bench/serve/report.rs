//! Medians of rounds as a table in Markdown, with what has to be known beside it.

use std::collections::BTreeMap;
use std::fmt;

use super::client::{WORKS, Work};
use super::server::{SERVERS, Server};

/// Rates of all rounds, in their order.
#[derive(Debug, Default)]
pub(super) struct Results(BTreeMap<(&'static str, Server), Vec<f64>>);

impl Results {
    pub(super) fn add(&mut self, server: Server, work: &Work, rate: f64) {
        self.0.entry((work.name, server)).or_default().push(rate);
    }

    fn of(&self, work: &Work, server: Server) -> &[f64] {
        self.0.get(&(work.name, server)).map_or(&[], Vec::as_slice)
    }

    fn cell(&self, work: &Work, server: Server) -> String {
        let rates = sorted(self.of(work, server).to_vec());
        let (Some(lowest), Some(highest)) = (rates.first(), rates.last()) else { return "-".to_owned() };
        let spread = format!("{} - {}", work.shown(*lowest), work.shown(*highest));
        let own = format!("{} ({spread})", work.shown(median(&rates)));
        if server == Server::Foldback {
            return own;
        }
        let pairs = self.of(work, Server::Foldback).iter().zip(self.of(work, server));
        let ratios = sorted(pairs.map(|(ours, theirs)| ours / theirs).collect());
        format!("{own}; **{:.2}**", median(&ratios))
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What stands under the table.
const NOTES: &str = "\
- In bold: foldback's speed as a multiple of that peer's. The first three use the same disk requests as far as they can: foldback \
has the image open with O_DIRECT, qemu-nbd runs with `--cache=none --aio=io_uring`; nbdkit's file plugin has no O_DIRECT, and with \
`cache=none` goes through the page cache and drops the pages behind itself.
- A write that is not flushed may be in the server's memory alone with nbdkit and with both cached servers, and is with the disk with \
foldback and qemu-nbd: those rows compare different promises. In the rows with a flush after each write all five promise the same.
- Cached: the peers' defaults, `qemu-nbd` with write-back cache and nbdkit without `cache=`, with all of the image in the page \
cache before each work. For the others the page cache holds nothing of it.
- One client, fio's nbd engine, with one connection over a Unix socket; it runs on the same cores.";

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = SERVERS.map(Server::name);
        writeln!(f, "| work | {} |", names.join(" | "))?;
        writeln!(f, "|---{}|", "|---".repeat(SERVERS.len()))?;
        for work in WORKS.iter().filter(|work| !self.of(work, Server::Foldback).is_empty()) {
            let cells = SERVERS.map(|server| self.cell(work, server));
            writeln!(f, "| {} | {} |", work.name, cells.join(" | "))?;
        }
        writeln!(f, "\n{NOTES}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Results, Server, WORKS};

    #[test]
    fn medians_and_ratios_of_the_same_round_are_quoted() {
        let mut results = Results::default();
        let (first, last) = (&WORKS[0], WORKS.last().unwrap());
        for (ours, theirs) in [(1000.0, 2000.0), (5000.0, 2500.0), (3000.0, 3000.0)] {
            results.add(Server::Foldback, first, ours);
            results.add(Server::Qemu, first, theirs);
        }
        results.add(Server::Foldback, last, 1500.0);
        let text = results.to_string();
        let row = format!(
            "| {} | 3.0 k/s (1.0 k/s - 5.0 k/s) | 2.5 k/s (2.0 k/s - 3.0 k/s); **1.00** | - |",
            first.name
        );
        assert!(text.contains(&row), "{text}");
        assert!(text.contains("1500 MiB/s (1500 MiB/s - 1500 MiB/s) | - |"), "{text}");
        assert!(!text.contains(WORKS[1].name), "a work that was left out has no row");
    }
}
