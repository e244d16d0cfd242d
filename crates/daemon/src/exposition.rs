//! Metrics as text: Prometheus's text format 0.0.4, which node_exporter's textfile collector reads as well.
//!
//! What must hold:
//! - All samples of a name stand together behind its help and its type; counters end in `_total`.
//! - A label's value may be anything: it is escaped.
//!
//! Written by hand because prometheus-client writes OpenMetrics only, in which a counter's type has another name than its
//! samples, so that the collector would lose the types.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// Names, each with its samples.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Exposition(BTreeMap<&'static str, Family>);

#[derive(Clone, PartialEq, Debug)]
struct Family {
    help: &'static str,
    samples: Vec<(String, String)>,
}

impl Exposition {
    /// One value. A name that ends in `_total` is a counter, every other a gauge.
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        let family = self.0.entry(name).or_insert(Family { help, samples: Vec::new() });
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        family.samples.push((labels.join(","), value.to_string()));
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.0 {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            // Writing to a string cannot fail.
            writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help).ok();
            for (labels, value) in &family.samples {
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                writeln!(text, "{name}{labels} {value}").ok();
            }
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::Exposition;

    #[test]
    fn samples_of_a_name_stand_together_and_labels_are_escaped() {
        let mut all = Exposition::default();
        all.add("fb_reads_total", "Reads.", &[("lv", "a"), ("disk", "C:\\\"x\ny")], 3_u64);
        all.add("fb_size_bytes", "Size.", &[], 7_u64);
        all.add("fb_reads_total", "Reads.", &[("lv", "b")], u64::MAX);
        let expected = "# HELP fb_reads_total Reads.\n# TYPE fb_reads_total counter\nfb_reads_total{lv=\"a\",disk=\"C:\\\\\\\"x\\ny\"} 3\n\
                        fb_reads_total{lv=\"b\"} 18446744073709551615\n# HELP fb_size_bytes Size.\n# TYPE fb_size_bytes gauge\n\
                        fb_size_bytes 7\n";
        assert_eq!(all.text(), expected);
    }
}
